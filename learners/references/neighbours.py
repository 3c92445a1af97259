"""The nearest of known rows, and what most of them say."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["nearest_rows", "vote"]

Vote = TypeVar("Vote", bound=Hashable)

BLOCK_ROWS = 1024


def nearest_rows(known: NDArray[np.float32], asked: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the nearest rows by Euclidean distance, the nearest first.

    Args:
        known: shape (m, inputs).
        asked: shape (n, inputs).
        count: How many; fewer if m is smaller.

    Returns:
        Indices into `known`, int64, shape (n, min(count, m)).
    """
    count = min(count, len(known))
    found = np.empty((len(asked), count), np.int64)
    squares = (known.astype(np.float64) ** 2).sum(1)
    for start in range(0, len(asked), BLOCK_ROWS):
        part = asked[start : start + BLOCK_ROWS]
        distance = squares - 2.0 * (part @ known.T)
        some = np.argpartition(distance, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(distance, some, 1), axis=1, kind="stable")
        found[start : start + BLOCK_ROWS] = np.take_along_axis(some, order, 1)
    return found


def vote(values: Sequence[Vote]) -> Vote:
    """Return the most frequent value; of several, the one that comes first.

    Args:
        values: At least one.
    """
    return max(values, key=values.count)
