"""Every private name of MJX that this package uses, so that a new version of MJX is checked against one page.

All else that we take from MJX is public (`mujoco.mjx`). The fields of `mjx.Data._impl`, such as `efc_J`, are private as
well; they have no public counterpart.
"""

from __future__ import annotations

from mujoco.mjx._src.collision_driver import _COLLISION_FUNC as _COLLISION_FUNCTIONS
from mujoco.mjx._src.collision_driver import _geom_groups as geom_groups
from mujoco.mjx._src.collision_driver import geom_pairs
from mujoco.mjx._src.collision_driver import has_collision_fn as has_collision_function
from mujoco.mjx._src.constraint import _kbi as stiffness_damping_impedance
from mujoco.mjx._src.constraint import counts as row_counts
from mujoco.mjx._src.constraint import make_efc_address, make_efc_type
from mujoco.mjx._src.passive import _inertia_box_fluid_model as inertia_box_fluid_model
from mujoco.mjx._src.passive import _spring_damper as spring_damper
from mujoco.mjx._src.solver import Context as SolverContext


def points_of_pair(types: tuple[int, int]) -> int:
    """Return how many contact points MJX has for each pair of geoms of two types.

    Args:
        types: Of the geoms, the lower one first.
    """
    return int(_COLLISION_FUNCTIONS[types].ncon)


__all__ = [
    "SolverContext",
    "geom_groups",
    "geom_pairs",
    "has_collision_function",
    "inertia_box_fluid_model",
    "make_efc_address",
    "make_efc_type",
    "points_of_pair",
    "row_counts",
    "spring_damper",
    "stiffness_damping_impedance",
]
