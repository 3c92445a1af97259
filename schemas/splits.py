"""Which split an episode belongs to: a rule of its index alone, so that longer data sets only add to shorter ones.

Episodes come in blocks of ten. In each block the ten are put in the order of a hash; the first eight of that order
are train, the ninth is validation, the tenth test. A data set whose length is not a multiple of ten cuts its last
block off, so its shares are only near 80/10/10, and one with fewer than ten episodes may lack a split altogether.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from dynamic_sparsity.errors import InvalidSettingError

SPLITS: Final = ("train", "validation", "test")
EPISODES_PER_BLOCK: Final = 10
TRAIN_PER_BLOCK: Final = 8


@lru_cache(maxsize=1024)
def _block(block: int) -> tuple[int, ...]:
    """Split codes of one block's ten episodes, in the order of their indices."""
    order = sorted(range(EPISODES_PER_BLOCK), key=lambda place: hashlib.sha256(f"{block}:{place}".encode()).digest())
    codes = [0] * EPISODES_PER_BLOCK
    for rank, place in enumerate(order):
        codes[place] = max(0, rank - TRAIN_PER_BLOCK + 1)
    return tuple(codes)


def split_of(episode: int) -> int:
    """Return the split of one episode.

    Args:
        episode: Index in the episode table, from 0.

    Returns:
        0 train, 1 validation, 2 test: an index into `SPLITS`.

    Raises:
        InvalidSettingError: `episode` is negative.
    """
    if episode < 0:
        raise InvalidSettingError(f"episode {episode} has no split: an episode's index is 0 or more")
    block, place = divmod(int(episode), EPISODES_PER_BLOCK)
    return _block(block)[place]


def splits_of(episodes: int) -> npt.NDArray[np.uint8]:
    """Return the splits of the first episodes.

    Args:
        episodes: How many.

    Returns:
        (episodes,) uint8, indices into `SPLITS`.
    """
    return np.fromiter((split_of(episode) for episode in range(episodes)), dtype=np.uint8, count=episodes)
