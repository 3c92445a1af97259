r"""Closed-form derivatives of the constraints' generalized force c = Jᵀ f at a fixed acceleration x.

With the rows' zones held (see `solver`), a row in its quadratic zone has, for a position `pos` (distance or joint
margin),

    y = J x - aref = J (x + b v) + k imp(pos) pos,         f = -D y,       D = imp / (w (1 - imp)),
    ∂f/∂pos = -D (y imp' / (imp (1 - imp)) + k (imp' pos + imp)),                                             (1)

with MuJoCo's stiffness k, damping b, impedance imp. All other rows have a constant force.

Velocity: ∂c/∂v = -Jᵀ D b J. Joint limits: J is constant and ∂pos/∂q = J, so ∂c/∂q = Jᵀ (∂f/∂pos) J. Tendon limits
likewise, plus what ∂J/∂q of a spatial tendon adds.

Contacts. A contact point at p between bodies 1 and 2 pushes with F = Σ_r f_r d_r, d_r the pyramid's edges (normal ±
friction × tangent). It sees the bodies' relative velocity fields u(x) + b u(v) at p. Turning q_j moves p, the contact
frame and the distance (forward differentiation of MJX's collision functions, from the rigid displacement of the geoms),
and changes the fields by S_j × (V - U_j) (see `rigid_body`). With E_i the
velocity of body 2 against 1 at p for a unit velocity of i,

    ∂c_i/∂q_j = E_i · ∂F/∂q_j + ω_i · (∂p/∂q_j × F) + [j carries i] (S_j × S_i) · W_i,                         (2)

ω_i the relative angular velocity, W_i the contacts' wrench on all that i moves.

Source: MJX `constraint.py`; MuJoCo's documentation, "Computation: constraint model".
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx
from mujoco.mjx._src import collision_driver
from mujoco.mjx._src import constraint as mjx_constraint

from dynamic_sparsity.generation import contacts
from dynamic_sparsity.generation.rigid_body import (
    Derivatives,
    Displacements,
    Motion,
    Topology,
    cross,
    cross_force,
)
from dynamic_sparsity.generation.solver import Zones


class Rows(NamedTuple):
    """Per constraint row, (nefc,): force f; ∂f/∂pos of (1); stiffness D, zero outside the quadratic zone; damping b."""

    force: jax.Array
    by_pos: jax.Array
    stiffness: jax.Array
    damping: jax.Array


class TendonDisplacements(NamedTuple):
    """How tendons change when each degree of freedom turns: lengths (nv, ntendon), Jacobians (nv, ntendon, nv)."""

    length: jax.Array
    jacobian: jax.Array


def _parameters(model: mjx.Model, data: mjx.Data) -> tuple[jax.Array, jax.Array]:
    """Reference and impedance parameters (solref, solimp) of every row, in MJX's order, (nefc, 2) and (nefc, 5)."""
    enabled = ~int(model.opt.disableflags)
    parts: list[tuple[jax.Array, jax.Array]] = []
    if enabled & mujoco.mjtDisableBit.mjDSBL_FRICTIONLOSS:
        dof = np.flatnonzero(model._impl.dof_hasfrictionloss)
        tendon = np.flatnonzero(model._impl.tendon_hasfrictionloss)
        parts += [(model.dof_solref[dof], model.dof_solimp[dof])]
        parts += [(model.tendon_solref_fri[tendon], model.tendon_solimp_fri[tendon])]
    if enabled & mujoco.mjtDisableBit.mjDSBL_LIMIT:
        joint, tendon = np.flatnonzero(model.jnt_limited), np.flatnonzero(model.tendon_limited)
        parts += [(model.jnt_solref[joint], model.jnt_solimp[joint])]
        parts += [(model.tendon_solref_lim[tendon], model.tendon_solimp_lim[tendon])]
    contact = data._impl.contact
    if enabled & mujoco.mjtDisableBit.mjDSBL_CONTACT and contact.dim.size:
        point = np.repeat(np.arange(len(contact.dim)), contacts.rows_per_point(contact.dim))
        parts += [(contact.solref[point], contact.solimp[point])]
    return jnp.concatenate([a for a, _ in parts]), jnp.concatenate([b for _, b in parts])


