r"""Closed-form derivatives of the constraints' generalized force c = Jᵀ f at a fixed acceleration x.

With the rows' zones held (see `solver`), a row in its quadratic zone has, for a position `pos` (distance or joint
margin),

    y = J x - aref = J (x + b v) + k imp(pos) pos,         f = -D y,       D = imp / (w (1 - imp)),
    ∂f/∂pos = -D (y imp' / (imp (1 - imp)) + k (imp' pos + imp)),                                             (1)

with MuJoCo's stiffness k, damping b, impedance imp. All other rows have a constant force.

Velocity: ∂c/∂v = -Jᵀ D b J. Joint limits: J is constant and ∂pos/∂q = J, so ∂c/∂q = Jᵀ (∂f/∂pos) J. Tendon limits
likewise, plus what ∂J/∂q of a spatial tendon adds.

Contacts. A contact point at p between bodies 1 and 2 pushes body 2 with F = Σ_r f_r d_r, d_r the pyramid's edges
(normal ± friction × tangent), and sees the bodies' fields V = u(x) + b u(v) of velocity. Let, at p, ζ_j = (ω_j, v_j)
be the twist of axis j, δ_j = 1 if j moves body 2 only, -1 if it moves body 1 only, else 0, and μ_j = 1 if j moves
body 1. Turning q_j is turning everything by μ_j ζ_j, and then body 2 alone by δ_j ζ_j. The first turns F rigidly; the
second moves the contact point by ∂p, turns its frame by θ, changes the distance by ∂d (`contact_geometry`), and body
2's field by ζ_j × V₂ + ψ̇_j (see `rigid_body`), so that

    z  = s × θ + Ω × ∂p + v × Ω₂ + ω × V₂(p) + ψ̇_j(p)         s, Ω: relative velocity and angular velocity at p
    ∂F = ∂d Σ_r (∂f_r/∂pos) d_r - Σ_r D_r d_r d_rᵀ z + θ × F,

and, with both parts and c_i = Σ δ_i (ω_i · (p × F) + v_i · F),

    ∂c_i/∂q_j = δ_i δ_j (v_i · ∂F + ω_i · (∂p × F)) + δ_i μ_j (v_i · (ω_j × F) + ω_i · (v_j × F))
              + [j carries i] (S_j × S_i) · W_i,                                                            (2)

summed over contacts, W_i the contacts' wrench on all that i moves; where MJX's contact frame lags behind a common
turn, δ_i μ_j v_i · ∂F for that lag is added. ∂p, θ, ∂d and all of ∂F but ψ̇_j are linear in ζ, so one 6 × 6 matrix
per contact point does for all degrees of freedom.

Source: MJX `constraint.py`; MuJoCo's documentation, "Computation: constraint model".
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx
from mujoco.mjx._src import constraint as mjx_constraint

from dynamic_sparsity.generation import contact_geometry, contacts
from dynamic_sparsity.generation.batch_last import apply, cross, cross_force, dot, materialised, outer, units_cross
from dynamic_sparsity.generation.dynamics import Physics
from dynamic_sparsity.generation.rigid_body import Motion, Topology
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


def _parameters(model: mjx.Model, data: mjx.Data) -> tuple[jax.Array, jax.Array, np.ndarray]:
    """Parameters solref and solimp of every constraint in MJX's order, (n, 2) and (n, 5), and how many rows each has.

    A contact point is one constraint.
    """
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
    counts = np.ones(sum(len(solref) for solref, _ in parts), int)
    contact = data._impl.contact
    if enabled & mujoco.mjtDisableBit.mjDSBL_CONTACT and contact.dim.size:
        parts += [(contact.solref, contact.solimp)]
        counts = np.append(counts, contacts.rows_per_point(contact.dim))
    return jnp.concatenate([a for a, _ in parts]), jnp.concatenate([b for _, b in parts]), counts


@cache
def _powers_are_two(model: mujoco.MjModel) -> bool:
    """Whether all impedances are made of parabolas, MuJoCo's default: powers cost as much as all else in a row."""
    names = ("dof_solimp", "jnt_solimp", "geom_solimp", "tendon_solimp_fri", "tendon_solimp_lim")
    return all(bool((getattr(model, name)[:, 4] == 2).all()) for name in names)


def _impedance(solimp: jax.Array, pos: jax.Array, parabolic: bool) -> jax.Array:
    """Impedances imp(pos) of constraints with parameters (n, 5) at positions (n,), as in MJX's `_kbi`."""
    low, high, width, mid, power = solimp.T
    low, high, mid = (jnp.clip(x, mujoco.mjMINIMP, mujoco.mjMAXIMP) for x in (low, high, mid))
    share = jnp.abs(pos) / jnp.maximum(mujoco.mjMINVAL, width)
    power = jnp.maximum(1, power)

    def arc(x: jax.Array, end: jax.Array) -> jax.Array:
        return x * x / end if parabolic else jnp.power(x, power) / jnp.power(end, power - 1)

    shape = jnp.where(share < mid, arc(share, mid), 1 - arc(1 - share, 1 - mid))
    return jnp.where(share > 1.0, high, jnp.clip(low + shape * (high - low), low, high))


