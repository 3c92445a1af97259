"""Q3, one episode step by step: sparsity, contacts, limits, and the patterns themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis import bits
from dynamic_sparsity.analysis.blocks import Block, segment_starts
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["LiveliestSegment", "Timeline", "read_timeline"]


@dataclass(frozen=True)
class Timeline:
    """One episode.

    Attributes:
        episode: Its number in the store.
        first: Position of its first row in the data set.
        time: Seconds since its reset, float64, shape (n,).
        sparsity_s: Share of zeros in J_s, float64, shape (n,).
        sparsity_a: Share of zeros in J_a, float64, shape (n,).
        constraints: Numbers of the constraints that act at some time, int64, shape (m,).
        active: Whether each of them acts, uint8, shape (n, m).
        pattern: Number of each row's pattern, int64, shape (n,).
        patterns_s: The masks of J_s, one per pattern, uint8, shape (p, dx, dx).
        patterns_a: The masks of J_a, uint8, shape (p, dx, da).
    """

    episode: int
    first: int
    time: NDArray[np.float64]
    sparsity_s: NDArray[np.float64]
    sparsity_a: NDArray[np.float64]
    constraints: NDArray[np.int64]
    active: NDArray[np.uint8]
    pattern: NDArray[np.int64]
    patterns_s: NDArray[np.uint8]
    patterns_a: NDArray[np.uint8]

    def __len__(self) -> int:
        return self.time.size

    def liveliest_window(self, length: int) -> int:
        """Return the first row of the window of that length in which most entries switch; 0 if none is longer.

        Args:
            length: Rows.
        """
        if len(self) <= length:
            return 0
        count = len(self.patterns_s)
        masks = np.concatenate([self.patterns_s.reshape(count, -1), self.patterns_a.reshape(count, -1)], axis=1)
        rows = np.flatnonzero(np.diff(self.pattern)) + 1
        switches = np.zeros(len(self) + 1, np.int64)
        switches[rows + 1] = (masks[self.pattern[rows]] != masks[self.pattern[rows - 1]]).sum(axis=1)
        total = np.cumsum(switches)
        return int(np.argmax(total[length:] - total[:-length]))


class LiveliestSegment:
    """Finds the segment in which most entries switch; the first of them, if there are several."""

    def __init__(self) -> None:
        self.first, self.switches = 0, -1

    def update(self, block: Block) -> None:
        """See `Accumulator.update`."""
        rows = np.flatnonzero(block.changed)
        switches = np.zeros(len(block), np.int64)
        switches[rows] = bits.count_ones(block.words[rows] ^ block.words[rows - 1])
        totals = np.add.reduceat(switches, block.starts)
        best = int(np.argmax(totals))
        if totals[best] > self.switches:
            self.first, self.switches = block.first + int(block.starts[best]), int(totals[best])


def read_timeline(dataset: JacobianDataset, first: int) -> Timeline:
    """Read one segment of a data set.

    Args:
        dataset: In ascending order of rows.
        first: Position of the segment's first row.

    Raises:
        InvalidSettingError: No segment starts there.
    """
    starts = segment_starts(dataset)
    number = int(np.searchsorted(starts, first))
    if number >= starts.size or starts[number] != first:
        raise InvalidSettingError(f"no episode starts at position {first}")
    stop = int(starts[number + 1]) if number + 1 < starts.size else len(dataset)
    names = [name for name in ("mask_s", "mask_a", "active_any", "step", "episode") if name in dataset.store.arrays]
    batch = dataset.store.reader.gather(names, dataset.rows[first:stop])
    sizes: dict[str, Any] = dataset.metadata["sizes"]
    mask_s = batch["mask_s"]
    mask_a = batch.get("mask_a", np.zeros((stop - first, sizes["dx"], 0), np.uint8))
    active = batch.get("active_any", np.zeros((stop - first, 0), np.uint8))
    keys = bits.row_keys(np.concatenate([bits.pack(mask_s), bits.pack(mask_a)], axis=1))
    _, place, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(place)
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    chosen = np.flatnonzero(active.any(axis=0))
    share_s, share_a = (
        1 - mask.mean(axis=(1, 2)) if mask.size else np.full(stop - first, np.nan) for mask in (mask_s, mask_a)
    )
    return Timeline(
        int(batch["episode"][0]),
        first,
        batch["step"] * float(dataset.metadata["control_dt"]),
        share_s,
        share_a,
        chosen,
        active[:, chosen],
        rank[inverse],
        mask_s[place[order]],
        mask_a[place[order]],
    )
