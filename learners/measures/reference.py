"""What the train split says about a truth: which entries switch, together with which, and what knows that no better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.learners.measures.clusters import clusters_of
from dynamic_sparsity.learners.measures.moments import MODES, Moments, run_starts
from dynamic_sparsity.learners.measures.truths import Truth

__all__ = ["RARE", "RUNS_MIN", "Reference", "fit_reference", "merged_modes", "mode_weights"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RARE = 0.01
"""Entries that are on, or off, in a smaller share of the rows of train do not count as switching."""

RUNS_MIN = 30
"""Modes with fewer runs in train are merged."""


@dataclass(frozen=True)
class Reference:
    """One truth on the train split of one store.

    Attributes:
        truth: Which.
        share: Of the rows in which each entry is an edge, every mode weighing the same, shape (entries,).
        union: Entries that are an edge in any row, bool, shape (entries,).
        switching: Entries that switch, without those of an effect's own value, bool, shape (entries,).
        switching_own: Those of an effect's own value, bool, shape (entries,).
        never: Entries that are an edge in fewer than 1 % of rows, bool, shape (entries,).
        always: Entries that are one in more than 99 %, bool, shape (entries,).
        clusters: Number of the cluster of each switching entry, int64, shape (switching entries,).
        modes: Of each mode of `MODES`, the number of the mode it is merged into, int64, shape (4,).
        by_contact: `share` among rows without and with a contact or limit, shape (2, entries).
        by_active_set: `share` for each active set.
    """

    truth: Truth
    share: Floats
    union: Bools
    switching: Bools
    switching_own: Bools
    never: Bools
    always: Bools
    clusters: NDArray[np.int64]
    modes: NDArray[np.int64]
    by_contact: Floats
    by_active_set: dict[bytes, NDArray[np.float32]]

    def lookup(self, keys: list[bytes]) -> NDArray[np.float32]:
        """Return the share of each entry given the active set; that of all rows where train has no such set.

        Args:
            keys: Active sets of n rows.

        Returns:
            float32, shape (n, entries).
        """
        unknown = self.share.astype(np.float32)
        return np.array([self.by_active_set.get(key, unknown) for key in keys], np.float32).reshape(-1, len(unknown))

    def coverage(self, keys: list[bytes]) -> float:
        """Return the share of rows whose active set occurs in train.

        Args:
            keys: Active sets of n rows.
        """
        return float(np.mean([key in self.by_active_set for key in keys])) if keys else 0.0


def fit_reference(moments: Moments, edges: Bools, counted: Bools, ds: int, truth: Truth) -> Reference:
    """Summarise rows of train.

    Args:
        moments: Of n rows; those of step 0 are left out.
        edges: Of `Truth.of`, bool, shape (n, entries).
        counted: Likewise.
        ds: Size of the state; the entries are ds · (ds + da).
        truth: Which.
    """
    kept = moments.step > 0
    moments, edges, counted = moments[kept], edges[kept], counted[kept]
    entries = edges.shape[1]
    own = np.eye(ds, entries // ds, dtype=bool).ravel()
    plain = _share(edges, counted, np.ones(len(edges), np.float32))
    varies = (plain >= RARE) & (plain <= 1 - RARE)
    switching = varies & ~own
    modes = merged_modes(moments)
    weights = mode_weights(modes[moments.mode], counted[:, switching])
    share = _share(edges, counted, weights)
    bits = [_share(edges[chosen], counted[chosen], weights[chosen]) for chosen in (~moments.contact, moments.contact)]
    groups, table = moments.groups(), {}
    keys = moments.keys()
    for number in np.unique(groups):
        chosen = groups == number
        values = _share(edges[chosen], counted[chosen], weights[chosen])
        table[keys[int(np.argmax(chosen))]] = np.where(np.isnan(values), share, values).astype(np.float32)
    return Reference(
        truth=truth,
        share=np.nan_to_num(share),
        union=np.asarray((edges & counted).any(axis=0), bool),
        switching=switching,
        switching_own=varies & own,
        never=plain < RARE,
        always=plain > 1 - RARE,
        clusters=clusters_of(edges[:, switching], counted[:, switching]),
        modes=modes,
        by_contact=np.array([np.where(np.isnan(bit), np.nan_to_num(share), bit) for bit in bits]),
        by_active_set=table,
    )


def merged_modes(moments: Moments) -> NDArray[np.int64]:
    """Return into which mode each mode is merged: those of fewer than `RUNS_MIN` runs become one.

    If these have together fewer, the mode with the fewest runs of the others joins them.

    Args:
        moments: Of the rows of train, in order.

    Returns:
        int64, shape (4,), indices into `MODES`.
    """
    begin = run_starts(moments.mode, moments.episode)
    runs = np.bincount(moments.mode[begin], minlength=len(MODES))
    merged = np.arange(len(MODES))
    rare = runs < RUNS_MIN
    if not (rare & (runs > 0)).any():
        return merged
    while runs[rare].sum() < RUNS_MIN and not rare.all():
        rare[np.argmin(np.where(rare, np.iinfo(np.int64).max, runs))] = True
    merged[rare] = np.flatnonzero(rare)[0]
    return merged


def mode_weights(mode: NDArray[np.int64], counted: Bools) -> NDArray[np.float32]:
    """Return weights of rows so that every mode's counted entries weigh the same; they sum to 1 over counted entries.

    Args:
        mode: Of each row, int64, shape (n,).
        counted: Entries of each row that count, bool, shape (n, entries); with no entries, rows are counted.

    Returns:
        float32, shape (n,).
    """
    many = counted.sum(1).astype(np.float64) if counted.shape[1] else np.ones(len(mode))
    total = np.bincount(mode, many, minlength=len(MODES))
    there = max(1, int((total > 0).sum()))
    each = np.where(total > 0, 1.0 / np.where(total > 0, total * there, 1.0), 0.0)
    return np.asarray(each[mode], np.float32)


def _share(edges: Bools, counted: Bools, weights: NDArray[np.float32]) -> Floats:
    """Return the weighted share of edges among what counts; NaN where nothing does."""
    total = (weights @ counted.astype(np.float32)).astype(np.float64)
    on = (weights @ (edges & counted).astype(np.float32)).astype(np.float64)
    return np.where(total > 0, np.minimum(1.0, on / np.where(total > 0, total, 1.0)), np.nan)
