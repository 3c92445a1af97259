"""Means of numbers that have a seed and an interval over episodes, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Spread", "interquartile_mean", "over_tasks", "spread_of"]

_T_975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""Student's t at 97.5 % for 1, 2, … degrees of freedom; beyond, 2."""

DRAWS = 10_000
TASKS_MIN = 4
"""Of fewer tasks there is no interval over tasks."""


@dataclass(frozen=True)
class Spread:
    """A mean, over seeds or tasks.

    Attributes:
        mean: The mean.
        deviation: Sample standard deviation over seeds; None for one seed, and for tasks.
        low: Lower bound of the 95 % interval; None without one.
        high: Upper bound, likewise.
        count: Of what it is a mean.
    """

    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    count: int

    def text(self, digits: int = 3) -> str:
        """Return the mean with what is known of its spread.

        Args:
            digits: Significant ones of the mean; spreads have one less.
        """
        spread = "" if self.deviation is None else f" ± {self.deviation:.{digits - 1}g}"
        bounds = "" if self.low is None else f" [{self.low:.{digits - 1}g}, {self.high:.{digits - 1}g}]"
        return f"{self.mean:.{digits}g}{spread}{bounds}"


def spread_of(values: Sequence[float], lows: Sequence[float] = (), highs: Sequence[float] = ()) -> Spread | None:
    """Return the mean over seeds with the 95 % interval over seeds and episodes together.

    The two are independent, so that half widths add in squares: that over episodes (the same ones for all seeds, hence
    the mean of the bounds), and that of the mean over seeds by Student's t.

    Args:
        values: One per seed.
        lows: Lower bounds over episodes, one per seed; none for no interval.
        highs: Upper bounds.

    Returns:
        None without values.
    """
    if not values:
        return None
    mean, many = float(np.mean(values)), len(values)
    deviation = float(np.std(values, ddof=1)) if many > 1 else None
    if not lows or not highs:
        return Spread(mean, deviation, None, None, many)
    factor = _T_975[many - 2] if 2 <= many <= len(_T_975) + 1 else 2.0
    seeds = 0.0 if deviation is None else factor * deviation / many**0.5
    below, above = mean - float(np.mean(lows)), float(np.mean(highs)) - mean
    return Spread(mean, deviation, mean - float(np.hypot(below, seeds)), mean + float(np.hypot(above, seeds)), many)


def over_tasks(found: Sequence[Spread]) -> Spread | None:
    """Return the interquartile mean over tasks; of four tasks or more with a 95 % interval over them, seeds, episodes.

    Of 10,000 draws, each draws tasks with replacement, and each task's mean normally within its own interval.

    Args:
        found: One per task.

    Returns:
        None without tasks.
    """
    if not found:
        return None
    means = np.array([one.mean for one in found])
    middle = float(interquartile_mean(means))
    if len(found) < TASKS_MIN or any(one.low is None for one in found):
        return Spread(middle, None, None, None, len(found))
    wide = np.array([(one.high or 0.0) - (one.low or 0.0) for one in found]) / (2 * 1.96)
    random = np.random.default_rng(0)
    chosen = random.integers(len(found), size=(DRAWS, len(found)))
    drawn = means[chosen] + wide[chosen] * random.standard_normal(chosen.shape)
    low, high = np.quantile(interquartile_mean(drawn), (0.025, 0.975))
    return Spread(middle, None, float(low), float(high), len(found))


def interquartile_mean(values: ArrayLike) -> Any:
    """Return the mean of the middle half of values, whole values only; of fewer than four, the mean.

    Source: Agarwal et al. (2021), Deep reinforcement learning at the edge of the statistical precipice.

    Args:
        values: At least one along the last axis.

    Returns:
        float64, of the shape of the other axes.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=-1)
    many = ordered.shape[-1]
    return ordered[..., many // 4 : many - many // 4].mean(-1)
