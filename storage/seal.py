"""Seal a store: check every byte, add the episode table and the statistics, and write the store's manifest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dynamic_sparsity.errors import CorruptStoreError, IncompleteStoreError
from dynamic_sparsity.schemas import episode_columns, row_arrays_of, validate
from dynamic_sparsity.schemas.documents import (
    encode_document,
    group_document,
    member_documents,
    plain_file,
    store_arrays,
)
from dynamic_sparsity.schemas.files import shard_count
from dynamic_sparsity.schemas.layout import array_layouts
from dynamic_sparsity.storage.atomic import publish, sweep, sync_directories
from dynamic_sparsity.storage.background import background
from dynamic_sparsity.storage.encoding import encode_chunk, shard_values
from dynamic_sparsity.storage.manifests import (
    RESUME,
    FileRecord,
    finished_shards,
    read_attributes,
    read_document,
    read_shard_manifest,
    record_of,
    shard_manifest_path,
    shard_range,
    wrong_files,
)
from dynamic_sparsity.storage.problems import verify_command
from dynamic_sparsity.storage.statistics import COLUMNS, Block, summarize

READ_THREADS: Final = 2
"""Shards that are decoded ahead; memory holds one more."""

WRITER_THREADS: Final = 4
"""Small files written side by side: each waits for the disk."""


def finalize(path: Path) -> None:
    """Seal a store whose shards are all there. A sealed store is checked and left as it is.

    Args:
        path: The store.

    Raises:
        StoreNotFoundError: There is no store at `path`.
        IncompleteStoreError: Shards are missing.
        CorruptStoreError: A file's bytes are not the ones that were written.
    """
    sweep(path)
    attributes = read_attributes(path)
    if (path / "manifest.json").exists():
        _check_sealed(path)
        return
    total = shard_count(attributes)
    missing = sorted(set(range(total)) - finished_shards(path))
    if missing:
        named = ", ".join(map(str, missing[:8])) + (", …" if len(missing) > 8 else "")
        raise IncompleteStoreError(f"{path} lacks {len(missing)} of its {total} shards ({named}); {RESUME}")
    manifests = [read_shard_manifest(path, shard) for shard in range(total)]
    documents = {name: encode_document(document) for name, document in member_documents(attributes).items()}
    files = _check_shards(path, attributes, manifests, documents)
    table = episode_table(manifests)
    statistics = summarize(
        column_blocks(path, attributes, table["split"] == 0),
        attributes["sizes"],
        [constraint["kind"] for constraint in attributes["constraints"]],
    )
    added = _write_tables(path, attributes, documents, {"episodes": table, "statistics": statistics})
    sealed = {**attributes, "complete": True}
    root = encode_document(group_document(sealed, member_documents(sealed)))
    added["zarr.json"] = FileRecord(*publish(path / "zarr.json", [root]))
    # Whoever wrote the others has synced their directories.
    sync_directories([path / name for name in added], path)
    _write_manifest(path, sealed, files | added)


def episode_table(manifests: Sequence[Mapping[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of the episode table.

    Args:
        manifests: Every shard's manifest, in order.

    Returns:
        Column name to (E,) values.
    """
    episodes = [episode for manifest in manifests for episode in manifest["episodes"]]
    # `float` also reads the written-out NaN and infinities of a return.
    return {
        spec.name: np.array(
            [float(episode[spec.name]) if spec.dtype == "float64" else episode[spec.name] for episode in episodes],
            dtype=spec.dtype,
        )
        for spec in episode_columns()
    }


