"""How much every number depends on what counts as zero: |J| below a threshold, in any of three units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.blocks import Block, blocks, whole_segments
from dynamic_sparsity.analysis.changes import ChangeCounter
from dynamic_sparsity.analysis.patterns import PatternCounter
from dynamic_sparsity.analysis.runs import RunCounter
from dynamic_sparsity.analysis.sparsity import SparsityCounter
from dynamic_sparsity.analysis.spectrum import tangent_scale
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["SCALES", "THRESHOLDS", "LargestEntries", "LargestEntry", "Sensitivity", "sizes_of", "threshold_sensitivity"]

THRESHOLDS = tuple(10.0**exponent for exponent in range(-12, -1))
SCALES = ("absolute", "relative", "dimensionless")
"""|J| < threshold; |J| < threshold times the row's largest |J_s| (|J_a|); |J| σ_cause / σ_effect < threshold."""
ROUNDING = 1e-13
"""Where a matrix has entries of 1e3 and more, float64's 2e-16 of them reaches the masks' absolute threshold."""
SAMPLE_ROWS = 10_000

Array = NDArray[Any]


@dataclass(frozen=True)
class LargestEntries:
    """Largest |J| that each entry has in any row: it is zero in every row at any threshold above.

    Attributes:
        absolute_s: float32, shape (dx, dx).
        absolute_a: float32, shape (dx, da).
        relative_s: Largest ratio to the largest entry of the same row's J_s, float32, shape (dx, dx).
        relative_a: Likewise for J_a, float32, shape (dx, da).
        dimensionless_s: |J_s| with all variables in units of their standard deviation, float32, shape (dx, dx).
        dimensionless_a: Likewise for J_a, actions as they are, float32, shape (dx, da).
    """

    absolute_s: NDArray[np.float32]
    absolute_a: NDArray[np.float32]
    relative_s: NDArray[np.float32]
    relative_a: NDArray[np.float32]
    dimensionless_s: NDArray[np.float32]
    dimensionless_a: NDArray[np.float32]

    def zeros(self, which: str, scale: str, threshold: float) -> int:
        """Return the number of entries that are zero in every row.

        Args:
            which: "s" or "a".
            scale: One of `SCALES`.
            threshold: > 0.
        """
        largest: Array = getattr(self, f"{scale}_{which}")
        return int((largest < threshold).sum())

    def rounding(self, which: str) -> NDArray[np.bool_]:
        """Return the entries that float64 can't distinguish from zero in any row.

        They are always below `ROUNDING` of the row's largest.

        Args:
            which: "s" or "a".
        """
        largest: Array = getattr(self, f"relative_{which}")
        return np.less(largest, ROUNDING)


class LargestEntry:
    """Keeps the largest |J| of each entry; the blocks must have Jacobians."""

    def __init__(self, scale: NDArray[np.float64]) -> None:
        """Start with nothing.

        Args:
            scale: Of `tangent_scale`, shape (dx,).
        """
        self._scale = scale
        self._largest: list[Any] = [0, 0, 0, 0]

    def update(self, block: Block) -> None:
        """See `Accumulator.update`.

        Raises:
            InvalidSettingError: The block has no Jacobians.
        """
        if block.J_s is None or block.J_a is None:
            raise InvalidSettingError("largest entries need the Jacobians: collect(…, jacobians=True)")
        for number, jacobian in enumerate((block.J_s, block.J_a)):
            size = np.abs(jacobian)
            scale = size.max(axis=(1, 2), initial=np.finfo(np.float32).tiny)
            self._largest[number] = np.maximum(self._largest[number], size.max(axis=0))
            size /= scale[:, None, None]
            self._largest[2 + number] = np.maximum(self._largest[2 + number], size.max(axis=0))

    def result(self) -> LargestEntries:
        """Return what was found."""
        absolute = self._largest[:2]
        pairs = zip(absolute, ("J_s", "J_a"), strict=True)
        return LargestEntries(
            *self._largest, *(sizes_of(one, name, "dimensionless", self._scale) for one, name in pairs)
        )


