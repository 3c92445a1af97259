"""Q3, when does the pattern change, and how much of that coincides with a change of the active contacts?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis import bits
from dynamic_sparsity.analysis.blocks import Block, constraint_kinds, differs
from dynamic_sparsity.analysis.collecting import collect
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["EVENTS", "MAX_LAG", "ChangeCounter", "ChangeTable", "pattern_changes"]

EVENTS = ("constraint", "contact")
"""A change of the set of all active constraints; of the active contacts only."""
MAX_LAG = 10


@dataclass(frozen=True)
class ChangeTable:
    """Coincidence of changes of the pattern with changes of the active set.

    A *change* at a row means that it differs from the row before in the same episode: in its masks (pattern), or in
    `active_any` (active set). Both belong to whole control steps, so that a contact that acts in any substep counts.

    Attributes:
        steps: Pairs of consecutive rows, without the first of each segment: right after a reset velocities may be
            zero, and entries with them, which is no event of the motion.
        after_reset: Changes of the pattern at those first pairs, which nothing else here counts.
        patterns: Changes of the pattern.
        events: Changes of the active set, by kind (`EVENTS`), int64, shape (2,).
        together: Changes of both at the same row, by kind, int64, shape (2,).
        near: Changes of the pattern with a change of the active set at most one row away, int64, shape (2,).
        lags: Changes of the pattern by kind and distance to the nearest change of the active set, in control steps,
            from −MAX_LAG (the pattern changes before) to MAX_LAG (after), int64, shape (2, 2·MAX_LAG + 1).
        alone: Changes of the pattern with none within MAX_LAG steps, int64, shape (2,).
        changed_entries: Entries that flip in all changes of the pattern together.
    """

    steps: int
    patterns: int
    events: NDArray[np.int64]
    together: NDArray[np.int64]
    near: NDArray[np.int64]
    lags: NDArray[np.int64]
    alone: NDArray[np.int64]
    changed_entries: int
    after_reset: int

    def precision(self, event: str) -> float:
        """Return the share of the pattern's changes at which the active set changes too; NaN if there are none.

        Args:
            event: One of `EVENTS`.
        """
        return _ratio(self.together[EVENTS.index(event)], self.patterns)

    def recall(self, event: str) -> float:
        """Return the share of the active set's changes at which the pattern changes too; NaN if there are none.

        Args:
            event: One of `EVENTS`.
        """
        return _ratio(self.together[EVENTS.index(event)], self.events[EVENTS.index(event)])

    def base_rate(self, event: str) -> float:
        """Return the share of all steps at which the active set changes: the precision that chance alone would give.

        Args:
            event: One of `EVENTS`.
        """
        return _ratio(self.events[EVENTS.index(event)], self.steps)

    def mean_lag(self, event: str) -> float:
        """Return the mean absolute distance to the active set's nearest change, control steps, where within MAX_LAG.

        Args:
            event: One of `EVENTS`.
        """
        lags = self.lags[EVENTS.index(event)]
        return _ratio(lags @ np.abs(np.arange(-MAX_LAG, MAX_LAG + 1)), lags.sum())


class ChangeCounter:
    """Counts changes."""

    def __init__(self, metadata: dict[str, Any]):
        """Count nothing yet.

        Args:
            metadata: Of the store.
        """
        contact = constraint_kinds(metadata)["contact"]
        self._chosen = (np.ones(contact.size, bool), contact)
        self._steps = self._patterns = self._entries = self._after_reset = 0
        self._sums = np.zeros((4, 2), np.int64)
        self._lags = np.zeros((2, 2 * MAX_LAG + 1), np.int64)

    def update(self, block: Block) -> None:
        """See `Accumulator.update`."""
        counts = block.continues.copy()
        second = block.starts[block.lengths > 1] + 1
        counts[second] = False
        self._after_reset += int(block.changed[second].sum())
        pattern = block.changed & counts
        rows = np.flatnonzero(pattern)
        self._steps += int(counts.sum())
        self._patterns += rows.size
        self._entries += int(bits.count_ones(block.words[rows] ^ block.words[rows - 1]).sum())
        for kind, chosen in enumerate(self._chosen):
            event = differs(bits.pack(block.active_any[:, chosen]), counts)
            lag = _lags(rows, np.flatnonzero(event), block.starts)
            within = np.abs(lag) <= MAX_LAG
            sums = [event.sum(), (event & pattern).sum(), (np.abs(lag) <= 1).sum(), (~within).sum()]
            self._sums[:, kind] += np.asarray(sums, np.int64)
            self._lags[kind] += np.bincount(lag[within] + MAX_LAG, minlength=2 * MAX_LAG + 1)

    def result(self) -> ChangeTable:
        """Return what was counted."""
        events, together, near, alone = self._sums.copy()
        lags = self._lags.copy()
        return ChangeTable(
            self._steps, self._patterns, events, together, near, lags, alone, self._entries, self._after_reset
        )


def pattern_changes(dataset: JacobianDataset) -> ChangeTable:
    """Find the changes of the pattern and of the active set, in one pass.

    Args:
        dataset: In ascending order of rows.

    Raises:
        InvalidSettingError: The data set is empty or not in order.
    """
    counter = ChangeCounter(dataset.metadata)
    collect(dataset, counter)
    return counter.result()


def _lags(rows: NDArray[np.int64], events: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the signed distance of each row to the nearest event of its segment, positive if the event comes first.

    Args:
        rows: Ascending, int64, shape (n,).
        events: Rows of events, ascending, int64, shape (m,).
        starts: Rows at which segments start, int64.

    Returns:
        int64, shape (n,); MAX_LAG + 1 where the segment has none.
    """
    far = MAX_LAG + 1
    best = np.full(rows.size, far)
    if not events.size:
        return best
    after = np.searchsorted(events, rows)
    segment = np.searchsorted(starts, rows, side="right")
    for place in (after, after - 1):
        inside = (place >= 0) & (place < events.size)
        event = events[np.clip(place, 0, events.size - 1)]
        inside &= np.searchsorted(starts, event, side="right") == segment
        lag = np.clip(rows - event, -far, far)
        closer = inside & (np.abs(lag) < np.abs(best))
        best[closer] = lag[closer]
    return best


def _ratio(part: Any, total: Any) -> float:
    return float(part / total) if total else float("nan")
