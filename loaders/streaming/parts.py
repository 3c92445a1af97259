"""Sharing the rows of a store among processes: every part has as many chunks as the others, or one more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.hub.transfer_plan import ShardRows

__all__ = ["check_part", "chunks_with_rows", "part_of_shards"]

Integers = NDArray[np.int64]


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


def part_of_shards(
    chunks: Integers, shards: Integers, part: tuple[int, int], *, chunk_rows: int, shard_rows: int
) -> list[ShardRows]:
    """Return the rows of one part: a run of the chunks as they come when the shards are gone through.

    So a part shares at most its first and its last shard with others.

    Args:
        chunks: All chunks with rows, ascending, int64, shape (chunks,).
        shards: The shards that hold them, in the order of their use, int64, shape (shards,).
        part: Index and number of parts, no more than chunks.
        chunk_rows: Rows per chunk.
        shard_rows: Rows per shard, a multiple of it.

    Returns:
        In the order of their use.
    """
    per_shard = shard_rows // chunk_rows
    shard_of = chunks // per_shard
    begins, ends = (np.searchsorted(shard_of, shards, side) for side in ("left", "right"))
    index, parts = part
    first, last = chunks.size * index // parts, chunks.size * (index + 1) // parts
    found, before = [], 0
    for shard, begin, end in zip(shards.tolist(), begins.tolist(), ends.tolist(), strict=True):
        own = chunks[begin + max(0, first - before) : min(end, begin + last - before)] if last > before else chunks[:0]
        if own.size:
            places = (int(own[0]) % per_shard, int(own[-1]) % per_shard + 1)
            found.append(ShardRows(shard, places[0] * chunk_rows, places[1] * chunk_rows))
        before += end - begin
    return found
