"""Sharing the rows of stores among processes: every part has as many chunks as the others, or one more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.hub.transfer_plan import ShardRows

__all__ = ["Chunks", "check_part", "chunks_with_rows", "part_of_shards"]

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Chunks:
    """Chunks with rows, ascending.

    Attributes:
        shard: The shard of each, int64, shape (chunks,).
        start: Its first row, counted from the shard's first, int64, shape (chunks,).
        stop: The row after its last, counted likewise.
    """

    shard: Integers
    start: Integers
    stop: Integers

    @classmethod
    def of_store(cls, numbers: Integers, chunk_rows: int, shard_rows: int) -> Chunks:
        """Return chunks of one store.

        Args:
            numbers: Their numbers in the store, ascending, int64, shape (chunks,).
            chunk_rows: Rows per chunk.
            shard_rows: Rows per shard, a multiple of it.
        """
        shard, start = np.divmod(numbers * chunk_rows, shard_rows)
        return cls(shard, start, start + chunk_rows)

    @classmethod
    def of_several(cls, parts: Sequence[Chunks], first_shards: Sequence[int]) -> Chunks:
        """Return the chunks of several stores, whose shards are numbered one after the other.

        Args:
            parts: Those of each store.
            first_shards: The number that each store's shard 0 has.
        """
        shards = [part.shard + first for part, first in zip(parts, first_shards, strict=True)]
        starts, stops = [part.start for part in parts], [part.stop for part in parts]
        return cls(np.concatenate(shards), np.concatenate(starts), np.concatenate(stops))

    def __len__(self) -> int:
        return int(self.shard.size)


def chunks_with_rows(starts: NDArray[np.integer], lengths: NDArray[np.integer], chunk_rows: int) -> Integers:
    """Return the chunks that hold rows of some episodes.

    Args:
        starts: First row of each episode, shape (episodes,).
        lengths: Rows of each, shape (episodes,).
        chunk_rows: Rows per chunk.

    Returns:
        Their numbers, ascending, int64, shape (chunks,).
    """
    there = lengths > 0
    first = starts[there].astype(np.int64) // chunk_rows
    counts = (starts[there].astype(np.int64) + lengths[there] - 1) // chunk_rows - first + 1
    return np.unique(np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts))


def check_part(part: tuple[int, int], chunks: int, where: str) -> None:
    """Refuse a part that does not exist, or would be empty: a process without batches stalls those that wait for it.

    Args:
        part: Index and number of parts.
        chunks: How many chunks are shared.
        where: What to call the rows in the message.

    Raises:
        InvalidSettingError: It is refused.
    """
    if not 0 <= part[0] < part[1]:
        raise InvalidSettingError(f"part is {part}; it is (index, number of parts), the index from 0")
    if not chunks:
        raise InvalidSettingError(f"{where} has no rows, so that there is nothing to stream; name another split")
    if part[1] > chunks:
        raise InvalidSettingError(
            f"{where} lies in {chunks} chunks, too few for {part[1]} parts: some would be empty. Use at most {chunks} "
            "processes, those of torch's DataLoaders (num_workers) times the ranks"
        )


def part_of_shards(chunks: Chunks, shards: Integers, part: tuple[int, int]) -> list[ShardRows]:
    """Return the rows of one part: a run of the chunks as they come when the shards are gone through.

    So a part shares at most its first and its last shard with others.

    Args:
        chunks: All chunks with rows.
        shards: The shards that hold them, in the order of their use, int64, shape (shards,).
        part: Index and number of parts, no more than chunks.

    Returns:
        In the order of their use.
    """
    begins, ends = (np.searchsorted(chunks.shard, shards, side) for side in ("left", "right"))
    index, parts = part
    first, last = len(chunks) * index // parts, len(chunks) * (index + 1) // parts
    found, before = [], 0
    for shard, begin, end in zip(shards.tolist(), begins.tolist(), ends.tolist(), strict=True):
        own = slice(begin + max(0, first - before), min(end, begin + last - before))
        if last > before and own.start < own.stop:
            found.append(ShardRows(shard, int(chunks.start[own.start]), int(chunks.stop[own.stop - 1])))
        before += end - begin
    return found
