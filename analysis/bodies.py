"""Which body influences which: Jacobians of large systems, summed up by joints, as a robot's bodies have one each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.blocks import Block
from dynamic_sparsity.analysis.collecting import collect
from dynamic_sparsity.analysis.sparsity import MODES, ModeCounter
from dynamic_sparsity.analysis.spectrum import tangent_scale
from dynamic_sparsity.analysis.thresholds import sizes_of
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = [
    "COARSE",
    "MANY",
    "MEANINGS",
    "BodyCounter",
    "BodyGraph",
    "Parts",
    "body_graph",
    "coarse_entries",
    "parts_of",
]

MANY = 24
"""From how many variables on single entries are too small to read, and bodies are shown in their place."""
COARSE = 1e-2
"""From which |J| σ_cause / σ_effect on an entry counts in the coarser of the two meanings."""
MEANINGS = ("stored", "coarse")
"""An entry counts if the store's mask has it, or if it is at least `COARSE` in units of standard deviations."""
DOFS = {"free": 6, "ball": 3}
BASE, MEMORY = "base", "last control"

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """Which coordinates of the tangent state belong to which body.

    Attributes:
        names: Of the bodies, by their joints; `BASE` for a free joint that comes first; `MEMORY` for what the task
            remembers.
        places: Of each body, its places in the tangent state.
    """

    names: list[str]
    places: list[list[int]]

    def summed(self, present: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
        """Return whether any of a body's coordinates is present.

        Args:
            present: Booleans, with dx along `axis`.
            axis: Which one.

        Returns:
            bool, with as many as there are bodies along `axis`.
        """
        order = np.concatenate([np.asarray(some, np.int64) for some in self.places])
        starts = np.cumsum([0, *(len(some) for some in self.places[:-1])])
        return np.asarray(np.logical_or.reduceat(np.take(present, order, axis=axis), starts, axis=axis))


@dataclass(frozen=True)
class BodyGraph:
    """In how many rows each body, and each action, influences each body.

    A body *influences* another in a row if any entry counts whose cause is one of its coordinates (position or
    velocity) and whose effect is one of the other's.

    Attributes:
        names: Of the bodies, effects and causes alike.
        actions: Names of the actions.
        rows: By mode (`MODES`), int64, shape (3,).
        stored_s: Rows by mode, effect and cause, by the store's masks, int64, shape (3, bodies, bodies).
        stored_a: Likewise by action, int64, shape (3, bodies, da).
        coarse_s: As `stored_s`, at `COARSE` in units of standard deviations.
        coarse_a: As `stored_a`, likewise.
    """

    names: list[str]
    actions: list[str]
    rows: Counts
    stored_s: Counts
    stored_a: Counts
    coarse_s: Counts
    coarse_a: Counts

    def share(self, meaning: str, which: str = "s", mode: str | None = None) -> NDArray[np.float64]:
        """Return the share of rows in which each influence is there; NaN where there are no such rows.

        Args:
            meaning: One of `MEANINGS`.
            which: "s" or "a".
            mode: One of `MODES`, or None for all rows.

        Returns:
            float64, shape (bodies, bodies) or (bodies, da).
        """
        counts: Counts = getattr(self, f"{meaning}_{which}")
        chosen, rows = counts.sum(axis=0), int(self.rows.sum())
        if mode is not None:
            chosen, rows = counts[MODES.index(mode)], int(self.rows[MODES.index(mode)])
        return chosen / rows if rows else np.full(chosen.shape, np.nan)

    def density(self, meaning: str, mode: str | None = None) -> float:
        """Return the share of ordered pairs of different bodies of which one influences the other, mean over rows.

        Args:
            meaning: One of `MEANINGS`.
            mode: One of `MODES`, or None for all rows.
        """
        return _off_diagonal(self.share(meaning, "s", mode))

    def union_density(self, meaning: str) -> float:
        """Return the share of ordered pairs of different bodies of which one influences the other in some row.

        Args:
            meaning: One of `MEANINGS`.
        """
        return _off_diagonal((self.share(meaning) > 0).astype(np.float64))


def parts_of(metadata: dict[str, Any]) -> Parts:
    """Return the bodies of a store's model.

    Args:
        metadata: Of the store.
    """
    sizes = metadata["sizes"]
    nv, memory = sizes["nv"], sizes.get("nm", 0)
    names: list[str] = []
    places: list[list[int]] = []
    for number, joint in enumerate(metadata["joints"]):
        first, count = joint["dof_address"], DOFS.get(joint["type"], 1)
        dofs = range(first, first + count)
        name = str(joint["name"]).removesuffix("_joint")
        names.append(BASE if joint["type"] == "free" and not number else name)
        places.append([*dofs, *(nv + dof for dof in dofs)])
    rest = range(2 * nv, sizes["dx"] - memory)
    names += [f"activation {number - 2 * nv}" for number in rest]
    places += [[number] for number in rest]
    if memory:
        names.append(MEMORY)
        places.append(list(range(sizes["dx"] - memory, sizes["dx"])))
    return Parts(names, places)


class BodyCounter:
    """Counts in how many rows bodies influence each other; the blocks must have Jacobians."""

    def __init__(self, dataset: JacobianDataset) -> None:
        """Count nothing yet.

        Args:
            dataset: Whose rows will come; in tangent coordinates.
        """
        self._parts = parts_of(dataset.metadata)
        self._actions = list(dataset.metadata["action_names"])
        self._modes, self._units = ModeCounter(dataset.metadata), tangent_scale(dataset)
        bodies, actions = len(self._parts.names), len(self._actions)
        self._rows = np.zeros(len(MODES), np.int64)
        shapes: Sequence[tuple[int, ...]] = ((bodies, bodies), (bodies, actions)) * len(MEANINGS)
        self._counts = [np.zeros((len(MODES), *shape), np.int64) for shape in shapes]

    def update(self, block: Block) -> None:
        """See `Accumulator.update`.

        Raises:
            InvalidSettingError: The block has no Jacobians.
        """
        coarse = coarse_entries(block, self._units, "bodies")
        modes = self._modes.modes(block)
        self._rows += np.bincount(modes, minlength=len(MODES))
        for number, present in enumerate((block.mask_s == 1, block.mask_a == 1, *coarse)):
            bodies = self._parts.summed(present, 1)
            if not number % 2:
                bodies = self._parts.summed(bodies, 2)
            for mode in range(len(MODES)):
                self._counts[number][mode] += bodies[modes == mode].sum(axis=0)

    def result(self) -> BodyGraph:
        """Return what was counted."""
        return BodyGraph(self._parts.names, self._actions, self._rows, *self._counts)


def body_graph(dataset: JacobianDataset) -> BodyGraph:
    """Count in how many rows bodies influence each other, in one pass.

    Args:
        dataset: In ascending order of rows, in tangent coordinates.

    Raises:
        InvalidSettingError: The data set is empty or not in order.
    """
    counter = BodyCounter(dataset)
    collect(dataset, counter, jacobians=True)
    return counter.result()


def coarse_entries(block: Block, units: NDArray[np.float64], what: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which entries of J_s and J_a are at least `COARSE` in units of standard deviations.

    Args:
        block: With Jacobians.
        units: Of `tangent_scale`.
        what: Needs them, for the message.

    Raises:
        InvalidSettingError: The block has no Jacobians.
    """
    if block.J_s is None or block.J_a is None:
        raise InvalidSettingError(f"{what} need the Jacobians: collect(…, jacobians=True)")
    sizes = (sizes_of(J, name, "dimensionless", units) for J, name in ((block.J_s, "J_s"), (block.J_a, "J_a")))
    of_states, of_actions = (found >= COARSE for found in sizes)
    return of_states, of_actions


def _off_diagonal(shares: NDArray[np.float64]) -> float:
    others = ~np.eye(len(shares), dtype=bool)
    return float(shares[others].mean()) if others.any() else float("nan")
