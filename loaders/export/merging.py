"""Several stores written as one: other seeds or policies of the same task, episode after episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.store.joined_store import JoinedStore
from dynamic_sparsity.loaders.store.store import open_store
from dynamic_sparsity.schemas import FLAG_BITS, SCHEMA_VERSION, STORAGES, episode_columns, row_arrays_of
from dynamic_sparsity.schemas.files import shard_count
from dynamic_sparsity.schemas.naming import store_path
from dynamic_sparsity.storage import writer
from dynamic_sparsity.storage.manifests import shard_range

__all__ = ["merge_stores"]


def merge_stores(
    paths: Sequence[Path],
    root: Path,
    name: str,
    *,
    storage: str = "raw",
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a store that has the episodes of several, one store after the other; theirs stay as they are.

    Interrupted, it resumes when it is called again; until it has finished, the new store is an incomplete one. Splits
    are those of the episodes where they came from; the settings' `origins` list the stores.

    Args:
        paths: Complete stores of one task, one kind of dynamics and one length of episodes, at least two.
        root: Folder of the new store.
        name: Name of its policy, such as "all-seeds".
        storage: "raw" or "compact".
        on_progress: Called with the shards done and their number.

    Returns:
        The new store, `ROOT/<Task>/<name>[-stock].zarr`.

    Raises:
        InvalidSettingError: They are of different tasks, dynamics or lengths of episodes, or fewer than two; or the new
            one is one of them.
        UnknownNameError: The name can't be that of a store.
        StoreNotFoundError: There is no such store.
        IncompleteStoreError: One is not finished.
        CorruptStoreError: A file is not the one that was written.
        SettingsMismatchError: Another store lies where the new one would.
        StoreLockedError: Another process writes to the new store.
    """
    if len(paths) < 2:
        raise InvalidSettingError(f"{len(paths)} stores were given to be merged; give at least two")
    if storage not in STORAGES:
        raise InvalidSettingError(f"storage is {storage!r}; it must be one of: {', '.join(STORAGES)}")
    joined = JoinedStore([open_store(path) for path in paths])
    for key in ("dynamics", "episode_length"):
        kinds = sorted({member.metadata[key] for member in joined.members})
        if len(kinds) > 1:
            raise InvalidSettingError(
                f"stores whose {key} is {' and '.join(map(str, kinds))} can't be one store; `concatenate` reads them "
                "as one data set"
            )
    target = store_path(root, joined.task, name, joined.dynamics)
    if any(target.exists() and target.samefile(path) for path in paths):
        raise InvalidSettingError(f"{target} is one of the stores to be merged; give the new one another name")
    attributes = _attributes(joined, name, storage)
    shards = shard_count(attributes)
    with writer.lock(target):
        writer.create_store(target, attributes)
        for shard in sorted(writer.missing_shards(target)):
            start, stop = shard_range(attributes, shard)
            writer.write_unit(target, start, *_shard(joined, attributes, start, stop))
            if on_progress is not None:
                on_progress(shard + 1, shards)
        writer.finalize(target)
    return target


def _attributes(joined: JoinedStore, name: str, storage: str) -> dict[str, Any]:
    attributes = {**joined.metadata, "complete": False, "policy": name, "schema_version": SCHEMA_VERSION}
    return attributes | ({} if storage == "raw" else {"storage": storage})


def _shard(
    joined: JoinedStore, attributes: dict[str, Any], start: int, stop: int
) -> tuple[dict[str, NDArray[Any]], list[dict[str, Any]]]:
    """Return the columns of one shard, and the episodes that start in it."""
    table, length = joined.episodes, attributes["episode_length"]
    rows = np.arange(start, stop)
    episodes, steps = np.divmod(rows, length)
    there = np.flatnonzero(steps < table["length"][episodes])
    specs = row_arrays_of(attributes)
    columns = {
        spec.name: np.full(spec.shape(attributes["sizes"], rows.size), spec.fill_value, spec.dtype) for spec in specs
    }
    columns["flags"][:] = 1 << FLAG_BITS["padding"]
    for column, values in joined.reader.gather(list(columns), rows[there]).items():
        columns[column][there] = values
    first, last = -(-start // length), -(-stop // length)
    names = [spec.name for spec in episode_columns()]
    records = [{"index": index} | {key: table[key][index] for key in names} for index in range(first, last)]
    return columns, records
