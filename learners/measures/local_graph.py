"""How many errors a model's local graphs have, mode by mode, beside those of the best static graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.learners.measures.moments import MODES, Moments
from dynamic_sparsity.learners.measures.reference import Reference, mode_weights

__all__ = ["STATIC_MIN", "Errors", "best_static", "count_errors", "least_errors_threshold", "skill"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

STATIC_MIN = 0.02
"""Where the best static graph errs less, or is beaten by less, there is nothing to be skilled in."""


@dataclass(frozen=True)
class Errors:
    """Errors of one graph, by episode and mode.

    Attributes:
        wrong: Number of entries that differ from the truth, shape (episodes, 4).
        counted: Number of entries that count, shape (episodes, 4).
    """

    wrong: Floats
    counted: Floats

    def loss(self, draws: Floats | None = None) -> Floats:
        """Return the mean over modes of the share of wrong entries; NaN if none counts.

        Args:
            draws: How often each episode is drawn, shape (draws, episodes); None: once.

        Returns:
            float64, shape (draws,), or () without draws.
        """
        drawn = np.ones(len(self.wrong)) if draws is None else draws
        wrong, counted = drawn @ self.wrong, drawn @ self.counted
        there = counted > 0
        shares = np.where(there, wrong / np.where(there, counted, 1), 0.0)
        modes = there.sum(-1)
        return np.asarray(np.where(modes > 0, shares.sum(-1) / np.maximum(modes, 1), np.nan))


def count_errors(
    graph: Bools, edges: Bools, counted: Bools, mode: NDArray[np.int64], episode: NDArray[np.int64]
) -> Errors:
    """Count a graph's errors.

    Args:
        graph: bool, shape (n, entries).
        edges: The truth, likewise.
        counted: What counts, likewise.
        mode: Of each row, int64, shape (n,).
        episode: Number of each row's episode, from 0, int64, shape (n,).
    """
    cells = episode * len(MODES) + mode
    size = (int(episode.max()) + 1 if len(episode) else 0) * len(MODES)
    wrong = np.bincount(cells, ((graph != edges) & counted).sum(1), minlength=size)
    total = np.bincount(cells, counted.sum(1), minlength=size)
    shape = (-1, len(MODES))
    return Errors(wrong.reshape(shape).astype(np.float64), total.reshape(shape).astype(np.float64))


def best_static(edges: Bools, counted: Bools, weights: NDArray[np.float32]) -> Bools:
    """Return the graph without a look at the state that has the fewest errors on these very rows, bool, (entries,).

    Args:
        edges: The truth, bool, shape (n, entries).
        counted: What counts, likewise.
        weights: Of rows, of `mode_weights`.
    """
    on = weights @ (edges & counted).astype(np.float32)
    off = weights @ (~edges & counted).astype(np.float32)
    return np.asarray(on >= off)


def skill(model: Errors, static: Errors, draws: Floats | None = None) -> Floats | None:
    """Return 1 − L(model) / L(static); None where the static graph errs less than `STATIC_MIN`, or nothing counts.

    Args:
        model: The model's.
        static: Of `best_static`.
        draws: How often each episode is drawn, shape (draws, episodes); None: once.
    """
    base = float(static.loss())
    if not base >= STATIC_MIN:
        return None
    floor = static.loss(draws)
    return np.asarray(1.0 - model.loss(draws) / np.where(floor > 0, floor, np.nan))


def least_errors_threshold(
    scores: NDArray[np.floating], edges: Bools, counted: Bools, moments: Moments, reference: Reference
) -> float:
    """Return the threshold t for which the graph `scores >= t` has the fewest errors, weighed by mode.

    Args:
        scores: Of the entries that switch, shape (n, entries); NaN is always an error, whatever t.
        edges: The truth, bool, likewise.
        counted: What counts, bool, likewise.
        moments: Of the rows.
        reference: Of train.

    Returns:
        Halfway between the scores around the best cut; −∞ if every entry is better an edge, ∞ if none is, or if there
        is nothing to choose by.
    """
    weights = mode_weights(reference.modes[moments.mode], counted)
    use = counted & ~np.isnan(scores)
    flat, truth = scores[use].astype(np.float64), edges[use]
    if flat.size == 0:
        return float("inf")
    weight = np.broadcast_to(weights[:, None], scores.shape)[use].astype(np.float64)
    order = np.argsort(flat, kind="stable")
    flat, gain = flat[order], np.where(truth, weight, -weight)[order]
    # Raising the cut above a value turns it off: an edge becomes an error, what is none becomes right.
    cost = np.concatenate([[0.0], np.cumsum(gain)])
    cuts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    best = int(cuts[np.argmin(cost[cuts])])
    if best == 0:
        return float("-inf")
    if best == flat.size:
        return float("inf")
    low, high = flat[best - 1], flat[best]
    middle = low / 2 + high / 2
    return float(middle if np.isfinite(middle) and low < middle <= high else high)
