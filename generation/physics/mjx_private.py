"""Every private name of MJX that this package uses, so that a new version of MJX is checked against one page.

All else that we take from MJX is public (`mujoco.mjx`). The fields of `mjx.Data._impl`, such as `efc_J`, are private as
well; they have no public counterpart.
"""

from __future__ import annotations

from mujoco.mjx._src.collision_driver import geom_pairs
from mujoco.mjx._src.collision_driver import has_collision_fn as has_collision_function
from mujoco.mjx._src.constraint import _kbi as stiffness_damping_impedance
from mujoco.mjx._src.constraint import counts as row_counts
from mujoco.mjx._src.constraint import make_efc_address, make_efc_type
from mujoco.mjx._src.passive import _inertia_box_fluid_model as inertia_box_fluid_model
from mujoco.mjx._src.passive import _spring_damper as spring_damper
from mujoco.mjx._src.solver import Context as SolverContext

__all__ = [
    "SolverContext",
    "geom_pairs",
    "has_collision_function",
    "inertia_box_fluid_model",
    "make_efc_address",
    "make_efc_type",
    "row_counts",
    "spring_damper",
    "stiffness_damping_impedance",
]
