r"""How contact points respond when one geom moves against the other.

A contact point depends on nothing but where its two geoms are. Moving both alike carries it along rigidly, so the six
unit twists of geom 2 relative to geom 1 say all about a move, however many degrees of freedom there are. (All but one
thing: MJX derives the frame's tangents from the world's axes, so that a common turn leaves the frame behind by a turn
about the normal, `lag`.) They are needed for the contact points that push only (`contact_forces`).

Planes that never move, spheres and capsules are covered. Let n be the normal, d the distance, p the contact point, r
the radius of geom 2.

- A plane meets a ball, an end of a capsule or a sphere, with centre c = p + n (r + d/2): ∂d = n · ∂c,
  ∂p = ∂c - n ∂d / 2. The frame turns about n as the capsule's axis does (MJX aligns it to that).
- Two balls whose centres c₁, c₂ are the closest points of two segments (of length 0, for spheres): L n = c₂ - c₁,
  p = c₁ + n (r₁ + d/2). MJX's formulas for the closest points are differentiated forward as they are, small terms that
  guard divisions included.

Source: MJX `collision_primitive.py`, `math.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from dynamic_sparsity.generation.physics import mjx_private
from dynamic_sparsity.generation.physics.batch_last import cross, dot, units_cross

_PLANE = mujoco.mjtGeom.mjGEOM_PLANE
PRIMITIVES = (_PLANE, mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE)
"""Types of geoms that are covered."""

_GUARD = 1e-6
"""What MJX adds to denominators of the parameters of closest points."""


class Geom(NamedTuple):
    """A geom: centre (3,), axis (3,), radius and half length (), m."""

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


def _pairs(model: mjx.Model | mujoco.MjModel) -> np.ndarray:
    """Geoms that may touch, shape (pairs, 2)."""
    return np.array([(a, b) for a, b, _ in mjx_private.geom_pairs(model)], int).reshape(-1, 2)


def covers(model: mujoco.MjModel) -> bool:
    """Whether all geoms that may touch are `PRIMITIVES`, and the planes among them fixed."""
    pairs = _pairs(model)
    moving_plane = (model.geom_type[pairs[:, 0]] == _PLANE) & (model.body_weldid[model.geom_bodyid[pairs[:, 0]]] != 0)
    return bool(np.isin(model.geom_type[pairs], PRIMITIVES).all()) and not moving_plane.any()


def first_moves(model: mjx.Model) -> bool:
    """Whether the first geom of any pair that may touch is on a body that moves."""
    return bool((np.asarray(model.body_weldid)[np.asarray(model.geom_bodyid)[_pairs(model)[:, 0]]] != 0).any())


def planes(model: mjx.Model) -> tuple[bool, bool]:
    """Whether some, and whether all, pairs that may touch have a plane."""
    plane = np.asarray(model.geom_type)[_pairs(model)[:, 0]] == _PLANE
    return bool(plane.any()), bool(plane.all())


def geom(model: mjx.Model, centres: jax.Array, axes: jax.Array, index: jax.Array) -> Geom:
    """The geom of an index, from the centres and axes of all, (ngeom, 3)."""
    size = model.geom_size[index]
    return Geom(centres[index], axes[index], size[0], size[1])


def is_plane(model: mjx.Model, index: jax.Array) -> jax.Array:
    """Whether the geom of an index is a plane."""
    return jnp.asarray(np.asarray(model.geom_type) == _PLANE)[index]


def responses(at: Point, some: bool, every: bool) -> Response:
    """Responses of contact points with a batch axis; whether some or all pairs have a plane is known beforehand."""
    if every:
        return _to_plane(at)
    round_ = _between_segments(at)
    if not some:
        return round_
    return Response(*(jnp.where(at.plane, a, b) for a, b in zip(_to_plane(at), round_, strict=True)))


def _to_plane(at: Point) -> Response:
    normal, tangent, axis = at.frame[0], at.frame[2], at.second.axis
    identity = jnp.eye(3, dtype=normal.dtype)[:, :, None]
    sliding = identity - normal[:, None] * normal / 2
    turning = (at.second.radius + at.distance / 2) * units_cross(normal)
    flat = axis - normal * dot(axis, normal)
    length = jnp.sqrt(dot(flat, flat))
    aligned = (length >= 0.5) & (at.second.half_length > 0)
    turn = jnp.where(aligned, 1 / jnp.where(aligned, length, 1.0), 0.0) * cross(axis, tangent)
    rotation = normal * turn[:, None]
    none = jnp.zeros_like(normal)
    return Response(
        jnp.concatenate([turning, sliding]),
        jnp.concatenate([rotation, jnp.zeros_like(rotation)]),
        jnp.concatenate([none, normal]),
        none,
    )


def _closest_parameter(start: jax.Array, along: jax.Array, half: jax.Array, point: jax.Array) -> jax.Array:
    """Closest point to a point on the segment start ± half · along, as MJX's `closest_segment_point`."""
    span = 2 * half * along
    first = start - half * along
    share = dot(point - first, span) / (dot(span, span) + _GUARD)
    return first + jnp.clip(share, 0.0, 1.0) * span


