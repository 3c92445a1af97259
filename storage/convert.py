"""A copy of a store that lies in its files in another way: raw, or compact for the disk and the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dynamic_sparsity.errors import CorruptStoreError, IncompleteStoreError, InvalidSettingError
from dynamic_sparsity.schemas import STORAGES
from dynamic_sparsity.schemas.files import shard_count
from dynamic_sparsity.schemas.layout import array_layouts
from dynamic_sparsity.schemas.naming import parse_store_path
from dynamic_sparsity.storage import writer
from dynamic_sparsity.storage.encoding import shard_values
from dynamic_sparsity.storage.manifests import (
    read_attributes,
    read_shard_manifest,
    shard_range,
    wrong_files,
)
from dynamic_sparsity.storage.problems import verify_command
from dynamic_sparsity.storage.seal import finalize

__all__ = ["convert_store"]


def convert_store(
    path: Path, root: Path, storage: str, *, sample: bool = False, on_progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write a store anew with another storage; every value of every array is the same, to the bit.

    Interrupted, it resumes when it is called again; until it has finished, the copy is an incomplete store.

    Args:
        path: A complete store.
        root: Another root than the store's own: the copy is `ROOT/<Task>/<policy>[-stock].zarr`.
        storage: "raw": arrays of floats are not compressed, so that any row is read at once. "compact": they are, and
            take 0.4 to 0.8 of the bytes; rows are read chunk by chunk.
        sample: Mark the copy as a sample.
        on_progress: Called with the shards done and their number.

    Returns:
        Path of the copy.

    Raises:
        InvalidSettingError: `storage` is neither of the two, or the copy would lie where the store does.
        IncompleteStoreError: The store is not finished.
        CorruptStoreError: A file is not the one that was written.
        SettingsMismatchError: Another store lies where the copy would.
        StoreLockedError: Another process writes to the copy.
    """
    if storage not in STORAGES:
        raise InvalidSettingError(f"storage is {storage!r}; it must be one of: {', '.join(STORAGES)}")
    location = parse_store_path(path.absolute())
    target = root / location.task / path.absolute().name
    if target.exists() and target.samefile(path):
        raise InvalidSettingError(f"the copy of {path} would lie in its own place; give another root than {root}")
    attributes = read_attributes(path)
    if not attributes["complete"]:
        raise IncompleteStoreError(f"{path} is not finished; finish it before it is converted")
    wanted = _attributes(attributes, storage, sample)
    layouts, shards = array_layouts(attributes), shard_count(attributes)
    with writer.lock(target):
        writer.create_store(target, wanted)
        for shard in range(shards):
            if shard not in writer.missing_shards(target):
                continue
            manifest = read_shard_manifest(path, shard)
            if wrong := list(wrong_files(path, manifest["files"])):
                raise CorruptStoreError(f"{path} is damaged: {wrong[0]}; run `{verify_command(path)}`")
            columns = {
                name: shard_values(layout, shard, (path / layout.shard_name(shard)).read_bytes())
                for name, layout in layouts.items()
            }
            writer.write_unit(target, shard_range(attributes, shard)[0], columns, manifest["episodes"])
            if on_progress is not None:
                on_progress(shard + 1, shards)
        finalize(target)
    return target


def _attributes(attributes: dict[str, Any], storage: str, sample: bool) -> dict[str, Any]:
    """Return the copy's attributes; what is the default is left out, so that a copy of a copy is the store itself."""
    kept = {name: value for name, value in attributes.items() if name not in ("storage", "sample")}
    kept["complete"] = False
    if storage != "raw":
        kept["storage"] = storage
    if sample:
        kept["sample"] = True
    if ("storage" in kept or "sample" in kept) and kept["schema_version"] == "1.0.0":
        raise InvalidSettingError("stores of version 1.0.0 have neither compact storage nor samples; generate it again")
    return kept
