r"""How contact points respond when one geom moves against the other.

A contact point depends on nothing but where its two geoms are. Moving both alike carries it along rigidly, so the six
unit twists of geom 2 relative to geom 1 say all about a move, however many degrees of freedom there are. (All but one
thing: MuJoCo derives the frame's tangents from the world's axes: a common turn leaves the frame behind by a turn
about the normal, `lag`.) They are needed for the contact points that push only (`contact_forces`).

Planes that never move, spheres and capsules are covered. Let n be the normal, d the distance, p the contact point, r
the radius of geom 2.

- A plane meets a ball, an end of a capsule or a sphere, with centre c = p + n (r + d/2): ∂d = n · ∂c,
  ∂p = ∂c - n ∂d / 2. The frame turns about n as the capsule's axis does (MuJoCo aligns it to that).
- Two balls whose centres c₁ = o₁ + x a₁, c₂ = o₂ + y a₂ are the closest points of two segments along the unit vectors
  a₁, a₂ (of length 0, for spheres): L n = c₂ - c₁, p = c₁ + n (r₁ + d/2). x and y are constant at an end; a centre that
  is not at an end keeps L n at right angles to its axis, which gives ∂x and ∂y.

Source: MuJoCo's `engine_collision_primitive.c` (`collision`), `mju_makeFrame`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int
from mujoco import mjx

from dynamic_sparsity.generation.physics import collision
from dynamic_sparsity.generation.physics.batch_last import cross, dot, units_cross

_PLANE = mujoco.mjtGeom.mjGEOM_PLANE

_AT_END = 1e-10
"""Share of a capsule's half length within which a point counts as its end, where rounding leaves it."""


class Geom(NamedTuple):
    """A geom; arrays may have a last batch axis.

    Attributes:
        centre: m, shape (3,).
        axis: Its z axis, unit vector, shape (3,).
        radius: m, shape ().
        half_length: Of a capsule, m, shape ().
    """

    centre: jax.Array
    axis: jax.Array
    radius: jax.Array
    half_length: jax.Array


class Point(NamedTuple):
    """A contact point and its geoms; all arrays may have a last batch axis.

    Attributes:
        position: (3,).
        frame: Normal and two tangents, (3, 3).
        distance: ().
        first: Geom 1; of a plane, the values are not used.
        second: Geom 2.
        plane: Whether geom 1 is a plane, ().
    """

    position: jax.Array
    frame: jax.Array
    distance: jax.Array
    first: Geom
    second: Geom
    plane: jax.Array


class Response(NamedTuple):
    """Rates for unit twists k of geom 2 about the contact point: three rotations (rad), then three translations (m).

    Attributes:
        position: Of the contact point, (6, 3, B).
        rotation: Angular rate of the contact frame, (6, 3, B).
        distance: Of the signed distance, (6, B).
        lag: Turning both geoms by ω turns the frame by ω + n (lag · ω), (3, B).
    """

    position: jax.Array
    rotation: jax.Array
    distance: jax.Array
    lag: jax.Array


def first_moves(model: mjx.Model) -> bool:
    """Return whether the first geom of any pair that may touch is on a body that moves.

    Args:
        model: MJX model.
    """
    bodies = np.asarray(model.geom_bodyid)[collision.geom_pairs(model)[:, 0]]
    return bool((np.asarray(model.body_weldid)[bodies] != 0).any())


def planes(model: mjx.Model) -> tuple[bool, bool]:
    """Return whether some, and whether all, pairs that may touch have a plane.

    Args:
        model: MJX model.
    """
    plane = np.asarray(model.geom_type)[collision.geom_pairs(model)[:, 0]] == _PLANE
    return bool(plane.any()), bool(plane.all())


def geom(
    model: mjx.Model, centres: Float[jax.Array, "ngeom 3"], axes: Float[jax.Array, "ngeom 3"], index: Int[jax.Array, ""]
) -> Geom:
    """Return the geom of an index.

    Args:
        model: MJX model.
        centres: Of all geoms, m.
        axes: z axes of all geoms.
        index: Of the geom.
    """
    size = model.geom_size[index]
    return Geom(centres[index], axes[index], size[0], size[1])


def is_plane(model: mjx.Model, index: Int[jax.Array, ""]) -> Bool[jax.Array, ""]:
    """Return whether the geom of an index is a plane.

    Args:
        model: MJX model.
        index: Of the geom.
    """
    return jnp.asarray(np.asarray(model.geom_type) == _PLANE)[index]


