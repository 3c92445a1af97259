r"""Contact points of planes, spheres and capsules, where MuJoCo C finds them.

MJX's own functions find other ones: a term that guards a division shifts the closest points of two capsules, parallel
capsules touch in one point instead of two, the frame of a steep capsule on a plane is turned, and Playground's models
cut points off (`max_contact_points`, `max_geom_pairs`). Here every pair that MuJoCo considers is done, by MuJoCo C's
rules:

- A plane meets the end of a capsule, or a sphere, of centre c and radius r: d = n · (c - o) - r, p = c - n (r + d/2).
- Two round geoms meet where two balls on their axes do, with centres c₁, c₂: L n = c₂ - c₁, d = L - r₁ - r₂,
  p = c₁ + n (r₁ + d/2). A sphere's centre is fixed; with a capsule's it is the point on its axis next to the other's.
- Parallel capsules touch in up to two points: the two deepest, within the margin, of the four that begin at an end.

A *candidate* is a point that might touch: one per sphere, two per capsule on a plane and per pair of capsules. Those
that do are put into slots (`contact_slots`). Arrays have the candidates as their last axis, (3, n): loops over them are
then the innermost ones.

Source: `engine_collision_primitive.c`, `engine_collision_driver.c` (`mj_contactParam`, `mj_setContact`); MuJoCo's
documentation, "Computation: collision detection" and "Modeling: solver parameters".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Float
from mujoco import mjx
from numpy.typing import NDArray

from dynamic_sparsity.generation.physics import mjx_private

PLANE, SPHERE, CAPSULE = mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE

PRIMITIVES = (PLANE, SPHERE, CAPSULE)
"""Types of geoms that are covered."""

_PARALLEL = 1e-8
"""Squared sine of the angle below which MuJoCo 4.0 takes two capsules for parallel; the tests hold it to that."""

_MIN_FRICTION = 1e-5
"""Least coefficient of friction, mjMINMU."""


def geom_pairs(model: mujoco.MjModel | mjx.Model) -> NDArray[np.int64]:
    """Return the geoms that may touch, the one of the lower type first, shape (pairs, 2).

    Args:
        model: MuJoCo's or MJX's model.
    """
    disabled = mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    if int(model.opt.disableflags) & disabled:
        return np.zeros((0, 2), np.int64)
    return np.array([(a, b) for a, b, _ in mjx_private.geom_pairs(model)], np.int64).reshape(-1, 2)


def covers(model: mujoco.MjModel) -> bool:
    """Return whether all geoms that may touch are `PRIMITIVES`, and the planes among them fixed.

    Args:
        model: MuJoCo's model.
    """
    pairs = geom_pairs(model)
    if model.npair or not np.isin(model.geom_type[pairs], PRIMITIVES).all():
        return False
    planes = pairs[model.geom_type[pairs[:, 0]] == PLANE, 0]
    return not (model.body_weldid[model.geom_bodyid[planes]] != 0).any()


class Parameters(NamedTuple):
    """What contact points of n geom pairs are made of beside geometry; arrays as in MuJoCo's `mjContact`.

    Attributes:
        dim: Dimension of the contact, int64, shape (n,).
        margin: Distance below which there is a constraint, m, shape (n,).
        friction: Shape (n, 5).
        solref: Shape (n, 2).
        solimp: Shape (n, 5).
    """

    dim: NDArray[np.int64]
    margin: NDArray[np.float64]
    friction: NDArray[np.float64]
    solref: NDArray[np.float64]
    solimp: NDArray[np.float64]


def mixed_parameters(model: mujoco.MjModel, pairs: NDArray[np.int64]) -> Parameters:
    """Return the contact parameters of pairs of geoms: of the geom with the higher priority, or mixed.

    Args:
        model: MuJoCo's model.
        pairs: Geoms, shape (n, 2).

    Source: MuJoCo's documentation, "Modeling: contact parameters"; `mj_contactParam`.
    """
    first, second = pairs.T
    rank = np.sign(model.geom_priority[first].astype(int) - model.geom_priority[second])
    a, b = model.geom_solmix[first], model.geom_solmix[second]
    small_a, small_b = a < mujoco.mjMINVAL, b < mujoco.mjMINVAL
    mix = np.where(small_a & small_b, 0.5, np.where(small_a, 0.0, np.where(small_b, 1.0, a / np.maximum(a + b, 1e-15))))
    mix = np.where(rank > 0, 1.0, np.where(rank < 0, 0.0, mix))[:, None]

    def chosen(name: str, mixed: NDArray[Any]) -> NDArray[Any]:
        values = getattr(model, name)
        choice = rank.reshape(-1, *[1] * (values.ndim - 1))
        return np.where(choice > 0, values[first], np.where(choice < 0, values[second], mixed))

    ref_a, ref_b = model.geom_solref[first], model.geom_solref[second]
    standard = (ref_a[:, :1] > 0) & (ref_b[:, :1] > 0)
    solref = np.where(standard, mix * ref_a + (1 - mix) * ref_b, np.minimum(ref_a, ref_b))
    solimp = mix * model.geom_solimp[first] + (1 - mix) * model.geom_solimp[second]
    friction = chosen("geom_friction", np.maximum(model.geom_friction[first], model.geom_friction[second]))
    return Parameters(
        chosen("geom_condim", np.maximum(model.geom_condim[first], model.geom_condim[second])).astype(np.int64),
        model.geom_margin[first] + model.geom_margin[second],
        np.maximum(friction[:, [0, 0, 1, 2, 2]], _MIN_FRICTION),
        chosen("geom_solref", solref),
        solimp,
    )


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidate points of a model: those with a plane first, then others, in groups of equal `dim`.

    Attributes:
        pairs: Pairs of geoms that may touch, (pairs, 2).
        pair: Pair of every candidate, (n,).
        end: Of a candidate with a plane: which end of the capsule, 1 or -1, or 0 for a sphere; of others: 0 for the
            first and 1 for the second point of a pair, (n,).
        first_type: Type of the first geom, (n,).
        second_type: Type of the second geom, (n,).
        parameters: Of every candidate.
        slots: Slots for the candidates of each dim.
    """

    pairs: NDArray[np.int64]
    pair: NDArray[np.int64]
    end: NDArray[np.int64]
    first_type: NDArray[np.int64]
    second_type: NDArray[np.int64]
    parameters: Parameters
    slots: dict[int, int]

    @cached_property
    def dim(self) -> NDArray[np.int64]:
        """Dimension of the contact in every slot, (slots,)."""
        return np.repeat(sorted(self.slots), [self.slots[dim] for dim in sorted(self.slots)])

    @cached_property
    def of_pair(self) -> NDArray[np.int64]:
        """The candidates of every pair, (pairs, 2); the last column repeats the first where there is but one."""
        table = np.zeros((len(self.pairs), 2), np.int64)
        for pair in range(len(self.pairs)):
            table[pair] = np.flatnonzero(self.pair == pair)[[0, -1]]
        return table


