"""Intervals by drawing episodes anew: rows of one episode are no independent samples."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

__all__ = ["DRAWS", "draw_episodes", "interval"]

DRAWS = 10_000


@functools.lru_cache(maxsize=1)  # the truths and the models of a task share them
def draw_episodes(episodes: int, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """Return how often each episode is drawn, float64, shape (draws, episodes), each draw's sum `episodes`; read only.

    Args:
        episodes: How many there are.
        draws: How many draws.
        seed: Random; the same for every model, so that differences between models are paired.
    """
    if episodes == 0:
        return np.zeros((draws, 0))
    random = np.random.default_rng(seed)
    drawn = random.multinomial(episodes, np.full(episodes, 1 / episodes), draws).astype(np.float64)
    drawn.flags.writeable = False
    return drawn


def interval(values: NDArray[np.float64] | None, episodes: int) -> list[float] | None:
    """Return the interval that holds 95 % of values; None if there are none, or fewer than two episodes.

    Args:
        values: Of the draws, shape (draws,); those that are no number are left out.
        episodes: That were drawn from.
    """
    if values is None or episodes < 2:
        return None
    finite = values[np.isfinite(values)]
    return [float(bound) for bound in np.quantile(finite, (0.025, 0.975))] if finite.size else None
