r"""Derivative by position of the contacts' generalized force c = Jᵀ f, for any shapes, pairs and dimensions of contact.

Where `contact_forces` takes the response of a contact point from closed forms, for planes, spheres and capsules, this
differentiates the collision functions themselves, forward, along the motion of the geoms with every degree of freedom:
positions and orientations of geoms in, points, frames and distances out. All else is in closed form, and with
torsional and rolling friction.

An edge r of a point's friction pyramid is a wrench w_r = (τ_r, d_r) about the point p: normal ± friction × tangent as a
force, and ± friction × axis as a torque. The point pushes body 2 with W = (T, F) = Σ_r f_r w_r and sees the bodies'
fields V = u(x) + b u(v) of velocity. Turning q_j moves p by ∂p, turns the frame by θ, changes the distance by ∂d. With
what is left of these without the common turn μ_j ζ_j of both bodies by body 1's twist (names as in `contact_forces`,
ζ = (ω, v) about p, (Ω, s) the relative velocity),

    z_j  = (Ω × θ, s × θ + Ω × ∂p) + δ_j ζ_j × V₂ + δ_j ψ̇_j,
    ∂W_j = ∂d Σ_r (∂f_r/∂pos) w_r - Σ_r D_r w_r w_rᵀ z_j + (θ × T + ∂p × F, θ × F),
    ∂c_i/∂q_j = δ_i ζ_i · ∂W_j + δ_i μ_j (ω_i · (ω_j × T + v_j × F) + v_i · (ω_j × F))
              + [j carries i] (S_j × S_i) · W_i.

Source: MJX `constraint.py`, `collision_driver.py`; MuJoCo's documentation, "Computation: constraint model".
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from mujoco import mjx

from dynamic_sparsity.generation.jacobians import contact_points, contact_response, rigid_body
from dynamic_sparsity.generation.jacobians.constraint_rows import ConstraintRows
from dynamic_sparsity.generation.jacobians.contact_points import difference
from dynamic_sparsity.generation.physics import contact_slots, plane_boxes
from dynamic_sparsity.generation.physics.batch_last import (
    apply,
    cross,
    cross_force,
    cross_motion,
    materialised,
    outer,
)
from dynamic_sparsity.generation.physics.model import Physics


class Points(NamedTuple):
    """n contact points, each with up to r edges.

    Attributes:
        moved: ∂p with every degree of freedom, (n, nv, 3).
        turned: θ, (n, nv, 3).
        approached: ∂d, (n, nv).
        edges: w of every edge, (n, r, 6).
        force: f of every edge, (n, r).
        by_pos: ∂f/∂pos of every edge, (n, r).
        stiffness: D of every edge, (n, r).
        damping: b, (n,).
    """

    moved: jax.Array
    turned: jax.Array
    approached: jax.Array
    edges: jax.Array
    force: jax.Array
    by_pos: jax.Array
    stiffness: jax.Array
    damping: jax.Array


class ContactRow(NamedTuple):
    """What the contacts' part of ∂c/∂q is made of, of one row with n contact points.

    Attributes:
        axes: MJX's `cdof`, (nv, 6).
        rates: Acceleration x and velocity v, (2, nv).
        origin: The origin O of every body's tree, (nbody, 3).
        geoms: The two geoms of every point, (n, 2).
        position: The points, (n, 3).
        points: All else of them.
    """

    axes: jax.Array
    rates: jax.Array
    origin: jax.Array
    geoms: jax.Array
    position: jax.Array
    points: Points


class _Push(NamedTuple):
    """One contact point that pushes.

    Attributes:
        axes: As in `ContactRow`.
        rates: As in `ContactRow`.
        arm: The point relative to the origin O of the trees of bodies 1 and 2, (2, 3).
        moves: 1 where a degree of freedom moves body 1 or 2, (2, nv).
        point: Arrays as in `Points`, without n.
    """

    axes: jax.Array
    rates: jax.Array
    arm: jax.Array
    moves: jax.Array
    point: Points


def _motions(physics: Physics, data: mjx.Data) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return ∂p, θ and ∂d of all contact points with every degree of freedom: (n, nv, 3), (n, nv, 3), (n, nv)."""
    m, top = physics.mjx_model, rigid_body.topology(physics.mj_model)
    bodies = np.asarray(m.geom_bodyid)
    arm = data.geom_xpos - data.subtree_com[np.asarray(m.body_rootid)[bodies]]
    turn = jnp.where(top.moves[bodies].T[:, :, None], data.cdof[:, None, :3], 0.0)
    shift = jnp.where(top.moves[bodies].T[:, :, None], data.cdof[:, None, 3:], 0.0) + jnp.cross(turn, arm[None])
    # The columns of a rotation matrix are vectors of the geom.
    columns = jnp.swapaxes(data.geom_xmat, 1, 2)
    rotation = jnp.swapaxes(jnp.cross(turn[:, :, None], columns[None]), 2, 3)

    def collide(xpos: jax.Array, xmat: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        at = data.replace(geom_xpos=xpos, geom_xmat=xmat)
        if physics.candidates is None:
            contact = plane_boxes.collide(physics.mj_model, m, at)._impl.contact
        else:
            contact = contact_slots.collide(physics.candidates, m, at)[0]._impl.contact
        return contact.pos, contact.frame, contact.dist

    def along(shift: jax.Array, rotation: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        point = (data.geom_xpos, data.geom_xmat)
        derivative: tuple[jax.Array, jax.Array, jax.Array] = jax.jvp(collide, point, (shift, rotation))[1]
        return derivative

    moved, frame, approached = jax.vmap(along, out_axes=1)(shift, rotation)
    turned = jnp.sum(jnp.cross(data._impl.contact.frame[:, None], frame), axis=2) / 2
    return moved, turned, approached


def _edges(contact: mjx.Contact, count: int) -> Float[jax.Array, "n r 6"]:
    """Return the wrenches w of all points' edges; normals where a point has fewer."""
    k = np.arange(count) // 2
    sign = np.where(np.arange(count) % 2, -1.0, 1.0)
    friction = jnp.where(jnp.asarray(k[None] < contact.dim[:, None] - 1), contact.friction[:, np.minimum(k, 4)], 0.0)
    along = (friction * sign)[:, :, None] * contact.frame[:, np.array([1, 2, 0, 1, 2])[np.minimum(k, 4)]]
    torque = jnp.where(jnp.asarray(k < 2)[None, :, None], 0.0, along)
    return jnp.concatenate([torque, contact.frame[:, :1] + along - torque], axis=2)


def contact_row(physics: Physics, data: mjx.Data, row: ConstraintRows) -> ContactRow:
    """Collect the contacts of one row of data.

    Args:
        physics: The physics.
        data: MJX data after the solver, unbatched.
        row: The constraint rows.
    """
    contact = data._impl.contact
    force, by_pos, stiffness = contact_points.edge_numbers(contact, row)
    edges = _edges(contact, force.shape[1])
    damping = row.damping[contact.efc_address]
    return ContactRow(
        data.cdof,
        jnp.stack([data.qacc, data.qvel]),
        data.subtree_com[np.asarray(physics.mjx_model.body_rootid)],
        jnp.asarray(contact.geom),
        contact.pos,
        Points(*_motions(physics, data), edges, force, by_pos, stiffness, damping),
    )


def by_contacts(top: rigid_body.Topology, model: mjx.Model, row: ContactRow) -> Float[jax.Array, "nv nv"]:
    """Return ∂c/∂q of all contacts of one row.

    Args:
        top: The topology.
        model: MJX model.
        row: The contacts.
    """
    # Where geom 1 never moves, only body 2's side counts.
    sides = 2 if contact_response.first_moves(model) else 1
    pick, term = partial(_pick, top, model), partial(_by_push, top, sides)
    return contact_points.sum_over_pushes(pick, term, row.points.force, row.points.stiffness, row)


def _pick(top: rigid_body.Topology, model: mjx.Model, row: ContactRow, item: jax.Array) -> _Push:
    bodies = jnp.asarray(np.asarray(model.geom_bodyid))[row.geoms[item]]
    arm, moves = contact_points.arm_and_moves(top, bodies, row.position[item], row.origin)
    return _Push(row.axes, row.rates, arm, moves, jax.tree_util.tree_map(lambda x: x[item], row.points))


def _at(motion: jax.Array, arm: jax.Array) -> jax.Array:
    """Return motions about O as motions about a point, with broadcasting."""
    turn = motion[..., :3, :]
    shift = motion[..., 3:, :] + cross(turn, arm)
    return jnp.concatenate([jnp.broadcast_to(turn, shift.shape), shift], axis=-2)


def _by_push(top: rigid_body.Topology, sides: int, push: _Push) -> jax.Array:
    """Return the term of one contact point in every row, shape (nv, nv, B)."""
    arms, moves, axes, point = push.arm[-sides:], push.moves[-sides:, :, None], push.axes, push.point
    wrench = jnp.sum(point.edges * point.force[:, None], axis=0)
    by_pos = jnp.sum(point.edges * point.by_pos[:, None], axis=0)
    weighted = point.edges * point.stiffness[:, None]
    stiffness = jnp.sum(weighted[:, :, None] * point.edges[:, None], axis=0)
    torque, force = wrench[:3], wrench[3:]
    twists = moves * _at(axes[None], arms[:, None])
    # Velocities of x and of b v are added: all that is made of them is linear in them.
    rates = push.rates[0] + point.damping[None] * push.rates[1]
    fields = jnp.sum(twists * rates[None, :, None], axis=1)
    psi = rigid_body.motion(top, axes, rates).psi_dot
    twist, slip, psi = difference(twists), difference(fields), difference(moves * _at(psi[None], arms[:, None]))
    moved, turned = point.moved, point.turned
    if sides == 2:
        moved, turned = moved - twists[0, :, 3:], turned - twists[0, :, :3]

    z = psi + cross_motion(twist, fields[-1])
    around = cross(slip[3:], turned) + cross(slip[:3], moved)
    z += jnp.concatenate([cross(slip[:3], turned), around], axis=1)
    change = point.approached[:, None] * by_pos[None] - apply(stiffness, z)
    change += jnp.concatenate([cross(turned, torque) + cross(moved, force), cross(turned, force)], axis=1)
    left, right = [twist], [change]
    if sides == 2:
        common = cross(force, twist[:, 3:]) + cross(torque, twist[:, :3])
        left += [jnp.concatenate([common, cross(force, twist[:, :3])], axis=1)]
        right += [twists[0]]
    result = outer(*materialised(jnp.concatenate(left, 1), jnp.concatenate(right, 1)))

    forces = jnp.broadcast_to(force, arms.shape)
    about_origin = jnp.concatenate([torque + cross(arms, force), forces], axis=1)
    signed = moves * np.array([-1.0, 1.0])[-sides:, None, None, None]
    behind = jnp.sum(signed * about_origin[:, None], axis=0)
    # (S_j × S_i) · W_i = S_j · (S_i ×* W_i).
    return result + jnp.where(top.carries.T[:, :, None], outer(cross_force(axes, behind), axes), 0.0)
