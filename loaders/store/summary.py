"""Summaries of stores: size, state, and how sparse their Jacobians are."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from dynamic_sparsity.errors import DynamicSparsityError, IncompleteStoreError
from dynamic_sparsity.loaders.store.row_store import RowStore
from dynamic_sparsity.loaders.store.store import find_stores, open_store
from dynamic_sparsity.schemas import FLAG_BITS, validate
from dynamic_sparsity.schemas.naming import StoreLocation
from dynamic_sparsity.storage.atomic import files_below
from dynamic_sparsity.untrusted.documents import read_json

__all__ = ["StoreState", "StoreSummary", "bytes_below", "mujoco_differences", "summarize_stores", "zero_shares"]

_BLOCK_ROWS = 2**20


class StoreState(StrEnum):
    """Whether a store can be read."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class StoreSummary:
    """One store below a folder.

    Attributes:
        location: Which store it is, and where.
        state: Whether it can be read.
        rows: Rows of the whole store; None if it is damaged.
        episodes: Episodes of the whole store; None if it is damaged.
        shards: Shards of an incomplete store that are finished, and all of them; None for other stores.
        bytes: Size of its files.
    """

    location: StoreLocation
    state: StoreState
    rows: int | None
    episodes: int | None
    shards: tuple[int, int] | None
    bytes: int


def summarize_stores(root: Path) -> list[StoreSummary]:
    """Summarize the stores below a folder; no checksum is computed.

    Args:
        root: Folder of all stores.

    Returns:
        A summary per store, in the order of `find_stores`.
    """
    return [_summarize(location) for location in find_stores(root)]


def _summarize(location: StoreLocation) -> StoreSummary:
    rows = episodes = shards = None
    state = StoreState.DAMAGED
    with suppress(DynamicSparsityError):
        try:
            opened = open_store(location.path, verify="size")
            rows, episodes, state = opened.rows, opened.metadata["episodes"], StoreState.COMPLETE
        except IncompleteStoreError:
            attributes = read_json(location.path / "zarr.json").get("attributes")
            validate(attributes, "store", str(location.path / "zarr.json"))
            assert isinstance(attributes, dict)
            rows, episodes, state = attributes["rows"], attributes["episodes"], StoreState.INCOMPLETE
            finished = sum(1 for _ in (location.path / "shards").glob("*.json"))
            shards = finished, -(-attributes["rows"] // attributes["shard_rows"])
    return StoreSummary(location, state, rows, episodes, shards, bytes_below(location.path))


def bytes_below(folder: Path) -> int:
    """Return the total size of the files below a folder, bytes; other processes may write to it meanwhile.

    Args:
        folder: The folder.
    """
    total = 0
    for file in files_below(folder):
        with suppress(OSError):
            total += file.stat().st_size
    return total


def zero_shares(store: RowStore) -> dict[str, float]:
    """Return how sparse a store's Jacobians are: entries with |J| < 1e-12.

    Args:
        store: The store.

    Returns:
        Mean shares over rows and entries, in [0, 1]: "s" of J_s over all rows, "s_free" and "s_contact" over the rows
        without and with an active contact or limit, "a" of J_a. "always_s" and "always_a" are numbers of entries that
        are zero in every row.
    """
    statistics = store.statistics
    names = {
        "s": "zero_share_s",
        "s_free": "zero_share_s_free",
        "s_contact": "zero_share_s_contact",
        "a": "zero_share_a",
    }
    shares = {key: float(np.mean(statistics[name])) for key, name in names.items()}
    return shares | {f"always_{key}": int(np.sum(statistics[f"zero_share_{key}"] == 1)) for key in ("s", "a")}


def mujoco_differences(store: RowStore) -> tuple[int, float] | None:
    """Return how many rows have another next state in MuJoCo C, and the largest difference; None if it was not asked.

    Args:
        store: The store.
    """
    if not store.metadata["sizes"].get("nr"):
        return None
    count, largest = 0, 0.0
    for start in range(0, store.rows, _BLOCK_ROWS):
        block = store.reader.read(["flags", "mujoco_difference"], start, min(start + _BLOCK_ROWS, store.rows))
        flagged = (block["flags"] >> FLAG_BITS["differs_from_mujoco"]) & 1 == 1
        count += int(np.count_nonzero(flagged))
        largest = max(largest, float(np.max(block["mujoco_difference"][flagged], initial=0.0)))
    return count, largest
