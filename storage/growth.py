"""Adding episodes to a store: the larger store is made beside the old one, and takes its place when it is sealed.

Shards that stay as they are become files of both stores (hard links, or copies where a disk has none). A store of less
than one unit has none: all of it is made again, in units of the larger store. Until the larger store is sealed, the old
one is as it was; killed at any moment, the same command resumes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.schemas import row_arrays_of
from dynamic_sparsity.schemas.documents import shard_file
from dynamic_sparsity.storage import writer
from dynamic_sparsity.storage.atomic import delete_folder, exchange, link_or_copy, sync_directories
from dynamic_sparsity.storage.manifests import (
    finished_shards,
    missing_shards,
    read_attributes,
    read_shard_manifest,
    shard_manifest_path,
    shard_range,
    wrong_files,
)

__all__ = ["begin_growth", "delete_growth", "finish_growth", "growing_path", "grows", "recover", "restore"]

SIZE_KEYS: Final = frozenset({"episodes", "rows", "settings.episodes"})
"""What differs between a store and the same store with more episodes."""


UNIT_KEY: Final = "settings.unit_episodes"


def growing_path(path: Path) -> Path:
    """Return where a larger store is made that is to take a store's place.

    Args:
        path: The store.
    """
    return path.with_name(f".{path.name}.growing")


def grows(path: Path, attributes: Mapping[str, Any]) -> bool:
    """Return whether a store is there already that has fewer episodes and is otherwise the one asked for.

    Args:
        path: The store; it need not exist.
        attributes: Of the store asked for.

    Raises:
        SettingsMismatchError: A store with fewer episodes is there, and other settings differ, too.
    """
    if not (path / "zarr.json").exists():
        return False
    differences = _differences(path, attributes)
    if not _is_larger(differences):
        return False
    sizes = SIZE_KEYS | ({UNIT_KEY} if _is_one_small_unit(differences) else set())
    writer.refuse_differences(path, {key: pair for key, pair in differences.items() if key not in sizes})
    return True


def begin_growth(path: Path, attributes: Mapping[str, Any], *, alone: bool = True) -> Path:
    """Begin the larger store, or go on with it: all shards of the old one that stay as they are are in it.

    Args:
        path: The store, for which `grows` is true.
        attributes: Of the larger store.
        alone: Whether no other job makes the same larger store.

    Returns:
        Where it is made.

    Raises:
        SettingsMismatchError: Another larger store has been begun by other jobs.
    """
    growing = growing_path(path)
    earlier = _earlier_path(path)
    if alone and (growing / "zarr.json").exists() and _differences(growing, attributes):
        # Begun with another number of episodes; what it has of these is not made again.
        shutil.rmtree(earlier, ignore_errors=True)
        growing.rename(earlier)
    writer.create_store(growing, _with_origin(path, attributes))
    for source in (path, earlier):
        if (source / "zarr.json").exists() and _differences(source, attributes).keys() <= SIZE_KEYS:
            _take_over(source, growing)
    if alone:
        shutil.rmtree(earlier, ignore_errors=True)
    return growing


def finish_growth(path: Path) -> None:
    """Put the larger store, which is sealed, into the old one's place.

    A program that reads the old store continues with the shards that it has opened; of the others, only the last may
    have become another.

    Args:
        path: The store.
    """
    growing, replaced = growing_path(path), _replaced_path(path)
    try:
        exchange(growing, path)
    except OSError:
        # This disk can't exchange names: `recover` mends what is left if this process is killed between the two.
        path.rename(replaced)
        growing.rename(path)
    sync_directories([], path.parent)
    recover(path)


def restore(path: Path) -> None:
    """Give an old store its name back, if a process was killed before the larger one had it.

    Args:
        path: The store, whose lock this process holds, maybe with other jobs.
    """
    replaced = _replaced_path(path)
    if replaced.exists() and not path.exists():
        # Of several jobs, one is first.
        with suppress(FileNotFoundError):
            replaced.rename(path)


def recover(path: Path) -> None:
    """Clean up after a process that was killed while it put a larger store into an old one's place.

    Args:
        path: The store, whose lock this process holds alone.
    """
    restore(path)
    growing, replaced = growing_path(path), _replaced_path(path)
    if replaced.exists() and (path / "manifest.json").exists():
        delete_folder(replaced, path)
    if growing.exists() and path.exists() and _episodes(growing) <= _episodes(path):
        delete_folder(growing, path)


def delete_growth(path: Path) -> None:
    """Delete a larger store that has been begun.

    Args:
        path: The store, whose lock this process holds alone.
    """
    for folder in (growing_path(path), _earlier_path(path)):
        shutil.rmtree(folder, ignore_errors=True)


def _earlier_path(path: Path) -> Path:
    growing = growing_path(path)
    return growing.with_name(f"{growing.name}.earlier")


def _replaced_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _episodes(path: Path) -> int:
    """Return how many episodes a store has; 0 where that can't be read."""
    with suppress(OSError, CorruptStoreError):
        return int(read_attributes(path)["episodes"])
    return 0


def _differences(path: Path, attributes: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return writer.setting_differences(read_attributes(path), {**attributes, "complete": False})


def _is_larger(differences: Mapping[str, tuple[Any, Any]]) -> bool:
    before, now = differences.get("episodes", (0, 0))
    return bool(before < now)


def _is_one_small_unit(differences: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether a store is one unit of just its episodes, and the larger store has larger units."""
    before, now = differences.get(UNIT_KEY, (0, 0))
    return bool(before == differences["episodes"][0] and before < now)


def _with_origin(path: Path, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the larger store's attributes: they say what made the first episodes, if that was something else."""
    old = read_attributes(path)
    earlier = list(old["provenance"].get("earlier", []))
    own = {key: value for key, value in old["provenance"].items() if key != "earlier"}
    if own != attributes["provenance"]:
        earlier.append({**own, "episodes": old["episodes"]})
    return {**attributes, "provenance": {**attributes["provenance"], **({"earlier": earlier} if earlier else {})}}


def _take_over(source: Path, target: Path) -> None:
    """Give a larger store the shards that it shares with a smaller one; damaged ones are left to be made again."""
    old, new = read_attributes(source), read_attributes(target)
    for shard in sorted(finished_shards(source) & missing_shards(target)):
        if shard_range(old, shard) != shard_range(new, shard):
            continue
        names = [shard_file(spec, shard) for spec in row_arrays_of(old)]
        try:
            files = read_shard_manifest(source, shard)["files"]
        except CorruptStoreError:
            continue
        if files.keys() != set(names) or any(wrong_files(source, files)):
            continue
        for name in names:
            link_or_copy(source / name, target / name)
        # The manifest says "these files are on disk", so their names must be there before its own.
        sync_directories([target / name for name in names], target)
        link_or_copy(shard_manifest_path(source, shard), shard_manifest_path(target, shard))
        sync_directories([shard_manifest_path(target, shard)], target)
