"""The independent check: MuJoCo C's own step, differentiated by central differences in float64.

Shares no code with the Jacobians it checks: another implementation of the dynamics, another way to differentiate. For
`converged` the two are the same map; for a row in which they are not, the next states differ as well.

MuJoCo clamps actions to [-1, 1]. Where an action is nearer to its bound than a difference reaches, that column is a
one-sided difference of second order, from the action inwards: f' ≈ (4 f(ε) - f(2 ε) - 3 f(0)) / 2 ε.

A state may lie exactly where a limit or a contact begins to push, as a hinge at rest at the end of its range. There the
step has two derivatives, one to each side, and the central difference is neither: a column of such a kink is right if
it is one of the two.
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


class Differences(NamedTuple):
    """[J_s | J_a] of one row by differences of one half width, in tangent coordinates, each of shape (dx, dx + da).

    Attributes:
        central: By central differences; one-sided, of second order, where the action is at its bound.
        forward: By differences between the row and a point ahead of it; `central` where the action is at its bound.
        backward: The same, behind it.
    """

    central: Array
    forward: Array
    backward: Array


class Reference(NamedTuple):
    """An oracle's answer for one row.

    Attributes:
        next_state: (qpos, qvel, memory) after the control step, shape (ds,).
        jacobian: [J_s | J_a] in tangent coordinates, shape (dx, dx + da), by the first of `EPSILONS`.
        disagreement: Relative difference between the Jacobians by the two `EPSILONS`.
        contacts: Contact points in touch at the given state.
        kinks: Which columns have one derivative ahead of the row and another behind it, shape (dx + da,).
        forward: The one ahead, shape (dx, dx + da); `jacobian` in the other columns.
        backward: The one behind, likewise.
    """

    next_state: Array
    jacobian: Array
    disagreement: float
    contacts: int
    kinks: NDArray[np.bool_]
    forward: Array
    backward: Array

    def nearest(self, jacobian: Array) -> Array:
        """Return the derivative that a Jacobian is to be held against: at a kink, in each column the nearer one.

        Args:
            jacobian: [J_s | J_a], shape (dx, dx + da).
        """
        ahead, behind = (np.linalg.norm(jacobian - side, axis=0) for side in (self.forward, self.backward))
        return np.where(ahead <= behind, self.forward, self.backward)


def reference_of(next_state: Array, wide: Differences, narrow: Differences, contacts: int = 0) -> Reference:
    """Make a reference from differences of the two half widths.

    Between a smooth function's differences to either side lies a gap in proportion to the width; at a kink it stays.

    Args:
        next_state: Of the row, shape (ds,).
        wide: By the first of `EPSILONS`.
        narrow: By the second.
        contacts: Contact points in touch at the row's state.
    """
    wide_gap, gap = (np.linalg.norm(one.forward - one.backward, axis=0) for one in (wide, narrow))
    size = np.maximum(*(np.linalg.norm(side, axis=0) for side in (narrow.forward, narrow.backward)))
    kinks = (gap > AGREEMENT * size) & (gap > wide_gap / 2)
    # The part of a one-sided difference that is in proportion to its width is extrapolated away.
    ratio = EPSILONS[0] / EPSILONS[1]
    forward, backward = (
        np.where(kinks, (ratio * near - far) / (ratio - 1), wide.central)
        for near, far in ((narrow.forward, wide.forward), (narrow.backward, wide.backward))
    )
    disagreement = relative_error(narrow.central, wide.central)
    return Reference(next_state, wide.central, disagreement, contacts, kinks, forward, backward)


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

    def differences(self, state: Array, action: Array, epsilon: float) -> Differences:
        """Return [J_s | J_a] by differences in tangent coordinates.

        Args:
            state: (qpos, qvel, memory), float64, shape (ds,).
            action: Action, float64, shape (da,).
            epsilon: Half width of the differences.
        """
        state, action = self._normalised(np.asarray(state, np.float64)), np.asarray(action, np.float64)
        here = self.step(state, action)
        columns = []
        for direction in np.eye(2 * self.model.nv + self.memory) * epsilon:
            ahead, behind = (self.step(self._move(state, moved), action) for moved in (direction, -direction))
            columns.append(self._slopes(here, ahead, behind, epsilon))
        for index, direction in enumerate(np.eye(len(action)) * epsilon):
            if abs(action[index]) + epsilon <= 1:
                ahead, behind = (self.step(state, action + moved) for moved in (direction, -direction))
                columns.append(self._slopes(here, ahead, behind, epsilon))
            else:
                columns.append([self._inward(state, action, -np.sign(action[index]) * direction) / (2 * epsilon)] * 3)
        return Differences(*np.stack(columns, axis=-1))

    def _slopes(self, here: Array, ahead: Array, behind: Array, epsilon: float) -> list[Array]:
        """Return the central, forward and backward differences of next states."""
        whole = self._difference(behind, ahead) / (2 * epsilon)
        return [whole, self._difference(here, ahead) / epsilon, self._difference(behind, here) / epsilon]

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
        wide, narrow = (self.differences(state, action, epsilon) for epsilon in EPSILONS)
        return reference_of(self.step(state, action), wide, narrow, self.contacts(state))


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
