"""Teachers for swing-up tasks: a library of feedback controllers, of which the one with the best future acts.

Each controller pumps energy into the mechanism, and balances it by a linear-quadratic regulator (LQR) where it is near
enough to upright:

    u = kₑ (E* + δ - E(q, v)) · pump(q, v) - kₚ c - k_d ċ     or     u = -K z   where zᵀ P z < capture · P₁₁,

with E* the energy at rest upright, `pump` what the motor's power is proportional to, c the coordinate to be held at 0
(the cart, or the acrobot's elbow), and z the distance of the state from upright. K and P come from the exact Jacobians
of the control step at upright, by the discrete algebraic Riccati equation. No single (kₑ, kₚ, k_d, capture, δ) swings
up from everywhere; but each state has some that does. The teacher simulates every controller of a library into the
future and does what the best one does first: rollout over a library, Chang, Givan, Chong, "Parallel rollout for online
solution of partially observable Markov decision processes", 2004. The library is chosen greedily from random samples,
so that together they do best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from mujoco import mjx
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.jacobians import engines
from dynamic_sparsity.generation.physics.model import Physics, load_physics
from dynamic_sparsity.training import planar
from dynamic_sparsity.training.planar import Chain, Scalars, placed

Signal = Callable[[Chain, Scalars, Scalars], jax.Array]
Array = NDArray[np.float32]

_LEAST = np.array([-1.5, -0.5, -2.5, -2.5, -1.0], np.float32)
_MOST = np.array([0.7, 1.3, 0.3, -0.3, 2.0], np.float32)
"""Ranges that parameters are drawn from: log10 of kₑ, kₚ, k_d and capture, and δ in joules."""


_TOLERANCE = 0.03
"""An action is good enough where its controller's future is worth this much less than the best one's, relatively."""


@dataclass(frozen=True)
class SwingUp:
    """What is particular to one mechanism.

    Attributes:
        pump: Energy rises where the control has this signal's sign.
        held: Index of the joint to be held at 0; None for none.
        reward: Of a state; what the teacher maximises the sum of.
        spread: Half-width of the initial positions' uniform distribution, per joint.
        middle: Its middle.
    """

    pump: Signal
    held: int | None
    reward: Signal
    middle: tuple[float, ...]
    spread: tuple[float, ...]


def _bell(distance: jax.Array, margin: float) -> jax.Array:
    """Return the reward of DM Control outside its bounds: 1 at distance 0, 0.1 at the margin."""
    value: jax.Array = jnp.exp(jnp.log(0.1) * (jnp.maximum(distance, 0.0) / margin) ** 2)
    return value


def _acrobot_reward(chain: Chain, q: Scalars, _v: Scalars) -> jax.Array:
    x, z = placed(chain.frames(q)[1], (0.0, 1.0))
    distance = jnp.hypot(x, 2.0 - z) - 0.2
    return _bell(distance, 1.0) + (distance <= 0)


def _cartpole_reward(_chain: Chain, q: Scalars, _v: Scalars) -> jax.Array:
    there = (jnp.abs(q[0]) <= 0.25) & (jnp.cos(q[1]) >= 0.995)
    return there + 0.05 * (1 + jnp.cos(q[1])) * _bell(jnp.abs(q[0]), 2.0)


def _pendulum_reward(_chain: Chain, q: Scalars, _v: Scalars) -> jax.Array:
    height = jnp.cos(q[0])
    reward: jax.Array = (height >= np.cos(np.deg2rad(8.0))) + 0.05 * (1 + height)
    return reward


_ACROBOT = SwingUp(lambda _c, _q, v: v[1], 1, _acrobot_reward, (0.0, 0.0), (np.pi, np.pi))
_CARTPOLE = SwingUp(lambda _c, q, v: -v[1] * jnp.cos(q[1]), 0, _cartpole_reward, (0.0, np.pi), (0.02, 0.02))
_PENDULUM = SwingUp(lambda _c, _q, v: v[0], None, _pendulum_reward, (np.pi / 2,), (np.pi / 2,))

TASKS = {
    "AcrobotSwingup": _ACROBOT,
    "AcrobotSwingupSparse": _ACROBOT,
    "CartpoleSwingup": _CARTPOLE,
    "CartpoleSwingupSparse": _CARTPOLE,
    "PendulumSwingup": _PENDULUM,
}
"""The tasks that have such a teacher."""


class SwingUpTeacher:
    """Says, for any state of a swing-up task, what to do.

    Attributes:
        library: Parameters of the controllers, shape (controllers, 5): kₑ, kₚ, k_d, capture, δ.
    """

    def __init__(self, task: str, *, samples: int, size: int, horizon: int, length: int, seed: int) -> None:
        """Choose a library.

        Args:
            task: Name of a task of `TASKS`.
            samples: Number of controllers to choose from.
            size: Number of controllers in the library.
            horizon: Control steps that each is simulated for, to choose the one that acts.
            length: Control steps of an episode.
            seed: Of the samples and initial states.

        Raises:
            InvalidSettingError: There is no such teacher for the task.
        """
        if task not in TASKS:
            raise InvalidSettingError(
                f"There is no swing-up teacher for {task}; there are some for {', '.join(TASKS)}."
            )
        self._task, self._horizon, self._length = TASKS[task], horizon, length
        physics = load_physics(task)
        self._chain = planar.chain(physics.mj_model, physics.task.substeps)
        gain, cost = regulator(physics)
        self._gain, self._cost = gain.astype(np.float32), cost.astype(np.float32)
        upright = [np.zeros(len(self._chain.links), np.float32)] * 2
        self._target = float(
            self._chain.energy([jnp.asarray(x) for x in upright[0]], [jnp.asarray(x) for x in upright[1]])
        )
        self._random = np.random.default_rng(seed)
        self._simulate = jax.jit(jax.vmap(self._future, (0, 0, 0, None)), static_argnums=3)
        self.library = self._choose(samples, size)

    def starts(self, count: int) -> tuple[Array, Array]:
        """Return initial positions and velocities, each of shape (count, joints), as the task draws them.

        Args:
            count: Number of episodes.
        """
        spread = self._random.uniform(-1, 1, (count, len(self._chain.links))) * self._task.spread
        return (spread + self._task.middle).astype(np.float32), np.zeros(spread.shape, np.float32)

    def label(self, qpos: NDArray[np.floating], qvel: NDArray[np.floating]) -> tuple[Array, NDArray[np.bool_]]:
        """Return what each controller would do in each state, and whether its future is nearly the best.

        Args:
            qpos: Positions, shape (states, joints).
            qvel: Velocities, shape (states, joints).

        Returns:
            Actions, shape (states, controllers, 1), and booleans, shape (states, controllers).
        """
        count, size = len(qpos), len(self.library)
        repeated = np.repeat(np.float32(qpos), size, 0), np.repeat(np.float32(qvel), size, 0)
        parameters = np.tile(self.library, (count, 1))
        values = np.asarray(self._returns(*repeated, parameters, self._horizon)).reshape(count, size)
        actions = np.asarray(self._controls(*repeated, parameters)).reshape(count, size, 1)
        return actions, values >= (1 - _TOLERANCE) * values.max(1, keepdims=True)

    def demonstrate(self, episodes: int, hold: int) -> tuple[Array, Array, Array]:
        """Play episodes in which the teacher acts.

        Args:
            episodes: Number of episodes.
            hold: Control steps for which a chosen controller acts until it is chosen again.

        Returns:
            Positions and velocities, shape (steps, episodes, joints), and the episodes' sums of the teacher's reward.
        """
        q, v = self.starts(episodes)
        total, found = np.zeros(episodes, np.float32), []
        for _ in range(self._length // hold):
            chosen = self.library[self._best(q, v)]
            value, at, speed = (np.asarray(part) for part in self._simulate(q, v, chosen, hold))
            found.append((at, speed))
            q, v, total = at[:, -1], speed[:, -1], total + value
        positions, velocities = (np.concatenate(part, 1).swapaxes(0, 1) for part in zip(*found, strict=True))
        return positions, velocities, total

    def _best(self, q: Array, v: Array) -> NDArray[np.intp]:
        count, size = len(q), len(self.library)
        repeated = np.repeat(q, size, 0), np.repeat(v, size, 0)
        values = np.asarray(self._returns(*repeated, np.tile(self.library, (count, 1)), self._horizon))
        best: NDArray[np.intp] = values.reshape(count, size).argmax(1)
        return best

    @partial(jax.jit, static_argnums=(0, 4))
    def _returns(self, q: jax.Array, v: jax.Array, parameters: jax.Array, length: int) -> jax.Array:
        """Return the sums of rewards of batches of states and controllers."""

        def step(carry: Any, _: None) -> tuple[Any, None]:
            q, v, total = carry
            q, v = jax.vmap(lambda q, v, p: self._chain.step(q, v, self._control(q, v, p)))(q, v, parameters)
            gained = jax.vmap(lambda q, v: self._task.reward(self._chain, list(q), list(v)))(q, v)
            return (q, v, total + gained), None

        (_, _, total), _ = jax.lax.scan(step, (q, v, jnp.zeros_like(q[:, 0])), None, length=length)
        return total

    @partial(jax.jit, static_argnums=0)
    def _controls(self, q: jax.Array, v: jax.Array, parameters: jax.Array) -> jax.Array:
        return jax.vmap(self._control)(q, v, parameters)

    def _future(self, q: jax.Array, v: jax.Array, parameters: jax.Array, length: int) -> tuple[jax.Array, ...]:
        def step(
            carry: tuple[jax.Array, jax.Array], _: None
        ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, ...]]:
            q, v = self._chain.step(*carry, self._control(*carry, parameters))
            return (q, v), (self._task.reward(self._chain, list(q), list(v)), q, v)

        _, (rewards, at, speed) = jax.lax.scan(step, (q, v), None, length=length)
        return rewards.sum(), at, speed

    def _control(self, q: jax.Array, v: jax.Array, parameters: jax.Array) -> jax.Array:
        """Return a controller's action in a state, shape ()."""
        energy_gain, position_gain, velocity_gain, capture, surplus = parameters
        turned = [at if link.slides else _wrapped(at) for link, at in zip(self._chain.links, q, strict=True)]
        apart = [*turned, *v]
        pump = self._task.pump(self._chain, list(q), list(v))
        control = energy_gain * (self._target + surplus - self._chain.energy(list(q), list(v))) * pump
        if self._task.held is not None:
            control = control - position_gain * turned[self._task.held] - velocity_gain * v[self._task.held]
        balance = sum(-float(k) * z for k, z in zip(self._gain, apart, strict=True))
        size = len(apart)
        cost = sum(float(self._cost[i, j]) * apart[i] * apart[j] for i in range(size) for j in range(size))
        return jnp.clip(jnp.where(cost < capture, balance, control), -1.0, 1.0)

    def _choose(self, samples: int, size: int, episodes: int = 48, together: int = 64) -> Array:
        """Add, one by one, the sampled controller that raises the mean of the best returns most."""
        q, v = self.starts(episodes)
        drawn = self._random.uniform(_LEAST, _MOST, (samples, len(_LEAST))).astype(np.float32)
        drawn[:, :4] = 10 ** drawn[:, :4]
        values = np.empty((samples, episodes), np.float32)
        for first in range(0, samples, together):
            part = drawn[first : first + together]
            many = len(part)
            found = self._returns(
                np.tile(q, (many, 1)), np.tile(v, (many, 1)), np.repeat(part, episodes, 0), self._length
            )
            values[first : first + many] = np.asarray(found).reshape(many, episodes)
        chosen: list[int] = []
        reached = np.zeros(episodes, np.float32)
        for _ in range(min(size, samples)):
            chosen.append(int(np.maximum(reached, values).mean(1).argmax()))
            reached = np.maximum(reached, values[chosen[-1]])
        return drawn[chosen]


def _wrapped(angle: jax.Array) -> jax.Array:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def regulator(physics: Physics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the LQR at rest at qpos = 0, by the exact Jacobians there.

    Args:
        physics: Of a mechanism with one motor.

    Returns:
        Gain K, shape (2 nv,), and cost-to-go P, shape (2 nv, 2 nv), in units of its entry for the first hinge.
    """
    data = mjx.make_data(physics.mj_model)
    found = jax_runtime.jit(lambda d: engines.transition(physics, d, jnp.zeros(physics.task.da))[1:3])(data)
    A, B = (np.asarray(part) for part in found)
    nv = physics.task.nv
    weights = np.diag([10.0] * nv + [1.0] * nv)
    P = scipy.linalg.solve_discrete_are(A, B, weights, 10.0 * np.eye(1))
    K = np.linalg.solve(10.0 * np.eye(1) + B.T @ P @ B, B.T @ P @ A)
    return K[0], P / P[nv - 1, nv - 1]
