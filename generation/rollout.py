"""Episodes with Jacobians: the task's environment, with its physics exchanged for ours.

A batch of episodes is simulated side by side. Per control step two compiled programs run: the *transition* (physics
and Jacobians), one for
all tasks with the same dynamics, and the *task* (observation, reward, termination), small and cheap to compile.
States are rounded to float32 between
control steps, so that the stored state is exactly the one that the Jacobian belongs to.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import mjx
from numpy.typing import NDArray

from dynamic_sparsity.errors import NotConvergedError
from dynamic_sparsity.generation import dynamics, jacobians, oracle, runtime, solver, tangent, tasks
from dynamic_sparsity.generation.policies import Plan, Policy, make_policy
from dynamic_sparsity.generation.settings import MASK_THRESHOLD, Settings
from dynamic_sparsity.schemas import FLAG_BITS

SMALL_ANGULAR_VELOCITY = 1e-8
"""rad/s below which MJX's own derivative of a quaternion's integration is zero, and wrong."""

Columns = dict[str, NDArray[Any]]


class Row(NamedTuple):
    """What the transition program gives for one row, beside the data after it.

    Names are those of the store's arrays; `flags` lacks what only the host knows, `contact_count` is MJX's number of
    contact points in touch in the first substep.
    """

    next_state: jax.Array
    J_s: jax.Array
    J_a: jax.Array
    mask_s: jax.Array
    mask_a: jax.Array
    flags: jax.Array
    solver_residual: jax.Array
    solver_iterations: jax.Array
    active_any: jax.Array
    active_all: jax.Array
    active_changes: jax.Array
    contact_distance: jax.Array
    contact_force: jax.Array
    contact_count: jax.Array


def _round_to_float32(data: mjx.Data) -> mjx.Data:
    """Rounds the state (and the warm start, which `stock` depends on) to the nearest float32, kept as float64."""

    def rounded(x: jax.Array) -> jax.Array:
        return x.astype(jnp.float32).astype(jnp.float64)

    return data.replace(qpos=rounded(data.qpos), qvel=rounded(data.qvel), qacc_warmstart=rounded(data.qacc_warmstart))


def _flag(name: str, condition: jax.Array) -> jax.Array:
    return condition.astype(jnp.uint16) << FLAG_BITS[name]


def _row(
    physics: dynamics.Physics, data: mjx.Data, action: jax.Array, result: jacobians.Transition, after: mjx.Data
) -> Row:
    info = result.info
    features = info.features
    changes = jnp.sum(jnp.any(features.rows[1:] != features.rows[:-1], axis=(1, 2)), dtype=jnp.uint8)
    residual = jnp.max(info.residual)
    slow = jnp.array(False)
    for _, k in tangent.quaternion_parts(physics.blocks):
        slow |= jnp.linalg.norm(data.qvel[k : k + 3]) < SMALL_ANGULAR_VELOCITY
    next_state = jnp.concatenate([after.qpos, after.qvel])
    converged = (residual <= solver.RESIDUAL_TOLERANCE) if physics.dynamics == "converged" else jnp.array(True)
    flags = (
        _flag("not_converged", ~converged)
        | _flag("action_at_bound", jnp.any(jnp.abs(action) >= 1))
        | _flag("active_set_changed", changes > 0)
        | _flag("small_angular_velocity", slow)
        | _flag("tangents_lost", jnp.any(info.tangents_lost))
    )
    return Row(
        next_state=next_state.astype(jnp.float32),
        J_s=result.J_s.astype(jnp.float32),
        J_a=result.J_a.astype(jnp.float32),
        mask_s=(jnp.abs(result.J_s) >= MASK_THRESHOLD).astype(jnp.uint8),
        mask_a=(jnp.abs(result.J_a) >= MASK_THRESHOLD).astype(jnp.uint8),
        flags=flags,
        solver_residual=residual.astype(jnp.float32),
        solver_iterations=jnp.minimum(jnp.max(info.iterations), 254).astype(jnp.uint8),
        active_any=jnp.any(features.active, axis=0).astype(jnp.uint8),
        active_all=jnp.all(features.active, axis=0).astype(jnp.uint8),
        active_changes=changes,
        contact_distance=jnp.min(features.distance, axis=0).astype(jnp.float32),
        contact_force=jnp.sum(features.force, axis=0).astype(jnp.float32),
        contact_count=features.contact_count[0],
    )


@cache
def transition_program(group: str, kind: dynamics.Dynamics) -> Callable[..., tuple[mjx.Data, Row]]:
    """The compiled control step with Jacobians of a group: (batched data, actions, iterations) → (data, rows)."""
    physics = dynamics.load_physics(tasks.group_representatives()[group], kind)

    def step(data: mjx.Data, action: jax.Array, max_iterations: jax.Array) -> tuple[mjx.Data, Row]:
        result = jacobians.transition(physics, data, action, max_iterations)
        after = _round_to_float32(result.data)
        return after, _row(physics, data, action, result, after)

    program: Callable[..., tuple[mjx.Data, Row]] = runtime.jit(jax.vmap(step, in_axes=(0, 0, None)))
    return program


@contextmanager
def _physics_replaced(data: mjx.Data) -> Iterator[None]:
    """Makes Playground's `mjx_env.step` return given data, so that a task computes its reward from our physics."""
    from mujoco_playground._src import mjx_env

    original = mjx_env.step
    mjx_env.step = lambda *_args, **_kwargs: data
    try:
        yield
    finally:
        mjx_env.step = original


