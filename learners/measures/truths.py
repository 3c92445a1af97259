"""The truths that a learned graph is held against: exact zeros, and influence above a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError, UnknownNameError
from dynamic_sparsity.learners.data.rows import Rows, Scale

__all__ = ["TRUTHS", "Truth", "truths_named"]

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """When an entry is an edge.

    Attributes:
        name: "T0", "T2" or "T3".
        threshold: Of D = |J_ij| σ_j / σ_i, dimensionless; None: the store's mask, |J_ij| ≥ 1e-12 in MuJoCo's units.
        margin: Entries with threshold / margin ≤ D < threshold · margin are in doubt and do not count.
    """

    name: str
    threshold: float | None
    margin: float = 1.0

    def of(self, rows: Rows, scale: Scale) -> tuple[Bools, Bools]:
        """Return which entries are edges, and which count.

        Args:
            rows: n rows, with graphs for T0, with Jacobians for the others.
            scale: With the standard deviations σ.

        Returns:
            Both bool, shape (n, ds · (ds + da)), effect by effect.

        Raises:
            InvalidSettingError: The rows were read without what this truth needs.
        """
        if self.threshold is None:
            if rows.graph is None:
                raise InvalidSettingError(f"the truth {self.name} needs masks, and the rows were read without them")
            edges = rows.graph.reshape(len(rows), -1)
            return edges, np.ones(edges.shape, bool)
        if rows.jacobian is None:
            raise InvalidSettingError(f"the truth {self.name} needs Jacobians, and the rows were read without them")
        sizes = np.abs(scale.dimensionless(rows.jacobian)).reshape(len(rows), -1)
        return sizes >= self.threshold, (sizes < self.threshold / self.margin) | (sizes >= self.threshold * self.margin)


TRUTHS = {truth.name: truth for truth in (Truth("T0", None), Truth("T2", 1e-2, 3.0), Truth("T3", 1e-3, 3.0))}
"""By name. The headline is at T2."""


def truths_named(names: str | Sequence[str]) -> list[Truth]:
    """Return truths by their names.

    Args:
        names: One, or several.

    Raises:
        UnknownNameError: There is none of that name.
    """
    listed = [names] if isinstance(names, str) else list(names)
    for name in listed:
        if name not in TRUTHS:
            raise UnknownNameError(f"there is no truth {name!r}; there is {', '.join(map(repr, TRUTHS))}")
    return [TRUTHS[name] for name in listed]