def candidates(model: mujoco.MjModel, slots: dict[int, int] | None = None) -> Candidates:
    """List the candidate points of a model that is covered.

    Args:
        model: MuJoCo's model.
        slots: Slots for each dim at most; None for as many as there are candidates.
    """
    pairs = geom_pairs(model)
    parameters = mixed_parameters(model, pairs)
    types = model.geom_type[pairs].astype(np.int64).reshape(-1, 2)
    listed: list[tuple[int, int, int, int, int, int]] = []
    for pair, (a, b) in enumerate(types):
        ends = ((1, -1) if b == CAPSULE else (0,)) if a == PLANE else ((0, 1) if a == b == CAPSULE else (0,))
        for rank, end in enumerate(ends):
            # Second points of parallel capsules come last: they hardly ever exist.
            listed.append((int(parameters.dim[pair]), int(a), int(b), rank if a == CAPSULE else 0, pair, end))
    table = np.array(sorted(listed), np.int64).reshape(-1, 6)
    pairs_of = table[:, 4]
    own = {int(dim): int(np.sum(table[:, 0] == dim)) for dim in np.unique(table[:, 0])}
    chosen = {dim: min(count, (slots or {}).get(dim, count)) for dim, count in own.items()}
    p = parameters
    of_candidates = Parameters(
        p.dim[pairs_of], p.margin[pairs_of], p.friction[pairs_of], p.solref[pairs_of], p.solimp[pairs_of]
    )
    return Candidates(pairs, pairs_of, table[:, 5], table[:, 1], table[:, 2], of_candidates, chosen)


