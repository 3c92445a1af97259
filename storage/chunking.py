"""How a store's rows are cut: chunks, shards, and units of whole episodes that fill whole shards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from dynamic_sparsity.errors import InvalidSettingError

CHUNK_BYTES_MAX: Final = 3 * 2**20
CHUNK_ROWS_MIN: Final = 128
CHUNK_ROWS_MAX: Final = 1024
FLOAT32_BYTES: Final = 4

# A large state makes large rows: fewer episodes side by side, and fewer rows per shard.
EPISODES_WANTED: Final = 64
EPISODES_WANTED_LARGE: Final = 32
LARGE_STATE: Final = 40
SHARD_ROWS_WANTED: Final = 16384
SHARD_ROWS_WANTED_LARGE: Final = 8192
LARGE_STATE_FOR_SHARDS: Final = 40

# How many times more episodes than wanted a unit may have before its chunks are made smaller instead.
UNIT_GROWTH_MAX: Final = 4


@dataclass(frozen=True)
class Layout:
    """How the rows of one store are cut.

    Attributes:
        chunk_rows: Rows per chunk, a power of two.
        shard_rows: Rows per shard, a multiple of `chunk_rows`.
        unit_episodes: Whole episodes simulated side by side; their rows are a multiple of `shard_rows`.
    """

    chunk_rows: int
    shard_rows: int
    unit_episodes: int


def chunk_rows(dx: int) -> int:
    """Return the rows per chunk: the largest power of two in [128, 1024] whose chunk of J_s has at most 3 MiB.

    Args:
        dx: Size of the tangent state.

    Returns:
        128, 256, 512 or 1024; 128 also where even that chunk is larger.

    Raises:
        InvalidSettingError: `dx` is not positive.
    """
    if dx < 1:
        raise InvalidSettingError(f"dx is {dx}; the tangent state has at least 1 dimension")
    rows = CHUNK_ROWS_MAX
    while rows > CHUNK_ROWS_MIN and rows * dx * dx * FLOAT32_BYTES > CHUNK_BYTES_MAX:
        rows //= 2
    return rows


def plan(episode_length: int, dx: int, batch: int | None = None) -> Layout:
    """Choose chunks, shards and units for one store.

    A unit must fill whole chunks, so its number of episodes is a multiple of chunk / gcd(chunk, episode_length). An
    episode length with few factors of two would make huge units of large chunks; there the chunks are made smaller.
    The cut into chunks does not depend on `batch`.

    Args:
        episode_length: Rows every episode owns, control steps.
        dx: Size of the tangent state.
        batch: Episodes to simulate side by side, rounded up to what fills whole chunks; None for 64 (32 where
            dx ≥ 40), rounded up likewise.

    Returns:
        The layout.

    Raises:
        InvalidSettingError: An argument is not positive.
    """
    if episode_length < 1:
        raise InvalidSettingError(f"episode_length is {episode_length}; an episode has at least 1 step")
    if batch is not None and batch < 1:
        raise InvalidSettingError(f"batch is {batch}; at least 1 episode is simulated at a time")
    default = EPISODES_WANTED_LARGE if dx >= LARGE_STATE else EPISODES_WANTED
    rows = chunk_rows(dx)
    while _round_up(default, _episodes_per_whole_chunks(rows, episode_length)) > UNIT_GROWTH_MAX * default:
        rows //= 2
    unit_episodes = _round_up(batch or default, _episodes_per_whole_chunks(rows, episode_length))
    wanted = SHARD_ROWS_WANTED_LARGE if dx >= LARGE_STATE_FOR_SHARDS else SHARD_ROWS_WANTED
    chunks = unit_episodes * episode_length // rows
    return Layout(rows, rows * _nearest_divisor(chunks, wanted / rows), unit_episodes)


def _episodes_per_whole_chunks(rows: int, episode_length: int) -> int:
    """Return the smallest number of episodes that fills whole chunks."""
    return rows // math.gcd(rows, episode_length)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _nearest_divisor(number: int, target: float) -> int:
    """Return the divisor of `number` whose ratio to `target` is nearest to one; the smaller of two equally near."""
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    divisors = sorted({*small, *(number // divisor for divisor in small)})
    return min(divisors, key=lambda divisor: abs(math.log(divisor / target)))