def sizes_of(jacobian: Array, matrix: str, scale: str, units: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the sizes of entries in the units of a scale.

    Args:
        jacobian: J_s or J_a, or their absolute values, shape (..., dx, dx) or (..., dx, da).
        matrix: "J_s" or "J_a".
        scale: One of `SCALES`.
        units: Of `tangent_scale`, shape (dx,); actions count as they are.

    Returns:
        float32, the shape of `jacobian`.
    """
    size: Array = np.abs(jacobian)
    if scale == "relative":
        size = size / size.max(axis=(-2, -1), keepdims=True, initial=np.finfo(np.float32).tiny)
    elif scale == "dimensionless":
        size = size * (units / units[:, None]) if matrix == "J_s" else size / units[:, None]
    return size.astype(np.float32, copy=False)


@dataclass(frozen=True)
class Sensitivity:
    """The numbers of Q1 to Q3 at one threshold.

    Attributes:
        scale: One of `SCALES`.
        threshold: From which size on, in those units, an entry counts.
        rows: Rows in the sample.
        zeros_s: Entries of J_s that are zero in every row of the sample.
        zeros_a: Likewise in J_a.
        sparsity_s: Mean sparsity of J_s.
        sparsity_a: Mean sparsity of J_a.
        patterns: Distinct patterns.
        bits: Entropy of the pattern over the rows, bits: how much the local graph says beyond the global one.
        changes: Share of steps at which the pattern changes.
        precision: Share of the pattern's changes at which the active set changes.
        recall: Share of the active set's changes at which the pattern changes.
        zero_run: Mean duration of runs of zero, control steps, by Kaplan and Meier.
        nonzero_run: Likewise of runs of non-zero.
    """

    scale: str
    threshold: float
    rows: int
    zeros_s: int
    zeros_a: int
    sparsity_s: float
    sparsity_a: float
    patterns: int
    bits: float
    changes: float
    precision: float
    recall: float
    zero_run: float
    nonzero_run: float


def threshold_sensitivity(
    dataset: JacobianDataset, thresholds: tuple[float, ...] = THRESHOLDS, *, rows: int = SAMPLE_ROWS
) -> list[Sensitivity]:
    """Compute the numbers of Q1 to Q3 at other thresholds, from the stored Jacobians of a sample of complete episodes.

    The stored masks were decided in float64; here the Jacobians are float32, whose rounding moves no entry by more
    than 6e-8 of itself.

    Args:
        dataset: In ascending order of rows.
        thresholds: All > 0.
        rows: About how many rows to use.

    Raises:
        InvalidSettingError: A threshold is not positive, or the data set is empty or not in order.
    """
    if not all(threshold > 0 for threshold in thresholds):
        raise InvalidSettingError(f"thresholds are {thresholds}; they must be greater than 0")
    if not len(dataset):
        raise InvalidSettingError(f"{dataset!r} has no rows to analyse")
    sample = whole_segments(dataset, rows)
    counters = {(scale, threshold): _Counters(dataset.metadata) for scale in SCALES for threshold in thresholds}
    units = tangent_scale(dataset)
    for block in blocks(sample, jacobians=True):
        for scale in SCALES:
            pairs = (("J_s", block.J_s), ("J_a", block.J_a))
            sizes = [sizes_of(matrix, name, scale, units) for name, matrix in pairs if matrix is not None]
            for threshold in thresholds:
                mask_s, mask_a = ((size >= threshold).view(np.uint8) for size in sizes)
                counters[scale, threshold].update(Block(block.first, block.starts, mask_s, mask_a, block.active_any))
    return [one.result(scale, threshold) for (scale, threshold), one in counters.items()]


class _Counters:
    """All accumulators for one threshold."""

    def __init__(self, metadata: dict[str, Any]):
        self.sparsity, self.patterns = SparsityCounter(metadata), PatternCounter()
        self.changes, self.runs = ChangeCounter(metadata), RunCounter()
        self.ever: list[Any] = [False, False]

    def update(self, block: Block) -> None:
        for one in (self.sparsity, self.patterns, self.changes, self.runs):
            one.update(block)
        masks = block.mask_s, block.mask_a
        self.ever = [ever | (mask.max(axis=0) > 0) for ever, mask in zip(self.ever, masks, strict=True)]

    def result(self, scale: str, threshold: float) -> Sensitivity:
        sparsity, patterns = self.sparsity.result(), self.patterns.result()
        changes, runs = self.changes.result(), self.runs.result()
        zeros_s, zeros_a = (int((~ever).sum()) for ever in self.ever)
        return Sensitivity(
            scale,
            threshold,
            patterns.rows,
            zeros_s,
            zeros_a,
            sparsity.mean("s"),
            sparsity.mean("a"),
            patterns.pattern_counts.size,
            patterns.entropies()["pattern"],
            changes.patterns / changes.steps if changes.steps else float("nan"),
            changes.precision("constraint"),
            changes.recall("constraint"),
            runs.survival_mean("both", "zero"),
            runs.survival_mean("both", "nonzero"),
        )
