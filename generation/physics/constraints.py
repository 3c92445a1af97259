"""Which constraints act: names, and features of a physics step.

A *constraint* here is an equality of joints or tendons, a friction-loss degree of freedom or tendon, a joint limit, a
tendon limit, or a pair of geoms that may touch. MJX computes a
fixed number of contact points; where a model limits them (`max_contact_points`), the deepest ones are kept, so that a
slot means another pair from step to step. Features are therefore kept per pair of geoms, whose meaning never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int
from mujoco import mjx

from dynamic_sparsity.generation.physics import collision, contact_slots, mjx_private
from dynamic_sparsity.generation.physics.constraint_problem import Zones

_BALL = mujoco.mjtJoint.mjJNT_BALL
_SCALAR = (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE)


@dataclass(frozen=True)
class Constraint:
    """One constraint of a model.

    Attributes:
        name: Its name in the model.
        kind: "equality", "friction_loss", "joint_limit", "tendon_limit" or "contact".
    """

    name: str
    kind: str


@dataclass(frozen=True)
class Constraints:
    """The constraints of a model, in the order of the features.

    Attributes:
        items: All constraints; the contacts come last.
        pairs: Names of the two geoms of each contact.
        single_rows: Number of constraints that have one row each in MJX's constraint arrays; these come first there
        as well.
        pair_index: Position of a geom pair in `pairs`, shape (ngeom, ngeom); -1 for pairs that never touch.
    """

    items: tuple[Constraint, ...]
    pairs: tuple[tuple[str, str], ...]
    single_rows: int
    pair_index: np.ndarray


class Features(NamedTuple):
    """What the constraints did in one physics step.

    Attributes:
        active: bool, shape (nc,). A limit or contact is active if it pushes; friction loss is active while it sticks;
            an equality always is.
        rows: Zone of every constraint row, bool, shape (n,): what the Hessian depends on. Equal rows mean equal zones,
            whatever slots the contact points are in.
        distance: Smallest signed distance per geom pair, m, shape (np,); +inf where no contact point was computed.
        force: Normal force per geom pair, N, shape (np,).
        contact_count: Contact points in touch (distance below the margin), int32, shape ().
    """

    active: Bool[jax.Array, " nc"]
    rows: Bool[jax.Array, " n"]
    distance: Float[jax.Array, " np"]
    force: Float[jax.Array, " np"]
    contact_count: Int[jax.Array, ""]


def _name(model: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> str:
    return mujoco.mj_id2name(model, kind, index) or f"{kind.name.removeprefix('mjOBJ_').lower()}{index}"


def _enabled(model: mujoco.MjModel, bit: mujoco.mjtDisableBit) -> bool:
    return not model.opt.disableflags & (bit | mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)


def describe(model: mujoco.MjModel) -> Constraints:
    """List a model's constraints in the order of MJX's rows.

    That is equalities (of joints, then tendons), friction loss, limits (ball, then scalar joints, then tendons),
    contacts.

    Args:
        model: MuJoCo's model, of features that are supported.
    """
    joint, tendon = mujoco.mjtObj.mjOBJ_JOINT, mujoco.mjtObj.mjOBJ_TENDON
    items: list[Constraint] = []
    if _enabled(model, mujoco.mjtDisableBit.mjDSBL_EQUALITY):
        for kind in (mujoco.mjtEq.mjEQ_JOINT, mujoco.mjtEq.mjEQ_TENDON):
            for index in np.flatnonzero(model.eq_type == kind):
                items.append(Constraint(_name(model, mujoco.mjtObj.mjOBJ_EQUALITY, int(index)), "equality"))
    if _enabled(model, mujoco.mjtDisableBit.mjDSBL_FRICTIONLOSS):
        for dof in np.flatnonzero(model.dof_frictionloss > 0):
            items.append(Constraint(_name(model, joint, int(model.dof_jntid[dof])), "friction_loss"))
        for index in np.flatnonzero(model.tendon_frictionloss > 0):
            items.append(Constraint(_name(model, tendon, int(index)), "friction_loss"))
    if _enabled(model, mujoco.mjtDisableBit.mjDSBL_LIMIT):
        limited = np.flatnonzero(model.jnt_limited)
        for kinds in ((_BALL,), _SCALAR):
            for index in limited[np.isin(model.jnt_type[limited], kinds)]:
                items.append(Constraint(_name(model, joint, int(index)), "joint_limit"))
        for index in np.flatnonzero(model.tendon_limited):
            items.append(Constraint(_name(model, tendon, int(index)), "tendon_limit"))
    single_rows = len(items)
    pairs: list[tuple[str, str]] = []
    pair_index = np.full((model.ngeom, model.ngeom), -1, np.int32)
    if _enabled(model, mujoco.mjtDisableBit.mjDSBL_CONTACT):
        geom = mujoco.mjtObj.mjOBJ_GEOM
        for first, second, _ in mjx_private.geom_pairs(model):
            pair_index[first, second] = len(pairs)
            pairs.append((_name(model, geom, int(first)), _name(model, geom, int(second))))
            items.append(Constraint("/".join(pairs[-1]), "contact"))
    return Constraints(tuple(items), tuple(pairs), single_rows, pair_index)


def rows_per_point(dim: np.ndarray) -> np.ndarray:
    """Return the constraint rows of each contact point, shape (n,): one, or the edges of a friction pyramid.

    Args:
        dim: Dimensions of the contacts, shape (n,).
    """
    return np.where(dim == 1, 1, 2 * (dim - 1))


def point_rows(contact: mjx.Contact, sentinel: int) -> np.ndarray:
    """Return the indices of each contact point's constraint rows, shape (n, most rows of a point).

    Args:
        contact: MJX's contacts.
        sentinel: Index that stands where a point has fewer rows than others.
    """
    count = rows_per_point(contact.dim)
    offset = np.arange(count.max())
    return np.where(offset < count[:, None], contact.efc_address[:, None] + offset, sentinel)


def observe(constraints: Constraints, data: mjx.Data, zones: Zones, force: Float[jax.Array, " nefc"]) -> Features:
    """Return the features of one physics step.

    Args:
        constraints: The model's constraints.
        data: MJX data after collision detection, unbatched.
        zones: Zone of each constraint row.
        force: Constraint forces, N or N·m.
    """
    rows = jnp.concatenate([zones.quadratic, zones.upper])
    single = zones.quadratic[: constraints.single_rows]
    n_pairs = len(constraints.pairs)
    contact = data._impl.contact
    if n_pairs == 0 or not contact.dim.size:
        empty = jnp.zeros(0)
        return Features(single, rows, empty, empty, jnp.array(0, jnp.int32))

    # The sentinel is never active and has no force.
    table = point_rows(contact, force.shape[0])
    point_active = jnp.append(zones.quadratic, False)[table].any(axis=1)
    point_force = jnp.append(force, 0.0)[table].sum(axis=1)

    index = jnp.asarray(constraints.pair_index)[contact.geom[:, 0], contact.geom[:, 1]]
    member = index[:, None].astype(jnp.int64) == jnp.arange(n_pairs)[None]
    return Features(
        active=jnp.append(single, (member & point_active[:, None]).any(axis=0)),
        rows=rows,
        distance=jnp.min(jnp.where(member, contact.dist[:, None], jnp.inf), axis=0),
        force=jnp.sum(jnp.where(member, point_force[:, None], 0.0), axis=0),
        contact_count=jnp.sum(contact.dist < contact.includemargin, dtype=jnp.int32),
    )


def observe_found(
    constraints: Constraints,
    data: mjx.Data,
    zones: Zones,
    force: Float[jax.Array, " nefc"],
    table: collision.Candidates,
    found: contact_slots.Contacts,
) -> Features:
    """Return the features of one physics step with contacts that `contact_slots` found.

    Args:
        constraints: The model's constraints.
        data: MJX data after collision detection, unbatched.
        zones: Zone of each constraint row.
        force: Constraint forces, N or N·m.
        table: The model's candidate points.
        found: What the collision found.
    """
    contact = data._impl.contact
    start = int(contact.efc_address[0])
    addresses = point_rows(contact, len(force))
    point_zone = jnp.append(zones.quadratic, False)[addresses]
    point_force = jnp.append(force, 0.0)[addresses].sum(axis=1)
    count = len(table.pair)
    place = jnp.where(found.candidate < 0, count, found.candidate)
    by_candidate = jnp.zeros((count, point_zone.shape[1]), bool).at[place].set(point_zone, mode="drop")
    pair = jnp.append(jnp.asarray(table.pair), -1)[place]
    member = pair[:, None] == jnp.arange(len(table.pairs))[None]
    return Features(
        active=jnp.append(
            zones.quadratic[: constraints.single_rows], (member & point_zone.any(axis=1)[:, None]).any(axis=0)
        ),
        rows=jnp.concatenate([zones.quadratic[:start], zones.upper[:start], by_candidate.ravel()]),
        distance=found.distance,
        force=jnp.sum(jnp.where(member, point_force[:, None], 0.0), axis=0),
        contact_count=found.in_touch,
    )
