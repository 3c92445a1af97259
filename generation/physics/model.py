"""A task's model, ready to be stepped and differentiated; `features` says what models are supported."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import mujoco
from mujoco import mjx

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.environments.loading import load_task
from dynamic_sparsity.generation.jax_runtime import require_float64
from dynamic_sparsity.generation.physics import (
    collision,
    constraints,
    contact_slots,
    counterpart,
    features,
    manifold,
)
from dynamic_sparsity.generation.tasks import Task

Dynamics = Literal["converged", "stock"]
DYNAMICS: tuple[str, ...] = get_args(Dynamics)

# Options of the converged map for MuJoCo C, far beyond what it needs.
_C_ITERATIONS, _C_LS_ITERATIONS, _C_TOLERANCE = 200, 100, 1e-15


@dataclass(frozen=True, eq=False)
class Physics:
    """A task's physics, ready to be stepped and differentiated.

    Attributes:
        task: The task.
        dynamics: "converged" or "stock".
        mj_model: MuJoCo's model with the options of these dynamics.
        mjx_model: The same for MJX, float64.
        blocks: Where each joint's numbers are.
        constraints: Names and kinds of constraints.
        candidates: Points that may touch, found by MuJoCo C's rules (`collision`); None where MJX's own collision
            functions are used: for `stock`, and for models that `collision` does not cover.
    """

    task: Task
    dynamics: Dynamics
    mj_model: mujoco.MjModel
    mjx_model: mjx.Model
    blocks: tuple[manifold.JointBlock, ...]
    constraints: constraints.Constraints
    candidates: collision.Candidates | None = None

    @property
    def timestep(self) -> float:
        """Duration of a physics step, s."""
        return float(self.mj_model.opt.timestep)


@cache
def load_physics(
    name: str, dynamics: Dynamics = "converged", all_slots: bool = False, source: str | None = None
) -> Physics:
    """Load a task's physics.

    Args:
        name: Name of the task.
        dynamics: "converged" or "stock".
        all_slots: Give every candidate for a contact point a slot, so that there are always enough; slower.
        source: Where the task comes from, as of `task_sources`; None for one of Playground.

    Raises:
        UnknownNameError: There is no such task.
        InvalidSettingError: There are no such dynamics, or JAX computes in float32.
        UnsupportedModelError: As `physics_from_model` and `load_task`.
        MissingDependencyError: As `load_task`.
    """
    loaded = load_task(name, source)
    slots = None if all_slots else contact_slots.SLOTS.get(loaded.task.group)
    return physics_from_model(loaded.environment.mj_model, loaded.task, dynamics, slots)


def physics_from_model(
    model: mujoco.MjModel, task: Task, dynamics: Dynamics = "converged", slots: dict[int, int] | None = None
) -> Physics:
    """Make physics from a MuJoCo model.

    Args:
        model: The model; it is copied.
        task: Gives the number of substeps, and the sizes.
        dynamics: "converged" or "stock".
        slots: Contact points of each dim that may touch at once; None for as many as there are candidates.

    Raises:
        InvalidSettingError: There are no such dynamics, or JAX computes in float32.
        UnsupportedModelError: The model has a feature whose derivative is not implemented.
    """
    require_float64()
    if dynamics not in DYNAMICS:
        raise InvalidSettingError(f"dynamics is {dynamics!r}; it must be one of {', '.join(DYNAMICS)}.")
    features.check_supported(model)
    model = copy.copy(model)
    if dynamics == "converged":
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
        model.opt.iterations, model.opt.ls_iterations = _C_ITERATIONS, _C_LS_ITERATIONS
        model.opt.tolerance = _C_TOLERANCE
    mjx_model = counterpart.mjx_model(counterpart.of(model, own_solver=dynamics == "converged"))
    described = constraints.describe(model)
    own = dynamics == "converged" and bool(described.pairs) and collision.covers(model)
    candidates = collision.candidates(model, slots) if own else None
    return Physics(task, dynamics, model, mjx_model, manifold.joint_blocks(model), described, candidates)
