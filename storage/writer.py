"""Write a store so that what is there is right: first a template, then complete shards, then the seal.

A store is made in three steps. `create_store` creates every array at its final shape. `write_unit` writes complete
shards and publishes each one's manifest when its files are on disk; killed at any moment, it leaves complete shards and
`*.partial` files, which `sweep` deletes. `finalize` checks every byte, adds statistics and seals the store with
`manifest.json`. One process at a time may write: hold `lock`.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dynamic_sparsity.errors import InvalidSettingError, SettingsMismatchError
from dynamic_sparsity.schemas import ArraySpec, row_arrays_of, validate
from dynamic_sparsity.schemas.consistency import complete_settings, settings_digest
from dynamic_sparsity.schemas.documents import array_document, encode_document, group_document, shard_file
from dynamic_sparsity.storage.atomic import partial_path, publish, sweep, sync_directories
from dynamic_sparsity.storage.encoding import shard_pieces
from dynamic_sparsity.storage.locks import lock
from dynamic_sparsity.storage.manifests import (
    FileRecord,
    encode_return,
    finished_shards,
    missing_shards,
    read_attributes,
    shard_manifest_path,
    shard_range,
)
from dynamic_sparsity.storage.seal import finalize

__all__ = [
    "create_store",
    "finalize",
    "finished_shards",
    "lock",
    "missing_shards",
    "refuse_differences",
    "setting_differences",
    "sweep",
    "write_unit",
]

# Attributes that may differ between the run that made a store and the one that resumes it.
MAY_DIFFER: Final = frozenset({"complete", "provenance", "settings", "settings_sha256"})
# Encoding, hashing and writing release the interpreter lock, so a few threads overlap them.
WRITER_THREADS: Final = 4


def create_store(path: Path, attributes: Mapping[str, Any]) -> None:
    """Create a store: its group and every row array at its final shape, no data. It appears complete or not at all.

    If the store exists and was made with the same settings, it is left as it is.

    Args:
        path: The store, `ROOT/<Task>/<policy>[-stock].zarr`.
        attributes: The root group's attributes; `settings_sha256` is filled in if missing, `complete` is set to False.

    Raises:
        CorruptStoreError: The attributes contradict their schema.
        SettingsMismatchError: The store exists and was made with other settings.
    """
    wanted = {**attributes, "complete": False}
    if "settings" in wanted:
        wanted.setdefault("settings_sha256", settings_digest(wanted["settings"]))
    validate(wanted, "store", f"attributes for {path}")
    if (path / "zarr.json").exists():
        _refuse_other_settings(path, read_attributes(path), wanted)
        return
    template = partial_path(path)
    documents = {
        spec.name: array_document(
            spec, spec.shape(wanted["sizes"], wanted["rows"]), wanted["chunk_rows"], wanted["shard_rows"]
        )
        for spec in row_arrays_of(wanted)
    }
    try:
        files = {template / "zarr.json": group_document(wanted)}
        files |= {template / name / "zarr.json": document for name, document in documents.items()}
        for file, document in files.items():
            publish(file, [encode_document(document)])
        (template / "shards").mkdir()
        sync_directories(files, template)
        template.rename(path)
    except BaseException as error:
        shutil.rmtree(template, ignore_errors=True)
        # Of several jobs that create the store at once, one is first.
        if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            _refuse_other_settings(path, read_attributes(path), wanted)
            return
        raise
    sync_directories([], path.parent)


def write_unit(
    path: Path, first_row: int, columns: Mapping[str, npt.NDArray[Any]], episodes: Sequence[Mapping[str, Any]]
) -> list[int]:
    """Write consecutive complete shards, and publish each one's manifest when all its files are on disk.

    Shards that have a manifest are left as they are, so that an interrupted run can be repeated. Rows beyond the
    store's last row, and episodes that start there, are dropped.

    Args:
        path: The store.
        first_row: Row of the columns' first entry, a multiple of `shard_rows`.
        columns: Every row array the store has: name to (rows, ...) of its exact dtype; `rows` is a multiple of
            `shard_rows` or reaches the store's last row. Arrays with a zero-sized dimension may be given or not.
        episodes: The episodes that start in these rows, as the objects of a shard manifest's `episodes`; `return` may
            be NaN.

    Returns:
        The shards written by this call.

    Raises:
        InvalidSettingError: The columns or episodes do not fill complete shards of this store.
    """
    attributes = read_attributes(path)
    specs = row_arrays_of(attributes)
    rows = _check_columns(attributes, specs, first_row, columns)
    table = _check_episodes(attributes, first_row, rows, episodes)
    shard_rows = attributes["shard_rows"]
    unit = range(first_row // shard_rows, -(-(first_row + rows) // shard_rows))
    shards = sorted(set(unit) - finished_shards(path))
    with ThreadPoolExecutor(WRITER_THREADS, thread_name_prefix="writer") as pool:
        for shard in shards:
            start, stop = shard_range(attributes, shard)
            block = {spec.name: columns[spec.name][start - first_row : stop - first_row] for spec in specs}
            own = [episode for episode in table if start <= episode["start"] < stop]
            _write_shard(path, attributes, shard, block, own, pool)
    return shards


def _write_shard(
    path: Path,
    attributes: Mapping[str, Any],
    shard: int,
    block: Mapping[str, npt.NDArray[Any]],
    episodes: Sequence[Mapping[str, Any]],
    pool: ThreadPoolExecutor,
) -> None:
    """Write one shard of every array, then its manifest."""
    specs = row_arrays_of(attributes)
    chunk_rows, shard_rows = attributes["chunk_rows"], attributes["shard_rows"]

    def write(spec: ArraySpec) -> FileRecord:
        pieces = shard_pieces(spec, block[spec.name], chunk_rows, shard_rows)
        return FileRecord(*publish(path / shard_file(spec, shard), pieces))

    files = {shard_file(spec, shard): record for spec, record in zip(specs, pool.map(write, specs), strict=True)}
    # The manifest says "these files are on disk", so their names must be there before its own.
    sync_directories([path / name for name in files], path)
    start, stop = shard_range(attributes, shard)
    manifest = {
        "schema_version": attributes["schema_version"],
        "shard": shard,
        "row_start": start,
        "row_stop": stop,
        "files": {name: record.as_json() for name, record in files.items()},
        "episodes": list(episodes),
    }
    manifest_path = shard_manifest_path(path, shard)
    # The unit's episodes have been checked, all together.
    validate(manifest | {"episodes": []}, "shard_manifest", str(manifest_path))
    publish(manifest_path, [encode_document(manifest)])
    sync_directories([manifest_path], path)


def _check_columns(
    attributes: Mapping[str, Any],
    specs: Iterable[ArraySpec],
    first_row: int,
    columns: Mapping[str, npt.NDArray[Any]],
) -> int:
    """Refuse columns that do not fill complete shards of this store; return how many of their rows the store has."""
    shard_rows, total = int(attributes["shard_rows"]), int(attributes["rows"])
    by_name = {spec.name: spec for spec in specs}
    missing = sorted(by_name.keys() - columns.keys())
    unknown = sorted(name for name in columns.keys() - by_name.keys() if columns[name].size)
    if missing or unknown:
        raise InvalidSettingError(
            f"a unit of this store has the columns {', '.join(by_name)}; missing: {missing}, unknown: {unknown}"
        )
    given = len(next(iter(columns.values())))
    if first_row < 0 or first_row >= total or first_row % shard_rows:
        raise InvalidSettingError(
            f"a unit can't start at row {first_row}: it starts at a multiple of shard_rows ({shard_rows}) below {total}"
        )
    if first_row + given < total and given % shard_rows:
        raise InvalidSettingError(
            f"a unit of {given} rows from row {first_row} does not fill whole shards: give a multiple of shard_rows "
            f"({shard_rows}), or all rows up to the last ({total})"
        )
    for name, spec in by_name.items():
        expected = spec.shape(attributes["sizes"], given)
        if columns[name].shape != expected or columns[name].dtype != np.dtype(spec.dtype):
            raise InvalidSettingError(
                f"column {name} has shape {columns[name].shape} and dtype {columns[name].dtype}; "
                f"expected {expected} and {spec.dtype}"
            )
    return min(given, total - first_row)


def _check_episodes(
    attributes: Mapping[str, Any], first_row: int, rows: int, episodes: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Refuse episodes other than those that start in the rows; return them as a manifest has them."""
    length = attributes["episode_length"]
    written = [_json_episode(episode) for episode in episodes]
    validate(written, "episodes", f"episodes of the unit from row {first_row}")
    inside = [episode for episode in written if episode["start"] < attributes["rows"]]
    expected = list(range(-(-first_row // length), -(-(first_row + rows) // length)))
    found = [episode["index"] for episode in inside]
    if found != expected or any(episode["start"] != episode["index"] * length for episode in inside):
        raise InvalidSettingError(
            f"the unit from row {first_row} with {rows} rows has the episodes {_span(found)}; "
            f"expected {_span(expected)}, each starting at its index times {length}"
        )
    too_long = [episode["index"] for episode in inside if episode["length"] > length]
    if too_long:
        raise InvalidSettingError(f"episodes {too_long} are longer than episode_length ({length})")
    return inside


def _json_episode(episode: Mapping[str, Any]) -> dict[str, Any]:
    """Return an episode as JSON can hold it: no NumPy scalars, no bools, no NaN."""
    written = {key: value.item() if isinstance(value, np.generic) else value for key, value in episode.items()}
    if isinstance(written.get("return"), float):
        written["return"] = encode_return(written["return"])
    if isinstance(written.get("terminated"), bool):
        written["terminated"] = int(written["terminated"])
    return written


def _span(indices: Sequence[int]) -> str:
    return f"{indices[0]} to {indices[-1]} ({len(indices)})" if indices else "none"


def _refuse_other_settings(path: Path, existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to resume a store that was made with other settings."""
    refuse_differences(path, setting_differences(existing, wanted))


def setting_differences(existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return how a store that exists differs from the one that is asked for.

    Args:
        existing: Its attributes.
        wanted: Those asked for.

    Returns:
        Key to the store's value and the one asked for; "absent" for none. Keys in `settings` begin with "settings.".
    """
    old, new = (
        {
            **_flat("settings", complete_settings(attributes["settings"])),
            **{key: attributes[key] for key in attributes.keys() - MAY_DIFFER},
        }
        for attributes in (existing, wanted)
    )
    absent = "absent"
    pairs = {key: (old.get(key, absent), new.get(key, absent)) for key in sorted(old.keys() | new.keys())}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def refuse_differences(path: Path, differences: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuse a store that differs from the one that is asked for.

    Args:
        path: The store.
        differences: Of `setting_differences`.

    Raises:
        SettingsMismatchError: There are any.
    """
    lines = [f"  {key}: the store has {old!r}, now asked for {new!r}" for key, (old, new) in differences.items()]
    if lines:
        raise SettingsMismatchError(
            f"{path} was made with other settings:\n" + "\n".join(lines) + "\nUse another --out, or delete the store "
            "to generate it again, or give the settings it was made with to resume it."
        )


def _flat(prefix: str, value: object) -> dict[str, Any]:
    """Return nested settings under dotted keys, so that a difference is named by its place."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    return {key: leaf for name, inner in value.items() for key, leaf in _flat(f"{prefix}.{name}", inner).items()}
