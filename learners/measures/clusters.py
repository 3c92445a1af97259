"""Entries that switch together: clusters by their correlation, complete linkage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLUSTER_ROWS", "CORRELATION", "clusters_of", "complete_linkage", "phi"]

Bools = NDArray[np.bool_]

CORRELATION = 0.9
"""All pairs of a cluster's entries have at least this φ."""

CLUSTER_ROWS = 4_000
"""Rows over which φ is taken, at most, evenly spread."""


def clusters_of(truth: Bools, counted: Bools) -> NDArray[np.int64]:
    """Return the number of each entry's cluster, int64, shape (entries,).

    Args:
        truth: Of the entries that switch, bool, shape (n, entries).
        counted: Which values count, bool, likewise.
    """
    if truth.shape[1] == 0:
        return np.zeros(0, np.int64)
    chosen = np.linspace(0, len(truth) - 1, min(CLUSTER_ROWS, len(truth))).astype(np.int64)
    return complete_linkage(1.0 - phi(truth[chosen], counted[chosen]), 1.0 - CORRELATION)


def phi(truth: Bools, counted: Bools) -> NDArray[np.float64]:
    """Return the signed φ of each pair of entries over the rows in which both count; 0 where one does not switch.

    Args:
        truth: bool, shape (n, entries).
        counted: bool, likewise.

    Returns:
        float64, shape (entries, entries), 1 on the diagonal.
    """
    on, off = (truth & counted).astype(np.float32), (~truth & counted).astype(np.float32)
    both, neither = (on.T @ on).astype(np.float64), (off.T @ off).astype(np.float64)
    first = (on.T @ off).astype(np.float64)
    second = first.T
    square = (both + first) * (both + second) * (neither + first) * (neither + second)
    found = (both * neither - first * second) / np.sqrt(np.where(square > 0, square, np.inf))
    np.fill_diagonal(found, 1.0)
    return np.asarray(found)


def complete_linkage(distance: NDArray[np.float64], cut: float) -> NDArray[np.int64]:
    """Cluster by complete linkage (the nearest-neighbour chain), and cut the tree.

    Args:
        distance: Symmetric, float64, shape (entries, entries).
        cut: Clusters are joined while the largest distance between their members is at most this.

    Returns:
        Numbers of clusters, from 0 in the order of their first members, int64, shape (entries,).
    """
    count = len(distance)
    between = distance.copy()
    np.fill_diagonal(between, np.inf)
    label, alive = np.arange(count), np.ones(count, bool)
    chain: list[int] = []
    while alive.any():
        if not chain:
            chain.append(int(np.flatnonzero(alive)[0]))
        last = chain[-1]
        row = np.where(alive, between[last], np.inf)
        near = int(np.argmin(row))
        if len(chain) > 1 and row[chain[-2]] <= row[near]:
            near = chain[-2]
        if not row[near] <= cut + 1e-12:
            # Nothing is near enough: neither to it, nor, since links only grow, will anything be.
            alive[last] = False
            chain.pop()
        elif len(chain) > 1 and near == chain[-2]:
            del chain[-2:]
            between[last] = between[:, last] = np.maximum(between[last], between[near])
            between[last, last] = np.inf
            alive[near] = False
            label[label == label[near]] = label[last]
        else:
            chain.append(near)
    _, first, numbers = np.unique(label, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[numbers]
