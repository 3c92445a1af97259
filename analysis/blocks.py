"""Read a data set once, in blocks of complete episodes, in bounded memory."""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis import bits
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["LIMIT_KINDS", "Block", "blocks", "constraint_kinds", "whole_segments"]

BLOCK_BYTES = 8 * 1024**2  # read at a time, if an episode is not longer: small enough to stay in a processor's cache
REOPEN_BYTES = 512 * 1024**2  # after reading so much, files are closed, which gives back what they take in memory
COLUMNS = ("mask_s", "mask_a", "active_any")
JACOBIANS = ("J_s", "J_a")
LIMIT_KINDS = ("joint_limit", "tendon_limit")

Array = NDArray[Any]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Block:
    """Consecutive positions of a data set, in complete segments.

    A *segment* is a piece of an episode without gaps: the whole episode, unless rows are left out. Runs and changes
    are looked for within segments.

    Attributes:
        first: Position in the data set of the block's first row.
        starts: Where segments start, counted from the block's first row, int64, shape (segments,); the first is 0.
        mask_s: uint8, shape (n, dx, dx).
        mask_a: uint8, shape (n, dx, da).
        active_any: uint8, shape (n, nc).
        J_s: float32, shape (n, dx, dx), or None if it was not asked for.
        J_a: float32, shape (n, dx, da), or None if it was not asked for.
    """

    first: int
    starts: Integers
    mask_s: Array
    mask_a: Array
    active_any: Array
    J_s: Array | None = None
    J_a: Array | None = None

    def __len__(self) -> int:
        return len(self.mask_s)

    @cached_property
    def lengths(self) -> Integers:
        """Rows of each segment, int64, shape (segments,)."""
        return np.diff(self.starts, append=len(self))

    @cached_property
    def continues(self) -> NDArray[np.bool_]:
        """Whether a row has the same segment as the row before, shape (n,)."""
        same = np.ones(len(self), bool)
        same[self.starts] = False
        return same

    @cached_property
    def words_s(self) -> Words:
        """`mask_s` as bits, uint64, shape (n, words)."""
        return bits.pack(self.mask_s)

    @cached_property
    def words_a(self) -> Words:
        """`mask_a` as bits, uint64, shape (n, words)."""
        return bits.pack(self.mask_a)

    @cached_property
    def words(self) -> Words:
        """Both masks as bits, J_s first, each starting with a new word, uint64, shape (n, words)."""
        return np.concatenate([self.words_s, self.words_a], axis=1)

    @cached_property
    def changed(self) -> NDArray[np.bool_]:
        """Whether a row's pattern differs from that of the row before in its segment, shape (n,)."""
        return differs(self.words, self.continues)