def responses(at: Point, some: bool, every: bool) -> Response:
    """Return the responses of contact points.

    Args:
        at: The points, with a last batch axis.
        some: Whether some pairs of the model have a plane.
        every: Whether all have one.
    """
    if every:
        return _to_plane(at)
    round_ = _between_balls(at)
    if not some:
        return round_
    return Response(*(jnp.where(at.plane, a, b) for a, b in zip(_to_plane(at), round_, strict=True)))


def _to_plane(at: Point) -> Response:
    normal, tangent, axis = at.frame[0], at.frame[2], at.second.axis
    identity = jnp.eye(3, dtype=normal.dtype)[:, :, None]
    sliding = identity - normal[:, None] * normal[None] / 2
    turning = (at.second.radius + at.distance / 2)[None, None] * units_cross(normal)
    flat = axis - normal * dot(axis, normal)[None]
    length = jnp.sqrt(dot(flat, flat))
    aligned = (length > 0) & (at.second.half_length > 0)
    turn = jnp.where(aligned, 1 / jnp.where(aligned, length, 1.0), 0.0)[None] * cross(axis, tangent)
    rotation = normal[None] * turn[:, None]
    none = jnp.zeros_like(normal)
    return Response(
        jnp.concatenate([turning, sliding]),
        jnp.concatenate([rotation, jnp.zeros_like(rotation)]),
        jnp.concatenate([none, normal]),
        none,
    )


def _between_balls(at: Point) -> Response:
    first, second, normal, tangent = at.first, at.second, at.frame[0], at.frame[2]
    # The balls' centres, and where on the axes they are: MuJoCo's collision leaves both in the point.
    one = at.position - normal * (first.radius + at.distance / 2)[None]
    two = at.position + normal * (second.radius + at.distance / 2)[None]
    length = at.distance + first.radius + second.radius
    x, y = dot(first.axis, one - first.centre), dot(second.axis, two - second.centre)
    slides_x = jnp.abs(x) < first.half_length * (1 - _AT_END)
    slides_y = jnp.abs(y) < second.half_length * (1 - _AT_END)

    # Rates of geom 2's axis, and of the ball's centre if it stays where it is on the axis, for the six twists.
    turned, swung = units_cross(two - at.position), units_cross(second.axis)
    shifts = jnp.broadcast_to(jnp.eye(3, dtype=turned.dtype)[:, :, None], turned.shape)
    moved, swung = jnp.concatenate([turned, shifts]), jnp.concatenate([swung, jnp.zeros_like(swung)])

    # A centre that slides keeps the gap at right angles to its axis.
    gap, cosine = two - one, dot(first.axis, second.axis)
    along_first = dot(moved, first.axis[None])
    along_second = dot(swung, gap[None]) + dot(moved, second.axis[None])
    sine2 = jnp.where(slides_x & slides_y, jnp.maximum(1 - cosine * cosine, mujoco.mjMINVAL), 1.0)
    both = (cosine[None] * along_first - along_second) / sine2[None]
    dy = jnp.where(slides_x & slides_y, both, jnp.where(slides_y, -along_second, 0.0))
    dx = jnp.where(slides_x, along_first + cosine[None] * dy, 0.0)
    d_one = dx[:, None] * first.axis[None]
    d_gap = moved + dy[:, None] * second.axis[None] - d_one
    distance = dot(d_gap, jnp.broadcast_to(normal, d_gap.shape))
    d_normal = (d_gap - normal[None] * distance[:, None]) / jnp.where(length == 0, 1.0, length)[None, None]
    position = d_one + d_normal * (first.radius + at.distance / 2)[None, None] + normal[None] * distance[:, None] / 2

    # MuJoCo takes the y axis, or if the normal is near it the z axis, and makes it orthogonal to the normal.
    lead = jnp.where(jnp.abs(normal[1]) < 0.5, normal[1], normal[2])
    spin = -lead / jnp.sqrt(1 - lead * lead)
    twist = spin[None] * dot(d_normal, jnp.broadcast_to(tangent, d_normal.shape))
    rotation = cross(jnp.broadcast_to(normal, d_normal.shape), d_normal) + twist[:, None] * normal[None]
    # tangent · (ω × n) = -ω · (the other tangent).
    return Response(position, rotation, distance, -normal - spin[None] * at.frame[1])
