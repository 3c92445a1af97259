r"""Contact points that touch, in a fixed number of slots, and their rows of the constraint problem.

Few of the candidates for contact points (`collision`) touch at once. Those that do are moved, in order, into *slots*,
and the constraint problem is made of these alone; its minimum does not depend on their order. More of them than slots
is an *overflow*, and said.

The rows are MuJoCo's: of a point with normal n, tangents t₁, t₂, friction μ and Jacobian V (velocity of body 2 relative
to body 1 at the point), the edges of its pyramid, (n ± μ t₁) · V and (n ± μ t₂) · V, or n · V if it is frictionless. A
row has the reference acceleration a = -b J v - k imp(d) (d - margin) and the stiffness D = imp / (w (1 - imp)). MJX
evaluates the impedance imp for each row by itself, with four powers, which costs more than all else here.

Source: `engine_core_constraint.c`; MuJoCo's documentation, "Computation: constraint model" and "Modeling: solver
parameters".
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int
from mujoco import mjx
from numpy.typing import NDArray

from dynamic_sparsity.generation import target
from dynamic_sparsity.generation.physics import mjx_private
from dynamic_sparsity.generation.physics.collision import CAPSULE, PLANE, Candidates, find

SLOTS: dict[str, dict[int, int]] = {
    "ball_in_cup": {3: 6},
    "cheetah": {3: 10},
    "finger_spin": {3: 6},
    "finger_turn": {3: 6},
    "hopper": {3: 12},
    "humanoid": {1: 16, 3: 14},
    "walker": {3: 12},
}
"""Slots for contact points of each dim, by group of dynamics. Models of no group get one for each candidate."""

FEW_SLOTS: dict[str, dict[int, int]] = {
    "ball_in_cup": {3: 2},
    "cheetah": {3: 4},
    "finger_spin": {3: 2},
    "finger_turn": {3: 2},
    "hopper": {3: 6},
    "humanoid": {1: 6, 3: 6},
    "walker": {3: 5},
}
"""Slots that are enough in all but 0.4 % of the states of noise: problems without more points are solved as smaller
ones."""

_BEHIND = 1.0
"""m, distance beyond the margin that stands in a slot that holds no point."""


class Contacts(NamedTuple):
    """What a collision found, beside the contacts in MJX's data.

    Attributes:
        candidate: Which candidate each slot holds, int32, (slots,); -1 for none.
        distance: Least distance of every pair of geoms, m, (pairs,).
        in_touch: Number of points within the margin, int32, ().
        overflow: Whether there were more of them than slots, bool, ().
    """

    candidate: Int[jax.Array, " slots"]
    distance: Float[jax.Array, " pairs"]
    in_touch: Int[jax.Array, ""]
    overflow: Bool[jax.Array, ""]


def _filled(table: Candidates, touching: Bool[jax.Array, " n"]) -> tuple[Int[jax.Array, " slots"], Bool[jax.Array, ""]]:
    """Return which candidate each slot holds, -1 for none; and whether there were too few slots."""
    parts, overflow = [], jnp.array(False)
    method = "compare_all" if target.means().comparing_search else "scan"
    for dim in sorted(table.slots):
        start, slots = int(np.argmax(table.parameters.dim == dim)), table.slots[dim]
        rank = jnp.cumsum(touching[table.parameters.dim == dim], dtype=jnp.int32)
        wanted = jnp.arange(1, slots + 1, dtype=jnp.int32)
        # The place of the first candidate with that rank, beyond the end if there is none.
        place = jnp.searchsorted(rank, wanted, method=method).astype(jnp.int32)
        parts.append(jnp.where(wanted <= rank[-1], start + place, -1))
        overflow |= rank[-1] > slots
    return jnp.concatenate(parts), overflow


def frames(
    normal: Float[jax.Array, "n 3"], axis: Float[jax.Array, "n 3"], aligned: Bool[jax.Array, " n"]
) -> Float[jax.Array, "n 3 3"]:
    """Return contact frames: the normal and two tangents.

    Args:
        normal: Unit normals.
        axis: Along which the first tangent is where `aligned`.
        aligned: Whether to take `axis`, or an axis of the world.

    Source: `mju_makeFrame`.
    """
    upright = jnp.abs(normal[:, 1:2]) < 0.5
    world = jnp.where(upright, jnp.array([0.0, 1.0, 0.0]), jnp.array([0.0, 0.0, 1.0]))
    lead = jnp.where(aligned[:, None], axis, world)
    lead = lead - normal * jnp.sum(normal * lead, axis=1, keepdims=True)
    squared = jnp.sum(lead * lead, axis=1, keepdims=True)
    none = squared < mujoco.mjMINVAL**2
    lead = jnp.where(none, jnp.array([1.0, 0.0, 0.0]), lead / jnp.sqrt(jnp.where(none, 1.0, squared)))
    return jnp.stack([normal, lead, jnp.cross(normal, lead)], axis=1)


def collide(table: Candidates, model: mjx.Model, data: mjx.Data) -> tuple[mjx.Data, Contacts]:
    """Find the contacts of MJX data.

    Args:
        table: The model's candidate points.
        model: MJX model.
        data: MJX data after kinematics, unbatched, with the slots that `sized` gives.

    Returns:
        The data with its contacts, and what else was found.
    """
    axes = data.geom_xmat[:, :, 2]
    points = find(table, np.asarray(model.geom_size), data.geom_xpos, axes)
    parameters = table.parameters
    touching = points.distance < parameters.margin
    candidate, overflow = _filled(table, touching)
    held = candidate >= 0
    index = jnp.maximum(candidate, 0)

    def of_slots(values: NDArray[np.generic]) -> jax.Array:
        return jnp.asarray(values)[index]

    geoms = of_slots(table.pairs[table.pair])
    normal = points.normal.T[index]
    aligned = of_slots((table.first_type == PLANE) & (table.second_type == CAPSULE))
    margin = of_slots(parameters.margin)
    old = data._impl.contact
    contact = old.replace(
        dist=jnp.where(held, points.distance[index], margin + _BEHIND),
        pos=points.position.T[index],
        frame=frames(normal, axes[geoms[:, 1]], aligned),
        includemargin=margin,
        friction=of_slots(parameters.friction),
        solref=of_slots(parameters.solref),
        solreffriction=jnp.zeros_like(old.solreffriction),
        solimp=of_slots(parameters.solimp),
        geom1=geoms[:, 0],
        geom2=geoms[:, 1],
        geom=geoms,
    )
    count = jnp.sum(touching, dtype=jnp.int32)
    distance = jnp.min(points.distance[table.of_pair], axis=1)
    return data.tree_replace({"_impl.contact": contact}), Contacts(candidate, distance, count, overflow)


def _zeros(old: jax.Array, count: int) -> jax.Array:
    return jnp.zeros((count, *old.shape[1:]), old.dtype)


def sized(table: Candidates, model: mujoco.MjModel, data: mjx.Data) -> mjx.Data:
    """Give MJX data as many contact slots, and rows of constraints, as a table has.

    Args:
        table: The model's candidate points.
        model: MuJoCo's model.
        data: MJX data.
    """
    dim = table.dim
    types = mjx_private.make_efc_type(model, dim)
    address = mjx_private.make_efc_address(model, dim, types)
    ne, nf, nl, nc = mjx_private.row_counts(types)
    rows, slots = int(ne + nf + nl + nc), len(dim)
    impl = data._impl
    if impl.nefc == rows and np.array_equal(impl.contact.dim, dim):
        return data
    contact = impl.contact
    names = ("dist", "pos", "frame", "includemargin", "friction", "solref", "solreffriction", "solimp")
    arrays = {name: _zeros(getattr(contact, name), slots) for name in (*names, "geom1", "geom2", "geom")}
    row_names = ("efc_J", "efc_pos", "efc_margin", "efc_frictionloss", "efc_D", "efc_aref", "efc_force")
    constraints = {f"_impl.{name}": _zeros(getattr(impl, name), rows) for name in row_names}
    replaced = {
        "_impl.contact": contact.replace(dim=dim, efc_address=address, **arrays),
        "_impl.ncon": slots,
        "_impl.nefc": rows,
        "_impl.efc_type": types,
    }
    changed: mjx.Data = data.tree_replace(constraints | replaced)
    return changed


class _Law(NamedTuple):
    """What the rows of candidates are made of beside geometry.

    Attributes:
        sign: 1 where a degree of freedom moves body 2 only, -1 where body 1 only, else 0, (n, nv).
        stiffness: k, (n,).
        damping: b, (n,).
        solimp: dmin, dmax, width, mid, power, within MuJoCo's bounds, (n, 5).
        weight: w, (n,).
    """

    sign: NDArray[np.float64]
    stiffness: NDArray[np.float64]
    damping: NDArray[np.float64]
    solimp: NDArray[np.float64]
    weight: NDArray[np.float64]


def _moves(model: mujoco.MjModel) -> NDArray[np.float64]:
    """Return 1 where a degree of freedom moves a body, (nbody, nv)."""
    moves = np.zeros((model.nbody, model.nv))
    for body in range(1, model.nbody):
        moves[body] = moves[model.body_parentid[body]]
        moves[body, model.dof_bodyid == body] = 1
    return moves


@cache
def _laws(table: Candidates, model: mujoco.MjModel) -> _Law:
    """Return the impedance, stiffness and damping of every candidate.

    Source: `mj_makeImpedance`, `mj_diagApprox`, `getsolparam`.
    """
    first, second = model.geom_bodyid[table.pairs[table.pair]].T
    moves, parameters = _moves(model), table.parameters
    low, high, width, mid, power = parameters.solimp.T
    low, high, mid = (np.clip(x, mujoco.mjMINIMP, mujoco.mjMAXIMP) for x in (low, high, mid))
    width, power = np.maximum(width, mujoco.mjMINVAL), np.maximum(power, 1)
    time, ratio = parameters.solref.T
    if not model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_REFSAFE:
        time = np.maximum(time, 2 * model.opt.timestep)
    direct_k, direct_b = (parameters.solref <= 0).T
    with np.errstate(divide="ignore"):
        stiffness = np.where(direct_k, -parameters.solref[:, 0] / high**2, 1 / (high * time * ratio) ** 2)
        damping = np.where(direct_b, -parameters.solref[:, 1] / high, 2 / (high * time))
    translation = model.body_invweight0[first, 0] + model.body_invweight0[second, 0]
    mu2 = parameters.friction[:, 0] ** 2
    weight = np.where(parameters.dim == 1, 1.0, (1 + mu2) * 2 * mu2 / model.opt.impratio) * translation
    solimp = np.stack([low, high, width, mid, power], axis=1)
    return _Law(moves[second] - moves[first], stiffness, damping, solimp, weight)


def impedance(solimp: jax.Array, pos: jax.Array, parabolic: bool) -> jax.Array:
    """Return the impedances imp(pos).

    Args:
        solimp: Parameters.
        pos: Positions relative to the margin, m or rad.
        parabolic: All powers are 2: powers in general cost as much as all else in a row.
    """
    low, high, width, mid, power = solimp.T
    share = jnp.abs(pos) / width

    def arc(x: jax.Array, end: jax.Array) -> jax.Array:
        return x * x / end if parabolic else jnp.power(x, power) / jnp.power(end, power - 1)

    shape = jnp.where(share < mid, arc(share, mid), 1 - arc(1 - share, 1 - mid))
    return jnp.where(share > 1.0, high, jnp.clip(low + shape * (high - low), low, high))


def make_constraint(
    table: Candidates, model: mujoco.MjModel, mjx_model: mjx.Model, data: mjx.Data, found: Contacts
) -> mjx.Data:
    """Make the rows of all constraints, as MJX's `make_constraint`, with the contacts in slots.

    Friction loss, limits and equalities are MJX's own.

    Args:
        table: The model's candidate points.
        model: MuJoCo's model.
        mjx_model: MJX model.
        data: MJX data of `collide`.
        found: What the collision found.
    """
    if not set(table.slots) <= {1, 3} or model.opt.cone != mujoco.mjtCone.mjCONE_PYRAMIDAL:
        made: mjx.Data = mjx.make_constraint(mjx_model, data)
        return made
    contact = data._impl.contact
    none = contact.replace(dim=contact.dim[:0], efc_address=contact.efc_address[:0])
    base = mjx.make_constraint(mjx_model, data.tree_replace({"_impl.contact": none}))._impl
    laws, index = _laws(table, model), jnp.maximum(found.candidate, 0)
    k, b, solimp, weight = (jnp.asarray(x)[index] for x in laws[1:])

    # Velocities of the point with each degree of freedom, (slots, nv, 3), each about its tree's centre of mass.
    arm = contact.pos[:, None] - data.subtree_com[model.body_rootid[model.dof_bodyid]][None]
    sign = jnp.where(found.candidate >= 0, 1.0, 0.0)[:, None] * jnp.asarray(laws.sign)[index]
    velocity = sign[:, :, None] * (data.cdof[None, :, 3:] + jnp.cross(data.cdof[None, :, :3], arm))
    normal, first, second = (jnp.sum(velocity * contact.frame[:, k, None], axis=2) for k in range(3))
    mu, nu = contact.friction[:, :1], contact.friction[:, 1:2]
    edges = jnp.stack([normal + mu * first, normal - mu * first, normal + nu * second, normal - nu * second], axis=1)

    held = found.candidate >= 0
    depth = jnp.where(held, contact.dist - contact.includemargin, 0.0)
    at = impedance(solimp, depth, bool((laws.solimp[:, 4] == 2).all()))
    stiffness = 1 / jnp.maximum(weight * (1 - at) / at, mujoco.mjMINVAL)
    pull = -k * at * depth
    counts = np.where(contact.dim == 1, 1, 4)
    slot = np.repeat(np.arange(len(counts)), counts)
    edge = np.arange(len(slot)) - np.repeat(np.cumsum(counts) - counts, counts)
    frictionless = counts[slot] == 1
    rows = edges.reshape(-1, edges.shape[-1])[4 * slot + edge]
    if frictionless.any():
        rows = jnp.where(frictionless[:, None], normal[slot], rows)
    parts = {
        "efc_J": rows,
        "efc_D": stiffness[slot],
        "efc_aref": -b[slot] * (rows @ data.qvel) + pull[slot],
        "efc_pos": (depth + contact.includemargin)[slot],
        "efc_margin": contact.includemargin[slot],
        "efc_frictionloss": jnp.zeros(len(slot)),
    }
    joined = {f"_impl.{name}": jnp.concatenate([getattr(base, name), part]) for name, part in parts.items()}
    done: mjx.Data = data.tree_replace(joined)
    return done


def few_rows(table: Candidates, group: str, data: mjx.Data) -> tuple[int, ...] | None:
    """Return the rows of the constraint problem that are left where no more than `FEW_SLOTS` of a group are filled.

    Args:
        table: The model's candidate points.
        group: Name of the group of dynamics.
        data: MJX data with the table's slots.

    Returns:
        Indices of rows; None where the group has no `FEW_SLOTS`.
    """
    if group not in FEW_SLOTS:
        return None
    contact = data._impl.contact
    rank = np.concatenate([np.arange(table.slots[dim]) for dim in sorted(table.slots)])
    filled = rank < np.array([FEW_SLOTS[group].get(int(dim), table.slots[int(dim)]) for dim in contact.dim])
    slots = np.repeat(filled, np.where(contact.dim == 1, 1, 2 * (contact.dim - 1)))
    rows = np.append(np.ones(int(contact.efc_address[0]), bool), slots)
    return tuple(int(row) for row in np.flatnonzero(rows))
