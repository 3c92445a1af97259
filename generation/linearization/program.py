"""One control step of any model with its Jacobians, as pure functions of batches.

A control that is exactly at its bound is moved inside by a rounding: there the step has two derivatives, that from
inside and zero, and the one from inside is the one that a controller can use. It is `mjd_transitionFD`'s as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from dynamic_sparsity.generation.jacobians import engines
from dynamic_sparsity.generation.linearization.inputs import Inputs
from dynamic_sparsity.generation.physics import constraint_solver, manifold
from dynamic_sparsity.generation.physics.model import Physics
from dynamic_sparsity.generation.physics.step import Substep, control_step

Coordinates = Literal["tangent", "ambient"]
COORDINATES: tuple[str, ...] = get_args(Coordinates)

_INSIDE = 2.0**-50
"""Share of a control's range by which it is moved inside."""


class Flags(NamedTuple):
    """What may be wrong with a row, or special; bool, shape (…).

    Attributes:
        not_converged: The constraint solver did not reach its tolerance.
        nonfinite: A number of the row is infinite or not a number.
        too_many_contacts: More points touch than there are slots, so that the step is not the model's.
        active_set_changed: A constraint began or ceased to act between two substeps.
        ctrl_at_bound: A control is at a bound of its range; the column of B is the derivative from inside.
    """

    not_converged: jax.Array
    nonfinite: jax.Array
    too_many_contacts: jax.Array
    active_set_changed: jax.Array
    ctrl_at_bound: jax.Array


class Details(NamedTuple):
    """What the constraints did in each substep; the leading axes are the batch's.

    Attributes:
        active: Which constraints act, bool, shape (…, substeps, nc); `Linearization.constraint_names` has their names.
        contact_distance: Least signed distance of each pair of geoms, m, shape (…, substeps, np).
        contact_force: Normal force of each pair, N, shape (…, substeps, np).
        contact_count: Contact points in touch, int32, shape (…, substeps).
        solver_residual: Relative gradient of the constraint problem at its solution, shape (…, substeps).
        flags: The row's flags.
    """

    active: jax.Array
    contact_distance: jax.Array
    contact_force: jax.Array
    contact_count: jax.Array
    solver_residual: jax.Array
    flags: Flags


class Row(NamedTuple):
    """One step with its Jacobians.

    Attributes:
        next_state: (qpos, qvel), shape (nq + nv,).
        A: ∂(next state)/∂(state).
        B: ∂(next state)/∂(ctrl).
        details: The details.
    """

    next_state: jax.Array
    A: jax.Array
    B: jax.Array
    details: Details


def _limited(model: mujoco.MjModel) -> np.ndarray:
    clamps = not model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL
    limited: np.ndarray = model.actuator_ctrllimited.astype(bool) & clamps
    return limited


def _inside(model: mujoco.MjModel, ctrl: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return controls with those at a bound moved inside; and whether any was."""
    low, high = model.actuator_ctrlrange.T
    at_low, at_high = (jnp.asarray(_limited(model)) & (ctrl == bound) for bound in (low, high))
    moved = (high - low) * _INSIDE
    inside = jnp.where(at_low, low + moved, jnp.where(at_high, high - moved, ctrl))
    return inside, jnp.any(at_low | at_high)


def _data(empty: mjx.Data, inputs: Inputs) -> mjx.Data:
    data: mjx.Data = empty.replace(**inputs.given)
    return data


def _details(info: Substep, finite: jax.Array, at_bound: jax.Array) -> Details:
    features = info.features
    flags = Flags(
        not_converged=jnp.any(info.residual > constraint_solver.RESIDUAL_TOLERANCE),
        nonfinite=~finite,
        too_many_contacts=jnp.any(info.overflow),
        active_set_changed=jnp.any(features.rows[1:] != features.rows[:-1]),
        ctrl_at_bound=at_bound,
    )
    return Details(features.active, features.distance, features.force, features.contact_count, info.residual, flags)


def _state(data: mjx.Data) -> jax.Array:
    return jnp.concatenate([data.qpos, data.qvel])


def _ambient(physics: Physics, before: jax.Array, after: jax.Array, row: Row) -> Row:
    """Turn the Jacobians of a row from tangent into ambient coordinates."""
    nv = physics.task.nv
    left = manifold.basis(physics.blocks, after)
    right = manifold.dual_basis(physics.blocks, before)

    def rows(matrix: jax.Array) -> jax.Array:
        return jnp.concatenate([left @ matrix[:nv], matrix[nv:]])

    turned = jnp.concatenate([row.A[:, :nv] @ right, row.A[:, nv:]], axis=1)
    return row._replace(A=rows(turned), B=rows(row.B))


def linearized(physics: Physics, coordinates: Coordinates) -> Callable[[Inputs], Row]:
    """Return the function that steps one row and differentiates it.

    Args:
        physics: Converged physics.
        coordinates: Of the Jacobians.
    """
    empty = mjx.make_data(physics.mj_model, impl="jax")

    def one(inputs: Inputs) -> Row:
        ctrl, at_bound = _inside(physics.mj_model, inputs.ctrl)
        wrenches = inputs.xfrc_applied is not None
        result = engines.implicit_jacobian(physics, _data(empty, inputs), ctrl, wrenches=wrenches)
        after = _state(result.data)
        arrays = (_state(_data(empty, inputs)), inputs.ctrl, after, result.J_s, result.J_a)
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in arrays]))
        row = Row(after, result.J_s, result.J_a, _details(result.info, finite, at_bound))
        return _ambient(physics, inputs.qpos, result.data.qpos, row) if coordinates == "ambient" else row

    return one


def stepped(physics: Physics) -> Callable[[Inputs], jax.Array]:
    """Return the function that steps one row, without derivatives.

    Args:
        physics: Converged physics.
    """
    empty = mjx.make_data(physics.mj_model, impl="jax")

    def one(inputs: Inputs) -> jax.Array:
        ctrl, _ = _inside(physics.mj_model, inputs.ctrl)
        return _state(control_step(physics, _data(empty, inputs), ctrl)[0])

    return one
