"""Rows held against MuJoCo C: whether the step that is differentiated is MuJoCo's own."""

from __future__ import annotations

from typing import Any, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.generation.physics.model import Physics
from dynamic_sparsity.generation.verification import mujoco_steps
from dynamic_sparsity.schemas import MUJOCO_TOLERANCE


class Agreement(NamedTuple):
    """How rows compare with MuJoCo C.

    Attributes:
        difference: Largest |s' - s'_C| / (1 + |s'_C|) of each row, shape (n,).
        coordinate: Name of the number of the state with that difference, of each row.
        next_state: MuJoCo C's next states, shape (n, nq + nv).
        contacts: Contact points of MuJoCo C in each substep, shape (n, substeps).
        same_contacts: Whether their numbers are ours, bool, shape (n,).
        own_contacts: Whether contacts are found by MuJoCo C's rules here, and not by MJX's functions.
    """

    difference: NDArray[np.float64]
    coordinate: tuple[str, ...]
    next_state: NDArray[np.float64]
    contacts: NDArray[np.int64]
    same_contacts: NDArray[np.bool_]
    own_contacts: bool

    @property
    def disagrees(self) -> NDArray[np.bool_]:
        """Rows whose next state is another one in MuJoCo C, bool, shape (n,)."""
        return self.difference >= MUJOCO_TOLERANCE

    def report(self) -> str | None:
        """Return what to tell of rows that disagree; None if there are none."""
        rows = np.flatnonzero(self.disagrees)
        if not len(rows):
            return None
        worst = int(rows[np.argmax(self.difference[rows])])
        contacts = int(np.sum(~self.same_contacts[rows]))
        where = (
            "shapes are at the edge of touching there"
            if self.own_contacts
            else "its rules for shapes other than planes, spheres and capsules are not MJX's"
        )
        cause = (
            f"In {contacts} of these, MuJoCo C finds another number of contact points: {where}. "
            if contacts
            else "There are as many contact points, so a feature of the model may be at fault: please report it. "
        )
        return (
            f"{len(rows)} of {len(self.difference)} rows that were stepped by MuJoCo C as well have another next state "
            f"there; the largest relative difference is {self.difference[worst]:.1e}, in {self.coordinate[worst]}. "
            f"{cause}The Jacobians are those of the step computed here, not of MuJoCo C's."
        )


def compare(
    physics: Physics,
    names: tuple[str, ...],
    inputs: dict[str, NDArray[Any]],
    next_state: NDArray[np.float64],
    contact_count: NDArray[Any],
) -> Agreement:
    """Step rows with MuJoCo C, and compare.

    Args:
        physics: Converged physics.
        names: Of the state's numbers.
        inputs: Fields of `mjData` that are set before the step, by name, one leading axis.
        next_state: Our next states, shape (n, nq + nv).
        contact_count: Our contact points in touch, shape (n, substeps).
    """
    expected = np.empty_like(next_state, dtype=np.float64)
    contacts = np.zeros(contact_count.shape, np.int64)
    with mujoco_steps.without_warnings():
        model = mujoco_steps.c_model(physics)
        data = mujoco.MjData(model)
        for row in range(len(next_state)):
            mujoco.mj_resetData(model, data)
            for name, value in inputs.items():
                getattr(data, name)[:] = value[row]
            for substep in range(physics.task.substeps):
                mujoco.mj_step(model, data)
                contacts[row, substep] = data.ncon
            expected[row] = np.concatenate([data.qpos, data.qvel])
    gap = np.abs(next_state - expected) / (1 + np.abs(expected))
    gap = np.where(np.isnan(gap), np.inf, gap)
    worst = gap.argmax(axis=1)
    own = physics.candidates is not None or not physics.constraints.pairs
    same = (contacts == contact_count).all(axis=1)
    return Agreement(gap.max(axis=1), tuple(names[i] for i in worst), expected, contacts, same, own)
