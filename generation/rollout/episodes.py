"""Episodes with Jacobians: the task's environment, with its physics exchanged for ours.

A batch of episodes is simulated side by side. Per control step three compiled programs run: the policy, the
*transition* (physics and Jacobians; `transition`), one for all tasks with the same dynamics, and the *task*
(observation, reward, termination), small and cheap to compile. The host only hands arrays from one to the next;
`recorder` copies them in the background. States are rounded to float32 between control steps, so that the stored
state is exactly the one that the Jacobian belongs to.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import mjx

from dynamic_sparsity.errors import NotConvergedError
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.environments.loading import load_task
from dynamic_sparsity.generation.environments.replacing import TRACING, physics_replaced
from dynamic_sparsity.generation.physics import constraint_solver
from dynamic_sparsity.generation.physics.model import Dynamics, Physics, load_physics
from dynamic_sparsity.generation.rollout.actions import Plan, Policy, make_policy
from dynamic_sparsity.generation.rollout.recorder import Columns, Recorder
from dynamic_sparsity.generation.rollout.transition import (
    Carry,
    Observed,
    Program,
    Row,
    carry_of,
    seen,
    shown,
    transition_program,
)
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.generation.tasks import representative
from dynamic_sparsity.schemas import FLAG_BITS


class Step(NamedTuple):
    """One control step of a batch of episodes.

    Attributes:
        action: What was done, shape (B, da).
        row: What is stored of it.
        task: Playground's state after it, without physics.
    """

    action: jax.Array
    row: Row
    task: Any


class _Now(NamedTuple):
    """A batch of episodes between two control steps.

    Attributes:
        carry: What the physics goes on from.
        task: Playground's state, without physics.
        observed: What the task looks back at.
    """

    carry: Carry
    task: Any
    observed: Observed


@dataclass(frozen=True, eq=False)
class Episodes:
    """Simulates batches of episodes of one task under one policy and one dynamics.

    Attributes:
        settings: The run's settings.
        physics: The task's physics.
        policy: Chooses the actions.
    """

    settings: Settings
    physics: Physics
    policy: Policy
    _transition: Program
    _reset: Callable[[jax.Array], tuple[Carry, Any, Observed]]
    _observe: Callable[[Any, jax.Array, Observed, Observed], Any]
    _plan: Callable[[jax.Array, jax.Array], Plan]
    _act: Callable[..., jax.Array]

    @classmethod
    def prepare(cls, settings: Settings) -> Episodes:
        """Load the task and set up its programs; nothing is compiled yet.

        Args:
            settings: The run's settings.

        Raises:
            InvalidSettingError: The policy does not fit the task.
        """
        kind = cast(Dynamics, settings.dynamics)
        loaded = load_task(settings.task, settings.source)
        environment, interface = loaded.environment, loaded.interface
        physics = load_physics(settings.task, kind, source=settings.source)
        policy = make_policy(settings, physics.task.da)
        empty = mjx.make_data(physics.mj_model, impl="jax")

        def reset(key: jax.Array) -> tuple[Carry, Any, Observed]:
            with TRACING:
                state = environment.reset(key)
            carry = carry_of(state.data, interface.remembers)
            return carry, state.replace(data=None), seen(state.data, carry, interface.looked_back)

        def observe(task: Any, action: jax.Array, before: Observed, after: Observed) -> Any:
            if interface.looked_back or interface.written:
                task = task.replace(data=shown(empty, before))
            with physics_replaced(shown(empty, after)):
                return environment.step(task, action).replace(data=None)

        return cls(
            settings=settings,
            physics=physics,
            policy=policy,
            _transition=cls._program(physics, settings.source, all_slots=False),
            _reset=jax_runtime.jit(jax.vmap(reset)),
            _observe=jax_runtime.jit(jax.vmap(observe)),
            _plan=jax_runtime.jit(lambda keys, episodes: policy.start(keys, episodes, settings.episode_length)),
            _act=jax_runtime.jit(policy.act),
        )

    @staticmethod
    def _program(physics: Physics, source: str | None, all_slots: bool) -> Program:
        return transition_program(representative(physics.task), physics.dynamics, all_slots, source)

    def _keys(self, first: int, count: int) -> tuple[jax.Array, jax.Array]:
        """Return keys of initial states and of policies of episodes first … first + count - 1, each (count, 2)."""
        # Tasks of one group share dynamics and resets; their data must differ all the same.
        seeded = jax.random.PRNGKey(self.settings.seed, impl=jax_runtime.PRNG)
        root = jax.random.fold_in(seeded, zlib.crc32(self.settings.task.encode()))
        folded = jax.vmap(lambda i: jax.random.fold_in(root, i))(jnp.arange(first, first + count))
        pairs = jax.vmap(jax.random.split)(folded)
        return pairs[:, 0], pairs[:, 1]

    def compile(self, count: int) -> float:
        """Compile all programs, or read them from the cache.

        Args:
            count: Episodes per batch.

        Returns:
            The seconds that this took.
        """
        began = time.perf_counter()
        _, step = self._step(0, *self._start(0, count), constraint_solver.MAX_ITERATIONS)
        np.asarray(step.task.reward), np.asarray(step.row.flags)
        return time.perf_counter() - began

    def _start(self, first: int, count: int) -> tuple[_Now, Plan]:
        reset_keys, policy_keys = self._keys(first, count)
        return _Now(*self._reset(reset_keys)), self._plan(policy_keys, jnp.arange(first, first + count))

    def _step(
        self, index: int, now: _Now, plan: Plan, max_iterations: int, all_slots: bool = False
    ) -> tuple[_Now, Step]:
        observation = now.task.obs["state"] if isinstance(now.task.obs, Mapping) else now.task.obs
        action = self._act(plan, np.int64(index), observation)
        program = self._program(self.physics, self.settings.source, True) if all_slots else self._transition
        carry, observed, row = program(now.carry, action, np.int32(max_iterations))
        task = self._observe(now.task, action, now.observed, observed)
        return _Now(carry, task, {name: observed[name] for name in now.observed}), Step(action, row, task)

    def simulate(
        self,
        first: int,
        count: int,
        on_progress: Callable[[int], None] | None = None,
        memory: Columns | None = None,
    ) -> Columns:
        """Simulate episodes first … first + count - 1 side by side.

        Args:
            first: Index of the first episode.
            count: Number of episodes; the same for every call, as bits depend on it.
            on_progress: Called with the number of rows finished since the last call.
            memory: What an earlier call for as many episodes returned, to be written over and returned; or an empty
                dictionary, to be filled and returned.

        Returns:
            The store's columns, each with leading axes (count, episode_length). Steps after a termination are still
            there.

        Raises:
            NotConvergedError: A row did not converge even with ten times the usual limit of iterations.
        """
        columns, overflow = self._simulate(first, count, constraint_solver.MAX_ITERATIONS, False, on_progress, memory)
        if overflow:
            # Slower, and right: every point that might touch has a slot.
            columns, _ = self._simulate(first, count, constraint_solver.MAX_ITERATIONS, True, None, columns)
        bit = np.uint16(1 << FLAG_BITS["not_converged"])
        if np.any(columns["flags"] & bit):
            # Converged rows keep their bits: they stop where they did.
            columns, _ = self._simulate(first, count, 10 * constraint_solver.MAX_ITERATIONS, overflow, None, columns)
        finite = columns["flags"] & (1 << FLAG_BITS["nonfinite"]) == 0
        failed = np.argwhere((columns["flags"] & bit != 0) & finite)
        if len(failed):
            episode, step = failed[0]
            residual = columns["solver_residual"][episode, step]
            raise NotConvergedError(
                f"{self.settings.task}: the constraint solver did not converge in {len(failed)} rows, the first of "
                f"them episode {first + episode}, step {step} (relative residual {residual:.1e}, tolerance "
                f"{constraint_solver.RESIDUAL_TOLERANCE:.0e}). Nothing of this block was written. Another --seed "
                "avoids it."
            )
        return columns

    def _simulate(
        self,
        first: int,
        count: int,
        max_iterations: int,
        all_slots: bool,
        on_progress: Callable[[int], None] | None,
        memory: Columns | None,
    ) -> tuple[Columns, bool]:
        """Return the columns, and whether a row had too many contact points."""
        length = self.settings.episode_length
        now, plan = self._start(first, count)
        state = np.asarray(now.carry.state)
        with Recorder(self.physics, state, length, memory, self.settings.check_with_mujoco) as recorder:
            for index in range(length):
                now, step = self._step(index, now, plan, max_iterations, all_slots)
                recorder.put(index, step.action, step.row, step.task.reward, step.task.done)
                if on_progress is not None:
                    on_progress(count)
        return recorder.columns, recorder.overflow
