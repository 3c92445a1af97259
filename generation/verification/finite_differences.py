"""The independent check: MuJoCo C's own step, differentiated by central differences in float64.

Shares no code with the Jacobians it checks: another implementation of the dynamics, another way to differentiate. For
`converged` the two are the same map; for a row in which they are not, the next states differ as well.

MuJoCo clamps actions to [-1, 1]. Where an action is nearer to its bound than a difference reaches, that column is a
one-sided difference of second order, from the action inwards: f' ≈ (4 f(ε) - f(2 ε) - 3 f(0)) / 2 ε.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.generation.physics.model import Physics
from dynamic_sparsity.generation.verification.mujoco_steps import c_model
from dynamic_sparsity.schemas import MUJOCO_TOLERANCE

Array = NDArray[np.float64]

HostControl = Callable[[Array, Array], Array]
"""(state, action) → control, float64, of one row: the task's own, which is no physics."""

EPSILONS = (1e-6, 1e-7)
"""Half widths of the differences. Where the two disagree, a contact or limit switches between the evaluated points."""

AGREEMENT = 1e-3
"""Relative disagreement of the two differences above which a row counts as next to a switch."""


class Reference(NamedTuple):
    """MuJoCo C's answer for one row.

    Attributes:
        next_state: (qpos, qvel, memory) after the control step, shape (ds,).
        jacobian: [J_s | J_a] in tangent coordinates, shape (dx, dx + da), by the first of `EPSILONS`.
        disagreement: Relative difference between the Jacobians by the two `EPSILONS`.
        contacts: Contact points in touch at the given state.
    """

    next_state: Array
    jacobian: Array
    disagreement: float
    contacts: int


class MujocoOracle:
    """Steps and differentiates one task with MuJoCo C."""

    def __init__(self, physics: Physics, control: HostControl | None = None) -> None:
        """Prepare for a model, with its options. Silences MuJoCo's warnings in this process.

        Args:
            physics: The physics that is to be checked.
            control: The task's control; None where it is the action.
        """
        self.model = c_model(physics)
        self.substeps, self.memory = physics.task.substeps, physics.task.memory
        self._control = control or (lambda _state, action: action)
        self._data = mujoco.MjData(self.model)

    def contacts(self, state: Array) -> int:
        """Return the number of contact points in touch (distance below the margin).

        Args:
            state: (qpos, qvel), float64, shape (ds,).
        """
        data = self._data
        data.qpos[:] = state[: self.model.nq]
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_collision(self.model, data)
        return int(data.ncon)

    def contact_counts(self, states: Array) -> NDArray[np.int64]:
        """Return `contacts` of many states, shape (n,). MuJoCo releases the interpreter lock meanwhile.

        Args:
            states: (qpos, qvel), float64, shape (n, ds).
        """
        return np.fromiter(map(self.contacts, states), np.int64, len(states))

    def step(self, state: Array, action: Array) -> Array:
        """Return the state after one control step, shape (ds,).

        Args:
            state: (qpos, qvel, memory), float64, shape (ds,).
            action: Action, float64, shape (da,).
        """
        model, data, size = self.model, self._data, self.model.nq + self.model.nv
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = state[: model.nq], state[model.nq : size]
        data.ctrl[:] = ctrl = self._control(state, action)
        for _ in range(self.substeps):
            mujoco.mj_step(model, data)
        return np.concatenate([data.qpos, data.qvel, ctrl[: self.memory]])

    def _move(self, state: Array, tangent: Array) -> Array:
        nq, nv = self.model.nq, self.model.nv
        moved = state.copy()
        mujoco.mj_integratePos(self.model, moved[:nq], tangent[:nv], 1.0)
        moved[nq:] += tangent[nv:]
        return moved

    def _difference(self, start: Array, end: Array) -> Array:
        nq, nv = self.model.nq, self.model.nv
        difference = np.empty(nv + len(end) - nq)
        mujoco.mj_differentiatePos(self.model, difference[:nv], 1.0, start[:nq], end[:nq])
        difference[nv:] = end[nq:] - start[nq:]
        return difference

    def _normalised(self, state: Array) -> Array:
        normalised = state.copy()
        mujoco.mj_normalizeQuat(self.model, normalised[: self.model.nq])
        return normalised

    def jacobian(self, state: Array, action: Array, epsilon: float) -> Array:
        """Return [J_s | J_a] by central differences in tangent coordinates, shape (dx, dx + da).

        Args:
            state: (qpos, qvel, memory), float64, shape (ds,).
            action: Action, float64, shape (da,).
            epsilon: Half width of the differences.
        """
        state, action = self._normalised(np.asarray(state, np.float64)), np.asarray(action, np.float64)
        dx, da = 2 * self.model.nv + self.memory, len(action)
        columns = []
        for direction in np.eye(dx) * epsilon:
            forward, backward = (self.step(self._move(state, moved), action) for moved in (direction, -direction))
            columns.append(self._difference(backward, forward) / (2 * epsilon))
        for index, direction in enumerate(np.eye(da) * epsilon):
            if abs(action[index]) + epsilon <= 1:
                forward, backward = (self.step(state, action + moved) for moved in (direction, -direction))
                columns.append(self._difference(backward, forward) / (2 * epsilon))
            else:
                columns.append(self._inward(state, action, -np.sign(action[index]) * direction) / (2 * epsilon))
        return np.stack(columns, axis=1)

    def _inward(self, state: Array, action: Array, direction: Array) -> Array:
        """Return 4 f(ε) - f(2 ε) - 3 f(0), of a step along a direction of length ε; its sign makes it a derivative."""
        start, one, two = (self.step(state, action + k * direction) for k in (0, 1, 2))
        rise: Array = 4 * self._difference(start, one) - self._difference(start, two)
        return rise if direction.sum() > 0 else -rise

    def reference(self, state: Array, action: Array) -> Reference:
        """Return next state and Jacobian of one row, with what tells whether to trust them.

        Args:
            state: (qpos, qvel, memory), shape (ds,).
            action: Action, shape (da,).
        """
        state, action = np.asarray(state, np.float64), np.asarray(action, np.float64)
        first, second = (self.jacobian(state, action, epsilon) for epsilon in EPSILONS)
        disagreement = relative_error(second, first)
        return Reference(self.step(state, action), first, disagreement, self.contacts(state))


def relative_error(value: Array, truth: Array) -> float:
    """Return |value - truth| / |truth| in the Frobenius norm.

    Args:
        value: A matrix.
        truth: A matrix of the same shape.
    """
    return float(np.linalg.norm(value - truth) / max(np.linalg.norm(truth), np.finfo(np.float64).tiny))


def same_next_state(a: Array, b: Array) -> bool:
    """Return whether two next states are the same but for rounding and solver tolerance.

    Args:
        a: Next state, shape (ds,).
        b: Next state, shape (ds,).
    """
    return bool(np.max(np.abs(a - b) / (1 + np.abs(b))) < MUJOCO_TOLERANCE)
