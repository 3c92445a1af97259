r"""How contact points respond when one geom moves against the other.

A contact point depends on nothing but where its two geoms are. Moving both alike carries it along rigidly, so the six
unit twists of geom 2 relative to geom 1 say all about a move, however many degrees of freedom there are. (All but one
thing: MJX derives the frame's tangents from the world's axes, so that a common turn leaves the frame behind by a turn
about the normal, `lag`.) They are needed for the contact points that MJX kept only, not for all pairs of geoms.

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
from mujoco.mjx._src import collision_driver

from dynamic_sparsity.generation.batch_last import cross, dot, units_cross

_PLANE = mujoco.mjtGeom.mjGEOM_PLANE
PRIMITIVES = (_PLANE, mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE)
"""Types of geoms that are covered."""

_GUARD = 1e-6
"""What MJX adds to denominators of the parameters of closest points."""


class Geom(NamedTuple):
    """One geom of every contact point: centre (n, 3), axis (n, 3), radius (n,) and half length (n,), m."""

    centre: jax.Array
    axis: jax.Array
    radius: jax.Array
    half_length: jax.Array


class Points(NamedTuple):
    """Contact points and their geoms; all arrays may have a last batch axis.

    Attributes:
        position: (n, 3).
        frame: Normal and two tangents, (n, 3, 3).
        distance: (n,).
        first: Geom 1; of a plane, the values are not used.
        second: Geom 2.
        plane: Whether geom 1 is a plane, (n,).
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
        position: Of the contact point, (n, 6, 3, B).
        rotation: Angular rate of the contact frame, (n, 6, 3, B).
        distance: Of the signed distance, (n, 6, B).
        lag: Turning both geoms by ω turns the frame by ω + n (lag · ω), (n, 3, B).
    """

    position: jax.Array
    rotation: jax.Array
    distance: jax.Array
    lag: jax.Array


def _pairs(model: mjx.Model | mujoco.MjModel) -> np.ndarray:
    """Geoms that may touch, shape (pairs, 2)."""
    return np.array([(a, b) for a, b, _ in collision_driver.geom_pairs(model)], int).reshape(-1, 2)


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


def points(model: mjx.Model, data: mjx.Data) -> Points:
    """The contact points of one row of data, after collision detection."""
    contact = data._impl.contact

    def geom(index: jax.Array) -> Geom:
        size = model.geom_size[index]
        return Geom(data.geom_xpos[index], data.geom_xmat[index][:, :, 2], size[:, 0], size[:, 1])

    plane = jnp.asarray(np.asarray(model.geom_type) == _PLANE)[contact.geom[:, 0]]
    pair = geom(contact.geom[:, 0]), geom(contact.geom[:, 1])
    return Points(contact.pos, contact.frame, contact.dist, *pair, plane)


def responses(at: Points, some: bool, every: bool) -> Response:
    """Responses of contact points with a batch axis; whether some or all pairs have a plane is known beforehand."""
    if every:
        return _to_plane(at)
    round_ = _between_segments(at)
    if not some:
        return round_

    def chosen(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(at.plane.reshape(len(at.plane), *[1] * (a.ndim - 2), -1), a, b)

    return Response(*map(chosen, _to_plane(at), round_))


def _to_plane(at: Points) -> Response:
    normal, tangent, axis = at.frame[:, 0], at.frame[:, 2], at.second.axis
    reach = (at.second.radius + at.distance / 2)[:, None, None]
    identity = jnp.eye(3, dtype=normal.dtype)[:, :, None]
    sliding = identity - normal[:, :, None] * normal[:, None] / 2
    position = jnp.concatenate(
        [reach * units_cross(normal), jnp.broadcast_to(sliding, (len(normal), *sliding.shape[1:]))], 1
    )
    flat = axis - normal * dot(axis, normal)[:, None]
    length = jnp.sqrt(dot(flat, flat))
    aligned = (length >= 0.5) & (at.second.half_length > 0)
    turn = jnp.where(aligned, 1 / jnp.where(aligned, length, 1.0), 0.0)[:, None] * cross(axis, tangent)
    rotation = normal[:, None] * turn[:, :, None]
    none = jnp.zeros_like(normal)
    return Response(
        position,
        jnp.concatenate([rotation, jnp.zeros_like(rotation)], axis=1),
        jnp.concatenate([none, normal], axis=1),
        none,
    )


def _closest_parameter(start: jax.Array, along: jax.Array, half: jax.Array, point: jax.Array) -> jax.Array:
    """Closest point to a point on the segment start ± half · along, as MJX's `closest_segment_point`."""
    span = 2 * half[:, None] * along
    first = start - half[:, None] * along
    share = dot(point - first, span) / (dot(span, span) + _GUARD)
    return first + jnp.clip(share, 0.0, 1.0)[:, None] * span


