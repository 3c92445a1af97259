r"""Derivatives of the inverse-dynamics residual G at a fixed acceleration x, and of what an implicit integrator adds.

    G(q, v, a; x) = RNE(q, v, x) + armature·x - passive(q, v) - actuation(q, v, a) - Jᵀ f(J x - aref)
    E(q, v, a; x, w) = M(q) (w - x) - h Q(q, v, a) w            (`physics.step`; only where the integrator is implicit)

Two ways to the same blocks. `closed_form` takes RNE and the medium's forces from `rigid_body`, the constraints' from
`constraint_rows`, `contact_forces` and `contact_wrenches`, and differentiates forward what is left, functions of a few
scalars: springs, dampers, tendons, actuators. `by_autodiff` differentiates MJX's own stages forward, for models that
the closed form does not cover (`closed_form_gap` says why not): slower, and independent of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Float
from mujoco import mjx

from dynamic_sparsity.generation.jacobians import applied_forces, contact_forces, contact_wrenches, rigid_body
from dynamic_sparsity.generation.jacobians.constraint_rows import (
    ConstraintRows,
    TendonDisplacements,
    constraint_rows,
    limit_derivatives,
)
from dynamic_sparsity.generation.physics import constraint_problem, manifold, mjx_private
from dynamic_sparsity.generation.physics.batch_last import batch_last
from dynamic_sparsity.generation.physics.model import Physics
from dynamic_sparsity.generation.physics.step import (
    Forward,
    constrain,
    implicit_derivative,
    is_implicit,
    problem_of,
)


class ResidualDerivatives(NamedTuple):
    """Derivatives by the inputs (q, v, a), with q in tangent coordinates; 2 nv + da columns.

    Attributes:
        residual: Of G.
        implicit: Of E; None where the integrator takes no force implicitly.
    """

    residual: Float[jax.Array, "nv inputs"]
    implicit: Float[jax.Array, "nv inputs"] | None


def _columns(function: Callable[..., Any], point: Any, directions: Any) -> Any:
    """Return a function's derivatives along directions with a leading axis k, which becomes the outputs' last axis."""

    def column(direction: Any) -> Any:
        return jax.jvp(function, (point,), (direction,))[1]

    return jax.vmap(column, out_axes=-1)(directions)


@cache
def closed_form_gap(physics: Physics) -> str | None:
    """Return why the closed form does not cover a model; None if it does.

    Args:
        physics: The physics.
    """
    m = physics.mj_model
    scalar = np.isin(m.jnt_type, (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE))
    simple = (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_TENDON)
    on_joint = m.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT
    spatial = bool(np.any(m.wrap_type[:] != mujoco.mjtWrap.mjWRAP_JOINT)) if m.nwrap else False
    implicit = m.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    gaps = [
        (bool(m.jnt_limited[~scalar].any()), "limits of ball joints"),
        (not bool(np.isin(m.actuator_trntype, simple).all()), "actuators on sites or bodies"),
        (not bool(scalar[m.actuator_trnid[on_joint, 0]].all()), "actuators on ball or free joints"),
        (bool(m.jnt_actgravcomp.any()), "gravity compensation by actuators"),
        (bool(m.opt.wind.any()), "wind"),
        (spatial and bool((m.tendon_frictionloss > 0).any()), "friction loss of spatial tendons"),
        (spatial and implicit, "spatial tendons with the implicitfast integrator"),
    ]
    found = [name for is_so, name in gaps if is_so]
    return " and ".join(found) or None


class _SpringInputs(NamedTuple):
    """What springs, dampers and actuators see of a position: qpos, tendon lengths, tendon Jacobians."""

    qpos: jax.Array
    length: jax.Array
    jacobian: jax.Array


def _spring_and_actuator_forces(
    m: mjx.Model, d: mjx.Data, at: _SpringInputs, qvel: Float[jax.Array, " nv"], ctrl: Float[jax.Array, " nu"]
) -> Float[jax.Array, " nv"]:
    """Return the generalized forces of springs, dampers and actuators."""
    d = d.replace(qpos=at.qpos, qvel=qvel, ctrl=ctrl, ten_length=at.length)
    d = d.tree_replace({"_impl.ten_J": at.jacobian, "_impl.ten_velocity": at.jacobian @ qvel})
    d = mjx.transmission(m, d)
    d = d.tree_replace({"_impl.actuator_velocity": d._impl.actuator_moment @ qvel})
    force: jax.Array = mjx.fwd_actuation(m, d).qfrc_actuator
    # As MJX's `passive`, which leaves all passive forces out if either is disabled.
    if not m.opt.disableflags & (mujoco.mjtDisableBit.mjDSBL_SPRING | mujoco.mjtDisableBit.mjDSBL_DAMPER):
        force = force + mjx_private.spring_damper(m, d)
    return force


def _tendon_displacements(
    physics: Physics, d: mjx.Data, basis: Float[jax.Array, "nq nv"]
) -> TendonDisplacements | None:
    """Return how tendons change with every degree of freedom; None if there are no tendons."""
    m, top = physics.mjx_model, rigid_body.topology(physics.mj_model)
    if not m.ntendon:
        return None
    axes, root_com = d.cdof, d.subtree_com[np.asarray(m.body_rootid)]

    def shifts(body: Any, position: jax.Array) -> jax.Array:
        """Rigid displacements (nv, n, 3) of points (n, 3) of bodies (n,)."""
        moved = axes[:, None, 3:] + jnp.cross(axes[:, None, :3], (position - root_com[body])[None])
        return jnp.where(top.moves[body].T[:, :, None], moved, 0.0)

    turn, velocity = axes[:, None, :3], axes[:, None, 3:]
    carried = jnp.cross(velocity, axes[None, :, :3]) + jnp.cross(turn, axes[None, :, 3:])
    swung = jnp.concatenate([jnp.cross(turn, axes[None, :, :3]), carried], axis=-1)
    swung = jnp.where(top.carries[:, :, None], swung, 0.0)

    def tendons(qpos: jax.Array, site_xpos: jax.Array, axes: jax.Array, geom_xpos: jax.Array) -> tuple[Any, Any]:
        stretched = mjx.tendon(m, d.replace(qpos=qpos, site_xpos=site_xpos, cdof=axes, geom_xpos=geom_xpos))
        return stretched.ten_length, stretched._impl.ten_J

    def along(*directions: jax.Array) -> tuple[jax.Array, jax.Array]:
        point = (d.qpos, d.site_xpos, d.cdof, d.geom_xpos)
        derivative: tuple[jax.Array, jax.Array] = jax.jvp(tendons, point, directions)[1]
        return derivative

    sites, geoms = np.asarray(m.site_bodyid), np.asarray(m.geom_bodyid)
    return TendonDisplacements(*jax.vmap(along)(basis.T, shifts(sites, d.site_xpos), swung, shifts(geoms, d.geom_xpos)))


def _spring_and_actuator_derivatives(
    physics: Physics, d: mjx.Data, basis: Float[jax.Array, "nq nv"], tendons: TendonDisplacements | None
) -> Float[jax.Array, "nv inputs"]:
    """Return ∂/∂(q, v, a) of the forces of springs, dampers and actuators."""
    m, nv = physics.mjx_model, physics.task.nv
    at = _SpringInputs(d.qpos, d.ten_length, d._impl.ten_J)
    none = TendonDisplacements(jnp.zeros((nv, m.ntendon)), jnp.zeros((nv, m.ntendon, nv)))
    moved = none if tendons is None else tendons
    columns = [
        _columns(
            lambda s: _spring_and_actuator_forces(m, d, s, d.qvel, d.ctrl),
            at,
            _SpringInputs(basis.T, moved.length, moved.jacobian),
        ),
        _columns(lambda v: _spring_and_actuator_forces(m, d, at, v, d.ctrl), d.qvel, jnp.eye(nv)),
        _columns(lambda a: _spring_and_actuator_forces(m, d, at, d.qvel, a), d.ctrl, jnp.eye(physics.task.nu)),
    ]
    return jnp.concatenate(columns, axis=1)


class Inputs(NamedTuple):
    """What the closed form of inverse dynamics is made of, of one row.

    Attributes:
        axes: MJX's `cdof`, (nv, 6).
        cinert: MJX's packed inertias of the bodies that move, (n, 10).
        qvel: v, (nv,).
        qacc: x, (nv,).
        difference: w - x, (nv,).
        fluid: The medium's forces, if there is one.
    """

    axes: Float[jax.Array, "nv 6"]
    cinert: Float[jax.Array, "moving 10"]
    qvel: Float[jax.Array, " nv"]
    qacc: Float[jax.Array, " nv"]
    difference: Float[jax.Array, " nv"]
    fluid: rigid_body.Medium | None


def rigid_blocks(physics: Physics, row: Inputs) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Return ∂/∂q and ∂/∂v of inverse dynamics, and ∂E/∂q (None without an implicit integrator), (nv, nv, B) each.

    Args:
        physics: The physics.
        row: The inputs, with a last batch axis.
    """
    m, top = physics.mjx_model, rigid_body.topology(physics.mj_model)
    gravity = jnp.zeros(3) if m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_GRAVITY else m.opt.gravity
    moving = rigid_body.motion(top, row.axes, row.qvel)
    derive = rigid_body.inverse_dynamics_derivatives
    g_q, g_v = derive(top, row.axes, row.cinert, moving, row.qvel, row.qacc, gravity, row.fluid)
    if not is_implicit(physics):
        return g_q, g_v, None
    # M (w - x) is the inverse dynamics at rest and without gravity; Q depends on no position here.
    rest = jnp.zeros_like(row.qvel)
    still = rigid_body.motion(top, row.axes, rest)
    turned = derive(top, row.axes, row.cinert, still, rest, row.difference, jnp.zeros(3))
    return g_q, g_v, turned.by_position


