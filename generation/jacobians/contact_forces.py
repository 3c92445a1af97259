r"""Closed-form derivative by position of the contacts' generalized force c = Jᵀ f at a fixed acceleration x.

A contact point at p between bodies 1 and 2 pushes body 2 with F = Σ_r f_r d_r, d_r the pyramid's edges (normal ±
friction × tangent), and sees the bodies' fields V = u(x) + b u(v) of velocity; f_r, D_r, ∂f_r/∂pos, b as in
`constraint_rows`. Let, at p, ζ_j = (ω_j, v_j) be the twist of axis j, δ_j = 1 if j moves body 2 only, -1 if it moves
body 1 only, else 0, and μ_j = 1 if j moves body 1. Turning q_j is turning everything by μ_j ζ_j, and then body 2 alone
by δ_j ζ_j. The first turns F rigidly; the second moves the contact point by ∂p, turns its frame by θ, changes the
distance by ∂d (`contact_response`), and body 2's field by ζ_j × V₂ + ψ̇_j (see `rigid_body`), so that

    z  = s × θ + Ω × ∂p + v × Ω₂ + ω × V₂(p) + ψ̇_j(p)         s, Ω: relative velocity and angular velocity at p
    ∂F = ∂d Σ_r (∂f_r/∂pos) d_r - Σ_r D_r d_r d_rᵀ z + θ × F,

and, with both parts and c_i = Σ δ_i (ω_i · (p × F) + v_i · F),

    ∂c_i/∂q_j = δ_i δ_j (v_i · ∂F + ω_i · (∂p × F)) + δ_i μ_j (v_i · (ω_j × F) + ω_i · (v_j × F))
              + [j carries i] (S_j × S_i) · W_i,                                                            (1)

summed over contacts, W_i the contact's wrench on all that i moves; where MJX's contact frame lags behind a common
turn, δ_i μ_j v_i · ∂F for that lag is added. ∂p, θ, ∂d and all of ∂F but ψ̇_j are linear in ζ, so one 6 × 6 matrix
per contact point does for all degrees of freedom.

Of the points that MJX computes, few push: only those are summed (`batch_last.sum_over_active`).

Source: MJX `constraint.py`; MuJoCo's documentation, "Computation: constraint model".
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from mujoco import mjx

from dynamic_sparsity.generation.jacobians import contact_points, contact_response, rigid_body
from dynamic_sparsity.generation.jacobians.constraint_rows import ConstraintRows
from dynamic_sparsity.generation.jacobians.contact_points import difference
from dynamic_sparsity.generation.physics.batch_last import (
    apply,
    cross,
    cross_force,
    dot,
    materialised,
    outer,
    units_cross,
)


class ContactRow(NamedTuple):
    """What the contacts' part of ∂c/∂q is made of, of one row with n contact points.

    Attributes:
        axes: MJX's `cdof`, (nv, 6).
        rates: Acceleration x and velocity v, (2, nv).
        origin: The origin O of every body's tree, (nbody, 3).
        centres: Of all geoms, (ngeom, 3).
        geom_axes: z axes of all geoms, (ngeom, 3).
        geoms: The two geoms of every point, (n, 2).
        position: The points, (n, 3).
        frame: Normal and two tangents, (n, 3, 3).
        distance: (n,).
        friction: What the tangents of the friction pyramids' edges are weighted with, (n, r).
        force: f of every edge, (n, r).
        by_pos: ∂f/∂pos of every edge, (n, r).
        stiffness: D of every edge, (n, r).
        damping: b, (n,).
    """

    axes: jax.Array
    rates: jax.Array
    origin: jax.Array
    centres: jax.Array
    geom_axes: jax.Array
    geoms: jax.Array
    position: jax.Array
    frame: jax.Array
    distance: jax.Array
    friction: jax.Array
    force: jax.Array
    by_pos: jax.Array
    stiffness: jax.Array
    damping: jax.Array


class _Push(NamedTuple):
    """One contact point that pushes; arrays as in `ContactRow` without n, but:

    Attributes:
        point: The point and its geoms.
        arm: The point relative to the origin O of the trees of bodies 1 and 2, (2, 3).
        moves: 1 where a degree of freedom moves body 1 or 2, (2, nv).
    """

    axes: jax.Array
    rates: jax.Array
    point: contact_response.Point
    arm: jax.Array
    moves: jax.Array
    friction: jax.Array
    force: jax.Array
    by_pos: jax.Array
    stiffness: jax.Array
    damping: jax.Array


def contact_row(model: mjx.Model, data: mjx.Data, row: ConstraintRows) -> ContactRow:
    """Collect the contacts of one row of data.

    Args:
        model: MJX model.
        data: MJX data after the solver, unbatched.
        row: The constraint rows.
    """
    contact = data._impl.contact
    force, by_pos, stiffness = contact_points.edge_numbers(contact, row)
    friction = jnp.where((contact.dim > 1)[:, None], contact.friction[:, :2], 0.0)
    weights = jnp.stack([friction[:, 0], -friction[:, 0], friction[:, 1], -friction[:, 1]], axis=1)
    return ContactRow(
        data.cdof,
        jnp.stack([data.qacc, data.qvel]),
        data.subtree_com[np.asarray(model.body_rootid)],
        data.geom_xpos,
        data.geom_xmat[:, :, 2],
        jnp.asarray(contact.geom),
        contact.pos,
        contact.frame,
        contact.dist,
        weights[:, : force.shape[1]],
        force,
        by_pos,
        stiffness,
        row.damping[contact.efc_address],
    )


def by_contacts(top: rigid_body.Topology, model: mjx.Model, row: ContactRow) -> Float[jax.Array, "nv nv"]:
    """Return ∂c/∂q of all contacts of one row by (1).

    Args:
        top: The topology.
        model: MJX model.
        row: The contacts.
    """
    pick, term = partial(_pick, top, model), partial(_by_push, top, model)
    return contact_points.sum_over_pushes(pick, term, row.force, row.stiffness, row)


def _pick(top: rigid_body.Topology, model: mjx.Model, row: ContactRow, item: jax.Array) -> _Push:
    geoms = row.geoms[item]
    bodies = jnp.asarray(np.asarray(model.geom_bodyid))[geoms]
    first, second = (contact_response.geom(model, row.centres, row.geom_axes, index) for index in geoms)
    plane = contact_response.is_plane(model, geoms[0])
    at = contact_response.Point(row.position[item], row.frame[item], row.distance[item], first, second, plane)
    arm, moves = contact_points.arm_and_moves(top, bodies, at.position, row.origin)
    edges = row.friction[item], row.force[item], row.by_pos[item], row.stiffness[item]
    return _Push(row.axes, row.rates, at, arm, moves, *edges, row.damping[item])


class _Edges(NamedTuple):
    """Sums over the edges d_r of the friction pyramid of one contact point.

    Attributes:
        force: F = Σ f_r d_r, (3, B).
        by_pos: Σ (∂f_r/∂pos) d_r, (3, B).
        stiffness: Σ D_r d_r d_rᵀ, (3, 3, B).
    """

    force: jax.Array
    by_pos: jax.Array
    stiffness: jax.Array


class _Kinematics(NamedTuple):
    """Velocities at one contact point, angular before linear; sides are bodies 1 and 2, or body 2 alone.

    Attributes:
        twists: ζ of every axis on each side, zero where it does not move that side's body, (sides, nv, 6, B).
        relative: δ ζ: twists of body 2 less those of body 1, (nv, 6, B).
        slip: (Ω, s): velocity field V = u(x) + b u(v) of body 2 less that of body 1, (6, B).
        second: V of body 2, (6, B).
    """

    twists: jax.Array
    relative: jax.Array
    slip: jax.Array
    second: jax.Array


def _edges(push: _Push) -> _Edges:
    frame, count = push.point.frame, len(push.force)
    edges = frame[:1] + push.friction[:, None] * frame[np.array([1, 1, 2, 2])[:count]]
    across = edges.swapaxes(0, 1)
    force, by_pos = dot(across, push.force[None]), dot(across, push.by_pos[None])
    weighted = edges * push.stiffness[:, None]
    stiffness: Any = sum(weighted[r, :, None] * edges[r, None] for r in range(count))
    return _Edges(force, by_pos, stiffness)


def _kinematics(push: _Push, arm: jax.Array, moves: jax.Array) -> _Kinematics:
    axes = push.axes
    angular = jnp.broadcast_to(axes[:, :3], (len(arm), len(axes), *arm.shape[2:]))
    twists = moves * jnp.concatenate([angular, axes[None, :, 3:] + cross(axes[:, :3], arm)], axis=2)
    rates = push.rates[0] + push.damping[None] * push.rates[1]
    fields = jnp.sum(twists * rates[None, :, None], axis=1)
    twists, fields = materialised(twists, fields)
    return _Kinematics(twists, difference(twists), difference(fields), fields[-1])


def _force_by_twist(
    responds: contact_response.Response, edges: _Edges, slip: jax.Array, second: jax.Array
) -> jax.Array:
    """Return how p × F and F change for six unit twists of body 2, (6, 6, B); without ψ̇."""
    z = cross(slip[3:], responds.rotation) + cross(slip[:3], responds.position)
    z += jnp.concatenate([units_cross(second[3:]), units_cross(second[:3])])
    d_force = responds.distance[:, None] * edges.by_pos[None] - apply(edges.stiffness, z)
    d_force += cross(responds.rotation, edges.force)
    return jnp.concatenate([cross(responds.position, edges.force), d_force], axis=1)


def _psi_dot(top: rigid_body.Topology, push: _Push, arm: jax.Array, moves: jax.Array) -> jax.Array:
    """Return δ ψ̇ at the point, (nv, 3, B): an axis acts on a side with that side's arm."""
    motions = [rigid_body.motion(top, push.axes, rate) for rate in push.rates]
    psi = motions[0].psi_dot + push.damping[None, None] * motions[1].psi_dot
    return difference(moves * (psi[None, :, 3:] + cross(psi[:, :3], arm)))


