"""One task as a Gymnasium environment: its state is what a store has, its step the map that the Jacobians belong to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynamic_sparsity.errors import InvalidSettingError, NotConvergedError
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.task_sources import settled
from dynamic_sparsity.schemas import FLAG_BITS

if TYPE_CHECKING:
    from dynamic_sparsity.generation.rollout.simulation import Now, Simulation, Step

__all__ = ["DynamicsEnv"]

OPTIONS = ("episode", "state")
"""Options of `reset`."""

JACOBIANS = ("J_s", "J_a", "mask_s", "mask_a")
"""Columns of a store that `info` has on request."""


@cache
def _simulation(task: str, source: str | None) -> Simulation:
    """Return a task's programs, which all environments of it share."""
    from dynamic_sparsity.generation.rollout.simulation import Simulation

    return Simulation.prepare(task, source=source)


class DynamicsEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """A task whose step is the stored dynamics.

    The observation is the state, as a store has it: (qpos, qvel), and the last control where a task remembers it.
    Actions, rewards and terminations are the task's own. Episodes are those of a store: after `reset(seed=s)` come
    the episodes 0, 1, 2, … of stores made with seed s, as far as where they begin is concerned. JAX computes in float64
    here, however it is set up elsewhere in the program.

    `info` has `observation`, the task's own observation, float, shape (do,), which knows of the goal where the state
    does not, and which policies of this package take; `episode`, the number of the episode; and after a step `flags`,
    the row's flags, and on request its Jacobians and masks.

    Attributes:
        task: Name of the task.
        jacobians: Whether `info` has J_s and J_a, float32, shape (dx, dx) and (dx, da), in tangent coordinates, row =
            effect; and mask_s and mask_a, uint8, likewise.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's)

    def __init__(self, task: str, *, jacobians: bool = False) -> None:
        """Load a task.

        Args:
            task: Name of a task, path of a model's file, or `module:function`, as of `dynamic-sparsity generate`.
            jacobians: Put Jacobians and masks into `info`. They are computed in any case.

        Raises:
            UnknownNameError: There is no such task.
            InvalidSettingError: A source is not there, or the XLA flags are wrong.
            MissingDependencyError: A simulator is not installed, or a robot's model can't be had.
            UnsupportedModelError: The model has a feature whose derivative is not implemented.
        """
        self.task, source = settled(task)
        self.jacobians = jacobians
        with jax_runtime.pinned():
            jax_runtime.configure()
            self._simulation = _simulation(self.task, source)
        sizes = self._simulation.physics.task
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (sizes.ds,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (sizes.da,), np.float32)
        self._seed: int | None = None
        self._episode = 0
        self._now: Now | None = None

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode: without a seed the next one of the last seed, which is random at first.

        Args:
            seed: The seed of a store, below 2**63; the episode is its first one.
            options: `episode`: number of the episode instead. `state`: where to begin instead, shape (ds,); goals are
                still the episode's, and what a robot's task remembers beside its state is as after its reset.

        Returns:
            The state, float32, shape (ds,), and `info`.

        Raises:
            InvalidSettingError: The seed or an option is none of these.
        """
        if seed is not None and not 0 <= seed < 2**63:
            raise InvalidSettingError(f"seed is {seed}; it must be from 0 to 2**63 - 1.")
        chosen = _checked_options(options or {}, self._simulation.physics.task.ds)
        super().reset(seed=seed)
        fresh = seed is not None or self._seed is None
        if fresh:
            self._seed = int(self.np_random.integers(2**63)) if seed is None else int(seed)
        self._episode = chosen.get("episode", 0 if fresh else self._episode + 1)
        with jax_runtime.pinned():
            self._now = self._begun(chosen.get("state"))
            state = np.array(self._now.carry.state[0])
        return state, self._info(self._now)

    def step(self, action: ArrayLike) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Make a control step.

        Args:
            action: Float32, shape (da,); what a control does beyond its range is the model's to say.

        Returns:
            The next state, float32, shape (ds,); the reward; whether the task ended, or the state is no longer finite;
            False, as time limits are a wrapper's; and `info`.

        Raises:
            InvalidSettingError: The action has another shape or is not finite, or `reset` was not called.
            NotConvergedError: The constraint solver failed even with ten times the usual limit of iterations.
        """
        given = np.asarray(action, np.float32)
        size = self._simulation.physics.task.da
        if given.shape != (size,) or not np.isfinite(given).all():
            raise InvalidSettingError(
                f"action is {np.array2string(given, threshold=8)}; it must be {size} finite numbers, shape ({size},)."
            )
        if self._now is None:
            raise InvalidSettingError("step was called before reset: call `env.reset(seed=0)` first.")
        with jax_runtime.pinned():
            self._now, step = self._stepped(self._now, given)
        flags = int(_first(step.row.flags))
        reward = np.float32(_first(step.task.reward))
        terminated = bool(_first(step.task.done) != 0 or _has(flags, "nonfinite") or not np.isfinite(reward))
        info = self._info(self._now) | {"flags": flags}
        if self.jacobians:
            info |= {name: _first(getattr(step.row, name)) for name in JACOBIANS}
        return _first(step.row.next_state), float(reward), terminated, False, info

    def _begun(self, state: NDArray[np.float64] | None) -> Now:
        from dynamic_sparsity.generation.rollout.simulation import keys_of_episodes

        jax_runtime.require_float64()
        assert self._seed is not None
        now = self._simulation.reset(keys_of_episodes(self.task, self._seed, self._episode, 1)[0])
        if state is None:
            return now
        sizes = self._simulation.physics.task
        qpos, qvel, memory = np.split(state[None], [sizes.nq, sizes.nq + sizes.nv], axis=1)
        changed: dict[str, Any] = {"qpos": qpos, "qvel": qvel} | ({"memory": memory} if sizes.memory else {})
        return now._replace(carry=now.carry._replace(**changed))

    def _stepped(self, now: Now, given: NDArray[np.float32]) -> tuple[Now, Step]:
        """Make a step, once more with all slots where contact points were too many, or with more iterations."""
        import jax.numpy as jnp

        from dynamic_sparsity.generation.physics.constraint_solver import MAX_ITERATIONS, RESIDUAL_TOLERANCE

        jax_runtime.require_float64()
        action = jnp.asarray(given[None], jnp.float64)
        after, step = self._simulation.step(now, action)
        all_slots = bool(_first(step.row.overflow))
        if all_slots:
            after, step = self._simulation.step(now, action, all_slots=True)
        if _failed(step):
            after, step = self._simulation.step(now, action, 10 * MAX_ITERATIONS, all_slots)
        if _failed(step):
            raise NotConvergedError(
                f"{self.task}: the constraint solver did not converge in this step (relative residual "
                f"{_first(step.row.solver_residual):.1e}, tolerance {RESIDUAL_TOLERANCE:.0e}). Reset the environment."
            )
        return after, step

    def _info(self, now: Now) -> dict[str, Any]:
        return {"observation": _first(now.observation), "episode": self._episode}


def _first(batch: Any) -> NDArray[Any]:
    """Return the only row of a batch of one, on the host and the caller's own."""
    row: NDArray[Any] = np.array(batch)[0]
    return row


def _has(flags: int, name: str) -> bool:
    return bool(flags >> FLAG_BITS[name] & 1)


def _failed(step: Step) -> bool:
    flags = int(_first(step.row.flags))
    return _has(flags, "not_converged") and not _has(flags, "nonfinite")


def _checked_options(options: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Return the options of a reset: the state as float64 with float32's numbers."""
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise InvalidSettingError(f"options has {unknown[0]!r}; it may have: {', '.join(OPTIONS)}.")
    chosen: dict[str, Any] = {}
    if "episode" in options:
        episode = options["episode"]
        if not isinstance(episode, int | np.integer) or isinstance(episode, bool) or not 0 <= episode < 2**31:
            raise InvalidSettingError(f"options['episode'] is {episode!r}; it must be a whole number, at least 0.")
        chosen["episode"] = int(episode)
    if "state" in options:
        state = np.asarray(options["state"], np.float32)
        if state.shape != (size,) or not np.isfinite(state).all():
            raise InvalidSettingError(
                f"options['state'] has the shape {state.shape}; it must be {size} finite numbers, as a row of `state` "
                "in a store."
            )
        chosen["state"] = state.astype(np.float64)
    return chosen