@cache
def _batched_rigid_blocks(physics: Physics) -> Callable[[Inputs], tuple[jax.Array, jax.Array, jax.Array | None]]:
    return batch_last(partial(rigid_blocks, physics))


def row_inputs(physics: Physics, result: Forward, w: Float[jax.Array, " nv"]) -> Inputs:
    """Collect the inputs of `rigid_blocks` of one row.

    Args:
        physics: Physics with converged dynamics.
        result: Result of `physics.step.forward`.
        w: (v' - v) / h.
    """
    m, d, top = physics.mjx_model, result.data, rigid_body.topology(physics.mj_model)
    fluid = rigid_body.medium(top, m, d) if _has_medium(m) else None
    return Inputs(d.cdof, d._impl.cinert[top.moving], d.qvel, d.qacc, w - d.qacc, fluid)


def closed_form(physics: Physics, result: Forward, w: Float[jax.Array, " nv"]) -> ResidualDerivatives:
    """Return the derivatives of G and E by closed forms, for models without a `closed_form_gap`.

    Args:
        physics: Physics with converged dynamics.
        result: Result of `physics.step.forward`.
        w: (v' - v) / h.
    """
    m, d = physics.mjx_model, result.data
    nv = physics.task.nv
    basis = manifold.basis(physics.blocks, d.qpos)
    tendons = _tendon_displacements(physics, d, basis)
    residual = -_spring_and_actuator_derivatives(physics, d, basis, tendons)
    if result.problem is not None:
        row = constraint_rows(physics, d, result.zones, d._impl.efc_force)
        residual = residual.at[:, : 2 * nv].add(-jnp.concatenate(limit_derivatives(m, d, row, tendons), axis=1))
        if d._impl.contact.dim.size:
            residual = residual.at[:, :nv].add(-_by_contacts(physics, d, row))
    compensating = applied_forces.gravity_compensation(m)
    if compensating is not None:
        compensated = applied_forces.by_position(rigid_body.topology(physics.mj_model), m, d, compensating)
        residual = residual.at[:, :nv].add(-compensated)
    g_q, g_v, turned = _batched_rigid_blocks(physics)(row_inputs(physics, result, w))
    residual = residual.at[:, : 2 * nv].add(jnp.concatenate([g_q, g_v], axis=1))
    if turned is None:
        return ResidualDerivatives(residual, None)
    return ResidualDerivatives(
        residual, jnp.concatenate([turned, jnp.zeros((nv, nv)), _implicit_action(physics, d, w)], 1)
    )