class Points(NamedTuple):
    """Candidate points.

    Attributes:
        distance: Signed distance of the two geoms, m.
        position: m.
        normal: Unit vector from the first geom to the second.
    """

    distance: Float[jax.Array, " n"]
    position: Float[jax.Array, "3 n"]
    normal: Float[jax.Array, "3 n"]


def _dot(a: Float[jax.Array, "3 n"], b: Float[jax.Array, "3 n"]) -> Float[jax.Array, " n"]:
    """Return the dot products of vectors."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


class _Geoms(NamedTuple):
    """Geoms of candidates: centre and axis (3, n), radius and half length (n,)."""

    centre: jax.Array
    axis: jax.Array
    radius: NDArray[np.float64]
    half: NDArray[np.float64]


def _to_plane(plane: _Geoms, round_: _Geoms, end: NDArray[np.int64]) -> Points:
    normal = plane.axis
    centre = round_.centre + (end * round_.half)[None] * round_.axis
    distance = _dot(centre - plane.centre, normal) - round_.radius
    return Points(distance, centre - normal * (round_.radius + distance / 2)[None], normal)


def _between_balls(first: _Geoms, second: _Geoms, one: Float[jax.Array, "3 n"], two: Float[jax.Array, "3 n"]) -> Points:
    """Return the contact points of balls with given centres on the axes of two geoms."""
    gap = two - one
    squared = _dot(gap, gap)
    same = squared < mujoco.mjMINVAL**2
    length = jnp.sqrt(jnp.where(same, 1.0, squared))
    # Where the centres are the same: along the cross product of the axes, or x if they are parallel too.
    cross = jnp.cross(first.axis, second.axis, axis=0)
    crossed = _dot(cross, cross)
    parallel = crossed < mujoco.mjMINVAL**2
    aside = cross / jnp.sqrt(jnp.where(parallel, 1.0, crossed))[None]
    aside = jnp.where(parallel[None], jnp.array([[1.0], [0.0], [0.0]]), aside)
    normal = jnp.where(same[None], aside, gap / length[None])
    distance = jnp.where(same, 0.0, length) - first.radius - second.radius
    return Points(distance, one + normal * (first.radius + distance / 2)[None], normal)


def _of_capsules(
    first: _Geoms, second: _Geoms, reach: NDArray[np.float64], rank: NDArray[np.int64]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return where on their axes two capsules touch.

    Args:
        first: The first capsules.
        second: The second ones.
        reach: Largest distance of the axes' points at which a contact exists, m, shape (n,).
        rank: 0 for the first point of a pair, 1 for the second, shape (n,).

    Returns:
        Shares (-1 to 1) of the first and the second capsules' half lengths; and whether the point exists; (n,) each.
    """
    one, two = first.axis * first.half[None], second.axis * second.half[None]
    between = first.centre - second.centre
    a, b, c = _dot(one, one), -_dot(one, two), _dot(two, two)
    u, v = -_dot(one, between), _dot(two, between)
    determinant = a * c - b * b
    parallel = jnp.abs(determinant) < _PARALLEL * a * c
    safe = jnp.where(parallel, 1.0, determinant)
    # The minimum of the distance of the lines; if it is beyond an end, from that end to the other line, and again.
    x = (c * u - b * v) / safe
    y = jnp.where(jnp.abs(x) > 1, (v - b * jnp.sign(x)) / c, (a * v - b * u) / safe)
    x = jnp.clip(x, -1.0, 1.0)
    x = jnp.where(jnp.abs(y) > 1, jnp.clip((u - b * jnp.sign(y)) / a, -1.0, 1.0), x)
    y = jnp.clip(y, -1.0, 1.0)

    # Parallel: from each end of the first capsule, then of the second.
    ends = np.array([[1.0], [-1.0]])
    to_second = jnp.clip((v[None] - b[None] * ends) / c[None], -1.0, 1.0)
    to_first = jnp.clip((u[None] - b[None] * ends) / a[None], -1.0, 1.0)
    both = jnp.broadcast_to(ends, to_first.shape)
    xs, ys = jnp.concatenate([both, to_first]), jnp.concatenate([to_second, both])
    ones, twos = first.centre[:, None] + one[:, None] * xs[None], second.centre[:, None] + two[:, None] * ys[None]
    gaps = ones - twos
    distances = jnp.sqrt(gaps[0] ** 2 + gaps[1] ** 2 + gaps[2] ** 2)
    # How many of the four are nearer, or as near and earlier.
    earlier = np.tri(4, k=-1, dtype=bool)[:, :, None]
    nearer = (distances[None] < distances[:, None]) | ((distances[None] == distances[:, None]) & earlier)
    pick = nearer.sum(axis=1) == rank[None]
    # Where none touches, the nearest stands for the first.
    pick &= (distances <= reach[None]) | (rank == 0)[None]
    px, py = (jnp.sum(jnp.where(pick, shares, 0.0), axis=0) for shares in (xs, ys))
    exists = jnp.where(parallel, jnp.any(pick, axis=0), rank == 0)
    return jnp.where(parallel, px, x), jnp.where(parallel, py, y), exists


