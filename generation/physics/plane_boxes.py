r"""Contact points of boxes on planes, where MuJoCo C finds them.

MJX takes the corners that are less than 1 mm above the deepest one, so that its step jumps where a corner leaves that
skin. MuJoCo C takes the corners below the box's centre that are within the margin: of two opposite corners, that one
which is lower. With n the plane's normal, o a point of it, and r a corner relative to the box's centre c,

    d = n · (c - o) - |n · r|,        p = c ± r - n d / 2,

which is smooth but where the box lies on an edge or a corner with its centre in the plane. All else of a model that
`collision` does not cover is MJX's.

Source: `engine_collision_primitive.c` (`mjc_PlaneBox`); MJX `collision_convex.plane_convex`.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx
from numpy.typing import NDArray

from dynamic_sparsity.generation.physics import contact_slots, mjx_private

_BOX_ON_PLANE = (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_BOX)

_CORNERS = np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]], np.float64)
"""One of each two opposite corners of a box, in half edges; as many as MJX has contact points of a box on a plane."""

_LIMITS = ("max_contact_points", "max_geom_pairs")
"""Numbers in a model by which MJX cuts contact points off, so that a slot means another pair from step to step."""


class _Slots(NamedTuple):
    """Where MJX's contacts have boxes on planes.

    Attributes:
        slot: Place among the contact points, (n,).
        plane: Geom, (n,).
        box: Geom, (n,).
        corner: Of `_CORNERS`, (n,).
    """

    slot: NDArray[np.int64]
    plane: NDArray[np.int64]
    box: NDArray[np.int64]
    corner: NDArray[np.int64]


@cache
def _slots(model: mujoco.MjModel) -> _Slots:
    limited = any(mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_NUMERIC, name) >= 0 for name in _LIMITS)
    by_dim: dict[int, list[tuple[int, int, int]]] = {}
    for key, pairs in mjx_private.geom_groups(model).items():
        types = int(key.types[0]), int(key.types[1])
        points = mjx_private.points_of_pair(types)
        ours = types == _BOX_ON_PLANE and not limited
        listed = by_dim.setdefault(int(key.condim), [])
        listed += [(int(a), int(b), k if ours else -1) for a, b, _ in pairs for k in range(points)]
    table = np.array([point for dim in sorted(by_dim) for point in by_dim[dim]], np.int64).reshape(-1, 3)
    slot = np.flatnonzero(table[:, 2] >= 0)
    return _Slots(slot, *table[slot].T)


def collide(model: mujoco.MjModel, mjx_model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """Find the contacts of MJX data: those of boxes on planes by MuJoCo C's rule, all others by MJX's functions.

    Args:
        model: MuJoCo's model.
        mjx_model: The same for MJX.
        data: MJX data after kinematics, unbatched.
    """
    found: mjx.Data = mjx.collision(mjx_model, data)
    contact = found._impl.contact
    at = _slots(model) if contact.dim.size else None
    if at is None or not len(at.slot):
        return found
    normal = data.geom_xmat[at.plane][:, :, 2]
    reach = jnp.asarray(_CORNERS[at.corner] * model.geom_size[at.box])
    corner = jnp.sum(data.geom_xmat[at.box] * reach[:, None], axis=2)
    height = jnp.sum(normal * corner, axis=1)
    lower = jnp.where(height > 0, -1.0, 1.0)
    centre = data.geom_xpos[at.box]
    distance = jnp.sum(normal * (centre - data.geom_xpos[at.plane]), axis=1) + lower * height
    position = centre + lower[:, None] * corner - normal * distance[:, None] / 2
    frame = contact_slots.frames(normal, normal, jnp.zeros(len(at.slot), bool))
    placed = contact.replace(
        dist=contact.dist.at[at.slot].set(distance),
        pos=contact.pos.at[at.slot].set(position),
        frame=contact.frame.at[at.slot].set(frame),
    )
    changed: mjx.Data = found.tree_replace({"_impl.contact": placed})
    return changed