def _by_contacts(physics: Physics, d: mjx.Data, row: ConstraintRows) -> Float[jax.Array, "nv nv"]:
    """Return ∂c/∂q of all contacts: by closed forms for planes, spheres and capsules that slide or not."""
    m, top = physics.mjx_model, rigid_body.topology(physics.mj_model)
    if physics.candidates is None or d._impl.contact.dim.max() > 3:
        return contact_wrenches.by_contacts(top, m, contact_wrenches.contact_row(physics, d, row))
    return contact_forces.by_contacts(top, m, contact_forces.contact_row(m, d, row))


def _has_medium(m: mjx.Model) -> bool:
    disabled = m.opt.disableflags & (mujoco.mjtDisableBit.mjDSBL_SPRING | mujoco.mjtDisableBit.mjDSBL_DAMPER)
    return bool(m.opt._impl.has_fluid_params) and not disabled


def _implicit_action(physics: Physics, d: mjx.Data, w: Float[jax.Array, " nv"]) -> Float[jax.Array, "nv da"]:
    """Return ∂E/∂a."""
    h = physics.mjx_model.opt.timestep

    def implicit(a: jax.Array) -> jax.Array:
        q_matrix = implicit_derivative(physics, d.replace(ctrl=a))
        return jnp.zeros_like(w) if q_matrix is None else -h * (q_matrix @ w)

    columns: jax.Array = _columns(implicit, d.ctrl, jnp.eye(physics.task.nu))
    return columns