def differs(words: Words, continues: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return whether each row differs from the one before.

    Args:
        words: uint64, shape (n, words).
        continues: Whether a row has the same segment as the row before, shape (n,).

    Returns:
        bool, shape (n,); False at the start of a segment.
    """
    found = np.zeros(len(words), bool)
    for column in words.T:
        found[1:] |= column[1:] != column[:-1]
    found &= continues
    return found


def blocks(
    dataset: JacobianDataset, *, jacobians: bool = False, columns: Sequence[str] = (), block_bytes: int = BLOCK_BYTES
) -> Iterator[Block]:
    """Read a data set once, in order.

    Memory is bounded by the longest episode and `REOPEN_BYTES`, whatever the size of the store.

    Args:
        dataset: Its rows must be in ascending order, as they are unless `select` changed that.
        jacobians: Read J_s and J_a as well, without which most of the bytes on disk need not be read.
        columns: Further columns to read along, for their cost only.
        block_bytes: About how much to read at a time.

    Yields:
        Blocks of complete segments.

    Raises:
        InvalidSettingError: The rows are not in order.
        CorruptStoreError: The store is damaged.
    """
    names = [*COLUMNS, *(JACOBIANS if jacobians else ()), *columns]
    names = [name for name in dict.fromkeys(names) if name in dataset.store.arrays]
    sizes = dataset.metadata["sizes"]
    dx = sizes["dx"] if dataset.coordinates == "tangent" else sizes["ds"]
    entries = dx * (dx + sizes["da"])
    row_bytes = entries * (5 if jacobians else 1)
    starts = segment_starts(dataset)
    bounds = np.append(starts, len(dataset))
    reader, unread = _fresh(dataset, names), REOPEN_BYTES
    for low, high in _grouped(bounds, max(1, block_bytes // row_bytes)):
        if unread < 0:
            del reader
            # The loader's own caches hold reference cycles, so that dropping the reader alone frees nothing.
            gc.collect()
            reader, unread = _fresh(dataset, names), REOPEN_BYTES
        first, stop = int(bounds[low]), int(bounds[high])
        batch = reader[first:stop]
        unread -= (stop - first) * row_bytes
        rows = stop - first
        yield Block(
            first,
            bounds[low:high] - first,
            batch["mask_s"],
            batch.get("mask_a", np.zeros((rows, dx, 0), np.uint8)),
            batch.get("active_any", np.zeros((rows, 0), np.uint8)),
            batch.get("J_s"),
            batch.get("J_a", np.zeros((rows, dx, 0), np.float32)) if jacobians else None,
        )


def segment_starts(dataset: JacobianDataset) -> Integers:
    """Return where the data set's segments start, positions in ascending order, int64, shape (segments,).

    Args:
        dataset: Its rows must be in ascending order.

    Raises:
        InvalidSettingError: They are not.
    """
    rows = dataset.rows
    steps = np.diff(rows)
    if (steps <= 0).any():
        raise InvalidSettingError(
            "the rows of this data set are not in ascending order; sparsity in time is defined for rows in the order "
            "of the store, e.g. `dataset.select(np.sort(chosen))`"
        )
    starts = np.zeros(rows.size, bool)
    starts[:1] = True
    starts[1:] |= steps != 1
    episodes = dataset.store.episodes["start"]
    places = np.searchsorted(rows, episodes)
    found = places < rows.size
    places, episodes = places[found], episodes[found]
    starts[places[rows[places] == episodes]] = True
    return np.flatnonzero(starts)


def whole_segments(dataset: JacobianDataset, rows: int) -> JacobianDataset:
    """Return at most so many of a data set's rows, as complete segments spread evenly over it, at least one of them.

    Args:
        dataset: From which to take them.
        rows: How many.
    """
    if len(dataset) <= rows:
        return dataset
    bounds = np.append(segment_starts(dataset), len(dataset))
    lengths = np.diff(bounds)
    wanted = max(1, int(rows / lengths.mean()))
    chosen = np.unique(np.linspace(0, lengths.size - 1, wanted).round().astype(np.int64))
    chosen = chosen[np.cumsum(lengths[chosen]) <= max(rows, int(lengths[chosen[0]]))]
    return dataset.select(np.concatenate([np.arange(bounds[one], bounds[one + 1]) for one in chosen]))


def constraint_kinds(metadata: dict[str, Any]) -> dict[str, NDArray[np.bool_]]:
    """Return which constraints are contacts, limits, friction losses, equalities.

    Args:
        metadata: Of the store.

    Returns:
        "contact", "limit", "friction_loss", "equality": bool, shape (nc,).
    """
    kinds = np.array([constraint["kind"] for constraint in metadata["constraints"]], object)
    return {
        "contact": kinds == "contact",
        "limit": np.isin(kinds, LIMIT_KINDS),
        "friction_loss": kinds == "friction_loss",
        "equality": kinds == "equality",
    }


def _fresh(dataset: JacobianDataset, names: Sequence[str]) -> JacobianDataset:
    """Return the same rows, with no file opened yet; files that were checked stay so."""
    reader = copy.copy(dataset)
    reader.columns = tuple(names)
    # Finding them may mean to read all flags.
    reader.rows = dataset.rows
    return reader


def _grouped(bounds: Integers, rows: int) -> Iterator[tuple[int, int]]:
    """Yield neighbouring segments, as many as make up so many rows, at least one at a time."""
    low = 0
    while low < bounds.size - 1:
        high = int(np.searchsorted(bounds, bounds[low] + rows, side="right")) - 1
        high = max(high, low + 1)
        yield low, high
        low = high


def entries_of(metadata: dict[str, Any]) -> tuple[int, int]:
    """Return how many entries J_s and J_a have in tangent coordinates.

    Args:
        metadata: The store's.
    """
    sizes = metadata["sizes"]
    return math.prod((sizes["dx"], sizes["dx"])), math.prod((sizes["dx"], sizes["da"]))
