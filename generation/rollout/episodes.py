"""Episodes with Jacobians: the task's environment, with its physics exchanged for ours.

A batch of episodes is simulated side by side. Per control step three compiled programs run: the policy, and the two of
`simulation`. The host only hands arrays from one to the next; `recorder` copies them in the background.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from dynamic_sparsity.errors import NotConvergedError
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.physics import constraint_solver
from dynamic_sparsity.generation.physics.model import Dynamics, Physics
from dynamic_sparsity.generation.rollout.actions import Plan, Policy, make_policy
from dynamic_sparsity.generation.rollout.recorder import Columns, Recorder
from dynamic_sparsity.generation.rollout.rows_at_once import RowsAtOnce
from dynamic_sparsity.generation.rollout.simulation import Now, Simulation, Step, keys_of_episodes
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.schemas import FLAG_BITS


@dataclass(frozen=True, eq=False)
class Episodes:
    """Simulates batches of episodes of one task under one policy and one dynamics.

    Attributes:
        settings: The run's settings.
        simulation: Resets and steps the task.
        policy: Chooses the actions.
        at_once: How many rows go through the device at once.
    """

    settings: Settings
    simulation: Simulation
    policy: Policy
    _plan: Callable[[jax.Array, jax.Array], Plan]
    _act: Callable[..., jax.Array]
    at_once: RowsAtOnce = field(default_factory=RowsAtOnce)

    @classmethod
    def prepare(cls, settings: Settings) -> Episodes:
        """Load the task and set up its programs; nothing is compiled yet.

        Args:
            settings: The run's settings.

        Raises:
            InvalidSettingError: The policy does not fit the task.
        """
        simulation = Simulation.prepare(settings.task, cast(Dynamics, settings.dynamics), settings.source)
        policy = make_policy(settings, simulation.physics.task.da)
        return cls(
            settings=settings,
            simulation=simulation,
            policy=policy,
            _plan=jax_runtime.jit(lambda keys, episodes: policy.start(keys, episodes, settings.episode_length)),
            _act=jax_runtime.jit(policy.act),
        )

    @property
    def physics(self) -> Physics:
        """The task's physics."""
        return self.simulation.physics

    def compile(self, count: int) -> float:
        """Compile all programs, or read them from the cache.

        Args:
            count: Episodes per batch.

        Returns:
            The seconds that this took.
        """
        began = time.perf_counter()

        def first_step(rows: int) -> None:
            _, step = self._step(0, *self._start(0, rows), constraint_solver.MAX_ITERATIONS)
            np.asarray(step.task.reward), np.asarray(step.row.flags)

        self.at_once.attempt(count, first_step)
        return time.perf_counter() - began

    def _start(self, first: int, count: int) -> tuple[Now, Plan]:
        reset_keys, policy_keys = keys_of_episodes(self.settings.task, self.settings.seed, first, count)
        return self.simulation.reset(reset_keys), self._plan(policy_keys, jnp.arange(first, first + count))

    def _step(self, index: int, now: Now, plan: Plan, max_iterations: int, all_slots: bool = False) -> tuple[Now, Step]:
        action = self._act(plan, np.int64(index), now.observation)
        return self.simulation.step(now, action, max_iterations, all_slots)

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
            count: Number of episodes; the same for every call, as bits depend on it. They go through the device side
                by side, or in parts where its memory is short.
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
        columns: Columns = {} if memory is None else memory
        made, reported = 0, 0
        overflow = False

        def report(rows: int) -> None:
            nonlocal reported
            reported += rows
            if on_progress is not None and rows:
                on_progress(rows)

        def remaining(rows: int) -> None:
            nonlocal made, overflow
            # What an attempt that ran out of memory had reported is made again.
            report(made * self.settings.episode_length - reported)
            while made < count:
                part = slice(made, made + rows)
                overflow |= self._simulate_part(first, part, count, max_iterations, all_slots, report, columns)
                made += rows

        self.at_once.attempt(count, remaining)
        return columns, overflow

    def _simulate_part(
        self,
        first: int,
        part: slice,
        count: int,
        max_iterations: int,
        all_slots: bool,
        report: Callable[[int], None],
        columns: Columns,
    ) -> bool:
        """Simulate a part of a unit's episodes, into its columns; return whether a row had too many contact points."""
        length, rows = self.settings.episode_length, part.stop - part.start
        now, plan = self._start(first + part.start, rows)
        state = np.asarray(now.carry.state)
        with Recorder(self.physics, state, length, columns, self.settings.check_with_mujoco, part, count) as recorder:
            for index in range(length):
                now, step = self._step(index, now, plan, max_iterations, all_slots)
                recorder.put(index, step.action, step.row, step.task.reward, step.task.done)
                report(rows)
        return recorder.overflow