def _position_stage(physics: Physics, d: mjx.Data) -> mjx.Data:
    m = physics.mjx_model
    d = mjx.com_pos(m, mjx.kinematics(m, d))
    d = mjx.tendon(m, d)
    if implicit_derivative(physics, d) is not None:
        d = mjx.crb(m, d)
    if d._impl.efc_J.size:
        d, _ = constrain(physics, d)
    return mjx.transmission(m, d)


def _velocity_stage(physics: Physics, d: mjx.Data) -> mjx.Data:
    """Compute everything that velocity enters, and the inverse dynamics at d.qacc."""
    m, impl = physics.mjx_model, d._impl
    d = d.tree_replace(
        {"_impl.actuator_velocity": impl.actuator_moment @ d.qvel, "_impl.ten_velocity": impl.ten_J @ d.qvel}
    )
    d = mjx.passive(m, mjx.com_vel(m, d))
    return mjx.rne(m, d, flg_acc=True)


def _evaluate(
    physics: Physics, d: mjx.Data, zones: constraint_problem.Zones, w: Float[jax.Array, " nv"]
) -> tuple[jax.Array, ...]:
    """Return G, and E if there is one, both of shape (nv,), from data of all stages."""
    m, x = physics.mjx_model, d.qacc
    residual = d.qfrc_bias + m.dof_armature * x - d.qfrc_passive - d.qfrc_actuator
    if d._impl.efc_J.size:
        problem = problem_of(physics, d)
        y = problem.jacobian @ x - problem.reference
        residual -= problem.jacobian.T @ constraint_problem.zone_force(problem, zones, y)
    q_matrix = implicit_derivative(physics, d)
    if q_matrix is None:
        return (residual,)
    return residual, mjx.mul_m(m, d, w - x) - m.opt.timestep * (q_matrix @ w)


def by_autodiff(physics: Physics, result: Forward, w: Float[jax.Array, " nv"]) -> ResidualDerivatives:
    """Return the derivatives of G and E by forward differentiation of MJX's stages, each by what enters it.

    Args:
        physics: Physics with converged dynamics.
        result: Result of `physics.step.forward`.
        w: (v' - v) / h.
    """
    m, d, zones = physics.mjx_model, result.data, result.zones

    def by_position(q: jax.Array) -> tuple[jax.Array, ...]:
        moved = _velocity_stage(physics, _position_stage(physics, d.replace(qpos=q)))
        return _evaluate(physics, mjx.fwd_actuation(m, moved), zones, w)

    def by_velocity(v: jax.Array) -> tuple[jax.Array, ...]:
        moved = d.replace(qvel=v)
        if d._impl.efc_J.size:
            moved = mjx.make_constraint(m, moved)
        moved = _velocity_stage(physics, moved)
        return _evaluate(physics, mjx.fwd_actuation(m, moved), zones, w)

    def by_action(a: jax.Array) -> jax.Array:
        force: jax.Array = mjx.fwd_actuation(m, d.replace(ctrl=a)).qfrc_actuator
        return -force

    nv, nu = physics.task.nv, physics.task.nu
    g_q = _columns(by_position, d.qpos, manifold.basis(physics.blocks, d.qpos).T)
    g_v = _columns(by_velocity, d.qvel, jnp.eye(nv))
    g_a = _columns(by_action, d.ctrl, jnp.eye(nu))
    residual = jnp.concatenate([g_q[0], g_v[0], g_a], axis=1)
    if len(g_q) == 1:
        return ResidualDerivatives(residual, None)
    return ResidualDerivatives(residual, jnp.concatenate([g_q[1], g_v[1], _implicit_action(physics, d, w)], axis=1))
