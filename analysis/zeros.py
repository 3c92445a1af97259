"""Q1, is the causal graph globally sparse? Which entries are zero in every row, and how often each one is zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.blocks import Block
from dynamic_sparsity.analysis.collecting import collect
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["GlobalZeros", "ZeroCounter", "global_zeros"]

UINT8_ROWS = 255  # that many ones can be added up in a byte


@dataclass(frozen=True)
class GlobalZeros:
    """How often each entry is zero.

    An entry that is zero in *every* row suggests that the edge does not exist at all; their count over a sample is an
    upper bound, since more rows can only show more edges. A zero entry of one row holds for that row only.

    Attributes:
        rows: Rows that were read.
        zeros_s: Rows in which ∂ effect / ∂ cause is zero, int64, shape (dx, dx); row = effect, column = cause.
        zeros_a: Likewise for the actions, int64, shape (dx, da).

    Source: Pandaram et al., arXiv 2511.08086, Table 1 and Figure 3.
    """

    rows: int
    zeros_s: NDArray[np.int64]
    zeros_a: NDArray[np.int64]

    @property
    def share_s(self) -> NDArray[np.float64]:
        """Share of rows in which each entry of J_s is zero, shape (dx, dx)."""
        return self.zeros_s / self.rows

    @property
    def share_a(self) -> NDArray[np.float64]:
        """Share of rows in which each entry of J_a is zero, shape (dx, da)."""
        return self.zeros_a / self.rows

    @property
    def always_s(self) -> NDArray[np.bool_]:
        """Which entries of J_s are zero in every row, shape (dx, dx)."""
        return np.equal(self.zeros_s, self.rows)

    @property
    def always_a(self) -> NDArray[np.bool_]:
        """Which entries of J_a are zero in every row, shape (dx, da)."""
        return np.equal(self.zeros_a, self.rows)


class ZeroCounter:
    """Counts the zeros of each entry."""

    def __init__(self) -> None:
        self._rows = 0
        self._ones: list[Any] = [0, 0]

    def update(self, block: Block) -> None:
        """See `Accumulator.update`."""
        self._rows += len(block)
        self._ones[0] = self._ones[0] + count_ones(block.mask_s)
        self._ones[1] = self._ones[1] + count_ones(block.mask_a)

    def result(self) -> GlobalZeros:
        """Return what was counted."""
        ones_s, ones_a = self._ones
        return GlobalZeros(self._rows, self._rows - ones_s, self._rows - ones_a)


def count_ones(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Add up masks over the rows; in bytes as far as they reach, which is several times faster than in integers.

    Args:
        mask: 0 or 1, uint8, shape (n, …).

    Returns:
        int64, shape (…).
    """
    full = len(mask) // UINT8_ROWS * UINT8_ROWS
    pieces = mask[:full].reshape(-1, UINT8_ROWS, *mask.shape[1:])
    total: NDArray[np.int64] = pieces.sum(axis=1, dtype=np.uint8).sum(axis=0, dtype=np.int64)
    total += mask[full:].sum(axis=0, dtype=np.uint8)
    return total


def global_zeros(dataset: JacobianDataset) -> GlobalZeros:
    """Count for each entry the rows in which it is zero, in one pass.

    Args:
        dataset: In ascending order of rows.

    Raises:
        InvalidSettingError: The data set is empty or not in order.
    """
    counter = ZeroCounter()
    collect(dataset, counter)
    return counter.result()