def rows(model: mjx.Model, data: mjx.Data, zones: Zones, force: jax.Array) -> Rows:
    """Evaluates (1) for every row; `force` is the solution's, shape (nefc,)."""
    impl = data._impl
    solref, solimp = _parameters(model, data)
    pos = impl.efc_pos - impl.efc_margin

    def stiffness_damping_impedance(pos: jax.Array, solref: jax.Array, solimp: jax.Array) -> tuple[jax.Array, ...]:
        result: tuple[jax.Array, ...] = mjx_constraint._kbi(model, solref, solimp, pos)
        return result

    def one(pos: jax.Array, solref: jax.Array, solimp: jax.Array) -> tuple[jax.Array, ...]:
        values, rates = jax.jvp(lambda p: stiffness_damping_impedance(p, solref, solimp), (pos,), (jnp.ones_like(pos),))
        return *values, rates[2]

    k, b, impedance, rate = jax.vmap(one)(pos, solref, solimp)
    d = jnp.where(zones.quadratic, impl.efc_D, 0.0)
    y = -force / impl.efc_D
    by_pos = -d * (y * rate / (impedance * (1 - impedance)) + k * (rate * pos + impedance))
    friction = np.arange(len(pos)) < int(impl.nf)
    return Rows(force, jnp.where(friction, 0.0, by_pos), d, b)


class _Points(NamedTuple):
    """Contact points: position (n, 3), frame (n, 3, 3) with the normal first, distance (n,)."""

    position: jax.Array
    frame: jax.Array
    distance: jax.Array


def _point_displacements(model: mjx.Model, data: mjx.Data, moved: Displacements) -> _Points:
    """Derivatives of the contact points by each degree of freedom, with a leading axis j."""

    def collide(geom_xpos: jax.Array, geom_xmat: jax.Array) -> _Points:
        contact = collision_driver.collision(
            model, data.replace(geom_xpos=geom_xpos, geom_xmat=geom_xmat)
        )._impl.contact
        return _Points(contact.pos, contact.frame, contact.dist)

    def along(geom_xpos: jax.Array, geom_xmat: jax.Array) -> _Points:
        derivative: _Points = jax.jvp(collide, (data.geom_xpos, data.geom_xmat), (geom_xpos, geom_xmat))[1]
        return derivative

    points: _Points = jax.vmap(along)(moved.geom_xpos, moved.geom_xmat)
    return points


def _at(field: jax.Array, point: jax.Array) -> jax.Array:
    """Velocity of a velocity field (..., 6) about O at points (..., 3) relative to O."""
    return field[..., 3:] + jnp.cross(field[..., :3], point)


def _contact_derivative(
    top: Topology,
    model: mjx.Model,
    data: mjx.Data,
    row: Rows,
    moving: tuple[Motion, Motion],
    moved: Displacements,
) -> jax.Array:
    """∂c/∂q of all contacts by (2), shape (nv, nv); `moving` are the motions of acceleration x and of velocity v."""
    contact = data._impl.contact
    axes = data.cdof
    bodies = jnp.asarray(np.asarray(model.geom_bodyid))[contact.geom]
    origin = data.subtree_com[jnp.asarray(np.asarray(model.body_rootid))[bodies]]
    moves = jnp.asarray(top.moves)[bodies]
    arm = contact.pos[:, None] - origin
    sign = jnp.array([-1.0, 1.0])

    # The sentinel is a row of zeros: a frictionless point has but one row where others have four.
    table = contacts.point_rows(contact, len(row.force))
    force, by_pos, stiffness = (jnp.append(x, 0.0)[table] for x in (row.force, row.by_pos, row.stiffness))
    damping = row.damping[contact.efc_address]
    friction = jnp.where((contact.dim > 1)[:, None], contact.friction[:, :2], 0.0)
    edge_count = table.shape[1]
    weights = jnp.stack([friction[:, 0], -friction[:, 0], friction[:, 1], -friction[:, 1]], axis=1)[:, :edge_count]

    def edges(frame: jax.Array, normal: float) -> jax.Array:
        """Pyramid edges (..., 4 or 1, 3) of frames (..., 3, 3); linear in the frame."""
        tangents = frame[..., np.array([1, 1, 2, 2])[:edge_count], :]
        return normal * frame[..., :1, :] + weights[:, :, None] * tangents

    d = edges(contact.frame, 1.0)
    push = jnp.einsum("nr,nra->na", force, d)

    # The field x + b v of each body, and how it changes.
    def combined(a: jax.Array, v: jax.Array) -> jax.Array:
        return a[bodies] + damping[:, None, None] * v[bodies]

    field = combined(moving[0].body, moving[1].body)
    resting = moving[0].resting[:, None, None] + damping[:, None, None] * moving[1].resting[:, None, None]
    d_field = jnp.where(jnp.moveaxis(moves, 2, 0)[..., None], cross(axes[:, None, None], field - resting), 0.0)

    d_point = _point_displacements(model, data, moved)
    d_edge = edges(d_point.frame, 1.0)
    slip = jnp.einsum("s,nsa->na", sign, _at(field, arm))
    d_arm = d_point.position[:, :, None]
    d_slip = jnp.einsum("s,jnsa->jna", sign, _at(d_field, arm) + jnp.cross(field[..., :3], d_arm))
    d_y = jnp.einsum("jnra,na->jnr", d_edge, slip) + jnp.einsum("nra,jna->jnr", d, d_slip)
    d_force = by_pos * d_point.distance[:, :, None] - stiffness * d_y
    d_push = jnp.einsum("jnr,nra->jna", d_force, d) + jnp.einsum("nr,jnra->jna", force, d_edge)

    # E and ω of each degree of freedom at each point.
    signed = jnp.einsum("s,nsi->nsi", sign, moves.astype(axes.dtype))
    velocity = jnp.einsum("nsi,nsia->ina", signed, _at(axes, arm[:, :, None]))
    angular = jnp.einsum("nsi,ia->ina", signed, axes[:, :3])
    lever = jnp.cross(d_point.position, push)
    result = jnp.einsum("ina,jna->ij", velocity, d_push) + jnp.einsum("ina,jna->ij", angular, lever)

    wrench = jnp.concatenate([jnp.cross(arm, push[:, None]), jnp.broadcast_to(push[:, None], arm.shape)], axis=-1)
    total = jnp.einsum("nsi,nsa->ia", signed, wrench)
    # (S_j × S_i) · W_i = S_j · (S_i ×* W_i).
    rigid = cross_force(axes, total) @ axes.T
    return result + jnp.where(top.carries.T, rigid, 0.0)