def _by_push(top: rigid_body.Topology, model: mjx.Model, push: _Push) -> jax.Array:
    """Return the term of (1) of one contact point in every row, shape (nv, nv, B).

    (1) is a sum of products of what i does to the point and what j does, so the factors of all its terms are listed in
    `left` and `right`, and multiplied at once. In order: ∂F and ∂p × F by the relative motion (6 × 6, `by_twist`); the
    part of ∂F by ψ̇; where body 1 moves, the turn of both bodies, and the lag of the frame. The term with the wrench W
    of all that i moves is added at the end.
    """
    # Where geom 1 never moves, only body 2's side counts.
    sides = 2 if contact_response.first_moves(model) else 1
    arm, moves = push.arm[-sides:, None], push.moves[-sides:, :, None]
    edges, at = _edges(push), _kinematics(push, arm, moves)
    responds = contact_response.responses(push.point, *contact_response.planes(model))
    relative, responds, force, stiffness = materialised(at.relative, responds, edges.force, edges.stiffness)
    edges = edges._replace(force=force, stiffness=stiffness)
    by_twist = materialised(_force_by_twist(responds, edges, at.slip, at.second))
    psi = _psi_dot(top, push, arm, moves)
    left = [apply(by_twist, relative), -apply(stiffness, relative[:, 3:])]
    right = [relative, psi]
    if sides == 2:
        # Both bodies are turned by μ ζ, and the frame lags behind by a turn about the normal.
        left += [cross(force, relative[:, 3:]), cross(force, relative[:, :3])]
        right += [at.twists[0]]
        normal = push.point.frame[0]
        by_lag = cross(normal, force) - apply(stiffness, cross(at.slip[3:], normal))
        left += [dot(relative[:, 3:], by_lag[None])[:, None]]
        right += [dot(at.twists[0, :, :3], responds.lag[None])[:, None]]
    result = outer(*materialised(jnp.concatenate(left, 1), jnp.concatenate(right, 1)))

    arms = push.arm[-sides:]
    wrench = jnp.concatenate([cross(arms, force), jnp.broadcast_to(force, arms.shape)], axis=1)
    signed = moves * np.array([-1.0, 1.0])[-sides:, None, None, None]
    behind = jnp.sum(signed * wrench[:, None], axis=0)
    # (S_j × S_i) · W_i = S_j · (S_i ×* W_i).
    return result + jnp.where(top.carries.T[:, :, None], outer(cross_force(push.axes, behind), push.axes), 0.0)
