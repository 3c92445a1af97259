"""All measures of a model's local graphs under one truth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.learners.measures.intervals import draw_episodes, interval
from dynamic_sparsity.learners.measures.local_graph import (
    STATIC_MIN,
    Errors,
    best_static,
    count_errors,
    least_errors_threshold,
    skill,
)
from dynamic_sparsity.learners.measures.moments import MODES, Moments
from dynamic_sparsity.learners.measures.reference import Reference, mode_weights
from dynamic_sparsity.learners.measures.timing import beyond_contact, shifted, when_skill

__all__ = ["choose_threshold", "judge_graph"]

Bools = NDArray[np.bool_]
AnyFloats = NDArray[np.floating]


def choose_threshold(
    scores: AnyFloats, edges: Bools, counted: Bools, moments: Moments, reference: Reference
) -> float | None:
    """Return the score from which on there is an edge: the one with the fewest errors on the rows of validation.

    Args:
        scores: shape (n, entries).
        edges: The truth, bool, likewise.
        counted: What counts, bool, likewise.
        moments: Of the rows.
        reference: Of train.

    Returns:
        None if no entry switches.
    """
    kept, columns = moments.step > 0, reference.switching
    if not columns.any():
        return None
    part = np.ix_(kept, columns)
    return least_errors_threshold(scores[part], edges[part], counted[part], moments[kept], reference)


def judge_graph(
    scores: AnyFloats,
    edges: Bools,
    counted: Bools,
    moments: Moments,
    reference: Reference,
    threshold: float | None,
) -> dict[str, Any]:
    """Measure a model's edge scores under one truth.

    Args:
        scores: shape (n, entries).
        edges: The truth, bool, likewise.
        counted: What counts, bool, likewise.
        moments: Of the rows; those of step 0 are left out.
        reference: Of the train split of the same store.
        threshold: From which score on there is an edge; None: there is nothing to choose, and only rankings are judged.

    Returns:
        JSON data; docs/benchmark.md defines it.
    """
    kept = moments.step > 0
    scores, edges, counted, moments = scores[kept], edges[kept], counted[kept], moments[kept]
    _, episode = np.unique(moments.episode, return_inverse=True)
    episodes = int(episode.max()) + 1 if len(episode) else 0
    draws = draw_episodes(episodes)
    columns = reference.switching
    some_scores, some_edges, some_counted = scores[:, columns], edges[:, columns], counted[:, columns]
    arguments = (some_edges, some_counted, episode)
    when = when_skill(some_scores, *arguments, reference.clusters)
    at_random = when_skill(some_scores[shifted(moments)], *arguments, reference.clusters)
    same_set = beyond_contact(some_scores, some_edges, some_counted, moments, episode, reference.clusters)
    exact = reference.truth.threshold is None
    result: dict[str, Any] = {
        "rows": len(moments),
        "episodes": episodes,
        "switching_entries": int(columns.sum()),
        "modes": sorted({MODES[mode] for mode in reference.modes[moments.mode]}),
        "when_skill": when.value,
        "when_skill_interval": interval(when.draws(draws), episodes),
        "when_skill_shifted": at_random.value,
        "clusters": when.clusters,
        "beyond_contact": None if exact else same_set.value,
        "beyond_contact_interval": None if exact else interval(same_set.draws(draws), episodes),
        "beyond_contact_clusters": 0 if exact else same_set.clusters,
        "coverage": reference.coverage(moments.keys()),
        "threshold": threshold if threshold is not None and np.isfinite(threshold) else None,
    }
    if threshold is None:
        nothing = ("local_graph_skill", "local_graph_skill_interval", "gap_closed", "gap_closed_interval", "loss")
        return result | dict.fromkeys((*nothing, "loss_static", "loss_lookup", "skill_own", "false_edges", "misses"))
    graph = scores >= threshold
    # What is not a number is an error, whichever way.
    graph = np.where(np.isnan(scores), ~edges, graph)
    return result | _errors(graph, edges, counted, moments, reference, episode, draws)


def _errors(
    graph: Bools,
    edges: Bools,
    counted: Bools,
    moments: Moments,
    reference: Reference,
    episode: NDArray[np.int64],
    draws: NDArray[np.float64],
) -> dict[str, Any]:
    mode, episodes, columns = reference.modes[moments.mode], draws.shape[1], reference.switching

    def both(chosen: Bools) -> tuple[Errors, Errors]:
        """Return the errors of the model and of the best static graph in some entries."""
        truth, counts = edges[:, chosen], counted[:, chosen]
        static = best_static(truth, counts, mode_weights(mode, counts))
        return (
            count_errors(graph[:, chosen], truth, counts, mode, episode),
            count_errors(np.broadcast_to(static, truth.shape), truth, counts, mode, episode),
        )

    model, static = both(columns)
    known = reference.lookup(moments.keys())[:, columns] >= 0.5
    lookup = count_errors(known, edges[:, columns], counted[:, columns], mode, episode)
    found = skill(model, static)
    closed = _gap(model, static, lookup, None)
    absent, present = counted & ~edges & reference.never, counted & edges & reference.always
    return {
        "local_graph_skill": None if found is None else float(found),
        "local_graph_skill_interval": interval(skill(model, static, draws), episodes),
        "gap_closed": None if closed is None else float(closed),
        "gap_closed_interval": interval(_gap(model, static, lookup, draws), episodes),
        "loss": float(model.loss()),
        "loss_static": float(static.loss()),
        "loss_lookup": float(lookup.loss()),
        "skill_own": _number(skill(*both(reference.switching_own))),
        "false_edges": float(graph[absent].mean()) if absent.any() else None,
        "misses": float((~graph[present]).mean()) if present.any() else None,
    }


def _gap(
    model: Errors, static: Errors, lookup: Errors, draws: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """Return how much of the way from the static graph to the lookup by active set the model goes."""
    if not float(static.loss() - lookup.loss()) >= STATIC_MIN:
        return None
    base = static.loss(draws)
    way = base - lookup.loss(draws)
    return np.asarray((base - model.loss(draws)) / np.where(way > 0, way, np.nan))


def _number(value: NDArray[np.float64] | None) -> float | None:
    return None if value is None else float(value)