def rows(physics: Physics, data: mjx.Data, zones: Zones, force: jax.Array) -> Rows:
    """Evaluates (1) for every row of one state; `force` is the solution's, shape (nefc,)."""
    model, impl = physics.mjx_model, data._impl
    solref, solimp, counts = _parameters(model, data)
    first_row = np.cumsum(counts) - counts
    pos = impl.efc_pos - impl.efc_margin
    at = pos[first_row]
    k, damping, _ = jax.vmap(mjx_constraint._kbi, in_axes=(None, 0, 0, 0))(model, solref, solimp, at)
    parabolic = _powers_are_two(physics.mj_model)
    impedance, rate = jax.jvp(lambda x: _impedance(solimp, x, parabolic), (at,), (jnp.ones_like(at),))
    constraint = np.repeat(np.arange(len(counts)), counts)
    by_y, by_pos = rate / (impedance * (1 - impedance)), k * (rate * at + impedance)
    # The rows of a contact point share its distance.
    stiffness = jnp.where(zones.quadratic, impl.efc_D, 0.0)
    moved = -stiffness * by_pos[constraint] + jnp.where(zones.quadratic, force, 0.0) * by_y[constraint]
    friction = np.arange(len(pos)) < int(impl.nf)
    return Rows(force, jnp.where(friction, 0.0, moved), stiffness, damping[constraint])


class ContactState(NamedTuple):
    """What the contacts' part of ∂c/∂q is made of, of one row; all arrays get a last batch axis in `by_contacts`.

    Attributes:
        points: The contact points.
        arm: The points relative to the origin O of the trees of bodies 1 and 2, (n, 2, 3).
        moves: 1 where a degree of freedom moves body 1 or 2, (n, 2, nv).
        friction: What the tangents of the friction pyramids' edges are weighted with, (n, r).
        force: f of every edge, (n, r).
        by_pos: ∂f/∂pos of every edge, (n, r).
        stiffness: D of every edge, (n, r).
        damping: b, (n,).
    """

    points: contact_geometry.Points
    arm: jax.Array
    moves: jax.Array
    friction: jax.Array
    force: jax.Array
    by_pos: jax.Array
    stiffness: jax.Array
    damping: jax.Array


def contact_state(top: Topology, model: mjx.Model, data: mjx.Data, row: Rows) -> ContactState:
    """Collects the contacts' state of one row."""
    contact = data._impl.contact
    bodies = jnp.asarray(np.asarray(model.geom_bodyid))[contact.geom]
    root = jnp.asarray(np.asarray(model.body_rootid))[bodies]
    # The sentinel is a row of zeros: a frictionless point has but one row where others have four.
    table = contacts.point_rows(contact, len(row.force))
    force, by_pos, stiffness = (jnp.append(x, 0.0)[table] for x in (row.force, row.by_pos, row.stiffness))
    friction = jnp.where((contact.dim > 1)[:, None], contact.friction[:, :2], 0.0)
    weights = jnp.stack([friction[:, 0], -friction[:, 0], friction[:, 1], -friction[:, 1]], axis=1)
    return ContactState(
        contact_geometry.points(model, data),
        contact.pos[:, None] - data.subtree_com[root],
        jnp.asarray(top.moves)[bodies].astype(data.qvel.dtype),
        weights[:, : table.shape[1]],
        force,
        by_pos,
        stiffness,
        row.damping[contact.efc_address],
    )


def _cross(a: jax.Array, b: jax.Array) -> jax.Array:
    """a × b with broadcasting."""
    shape = jnp.broadcast_shapes(a.shape, b.shape)
    return cross(jnp.broadcast_to(a, shape), jnp.broadcast_to(b, shape))


def _summed_outer(a: jax.Array, b: jax.Array) -> jax.Array:
    """Σ over points and components of a_i b_j, (n, nv, k, B) each → (nv, nv, B)."""
    start = jnp.zeros((a.shape[1], b.shape[1], a.shape[3]), a.dtype)
    result: jax.Array = jax.lax.fori_loop(0, len(a), lambda n, total: total + outer(a[n], b[n]), start)
    return result