def find(
    table: Candidates,
    sizes: NDArray[np.float64],
    centres: Float[jax.Array, "ngeom 3"],
    axes: Float[jax.Array, "ngeom 3"],
) -> Points:
    """Return all candidate points; the distance is infinite where one does not exist.

    Args:
        table: The candidates.
        sizes: MuJoCo's `geom_size`, (ngeom, 3), m.
        centres: Of all geoms, m.
        axes: z axes of all geoms.
    """
    centres, axes = centres.T, axes.T
    kinds = np.stack([table.first_type, table.second_type], axis=1)
    starts = np.flatnonzero(np.any(np.diff(kinds, axis=0, prepend=-1), axis=1))
    parts = []
    for start, stop in zip(starts, [*starts[1:], len(kinds)], strict=True):
        own = slice(int(start), int(stop))
        geoms = table.pairs[table.pair[own]].T
        first, second = (_Geoms(centres[:, g], axes[:, g], sizes[g, 0], sizes[g, 1]) for g in geoms)
        a, b = kinds[start]
        if a == PLANE:
            parts.append(_to_plane(first, second, table.end[own]))
        elif a == b == CAPSULE:
            reach = table.parameters.margin[own] + first.radius + second.radius
            x, y, exists = _of_capsules(first, second, reach, table.end[own])
            one = first.centre + (first.half * x)[None] * first.axis
            two = second.centre + (second.half * y)[None] * second.axis
            points = _between_balls(first, second, one, two)
            parts.append(points._replace(distance=jnp.where(exists, points.distance, jnp.inf)))
        else:
            half = second.half if b == CAPSULE else 0 * second.half
            along = jnp.clip(_dot(second.axis, first.centre - second.centre), -half, half)
            parts.append(_between_balls(first, second, first.centre, second.centre + along[None] * second.axis))
    return Points(*(jnp.concatenate(x, axis=-1) for x in zip(*parts, strict=True)))
