r"""Closed-form derivatives of the constraints' generalized force c = Jᵀ f at a fixed acceleration x.

With the rows' zones held (see `constraint_solver`), a row in its quadratic zone has, for a position `pos` (distance or
joint margin),

    y = J x - aref = J (x + b v) + k imp(pos) pos,         f = -D y,       D = imp / (w (1 - imp)),
    ∂f/∂pos = -D (y imp' / (imp (1 - imp)) + k (imp' pos + imp)),                                             (1)

with MuJoCo's stiffness k, damping b, impedance imp. All other rows have a constant force.

Velocity: ∂c/∂v = -Jᵀ D b J. Joint limits: J is constant and ∂pos/∂q = J, so ∂c/∂q = Jᵀ (∂f/∂pos) J. Tendon limits
likewise, plus what ∂J/∂q of a spatial tendon adds. Equalities of joints and tendons likewise: their rows, always in
the quadratic zone, are J = ∂(p₁ - P(p₂))/∂q of two positions or lengths with a polynomial P, so that ∂J/∂q has -P''.

What contacts add to ∂c/∂q is in `contact_forces`.

Source: MJX `constraint.py`; MuJoCo's documentation, "Computation: constraint model".
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Float
from mujoco import mjx

from dynamic_sparsity.generation.physics import constraints, contact_slots, mjx_private
from dynamic_sparsity.generation.physics.constraint_problem import Zones
from dynamic_sparsity.generation.physics.model import Physics


class ConstraintRows(NamedTuple):
    """What the derivatives need of every constraint row.

    Attributes:
        force: f.
        by_pos: ∂f/∂pos of equation (1); zero outside the quadratic zone.
        stiffness: D; zero outside the quadratic zone.
        damping: b.
    """

    force: Float[jax.Array, " nefc"]
    by_pos: Float[jax.Array, " nefc"]
    stiffness: Float[jax.Array, " nefc"]
    damping: Float[jax.Array, " nefc"]


class TendonDisplacements(NamedTuple):
    """How tendons change with each degree of freedom.

    Attributes:
        length: ∂length/∂q.
        jacobian: ∂J/∂q of the tendons' Jacobians J.
    """

    length: Float[jax.Array, "nv ntendon"]
    jacobian: Float[jax.Array, "nv ntendon nv"]


def _parameters(model: mjx.Model, data: mjx.Data) -> tuple[jax.Array, jax.Array, np.ndarray]:
    """Return solref and solimp of every constraint in MJX's order, (n, 2) and (n, 5), and how many rows each has.

    A contact point is one constraint.
    """
    enabled = ~int(model.opt.disableflags)
    parts: list[tuple[jax.Array, jax.Array]] = []
    if enabled & mujoco.mjtDisableBit.mjDSBL_EQUALITY:
        found = (equality for equality in _equalities(model) if len(equality))
        parts += [(model.eq_solref[equality], model.eq_solimp[equality]) for equality in found]
    if enabled & mujoco.mjtDisableBit.mjDSBL_FRICTIONLOSS:
        dof = np.flatnonzero(model._impl.dof_hasfrictionloss)
        tendon = np.flatnonzero(model._impl.tendon_hasfrictionloss)
        parts += [(model.dof_solref[dof], model.dof_solimp[dof])]
        parts += [(model.tendon_solref_fri[tendon], model.tendon_solimp_fri[tendon])]
    if enabled & mujoco.mjtDisableBit.mjDSBL_LIMIT:
        joint, tendon = np.flatnonzero(model.jnt_limited), np.flatnonzero(model.tendon_limited)
        parts += [(model.jnt_solref[joint], model.jnt_solimp[joint])]
        parts += [(model.tendon_solref_lim[tendon], model.tendon_solimp_lim[tendon])]
    counts = np.ones(sum(len(solref) for solref, _ in parts), int)
    contact = data._impl.contact
    if enabled & mujoco.mjtDisableBit.mjDSBL_CONTACT and contact.dim.size:
        parts += [(contact.solref, contact.solimp)]
        counts = np.append(counts, constraints.rows_per_point(contact.dim))
    return jnp.concatenate([a for a, _ in parts]), jnp.concatenate([b for _, b in parts]), counts


def _equalities(model: mjx.Model) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the equalities of joints, and of those of tendons."""
    kinds = np.asarray(model.eq_type)
    joint, tendon = (np.flatnonzero(kinds == kind) for kind in (mujoco.mjtEq.mjEQ_JOINT, mujoco.mjtEq.mjEQ_TENDON))
    return joint, tendon


