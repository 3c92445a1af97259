"""The independent check: MuJoCo C's own step, differentiated by central differences in float64.

Shares no code with the Jacobians it checks: another implementation of the dynamics, another way to differentiate. The
two see the same map where MJX
and C find the same contact points; where they do not, the next states differ as well, and `Comparison.comparable` is
False.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.generation.physics.model import Physics

Array = NDArray[np.float64]

EPSILONS = (1e-6, 1e-7)
"""Half widths of the differences. Where the two disagree, a contact or limit switches between the evaluated points."""

AGREEMENT = 1e-3
"""Relative disagreement of the two differences above which a row counts as next to a switch."""

SAME_STATE = 1e-6
"""Largest difference of next states, relative to 1 + |state|, up to which MJX and C are said to have stepped alike."""


class Reference(NamedTuple):
    """MuJoCo C's answer for one row.

    Attributes:
        next_state: (qpos, qvel) after the control step, shape (ds,).
        jacobian: [J_s | J_a] in tangent coordinates, shape (2 nv, 2 nv + nu), by the first of `EPSILONS`.
        disagreement: Relative difference between the Jacobians by the two `EPSILONS`.
        contacts: Contact points in touch at the given state.
    """

    next_state: Array
    jacobian: Array
    disagreement: float
    contacts: int


def _ignore_warning(message: str) -> None:
    """Drops MuJoCo's warnings, which it would write to a file in the working directory; results show divergence."""


class Oracle:
    """Steps and differentiates one task with MuJoCo C."""

    def __init__(self, physics: Physics) -> None:
        """Prepares for the model of `physics`, with its options. Silences MuJoCo's warnings in this process."""
        mujoco.set_mju_user_warning(_ignore_warning)
        self.model = copy.copy(physics.mj_model)
        # A simulation that diverges shall show it, not start anew.
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self.substeps = physics.task.substeps
        self._data = mujoco.MjData(self.model)

    def contacts(self, state: Array) -> int:
        """Number of contact points in touch (distance below the margin) at a state (qpos, qvel) of shape (ds,)."""
        data = self._data
        data.qpos[:] = state[: self.model.nq]
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_collision(self.model, data)
        return int(data.ncon)

    def contact_counts(self, states: Array) -> NDArray[np.int64]:
        """`contacts` of every state of shape (n, ds), shape (n,). MuJoCo lets go of the interpreter meanwhile."""
        return np.fromiter(map(self.contacts, states), np.int64, len(states))

    def step(self, state: Array, action: Array) -> Array:
        """One control step from a state (qpos, qvel) of shape (ds,) with an action of shape (da,)."""
        model, data = self.model, self._data
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = state[: model.nq], state[model.nq :]
        data.ctrl[:] = action
        for _ in range(self.substeps):
            mujoco.mj_step(model, data)
        return np.concatenate([data.qpos, data.qvel])

    def _move(self, state: Array, tangent: Array) -> Array:
        nq, nv = self.model.nq, self.model.nv
        moved = state.copy()
        mujoco.mj_integratePos(self.model, moved[:nq], tangent[:nv], 1.0)
        moved[nq:] += tangent[nv:]
        return moved

    def _difference(self, start: Array, end: Array) -> Array:
        nq, nv = self.model.nq, self.model.nv
        difference = np.empty(2 * nv)
        mujoco.mj_differentiatePos(self.model, difference[:nv], 1.0, start[:nq], end[:nq])
        difference[nv:] = end[nq:] - start[nq:]
        return difference

    def _normalised(self, state: Array) -> Array:
        normalised = state.copy()
        mujoco.mj_normalizeQuat(self.model, normalised[: self.model.nq])
        return normalised

    def jacobian(self, state: Array, action: Array, epsilon: float) -> Array:
        """[J_s | J_a] by central differences in tangent coordinates, shape (2 nv, 2 nv + nu)."""
        state, action = self._normalised(np.asarray(state, np.float64)), np.asarray(action, np.float64)
        dx, nu = 2 * self.model.nv, self.model.nu
        columns = []
        for direction in np.eye(dx + nu) * epsilon:
            forward = self.step(self._move(state, direction[:dx]), action + direction[dx:])
            backward = self.step(self._move(state, -direction[:dx]), action - direction[dx:])
            columns.append(self._difference(backward, forward) / (2 * epsilon))
        return np.stack(columns, axis=1)

    def reference(self, state: Array, action: Array) -> Reference:
        """Next state and Jacobian of one row, with what tells whether to trust them."""
        state, action = np.asarray(state, np.float64), np.asarray(action, np.float64)
        first, second = (self.jacobian(state, action, epsilon) for epsilon in EPSILONS)
        disagreement = relative_error(second, first)
        return Reference(self.step(state, action), first, disagreement, self.contacts(state))


def relative_error(value: Array, truth: Array) -> float:
    """|value - truth| / |truth| in the Frobenius norm."""
    return float(np.linalg.norm(value - truth) / max(np.linalg.norm(truth), np.finfo(np.float64).tiny))


def same_next_state(a: Array, b: Array) -> bool:
    """True if two next states of shape (ds,) are the same but for rounding and solver tolerance."""
    return bool(np.max(np.abs(a - b) / (1 + np.abs(b))) < SAME_STATE)