def _closest_points(first: Geom, second: Geom) -> tuple[jax.Array, jax.Array]:
    """Closest points of two segments, as MJX's `closest_segment_to_segment_points`; of a sphere, the centre."""
    between = first.centre - second.centre
    cosine, a, b = dot(first.axis, second.axis), dot(first.axis, between), dot(second.axis, between)
    t = (-a + cosine * b) / (1 - cosine * cosine + _GUARD)
    u = jnp.clip(b + t * cosine, -second.half_length, second.half_length)
    t = jnp.clip(t, -first.half_length, first.half_length)
    on_first, on_second = first.centre + t[:, None] * first.axis, second.centre + u[:, None] * second.axis
    new_first = _closest_parameter(first.centre, first.axis, first.half_length, on_second)
    new_second = _closest_parameter(second.centre, second.axis, second.half_length, on_first)
    gap_first, gap_second = on_second - new_first, on_first - new_second
    sphere = first.half_length == 0
    better = ((dot(gap_first, gap_first) < dot(gap_second, gap_second)) & ~sphere)[:, None]
    return jnp.where(better, new_first, on_first), jnp.where(better, on_second, new_second)


def _between_segments(at: Points) -> Response:
    first, second = at.first, at.second

    def collide(centre: jax.Array, axis: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Position, normal and distance."""
        on_first, on_second = _closest_points(first, second._replace(centre=centre, axis=axis))
        gap = on_second - on_first
        squared = dot(gap, gap)
        touching = squared == 0
        length = jnp.sqrt(jnp.where(touching, 1.0, squared))
        normal = gap / length[:, None]
        distance = jnp.where(touching, 0.0, length) - (first.radius + second.radius)
        return on_first + normal * (first.radius + distance / 2)[:, None], normal, distance

    def along(centre: jax.Array, axis: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        rates: tuple[jax.Array, jax.Array, jax.Array]
        rates = jax.jvp(collide, (second.centre, second.axis), (centre, axis))[1]
        return rates

    turned, swung = units_cross(second.centre - at.position), units_cross(second.axis)
    shifts = jnp.broadcast_to(jnp.eye(3, dtype=turned.dtype)[None, :, :, None], turned.shape)
    centres = jnp.concatenate([turned, shifts], axis=1)
    swings = jnp.concatenate([swung, jnp.zeros_like(swung)], axis=1)
    position, d_normal, distance = jax.vmap(along, in_axes=1, out_axes=1)(centres, swings)

    normal, tangent = at.frame[:, 0], at.frame[:, 2]
    # MJX takes the y axis, or if the normal is near it the z axis, and makes it orthogonal to the normal.
    lead = jnp.where(jnp.abs(normal[:, 1]) < 0.5, normal[:, 1], normal[:, 2])
    spin = -lead / jnp.sqrt(1 - lead * lead)
    twist = spin[:, None] * dot(d_normal, jnp.broadcast_to(tangent[:, None], d_normal.shape))
    rotation = cross(jnp.broadcast_to(normal[:, None], d_normal.shape), d_normal) + twist[:, :, None] * normal[:, None]
    # tangent · (ω × n) = -ω · (the other tangent).
    return Response(position, rotation, distance, -normal - spin[:, None] * at.frame[:, 1])