@cache
def _powers_are_two(model: mujoco.MjModel) -> bool:
    """Return whether all impedances are made of parabolas, MuJoCo's default: powers cost as much as all else."""
    always = ("dof_solimp", "jnt_solimp", "geom_solimp", "tendon_solimp_fri", "tendon_solimp_lim")
    names = (*always, "pair_solimp", "eq_solimp")
    return all(bool((getattr(model, name)[:, 4] == 2).all()) for name in names)


def _impedance(solimp: Float[jax.Array, "n 5"], pos: Float[jax.Array, " n"], parabolic: bool) -> Float[jax.Array, " n"]:
    """Return the impedances imp(pos) of constraints, as MJX's `_kbi`."""
    low, high, width, mid, power = solimp.T
    low, high, mid = (jnp.clip(x, mujoco.mjMINIMP, mujoco.mjMAXIMP) for x in (low, high, mid))
    width, power = jnp.maximum(mujoco.mjMINVAL, width), jnp.maximum(1, power)
    return contact_slots.impedance(jnp.stack([low, high, width, mid, power], axis=1), pos, parabolic)


def constraint_rows(physics: Physics, data: mjx.Data, zones: Zones, force: Float[jax.Array, " nefc"]) -> ConstraintRows:
    """Evaluate equation (1) for every row of one state.

    Args:
        physics: The physics.
        data: MJX data after the solver, unbatched.
        zones: Zone of each row.
        force: Constraint forces f of the solution.
    """
    model, impl = physics.mjx_model, data._impl
    solref, solimp, counts = _parameters(model, data)
    first_row = np.cumsum(counts) - counts
    pos = impl.efc_pos - impl.efc_margin
    at = pos[first_row]
    k, damping, _ = jax.vmap(mjx_private.stiffness_damping_impedance, in_axes=(None, 0, 0, 0))(
        model, solref, solimp, at
    )
    parabolic = _powers_are_two(physics.mj_model)
    impedance, rate = jax.jvp(lambda x: _impedance(solimp, x, parabolic), (at,), (jnp.ones_like(at),))
    constraint = np.repeat(np.arange(len(counts)), counts)
    by_y, by_pos = rate / (impedance * (1 - impedance)), k * (rate * at + impedance)
    # The rows of a contact point share its distance.
    stiffness = jnp.where(zones.quadratic, impl.efc_D, 0.0)
    moved = -stiffness * by_pos[constraint] + jnp.where(zones.quadratic, force, 0.0) * by_y[constraint]
    index = np.arange(len(pos)) - int(impl.ne)
    friction = (index >= 0) & (index < int(impl.nf))
    return ConstraintRows(force, jnp.where(friction, 0.0, moved), stiffness, damping[constraint])


class LimitDerivatives(NamedTuple):
    """What equalities, limits and friction losses add to the derivatives of c.

    Attributes:
        by_position: ∂c/∂q without the contacts' part.
        by_velocity: ∂c/∂v.
    """

    by_position: Float[jax.Array, "nv nv"]
    by_velocity: Float[jax.Array, "nv nv"]


def limit_derivatives(
    model: mjx.Model, data: mjx.Data, row: ConstraintRows, tendons: TendonDisplacements | None
) -> LimitDerivatives:
    """Return what equalities, limits and friction losses add to the derivatives of c.

    Models with limits of ball joints, or equalities of bodies, are not covered.

    Args:
        model: MJX model.
        data: MJX data after the solver, unbatched.
        row: The constraint rows.
        tendons: The tendons' displacements, if there are spatial tendons.
    """
    impl = data._impl
    jacobian = impl.efc_J
    by_velocity = -(jacobian * (row.stiffness * row.damping)[:, None]).T @ jacobian
    contact_rows = int(impl.contact.efc_address[0]) if impl.contact.dim.size else len(row.force)
    # Equalities, joint and tendon limits: ∂pos/∂q is the row itself.
    limits = jacobian[:contact_rows]
    by_position = (limits * row.by_pos[:contact_rows, None]).T @ limits
    limited = np.flatnonzero(model.tendon_limited)
    if tendons is not None and len(limited):
        by_position += _tendon_curvature(data, row, tendons, limited, contact_rows)
    if int(impl.ne):
        rows = slice(0, int(impl.ne))
        by_position += _curvature(
            data, row, rows, jacobian[rows], row.force[rows], _equality_curvature(model, data, tendons)
        )
    return LimitDerivatives(by_position, by_velocity)