def column_blocks(path: Path, attributes: Mapping[str, Any], train: npt.NDArray[np.bool_]) -> Iterator[Block]:
    """Yield the columns that the statistics read, shard by shard.

    Args:
        path: The store; all its shards are there.
        attributes: The root group's attributes.
        train: (E,) bool, the episode belongs to the train split.

    Yields:
        Column name to (shard rows, ...) values, and `train`, (shard rows,) bool.
    """
    layouts = {name: layout for name, layout in array_layouts(attributes).items() if name in COLUMNS}

    def block(shard: int) -> Block:
        start, stop = shard_range(attributes, shard)
        values = {
            name: shard_values(layout, shard, (path / layout.shard_name(shard)).read_bytes())
            for name, layout in layouts.items()
        }
        return values | {"train": train[np.arange(start, stop) // attributes["episode_length"]]}

    # The next ones are decoded while one is used.
    with background(READ_THREADS, "blocks") as pool:
        coming: deque[Future[Block]] = deque()
        for shard in range(shard_count(attributes)):
            coming.append(pool.submit(block, shard))
            if len(coming) > READ_THREADS:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _check_sealed(path: Path) -> None:
    """Refuse a sealed store whose files are not the ones its manifest promises."""
    manifest = read_document(path / "manifest.json")
    validate(manifest, "manifest", str(path / "manifest.json"))
    _refuse(path, list(wrong_files(path, manifest["files"])))


def _check_shards(
    path: Path,
    attributes: Mapping[str, Any],
    manifests: Sequence[Mapping[str, Any]],
    documents: Mapping[str, bytes],
) -> dict[str, FileRecord]:
    """Check all that was written so far against what it must be; return the files' records."""
    problems: list[str] = []
    files: dict[str, FileRecord] = {}
    for shard, manifest in enumerate(manifests):
        rows = (manifest["row_start"], manifest["row_stop"])
        if manifest["shard"] != shard or rows != shard_range(attributes, shard):
            problems.append(f"shards/{shard:05d}.json is the manifest of other rows")
        problems += [
            f"{problem} (delete shards/{shard:05d}.json to make that shard again)"
            for problem in wrong_files(path, manifest["files"])
        ]
        files |= {name: FileRecord(**entry) for name, entry in manifest["files"].items()}
        manifest_path = shard_manifest_path(path, shard)
        files[manifest_path.relative_to(path).as_posix()] = record_of(manifest_path)
    found = [(episode["index"], episode["start"]) for manifest in manifests for episode in manifest["episodes"]]
    length = attributes["episode_length"]
    if found != [(index, index * length) for index in range(attributes["episodes"])]:
        problems.append(f"the shard manifests' episodes are not 0 to {attributes['episodes'] - 1} in order")
    for spec in row_arrays_of(attributes):
        name = f"{spec.name}/zarr.json"
        if not (path / name).is_file() or (path / name).read_bytes() != documents[spec.name]:
            problems.append(f"{name} differs from the template")
        else:
            files[name] = record_of(path / name)
    _refuse(path, problems)
    return files


def _refuse(path: Path, problems: Sequence[str]) -> None:
    if problems:
        more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
        listed = "\n".join(f"  {problem}" for problem in problems[:10])
        raise CorruptStoreError(
            f"{path} is damaged:\n{listed}{more}\nRun `{verify_command(path)}` for the full list; to fix a "
            f"shard, delete manifest.json and the shard's manifest, and {RESUME}."
        )


def _write_tables(
    path: Path,
    attributes: Mapping[str, Any],
    documents: Mapping[str, bytes],
    tables: Mapping[str, Mapping[str, npt.NDArray[Any]]],
) -> dict[str, FileRecord]:
    """Write the groups of plain arrays; return the files' records."""
    contents = {f"{group}/zarr.json": documents[group] for group in tables}
    for name, (spec, _) in store_arrays(attributes).items():
        if spec.storage == "plain":
            group, column = name.split("/")
            contents[f"{name}/zarr.json"] = documents[name]
            contents[plain_file(name, spec)] = encode_chunk(spec, tables[group][column])
    with ThreadPoolExecutor(WRITER_THREADS, thread_name_prefix="tables") as pool:
        records = pool.map(lambda name: FileRecord(*publish(path / name, [contents[name]])), contents)
        return dict(zip(contents, records, strict=True))


def _write_manifest(path: Path, attributes: Mapping[str, Any], files: Mapping[str, FileRecord]) -> None:
    """Write `manifest.json`, the seal."""
    manifest = {
        "schema_version": attributes["schema_version"],
        "complete": True,
        "rows": attributes["rows"],
        "episodes": attributes["episodes"],
        "files": {name: files[name].as_json() for name in sorted(files)},
    }
    validate(manifest, "manifest", str(path / "manifest.json"))
    publish(path / "manifest.json", [encode_document(manifest)])
    sync_directories([], path)
