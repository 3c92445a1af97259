"""Jacobians over several steps: how fast the zeros fill in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["HORIZONS", "Horizon", "multi_step_zeros"]

HORIZONS = (1, 2, 4, 8, 16, 32, 64)
SAMPLE_WINDOWS = 200
NUMERIC_TOLERANCE = 1e-6  # of the product's largest entry; float32 storage resolves 6e-8


@dataclass(frozen=True)
class Horizon:
    """Zeros of the Jacobian of k steps, J(t+k−1) … J(t+1) J(t).

    Attributes:
        steps: k.
        windows: Windows of k consecutive rows that were used.
        structural: Mean share of entries that no path through the k masks connects: no effect, whatever the values.
        numeric: Mean share of entries below NUMERIC_TOLERANCE of the product's largest one.
        always: Share of entries that are structurally zero in every window.
        action: Mean share of entries of ∂ s(t+k) / ∂ a(t) that no path connects.
    """

    steps: int
    windows: int
    structural: float
    numeric: float
    always: float
    action: float


def multi_step_zeros(
    dataset: JacobianDataset, horizons: tuple[int, ...] = HORIZONS, *, windows: int = SAMPLE_WINDOWS
) -> list[Horizon]:
    """Multiply the Jacobians of consecutive rows, in windows spread evenly over the data set.

    Args:
        dataset: With J_s and masks.
        horizons: Numbers of steps, ascending.
        windows: How many windows to use; the same ones for every horizon.

    Returns:
        One for each horizon that fits into an episode.

    Raises:
        InvalidSettingError: A horizon is less than 1, or no window fits.
    """
    if not horizons or min(horizons) < 1:
        raise InvalidSettingError(f"horizons are {horizons}; each must be at least 1")
    all_windows = dataset.windows(1)
    usable = []
    for steps in sorted(set(horizons)):
        fitting = dataset.windows(steps)
        if len(fitting):
            usable.append(steps)
            all_windows = fitting
    if not usable or not len(all_windows):
        raise InvalidSettingError(f"no window of {min(horizons)} consecutive rows fits into {dataset!r}")
    chosen = np.unique(np.linspace(0, len(all_windows) - 1, min(windows, len(all_windows))).round().astype(np.int64))
    sums = {steps: _Sums() for steps in usable}
    for number in chosen.tolist():
        batch = all_windows[number]
        mask, mask_a = batch["mask_s"].astype(np.float32), batch.get("mask_a")
        jacobian = np.where(batch["mask_s"] == 1, batch["J_s"], 0).astype(np.float64)
        paths, product = np.eye(mask.shape[-1], dtype=np.float32), np.eye(mask.shape[-1])
        first_action = None if mask_a is None else mask_a[0].astype(np.float32)
        for step in range(usable[-1]):
            if step:
                first_action = None if first_action is None else np.minimum(mask[step] @ first_action, 1)
            paths, product = np.minimum(mask[step] @ paths, 1), jacobian[step] @ product
            # Only ratios matter, and 64 steps of an unstable system would overflow.
            product /= max(np.abs(product).max(), np.finfo(float).tiny)
            if step + 1 in sums:
                sums[step + 1].add(paths > 0, product, first_action)
    return [one.result(steps) for steps, one in sums.items()]


class _Sums:
    """What is added up for one horizon."""

    def __init__(self) -> None:
        self.windows = 0
        self.structural = self.numeric = self.action = 0.0
        self.ever: NDArray[np.bool_] | None = None

    def add(
        self, connected: NDArray[np.bool_], product: NDArray[np.float64], action: NDArray[np.float32] | None
    ) -> None:
        self.windows += 1
        self.structural += float((~connected).mean())
        self.numeric += float((np.abs(product) < NUMERIC_TOLERANCE).mean())
        self.action += float((action == 0).mean()) if action is not None else float("nan")
        self.ever = connected if self.ever is None else self.ever | connected

    def result(self, steps: int) -> Horizon:
        always = float((~self.ever).mean()) if self.ever is not None else float("nan")
        structural, numeric, action = (total / self.windows for total in (self.structural, self.numeric, self.action))
        return Horizon(steps, self.windows, structural, numeric, always, action)