def by_contacts(
    top: Topology,
    model: mjx.Model,
    axes: jax.Array,
    rates: tuple[jax.Array, jax.Array],
    moving: tuple[Motion, Motion],
    state: ContactState,
) -> jax.Array:
    """∂c/∂q of all contacts by (2), shape (nv, nv, B).

    Args:
        top: The topology.
        model: MJX model.
        axes: S, (nv, 6, B).
        rates: Acceleration x and velocity v, (nv, B).
        moving: The motions of both.
        state: The contacts.
    """
    # Where geom 1 never moves, only body 2's side counts.
    sides = 2 if contact_geometry.first_moves(model) else 1
    arm, moves = state.arm[:, -sides:, None], state.moves[:, -sides:, :, None]

    def difference(x: jax.Array) -> jax.Array:
        return x[:, 1] - x[:, 0] if sides == 2 else x[:, 0]

    frame, count = state.points.frame, state.force.shape[1]
    edges = frame[:, :1] + state.friction[:, :, None] * frame[:, np.array([1, 1, 2, 2])[:count]]
    across = edges.swapaxes(1, 2)
    force, by_pos = dot(across, state.force[:, None]), dot(across, state.by_pos[:, None])
    weighted = edges * state.stiffness[:, :, None]
    stiffness = sum(weighted[:, r, :, None] * edges[:, r, None] for r in range(edges.shape[1]))

    # Twists of the axes at the point, on each side, (n, sides, nv, 6, B); then the fields x + b v of both bodies there.
    angular = jnp.broadcast_to(axes[:, :3], (*arm.shape[:2], len(axes), *arm.shape[3:]))
    twists = moves * jnp.concatenate([angular, axes[:, 3:] + _cross(axes[:, :3], arm)], axis=3)
    damping = state.damping[:, None, None, None]
    fields = jnp.sum(twists * (rates[0][:, None] + damping * rates[1][:, None]), axis=2)
    twists, fields = materialised(twists, fields)
    relative, slip, second = difference(twists), difference(fields)[:, None], fields[:, -1]

    # How F, and p × F, change for six unit twists (n, 6, ...) of body 2.
    responds = contact_geometry.responses(state.points, *contact_geometry.planes(model))
    relative, responds, force, stiffness = materialised(relative, responds, force, stiffness)
    z = _cross(slip[..., 3:, :], responds.rotation) + _cross(slip[..., :3, :], responds.position)
    z += jnp.concatenate([units_cross(second[:, 3:]), units_cross(second[:, :3])], axis=1)
    d_force = responds.distance[:, :, None] * by_pos[:, None] - apply(stiffness[:, None], z)
    d_force += _cross(responds.rotation, force[:, None])
    by_twist = jnp.concatenate([_cross(responds.position, force[:, None]), d_force], axis=2)

    by_twist = materialised(by_twist)
    # ψ̇ at the point: an axis acts on a side with that side's arm.
    psi = moving[0].psi_dot + damping * moving[1].psi_dot
    psi = difference(moves * (psi[..., 3:, :] + _cross(psi[..., :3, :], arm)))
    left = [apply(by_twist[:, None], relative), -apply(stiffness[:, None], relative[:, :, 3:])]
    right = [relative, psi]
    if sides == 2:
        # Both bodies are turned by μ ζ, and the frame lags behind by a turn about the normal.
        left += [_cross(force[:, None], relative[:, :, 3:]), _cross(force[:, None], relative[:, :, :3])]
        right += [twists[:, 0]]
        normal = frame[:, 0]
        by_lag = cross(normal, force) - apply(stiffness, cross(slip[:, 0, 3:], normal))
        left += [dot(relative[:, :, 3:], by_lag[:, None])[:, :, None]]
        right += [dot(twists[:, 0, :, :3], responds.lag[:, None])[:, :, None]]
    result = _summed_outer(*materialised(jnp.concatenate(left, 2), jnp.concatenate(right, 2)))

    pushes = jnp.broadcast_to(force[:, None], state.arm[:, -sides:].shape)
    wrench = jnp.concatenate([cross(state.arm[:, -sides:], pushes), pushes], axis=2)
    signed = moves * np.array([-1.0, 1.0])[-sides:, None, None, None]
    behind = jnp.sum(signed * wrench[:, :, None], axis=(0, 1))
    # (S_j × S_i) · W_i = S_j · (S_i ×* W_i).
    return result + jnp.where(top.carries.T[:, :, None], outer(cross_force(axes, behind), axes), 0.0)


class LimitDerivatives(NamedTuple):
    """Of one row: ∂c/∂q but for the contacts' part, and ∂c/∂v, both (nv, nv)."""

    by_position: jax.Array
    by_velocity: jax.Array


def by_limits(model: mjx.Model, data: mjx.Data, row: Rows, tendons: TendonDisplacements | None) -> LimitDerivatives:
    """Derivatives of one row, for models without equality constraints and limits of ball joints.

    Args:
        model: MJX model.
        data: MJX data after the solver.
        row: The rows' `Rows`.
        tendons: Their displacements, if there are spatial tendons.
    """
    impl = data._impl
    jacobian = impl.efc_J
    by_velocity = -(jacobian * (row.stiffness * row.damping)[:, None]).T @ jacobian
    contact_rows = int(impl.contact.efc_address[0]) if impl.contact.dim.size else len(row.force)
    # Joint and tendon limits: ∂pos/∂q is the row itself.
    limits = jacobian[:contact_rows]
    by_position = (limits * row.by_pos[:contact_rows, None]).T @ limits
    limited = np.flatnonzero(model.tendon_limited)
    if tendons is not None and len(limited):
        by_position += _tendon_curvature(data, row, tendons, limited, contact_rows)
    return LimitDerivatives(by_position, by_velocity)


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
