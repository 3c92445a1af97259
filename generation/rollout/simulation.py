"""A task as functions of batches: the reset of an episode, and the control step with what the task says of it.

Per control step two compiled programs run: the *transition* (physics and Jacobians; `transition`), one for all tasks
with the same dynamics, and the *task* (observation, reward, termination), small and cheap to compile. States are
rounded to float32 between control steps, so that the stored state is exactly the one that the Jacobian belongs to.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import mjx

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.environments.loading import load_task
from dynamic_sparsity.generation.environments.replacing import TRACING, physics_replaced
from dynamic_sparsity.generation.physics import constraint_solver
from dynamic_sparsity.generation.physics.model import Dynamics, Physics, load_physics
from dynamic_sparsity.generation.rollout.transition import (
    Carry,
    Observed,
    Row,
    carry_of,
    seen,
    shown,
    transition_program,
)
from dynamic_sparsity.generation.tasks import representative


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


class Now(NamedTuple):
    """A batch of episodes between two control steps.

    Attributes:
        carry: What the physics continues from.
        task: Playground's state, without physics.
        observed: What the task looks back at.
    """

    carry: Carry
    task: Any
    observed: Observed

    @property
    def observation(self) -> jax.Array:
        """The task's own observations, shape (B, do)."""
        seen_by_task = self.task.obs
        found: jax.Array = seen_by_task["state"] if isinstance(seen_by_task, Mapping) else seen_by_task
        return found


def keys_of_episodes(task: str, seed: int, first: int, count: int) -> tuple[jax.Array, jax.Array]:
    """Return the random keys of episodes first … first + count - 1: of initial states, and of policies.

    Args:
        task: Name of the task.
        seed: The run's seed.
        first: Index of the first episode.
        count: Number of episodes.

    Returns:
        Two arrays of shape (count, 2), uint32.
    """
    # Tasks of one group share dynamics and resets; their data must differ all the same.
    seeded = jax.random.PRNGKey(seed, impl=jax_runtime.PRNG)
    root = jax.random.fold_in(seeded, zlib.crc32(task.encode()))
    folded = jax.vmap(lambda i: jax.random.fold_in(root, i))(jnp.arange(first, first + count))
    pairs = jax.vmap(jax.random.split)(folded)
    return pairs[:, 0], pairs[:, 1]


@dataclass(frozen=True, eq=False)
class Simulation:
    """Resets and steps batches of episodes of one task under one dynamics.

    Attributes:
        physics: The task's physics.
        source: Where the task comes from, as of `task_sources`; None for one of Playground.
        reset: (keys of initial states, shape (B, 2)) → `Now`.
    """

    physics: Physics
    source: str | None
    reset: Callable[[jax.Array], Now]
    _observe: Callable[[Any, jax.Array, Observed, Observed], Any]

    @classmethod
    def prepare(cls, task: str, dynamics: Dynamics = "converged", source: str | None = None) -> Simulation:
        """Load a task and set up its programs; nothing is compiled yet.

        Args:
            task: Name of the task.
            dynamics: "converged" or "stock".
            source: Where the task comes from, as of `task_sources`; None for one of Playground.

        Raises:
            DynamicSparsityError: As `load_physics`.
        """
        loaded = load_task(task, source)
        environment, interface = loaded.environment, loaded.interface
        physics = load_physics(task, dynamics, source=source)
        empty = mjx.make_data(physics.mj_model, impl="jax")

        def reset(key: jax.Array) -> Now:
            with TRACING:
                state = environment.reset(key)
            carry = carry_of(state.data, interface)
            return Now(carry, state.replace(data=None), seen(state.data, carry, interface.looked_back))

        def observe(task: Any, action: jax.Array, before: Observed, after: Observed) -> Any:
            if interface.looked_back or interface.written:
                task = task.replace(data=shown(empty, before))
            with physics_replaced(shown(empty, after)):
                return environment.step(task, action).replace(data=None)

        compiled = jax_runtime.jit(jax.vmap(reset)), jax_runtime.jit(jax.vmap(observe))
        return cls(physics, source, *compiled)

    def step(
        self,
        now: Now,
        action: jax.Array,
        max_iterations: int = constraint_solver.MAX_ITERATIONS,
        all_slots: bool = False,
    ) -> tuple[Now, Step]:
        """Make a control step.

        Args:
            now: Where the episodes are.
            action: Float64, shape (B, da).
            max_iterations: Limit of the constraint solver's iterations.
            all_slots: Give every candidate for a contact point a slot, as `load_physics`.
        """
        program = transition_program(representative(self.physics.task), self.physics.dynamics, all_slots, self.source)
        carry, observed, row = program(now.carry, action, np.int32(max_iterations))
        task = self._observe(now.task, action, now.observed, observed)
        return Now(carry, task, {name: observed[name] for name in now.observed}), Step(action, row, task)
