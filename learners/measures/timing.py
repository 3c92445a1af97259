"""When is an edge there? Over rows, for clusters of entries that switch together; and among rows of one active set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.learners.measures.concordance import Concordance, concordance
from dynamic_sparsity.learners.measures.moments import Moments, run_starts

__all__ = ["MEMBER_ROWS_MIN", "RUNS_MIN", "Timing", "beyond_contact", "shifted", "when_skill"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RUNS_MIN = 20
"""Clusters that are on, or off, in fewer runs of the judged rows are left out."""

MEMBER_ROWS_MIN = 20
"""Entries with fewer rows of either class in active sets where they switch are left out of *beyond contact*."""


@dataclass(frozen=True)
class Timing:
    """A mean over clusters.

    Attributes:
        value: None if no cluster is left.
        clusters: That are left.
        influence: By how much each episode moves the value, shape (episodes,).
    """

    value: float | None
    clusters: int
    influence: Floats

    def draws(self, draws: Floats) -> Floats | None:
        """Return the value of draws of episodes, to first order.

        Args:
            draws: How often each episode is drawn, shape (draws, episodes).
        """
        return None if self.value is None else np.asarray(self.value + draws @ self.influence)


def when_skill(
    scores: NDArray[np.floating],
    edges: Bools,
    counted: Bools,
    episode: NDArray[np.int64],
    clusters: NDArray[np.int64],
) -> Timing:
    """Return W: the mean over clusters of 2 · (mean AUROC over rows of the members) − 1.

    Args:
        scores: Of the entries that switch, shape (n, entries).
        edges: The truth, bool, likewise.
        counted: What counts, bool, likewise.
        episode: Number of each row's episode, from 0, int64, shape (n,).
        clusters: Of each entry, int64, shape (entries,).
    """
    kept = [c for c in range(clusters.max(initial=-1) + 1) if _runs(edges, counted, episode, clusters == c) >= RUNS_MIN]
    found = concordance(scores, edges, counted, episode)
    return _mean(found, [np.flatnonzero(clusters == number) for number in kept], 2.0, -1.0)


def beyond_contact(
    scores: NDArray[np.floating],
    edges: Bools,
    counted: Bools,
    moments: Moments,
    episode: NDArray[np.int64],
    clusters: NDArray[np.int64],
) -> Timing:
    """Return the mean over clusters of the members' AUROC over pairs of rows of the same active set.

    Args:
        scores: Of the entries that switch, shape (n, entries).
        edges: The truth, bool, likewise.
        counted: What counts, bool, likewise.
        moments: Of the rows.
        episode: Number of each row's episode, from 0, int64, shape (n,).
        clusters: Of each entry, int64, shape (entries,).
    """
    groups = moments.groups()
    enough = _rows_in_mixed_groups(edges, counted, groups) >= MEMBER_ROWS_MIN
    found = concordance(scores, edges, counted, episode, groups)
    members = [np.flatnonzero((clusters == number) & enough) for number in range(clusters.max(initial=-1) + 1)]
    return _mean(found, [member for member in members if member.size], 1.0, 0.0)


def shifted(moments: Moments) -> NDArray[np.int64]:
    """Return for each row a row at about the same step of the next episode, int64, shape (n,).

    What a model says of these tells nothing about this row but what all episodes have in common.

    Args:
        moments: Of the rows.
    """
    found = np.arange(len(moments))
    episodes = np.unique(moments.episode)
    for this, following in zip(episodes, np.roll(episodes, -1), strict=True):
        rows, others = np.flatnonzero(moments.episode == this), np.flatnonzero(moments.episode == following)
        others = others[np.argsort(moments.step[others], kind="stable")]
        place = np.searchsorted(moments.step[others], moments.step[rows])
        found[rows] = others[np.minimum(place, len(others) - 1)]
    return found


def _mean(found: Concordance, members: list[NDArray[np.int64]], factor: float, offset: float) -> Timing:
    if not members:
        return Timing(None, 0, np.zeros(len(found.won_by_episode)))
    auroc, influence = found.auroc, found.influence
    value = factor * float(np.mean([auroc[one].mean() for one in members])) + offset
    return Timing(value, len(members), factor * np.mean([influence[:, one].mean(1) for one in members], axis=0))


def _runs(edges: Bools, counted: Bools, episode: NDArray[np.int64], members: Bools) -> int:
    """Return the number of runs in which most of the members that count are on, or off, whichever is less."""
    many = counted[:, members].sum(1)
    on = (edges & counted)[:, members].sum(1)
    known = many > 0
    signal = (2 * on > many)[known]
    begin = signal[run_starts(signal, episode[known])]
    return int(min(begin.sum(), (~begin).sum()))


def _rows_in_mixed_groups(edges: Bools, counted: Bools, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return per entry the rows of its rarer class among those of groups that have both, int64, shape (entries,)."""
    ons, offs = np.zeros(edges.shape[1], np.int64), np.zeros(edges.shape[1], np.int64)
    for number in np.unique(groups):
        chosen = groups == number
        on = (edges[chosen] & counted[chosen]).sum(0)
        off = (~edges[chosen] & counted[chosen]).sum(0)
        mixed = (on > 0) & (off > 0)
        ons += on * mixed
        offs += off * mixed
    return np.minimum(ons, offs)
