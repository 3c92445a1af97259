"""Effective dimension: how many directions of the state a step really depends on, by singular values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.sparsity import MODES, modes_of
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["Spectrum", "spectra"]

SAMPLE_ROWS = 1000
RANK_TOLERANCE = 1e-6  # of the largest singular value; float32 storage resolves 6e-8


@dataclass(frozen=True)
class Spectrum:
    """Singular values of a Jacobian in units of the variables' standard deviations.

    Attributes:
        matrix: "J_s" or "J_a".
        mode: "all", or one of `MODES`.
        rows: Rows in the sample.
        singular_values: Median of each, descending, float64, shape (min(dx, columns),).
        effective_rank: Mean of exp(H(σ / Σσ)): as many equal singular values would have the same entropy H.
        rank: Mean number of singular values above RANK_TOLERANCE of the largest.

    Source: Roy and Vetterli, The effective rank, EUSIPCO 2007.
    """

    matrix: str
    mode: str
    rows: int
    singular_values: NDArray[np.float64]
    effective_rank: float
    rank: float


def spectra(dataset: JacobianDataset, *, rows: int = SAMPLE_ROWS, seed: int = 0) -> list[Spectrum]:
    """Compute singular values over a random sample, for all its rows and by mode.

    Args:
        dataset: With J_s, J_a, and in tangent coordinates.
        rows: Rows to use.
        seed: Of their draw.

    Raises:
        InvalidSettingError: The data set is empty.
    """
    if not len(dataset):
        raise InvalidSettingError(f"{dataset!r} has no rows to analyse")
    positions = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:rows])
    names = [name for name in ("J_s", "J_a", "active_any") if name in dataset.store.arrays]
    batch = dataset.store.reader.gather(names, dataset.rows[positions])
    modes = modes_of(batch.get("active_any", np.zeros((positions.size, 0), np.uint8)), dataset.metadata)
    scale = tangent_scale(dataset)
    found = []
    for matrix, columns in (("J_s", scale), ("J_a", np.ones(dataset.metadata["sizes"]["da"]))):
        if matrix not in batch:
            continue
        scaled = batch[matrix].astype(np.float64) * columns / scale[:, None]
        values = np.asarray(np.linalg.svd(scaled, compute_uv=False), np.float64)
        found.append(_spectrum(matrix, "all", values))
        found += [_spectrum(matrix, mode, values[modes == number]) for number, mode in enumerate(MODES)]
    return [one for one in found if one.rows]


def tangent_scale(dataset: JacobianDataset) -> NDArray[np.float64]:
    """Return each tangent state variable's standard deviation over train, (dx,); 1 rad for rotations, 1 for 0.

    Args:
        dataset: Of the store.
    """
    metadata: dict[str, Any] = dataset.metadata
    std = np.asarray(dataset.statistics["state"]["std"], np.float64)
    nq, nv, dx = (metadata["sizes"][name] for name in ("nq", "nv", "dx"))
    scale = np.ones(dx)
    for joint in metadata["joints"]:
        position, dof = joint["qpos_address"], joint["dof_address"]
        linear = {"free": 3, "ball": 0}.get(joint["type"], 1)
        scale[dof : dof + linear] = std[position : position + linear]
    scale[nv:] = std[nq:]
    scale[~(scale > 0)] = 1
    return scale


def _spectrum(matrix: str, mode: str, values: NDArray[np.float64]) -> Spectrum:
    if not len(values):
        return Spectrum(matrix, mode, 0, np.zeros(0), float("nan"), float("nan"))
    largest = np.maximum(values[:, :1], np.finfo(float).tiny)
    shares = values / np.maximum(values.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    effective = np.exp(-(shares * logs).sum(axis=1))
    rank = (values > RANK_TOLERANCE * largest).sum(axis=1)
    return Spectrum(matrix, mode, len(values), np.median(values, axis=0), float(effective.mean()), float(rank.mean()))
