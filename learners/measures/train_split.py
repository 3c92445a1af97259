"""The train split of a store as the measures need it: under every truth, with the active sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.learners.data.rows import Rows, Scale, positions_of, read_rows
from dynamic_sparsity.learners.measures import TRUTHS, Moments, Reference, fit_reference, read_moments, truths_named
from dynamic_sparsity.loaders import JacobianDataset

__all__ = ["REFERENCE_ROWS", "References", "read_references", "references_of"]

REFERENCE_ROWS = 8_000
"""Rows of train, at most, evenly spread."""


@dataclass(frozen=True)
class References:
    """What train says.

    Attributes:
        by_truth: `Reference` by the truth's name.
        scale: With the standard deviations σ of the truths.
        state: Of the rows, float32, shape (n, ds).
        action: float32, shape (n, da).
        moments: Of the rows.
        edges: By the truth's name, bool, shape (n, entries).
        about: Which data, JSON data.
    """

    by_truth: dict[str, Reference]
    scale: Scale
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    moments: Moments
    edges: dict[str, NDArray[np.bool_]]
    about: dict[str, Any]


def references_of(
    rows: Rows, moments: Moments, scale: Scale, truths: str | Sequence[str] = tuple(TRUTHS), **about: Any
) -> References:
    """Summarise rows of train under some truths.

    Args:
        rows: With Jacobians and graphs.
        moments: Of the same rows.
        scale: With the standard deviations σ.
        truths: Names.
        **about: Which data these are.
    """
    found, seen = {}, {}
    for truth in truths_named(truths):
        edges, counted = truth.of(rows, scale)
        seen[truth.name] = edges
        found[truth.name] = fit_reference(moments, edges, counted, rows.sizes[0], truth)
    return References(found, scale, rows.state, rows.action, moments, seen, about)


def read_references(
    dataset: JacobianDataset,
    scale: Scale | None = None,
    *,
    truths: str | Sequence[str] = tuple(TRUTHS),
    limit: int = REFERENCE_ROWS,
) -> References:
    """Read the rows of train, and summarise them.

    Args:
        dataset: The train split.
        scale: With the standard deviations σ; None: those of this store. To compare policies, give one for all.
        truths: Names.
        limit: Rows, at most, evenly spread.

    Raises:
        InvalidSettingError: There are no rows.
    """
    positions = positions_of(dataset, limit)
    rows = read_rows(dataset.select(positions), jacobian=True, graph=True)
    return references_of(
        rows,
        read_moments(dataset, positions),
        scale or Scale.of(dataset),
        truths,
        policy=dataset.store.policy,
        settings_sha256=dataset.metadata["settings_sha256"],
    )