@dataclass(frozen=True, eq=False)
class Episodes:
    """Simulates batches of episodes of one task under one policy and one dynamics."""

    settings: Settings
    physics: dynamics.Physics
    policy: Policy
    _reset: Callable[[jax.Array], Any]
    _observe: Callable[..., Any]
    _plan: Callable[[jax.Array, jax.Array], Plan]
    _act: Callable[..., jax.Array]

    @classmethod
    def prepare(cls, settings: Settings) -> Episodes:
        """Loads the task and sets up its programs; nothing is compiled yet."""
        kind = cast(dynamics.Dynamics, settings.dynamics)
        environment = dynamics.load_environment(settings.task)
        physics = dynamics.load_physics(settings.task, kind)
        policy = make_policy(settings, physics.task.da)

        def reset(key: jax.Array) -> Any:
            state = environment.reset(key)
            return state.replace(data=_round_to_float32(state.data))

        def observe(state: Any, action: jax.Array, data: mjx.Data) -> Any:
            with _physics_replaced(data):
                return environment.step(state, action)

        return cls(
            settings=settings,
            physics=physics,
            policy=policy,
            _reset=runtime.jit(jax.vmap(reset)),
            _observe=runtime.jit(jax.vmap(observe)),
            _plan=runtime.jit(lambda keys, episodes: policy.start(keys, episodes, settings.episode_length)),
            _act=runtime.jit(policy.act),
        )

    def _keys(self, first: int, count: int) -> tuple[jax.Array, jax.Array]:
        """Keys of initial states and of policies of episodes first … first + count - 1, each (count, 2)."""
        # Tasks of one group share dynamics and resets; their data shall differ all the same.
        root = jax.random.fold_in(jax.random.PRNGKey(self.settings.seed), zlib.crc32(self.settings.task.encode()))
        folded = jax.vmap(lambda i: jax.random.fold_in(root, i))(jnp.arange(first, first + count))
        pairs = jax.vmap(jax.random.split)(folded)
        return pairs[:, 0], pairs[:, 1]

    def compile(self, count: int) -> float:
        """Compiles all programs for batches of `count` episodes, or reads them from the cache; returns seconds."""
        began = time.perf_counter()
        for _ in self._steps(0, count, 1, solver.MAX_ITERATIONS):
            pass
        return time.perf_counter() - began

    def _steps(
        self, first: int, count: int, length: int, max_iterations: int
    ) -> Iterator[tuple[Any, jax.Array, Row, Any]]:
        """Yields, per control step, the state before it, the action, the row and the state after it."""
        program = transition_program(self.physics.task.group, self.physics.dynamics)
        reset_keys, policy_keys = self._keys(first, count)
        state = self._reset(reset_keys)
        plan = self._plan(policy_keys, jnp.arange(first, first + count))
        limit = jnp.asarray(max_iterations, jnp.int32)
        for step in range(length):
            action = self._act(plan, jnp.asarray(step), state.obs)
            data, row = program(state.data, action, limit)
            after = self._observe(state, action, data)
            yield state, action, row, after
            state = after

    def simulate(self, first: int, count: int, progress: Callable[[int], None] | None = None) -> Columns:
        """Simulates episodes first … first + count - 1 side by side.

        Args:
            first: Index of the first episode.
            count: Number of episodes; the same for every call, as bits depend on it.
            progress: Called with the number of rows finished since the last call.

        Returns:
            The store's columns, each with leading axes (count, episode_length). Steps after a termination are still
            there.

        Raises:
            NotConvergedError: A row did not converge even with ten times the usual limit of iterations.
        """
        columns = self._simulate(first, count, solver.MAX_ITERATIONS, progress)
        bit = np.uint16(1 << FLAG_BITS["not_converged"])
        if np.any(columns["flags"] & bit):
            # Converged rows keep their bits: they stop where they did.
            columns = self._simulate(first, count, 10 * solver.MAX_ITERATIONS, None)
        finite = columns["flags"] & (1 << FLAG_BITS["nonfinite"]) == 0
        failed = np.argwhere((columns["flags"] & bit != 0) & finite)
        if len(failed):
            episode, step = failed[0]
            residual = columns["solver_residual"][episode, step]
            raise NotConvergedError(
                f"{self.settings.task}: the constraint solver did not converge in {len(failed)} rows, the first of "
                f"them episode {first + episode}, step {step} (relative residual {residual:.1e}, tolerance "
                f"{solver.RESIDUAL_TOLERANCE:.0e}). Nothing of this block was written. Another --seed avoids it."
            )
        return columns

    def _simulate(self, first: int, count: int, max_iterations: int, progress: Callable[[int], None] | None) -> Columns:
        length = self.settings.episode_length
        buffer = _Buffer(self.physics, count, length)
        pending: tuple[Any, ...] | None = None
        # One step behind: while the device computes a step, the host stores the one before.
        for step, current in enumerate(self._steps(first, count, length, max_iterations)):
            if pending is not None:
                buffer.store(step - 1, *pending)
            if progress is not None and step:
                progress(count)
            pending = current
        if pending is not None:
            buffer.store(length - 1, *pending)
        if progress is not None:
            progress(count)
        return buffer.columns


