"""How often an edge's score is above a non-edge's, over pairs of rows, and what each episode has to do with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Concordance", "concordance"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLOCK_VALUES = 2_000_000  # at a time, so that large graphs need little memory


@dataclass(frozen=True)
class Concordance:
    """Pairs of an edge and a non-edge of one entry in two rows of one group.

    Attributes:
        won: Pairs in which the edge has the higher score, ties counting half, shape (entries,).
        pairs: Number of pairs, shape (entries,).
        won_by_episode: `won` of the pairs that rows of an episode are in, counted twice if both are, shape
            (episodes, entries).
        pairs_by_episode: Number of these, likewise.
    """

    won: Floats
    pairs: Floats
    won_by_episode: Floats
    pairs_by_episode: Floats

    @property
    def auroc(self) -> Floats:
        """Share of pairs won, shape (entries,); 0.5 where there is none."""
        return np.asarray(np.where(self.pairs > 0, self.won / np.where(self.pairs > 0, self.pairs, 1), 0.5))

    @property
    def influence(self) -> Floats:
        """By how much each episode moves `auroc`, to first order; shape (episodes, entries), of sum 0 over episodes."""
        moved = self.won_by_episode - self.auroc * self.pairs_by_episode
        return np.asarray(moved / np.where(self.pairs > 0, self.pairs, np.inf))


def concordance(
    scores: NDArray[np.floating],
    edges: Bools,
    counted: Bools,
    episode: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
) -> Concordance:
    """Compare the scores of each entry in all pairs of rows of a group.

    A score that is not a number loses all of its pairs.

    Args:
        scores: shape (n, entries).
        edges: The truth, bool, likewise.
        counted: What counts, bool, likewise.
        episode: Number of each row's episode, from 0, int64, shape (n,).
        groups: Number of each row's group, int64, shape (n,); None: all rows are one.
    """
    count, entries = scores.shape
    episodes = int(episode.max()) + 1 if count else 0
    order = np.arange(count) if groups is None else np.argsort(groups, kind="stable")
    ends = [count] if groups is None else [*(np.flatnonzero(np.diff(groups[order])) + 1), count]
    won, pairs = np.zeros(entries), np.zeros(entries)
    won_by, pairs_by = np.zeros((episodes, entries)), np.zeros((episodes, entries))
    start = 0
    for end in ends:
        rows = order[start:end]
        start = end
        if len(rows) < 2:
            continue
        width = max(1, BLOCK_VALUES // len(rows))
        for first in range(0, entries, width):
            part = slice(first, first + width)
            on, off = edges[rows, part] & counted[rows, part], ~edges[rows, part] & counted[rows, part]
            positives, negatives = on.sum(0).astype(np.float64), off.sum(0).astype(np.float64)
            if not (positives * negatives).any():
                continue
            beaten = _beaten(scores[rows, part], on, off)
            won[part] += (beaten * on).sum(0)
            pairs[part] += positives * negatives
            won_by[:, part] += _by_episode(beaten * (on | off), episode[rows], episodes)
            pairs_by[:, part] += _by_episode(on * negatives + off * positives, episode[rows], episodes)
    return Concordance(won, pairs, won_by, pairs_by)


def _beaten(scores: NDArray[np.floating], on: Bools, off: Bools) -> Floats:
    """Return with how many rows of the other class each row makes a right pair, ties counting half."""
    # What is not a number is as wrong as can be, worse than infinity.
    largest = np.finfo(scores.dtype).max
    clear = np.clip(scores, -largest, largest)
    clear = np.where(np.isnan(clear), np.where(on, -np.inf, np.inf), clear)
    order = np.argsort(clear, axis=0, kind="stable")
    ordered = np.take_along_axis(clear, order, axis=0)
    positions = np.broadcast_to(np.arange(len(clear))[:, None], clear.shape)
    new = np.ones(clear.shape, bool)
    new[1:] = ordered[1:] != ordered[:-1]
    first = np.maximum.accumulate(np.where(new, positions, 0), axis=0)
    last_of = np.ones(clear.shape, bool)
    last_of[:-1] = new[1:]
    last = np.minimum.accumulate(np.where(last_of, positions, len(clear) - 1)[::-1], axis=0)[::-1]
    on, off = np.take_along_axis(on, order, axis=0), np.take_along_axis(off, order, axis=0)
    offs, ons = _running(off), _running(on)
    below, among = np.take_along_axis(offs, first, 0), np.take_along_axis(offs, last + 1, 0)
    over, with_them = np.take_along_axis(ons, last + 1, 0), np.take_along_axis(ons, first, 0)
    right = np.where(on, (below + among) / 2, ons[-1] - (over + with_them) / 2)
    found = np.empty(clear.shape)
    np.put_along_axis(found, order, right, axis=0)
    return found


def _running(values: Bools) -> NDArray[np.int64]:
    return np.concatenate([np.zeros((1, values.shape[1]), np.int64), np.cumsum(values, axis=0)])


def _by_episode(values: Floats, episode: NDArray[np.int64], episodes: int) -> Floats:
    order = np.argsort(episode, kind="stable")
    there, starts = np.unique(episode[order], return_index=True)
    total = np.zeros((episodes, values.shape[1]))
    total[there] = np.add.reduceat(values[order], starts, axis=0)
    return total