def _tendon_curvature(
    data: mjx.Data, row: ConstraintRows, tendons: TendonDisplacements, limited: np.ndarray, stop: int
) -> Float[jax.Array, "nv nv"]:
    """Return what ∂J/∂q of spatial tendons adds to ∂c/∂q through their limit rows, which end at row `stop`."""
    rows_ = slice(stop - len(limited), stop)
    own, force = data._impl.efc_J[rows_], row.force[rows_]
    length_jacobian = data._impl.ten_J[limited]
    # The row is ± the tendon's Jacobian where the limit acts, else zero.
    sign = jnp.sign(jnp.sum(own * length_jacobian, axis=1))
    d_jacobian = sign[None, :, None] * tendons.jacobian[:, limited]
    return _curvature(data, row, rows_, own, force, d_jacobian)


def _curvature(
    data: mjx.Data,
    row: ConstraintRows,
    rows: slice,
    own: Float[jax.Array, "n nv"],
    force: Float[jax.Array, " n"],
    d_jacobian: Float[jax.Array, "nv n nv"],
) -> Float[jax.Array, "nv nv"]:
    """Return what ∂J/∂q of some rows, with their J and f, adds to ∂c/∂q."""
    field = data.qacc[None] + row.damping[rows, None] * data.qvel[None]
    d_force = (-row.stiffness[rows])[None] * jnp.einsum("jri,ri->jr", d_jacobian, field)
    return jnp.einsum("ri,jr->ij", own, d_force) + jnp.einsum("jri,r->ij", d_jacobian, force)


def _equality_curvature(
    model: mjx.Model, data: mjx.Data, tendons: TendonDisplacements | None
) -> Float[jax.Array, "nv n nv"]:
    """Return ∂J/∂q of the equalities of joints, then of tendons, by -P'' and, of spatial tendons, their own ∂J/∂q."""
    joint, tendon = _equalities(model)
    parts = []
    if len(joint):
        of = np.asarray(model.eq_obj2id)[joint]
        address = np.asarray(model.jnt_qposadr)[of]
        there = data.qpos[address] - model.qpos0[address]
        units = jnp.asarray(np.asarray(model.jnt_dofadr)[of][:, None] == np.arange(model.nv)) * 1.0
        bend = _bend(model, data, joint, there)
        parts.append(-bend[None, :, None] * units.T[:, :, None] * units[None])
    if len(tendon):
        first, second = np.asarray(model.eq_obj1id)[tendon], np.asarray(model.eq_obj2id)[tendon]
        there = data.ten_length[second] - model.tendon_length0[second]
        own, bend = data._impl.ten_J[second], _bend(model, data, tendon, there)
        turned = -bend[None, :, None] * own.T[:, :, None] * own[None]
        if tendons is not None:
            slope = _polynomial(jnp.asarray(model.eq_data)[tendon], there, 1) * (second >= 0)
            active = data.eq_active[tendon][None, :, None]
            turned += active * (tendons.jacobian[:, first] - slope[None, :, None] * tendons.jacobian[:, second])
        parts.append(turned)
    return jnp.concatenate(parts, axis=1)


def _bend(model: mjx.Model, data: mjx.Data, which: np.ndarray, there: Float[jax.Array, " n"]) -> Float[jax.Array, " n"]:
    """Return P'' of equalities; 0 of those that are not active, or of one joint or tendon alone."""
    acts = data.eq_active[which] * (np.asarray(model.eq_obj2id)[which] >= 0)
    return jnp.asarray(acts) * _polynomial(jnp.asarray(model.eq_data)[which], there, 2)


def _polynomial(coefficients: Float[jax.Array, "n m"], x: Float[jax.Array, " n"], order: int) -> Float[jax.Array, " n"]:
    """Return a derivative, of order 1 or 2, of MuJoCo's polynomials of degree 4."""
    _, linear, square, cube, fourth = jnp.asarray(coefficients[:, :5]).T
    if order == 1:
        return jnp.asarray(linear + x * (2 * square + x * (3 * cube + x * 4 * fourth)))
    return jnp.asarray(2 * square + x * (6 * cube + x * 12 * fourth))
