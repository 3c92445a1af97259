"""Measures of local causal graphs, row by row, in plain NumPy; every degenerate input has a defined value.

A row's graph has one entry per (effect, cause). All functions take rows flattened to (n, entries): `scores`, floats
that are larger where an edge is believed more, and `truth`, booleans.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError

__all__ = [
    "average_precision",
    "best_threshold",
    "edge_auroc",
    "expected_calibration_error",
    "f1",
    "hamming",
    "has_both_classes",
    "mean_over",
    "roc_auc",
    "row_roc_auc",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
AnyFloats = NDArray[np.floating]

BLOCK_ENTRIES = 4_000_000  # sorted at a time, so that large graphs need little memory
CALIBRATION_BINS = 10


def has_both_classes(truth: Bools) -> Bools:
    """Return the rows with at least one edge and one non-edge: those in which a ranking can be right or wrong.

    Args:
        truth: bool, shape (n, entries).

    Returns:
        bool, shape (n,).
    """
    return np.asarray(truth.any(1) & ~truth.all(1))


def mean_over(values: Floats, chosen: Bools) -> float | None:
    """Mean over some rows.

    Args:
        values: float64, shape (n,).
        chosen: bool, shape (n,).

    Returns:
        The mean, or None if no row is chosen.
    """
    return float(values[chosen].mean()) if chosen.any() else None


def average_precision(scores: AnyFloats, truth: Bools) -> Floats:
    """Average precision of each row: the mean, over its edges, of the precision down to the edge's score.

    Entries of equal score count together, as in scikit-learn. A constant score, which carries no information, gives the
    share of edges. Rows of edges only give 1; rows without an edge give 0.

    Args:
        scores: shape (n, entries); NaN counts as the lowest score.
        truth: bool, shape (n, entries).

    Returns:
        float64, shape (n,), in [0, 1].

    Raises:
        InvalidSettingError: The shapes differ, or are not two-dimensional.
    """
    _check(scores, truth)
    return _by_blocks(_average_precision, scores, truth)


def row_roc_auc(scores: AnyFloats, truth: Bools) -> Floats:
    """Return each row's area under the ROC curve: how probably an edge's score is above a non-edge's.

    Rows of one class only, where there is nothing to rank, give 0.5.

    Ties count half.

    Args:
        scores: shape (n, entries); NaN counts as the lowest score.
        truth: bool, shape (n, entries).

    Returns:
        float64, shape (n,), in [0, 1].

    Raises:
        InvalidSettingError: The shapes differ, or are not two-dimensional.
    """
    _check(scores, truth)
    return _by_blocks(_row_roc_auc, scores, truth)


def roc_auc(scores: AnyFloats, truth: Bools) -> float:
    """Return the area under the ROC curve of one list of scores; 0.5 if there is only one class.

    Args:
        scores: shape (n,).
        truth: bool, shape (n,).
    """
    return float(row_roc_auc(np.asarray(scores)[None], np.asarray(truth)[None])[0])


def edge_auroc(scores: AnyFloats, truth: Bools, rare: float = 0.01) -> tuple[float | None, int]:
    """Return how well scores show *when* an edge is there: per entry over rows, averaged over those that switch.

    Unlike the measures per row, this gives nothing to a model that knows the global graph only: a score that
    does not depend on the row has 0.5.

    Args:
        scores: shape (n, entries).
        truth: bool, shape (n, entries).
        rare: Entries that are on (or off) in a smaller share of rows are left out.

    Returns:
        The mean area under the ROC curve, None if no entry switches; and the number of entries that do.
    """
    _check(scores, truth)
    share = truth.mean(0) if len(truth) else np.zeros(truth.shape[1])
    switching = np.minimum(share, 1 - share) >= max(rare, 1e-12)
    if not switching.any():
        return None, 0
    return float(row_roc_auc(scores.T[switching], truth.T[switching]).mean()), int(switching.sum())


def f1(graph: Bools, truth: Bools) -> Floats:
    """Return the F1 of each row's graph, 2·TP / (2·TP + FP + FN); 1 where neither graph has an edge.

    Args:
        graph: The model's, bool, shape (n, entries).
        truth: bool, shape (n, entries).

    Returns:
        float64, shape (n,), in [0, 1].
    """
    _check(graph, truth)
    edges = graph.sum(1) + truth.sum(1)
    return np.where(edges == 0, 1.0, 2.0 * (graph & truth).sum(1) / np.maximum(edges, 1))


def hamming(graph: Bools, truth: Bools) -> Floats:
    """Return the structural Hamming distance of each row: the number of entries in which the graphs differ.

    Edges run from the present to the future only, so there are no reversed edges, which other definitions count once.

    Args:
        graph: The model's, bool, shape (n, entries).
        truth: bool, shape (n, entries).

    Returns:
        float64, shape (n,).
    """
    _check(graph, truth)
    return np.asarray((graph != truth).sum(1), np.float64)


def best_threshold(scores: AnyFloats, truth: Bools, candidates: int = 64) -> float:
    """Return the threshold t for which the graph `scores >= t` has the highest F1, over all entries of all rows.

    Args:
        scores: shape (n, entries).
        truth: bool, shape (n, entries).
        candidates: How many quantiles of the scores are tried.

    Returns:
        The smallest of the best thresholds; infinity if there are no scores, or if no edge is true.
    """
    _check(scores, truth)
    if not truth.any():
        return float("inf")
    flat, edges = scores.ravel(), truth.ravel()
    # Non-edges can be a few per cent or nearly all: take quantiles of both classes, and values between neighbours.
    levels = np.linspace(0, 1, candidates)
    values = [np.quantile(part, levels, method="lower") for part in (flat[edges], flat[~edges]) if part.size]
    tried = np.unique(np.concatenate(values).astype(scores.dtype))
    order = np.sort(flat)
    positives = np.sort(flat[edges])
    predicted = flat.size - np.searchsorted(order, tried, side="left")
    hits = positives.size - np.searchsorted(positives, tried, side="left")
    return float(tried[np.argmax(2.0 * hits / (predicted + positives.size))])


def expected_calibration_error(probabilities: AnyFloats, truth: Bools) -> float | None:
    """Mean distance, over ten bins of equal width, of the mean probability from the share of edges.

    Args:
        probabilities: shape (n, entries).
        truth: bool, shape (n, entries).

    Returns:
        In [0, 1]; None if there are no entries or they are no probabilities (below 0, above 1, not finite).
    """
    _check(probabilities, truth)
    if probabilities.size == 0 or not (np.isfinite(probabilities).all()):
        return None
    if probabilities.min() < 0 or probabilities.max() > 1:
        return None
    flat = probabilities.ravel().astype(np.float64)
    bins = np.minimum((flat * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    believed = np.bincount(bins, flat, CALIBRATION_BINS)
    found = np.bincount(bins, truth.ravel().astype(np.float64), CALIBRATION_BINS)
    return float(np.abs(believed - found).sum() / flat.size)


def _check(scores: NDArray[np.generic], truth: NDArray[np.generic]) -> None:
    if scores.shape != truth.shape or scores.ndim != 2:
        raise InvalidSettingError(
            f"scores have shape {scores.shape} and the truth {truth.shape}; both must be (rows, entries)"
        )


def _by_blocks(function: Callable[[AnyFloats, Bools], Floats], scores: AnyFloats, truth: Bools) -> Floats:
    rows = max(1, BLOCK_ENTRIES // max(1, scores.shape[1]))
    starts = range(0, len(scores), rows)
    parts = [function(scores[start : start + rows], truth[start : start + rows]) for start in starts]
    return np.concatenate(parts) if parts else np.zeros(0)


def _average_precision(scores: AnyFloats, truth: Bools) -> Floats:
    ranked, _, last = _ranked(scores, truth)
    hits = np.cumsum(ranked, axis=1)
    # The entries of one score come into the graph together: all have the precision at the last of them.
    precision = np.take_along_axis(hits, last, axis=1) / (last + 1)
    edges = hits[:, -1] if hits.shape[1] else np.zeros(len(hits))
    found: Floats = (precision * ranked).sum(1) / np.maximum(edges, 1)
    return found


def _row_roc_auc(scores: AnyFloats, truth: Bools) -> Floats:
    ranked, first, last = _ranked(scores, truth)
    # Non-edges down to each position; an edge loses to those above its ties, and half to those among them.
    misses = np.concatenate([np.zeros((len(ranked), 1), np.int64), np.cumsum(~ranked, axis=1)], axis=1)
    above = np.take_along_axis(misses, first, axis=1)
    among = np.take_along_axis(misses, last + 1, axis=1) - above
    negatives, positives = misses[:, -1], ranked.sum(1)
    lost = ((above + 0.5 * among) * ranked).sum(1)
    pairs = positives * negatives
    return np.where(pairs == 0, 0.5, 1.0 - lost / np.maximum(pairs, 1))


def _ranked(scores: AnyFloats, truth: Bools) -> tuple[Bools, NDArray[np.int64], NDArray[np.int64]]:
    """Return the truth by falling score, and the first and last position of each position's group of equal scores."""
    falling = -np.nan_to_num(scores, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    order = np.argsort(falling, axis=1, kind="stable")
    ordered = np.take_along_axis(falling, order, axis=1)
    positions = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    new = np.ones(scores.shape, bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(new, positions, 0), axis=1)
    ends = np.ones(scores.shape, bool)
    ends[:, :-1] = new[:, 1:]
    behind = np.where(ends, positions, scores.shape[1] - 1)
    last = np.minimum.accumulate(behind[:, ::-1], axis=1)[:, ::-1]
    return np.take_along_axis(truth, order, axis=1), first, last