def constraint_force_derivatives(
    top: Topology,
    model: mjx.Model,
    data: mjx.Data,
    row: Rows,
    moving: tuple[Motion, Motion],
    moved: Displacements,
    tendons: TendonDisplacements | None,
) -> Derivatives:
    """∂c/∂q in tangent coordinates and ∂c/∂v, both (nv, nv), for models without equality constraints and ball limits.

    Args:
        top: The topology.
        model: MJX model.
        data: MJX data after the solver.
        row: The rows' `Rows`.
        moving: Motions of the acceleration x and of the velocity v.
        moved: The frames' rigid displacements.
        tendons: Their displacements, if there are tendons.
    """
    impl = data._impl
    jacobian = impl.efc_J
    by_velocity = -(jacobian * (row.stiffness * row.damping)[:, None]).T @ jacobian
    contact_rows = len(row.force)
    if impl.contact.dim.size:
        contact_rows = int(impl.contact.efc_address[0])
    before_contacts = np.arange(len(row.force)) < contact_rows
    # Joint and tendon limits: ∂pos/∂q is the row itself.
    by_position = (jacobian * jnp.where(before_contacts, row.by_pos, 0.0)[:, None]).T @ jacobian
    limited = np.flatnonzero(model.tendon_limited)
    if tendons is not None and len(limited):
        by_position += _tendon_curvature(data, row, tendons, limited, contact_rows)
    if impl.contact.dim.size:
        by_position += _contact_derivative(top, model, data, row, moving, moved)
    return Derivatives(by_position, by_velocity)


def _tendon_curvature(
    data: mjx.Data, row: Rows, tendons: TendonDisplacements, limited: np.ndarray, stop: int
) -> jax.Array:
    """What ∂J/∂q of spatial tendons adds to ∂c/∂q through their limit rows, which end at row `stop`."""
    rows_ = slice(stop - len(limited), stop)
    own, force = data._impl.efc_J[rows_], row.force[rows_]
    length_jacobian = data._impl.ten_J[limited]
    # The row is ± the tendon's Jacobian where the limit acts, else zero.
    sign = jnp.sign(jnp.sum(own * length_jacobian, axis=1))
    d_jacobian = sign[None, :, None] * tendons.jacobian[:, limited]
    field = data.qacc + row.damping[rows_, None] * data.qvel
    d_force = -row.stiffness[rows_] * jnp.einsum("jri,ri->jr", d_jacobian, field)
    return jnp.einsum("ri,jr->ij", own, d_force) + jnp.einsum("jri,r->ij", d_jacobian, force)