def _nonfinite(values: Columns) -> NDArray[np.bool_]:
    """Rows of which some stored float is not finite; a pair's distance may be infinite, which says something."""
    found = np.zeros(len(values["state"]), bool)
    for name, value in values.items():
        if value.dtype == np.float32 and name != "contact_distance":
            found |= ~np.isfinite(value.reshape(len(value), -1)).all(axis=1)
    return found


class _Buffer:
    """Collects the rows of a batch of episodes on the host."""

    def __init__(self, physics: dynamics.Physics, count: int, length: int) -> None:
        self.columns: Columns = {}
        self._shape = (count, length)
        self._stock = physics.dynamics == "stock"
        self._oracle = oracle.Oracle(physics) if physics.constraints.pairs else None

    def store(self, step: int, state: Any, action: jax.Array, row: Row, after: Any) -> None:
        """Copies one control step of all episodes from the device."""
        values = {name: np.asarray(value) for name, value in row._asdict().items()}
        before = np.concatenate([np.asarray(state.data.qpos), np.asarray(state.data.qvel)], axis=1)
        values |= {
            "state": before.astype(np.float32),
            "action": np.asarray(action).astype(np.float32),
            "reward": np.asarray(after.reward).astype(np.float32),
            "done": (np.asarray(after.done) != 0).astype(np.uint8),
        }
        if self._stock:
            values["qacc_warmstart"] = np.asarray(state.data.qacc_warmstart).astype(np.float32)
        seen = values.pop("contact_count")
        if self._oracle is not None:
            differs = np.array([self._oracle.contacts(s) for s in before]) != seen
            values["flags"] = values["flags"] | (differs.astype(np.uint16) << FLAG_BITS["contact_mismatch"])
        values["flags"] = values["flags"] | (_nonfinite(values).astype(np.uint16) << FLAG_BITS["nonfinite"])
        for name, value in values.items():
            if name not in self.columns:
                self.columns[name] = np.empty((*self._shape, *value.shape[1:]), value.dtype)
            self.columns[name][:, step] = value