def _closest_points(first: Geom, second: Geom) -> tuple[jax.Array, jax.Array]:
    """Closest points of two segments, as MJX's `closest_segment_to_segment_points`; of a sphere, the centre."""
    between = first.centre - second.centre
    cosine, a, b = dot(first.axis, second.axis), dot(first.axis, between), dot(second.axis, between)
    t = (-a + cosine * b) / (1 - cosine * cosine + _GUARD)
    u = jnp.clip(b + t * cosine, -second.half_length, second.half_length)
    t = jnp.clip(t, -first.half_length, first.half_length)
    on_first, on_second = first.centre + t * first.axis, second.centre + u * second.axis
    new_first = _closest_parameter(first.centre, first.axis, first.half_length, on_second)
    new_second = _closest_parameter(second.centre, second.axis, second.half_length, on_first)
    gap_first, gap_second = on_second - new_first, on_first - new_second
    sphere = first.half_length == 0
    better = (dot(gap_first, gap_first) < dot(gap_second, gap_second)) & ~sphere
    return jnp.where(better, new_first, on_first), jnp.where(better, on_second, new_second)


def _between_segments(at: Point) -> Response:
    first, second = at.first, at.second

    def collide(centre: jax.Array, axis: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Position, normal and distance."""
        on_first, on_second = _closest_points(first, second._replace(centre=centre, axis=axis))
        gap = on_second - on_first
        squared = dot(gap, gap)
        touching = squared == 0
        length = jnp.sqrt(jnp.where(touching, 1.0, squared))
        normal = gap / length
        distance = jnp.where(touching, 0.0, length) - (first.radius + second.radius)
        return on_first + normal * (first.radius + distance / 2), normal, distance

    def along(centre: jax.Array, axis: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        rates: tuple[jax.Array, jax.Array, jax.Array]
        rates = jax.jvp(collide, (second.centre, second.axis), (centre, axis))[1]
        return rates

    turned, swung = units_cross(second.centre - at.position), units_cross(second.axis)
    shifts = jnp.broadcast_to(jnp.eye(3, dtype=turned.dtype)[:, :, None], turned.shape)
    centres, swings = jnp.concatenate([turned, shifts]), jnp.concatenate([swung, jnp.zeros_like(swung)])
    position, d_normal, distance = jax.vmap(along)(centres, swings)

    normal, tangent = at.frame[0], at.frame[2]
    # MJX takes the y axis, or if the normal is near it the z axis, and makes it orthogonal to the normal.
    lead = jnp.where(jnp.abs(normal[1]) < 0.5, normal[1], normal[2])
    spin = -lead / jnp.sqrt(1 - lead * lead)
    twist = spin * dot(d_normal, jnp.broadcast_to(tangent, d_normal.shape))
    rotation = cross(jnp.broadcast_to(normal, d_normal.shape), d_normal) + twist[:, None] * normal
    # tangent · (ω × n) = -ω · (the other tangent).
    return Response(position, rotation, distance, -normal - spin * at.frame[1])
