"""The model that MJX is given: one whose step is MuJoCo C's of the user's model, by features that MJX has."""

from __future__ import annotations

import copy

import mujoco
import numpy as np
from mujoco import mjx

from dynamic_sparsity.errors import UnsupportedModelError

_SPRING, _DAMPER = mujoco.mjtDisableBit.mjDSBL_SPRING, mujoco.mjtDisableBit.mjDSBL_DAMPER


def of(model: mujoco.MjModel, own_solver: bool) -> mujoco.MjModel:
    """Return the model that MJX is given.

    Args:
        model: MuJoCo's model, of features that are supported.
        own_solver: The step is ours, and not MJX's own: points where MJX loses a derivative are moved.
    """
    changed = copy.copy(model)
    changed.opt.enableflags = 0
    _disable_passive_forces(changed)
    _disable_actuators(changed)
    if own_solver:
        _move_dead_points(changed)
    return changed


def mjx_model(model: mujoco.MjModel) -> mjx.Model:
    """Return MJX's model.

    Args:
        model: A counterpart.

    Raises:
        UnsupportedModelError: It has a feature that MJX does not implement.
    """
    try:
        made: mjx.Model = mjx.put_model(model, impl="jax")
    except NotImplementedError as error:
        raise UnsupportedModelError(
            f"MJX, which computes the step, does not implement what this model has: {error} Remove it from the model."
        ) from error
    return made


def _disable_passive_forces(model: mujoco.MjModel) -> None:
    """Disable springs or dampers by their coefficients: MJX leaves all passive forces out if either flag is set.

    Source: `mj_passive`; with both flags MuJoCo leaves all of them out as well.
    """
    flags = int(model.opt.disableflags)
    if flags & _DAMPER:
        model.dof_damping[:], model.tendon_damping[:] = 0, 0
    if bool(flags & _DAMPER) != bool(flags & _SPRING):
        if flags & _SPRING:
            model.jnt_stiffness[:], model.tendon_stiffness[:] = 0, 0
        model.opt.disableflags = flags & ~int(_SPRING | _DAMPER)


def _disable_actuators(model: mujoco.MjModel) -> None:
    """Give the actuators of disabled groups no force; it is then clamped, as in MuJoCo."""
    groups = np.clip(model.actuator_group, 0, 30)
    inside = (model.actuator_group >= 0) & (model.actuator_group <= 30)
    off = inside & ((int(model.opt.disableactuator) >> groups) & 1 == 1)
    model.actuator_gaintype[off], model.actuator_biastype[off] = 0, 0
    model.actuator_gainprm[off], model.actuator_biasprm[off] = 0, 0
    model.opt.disableactuator = 0


def _move_dead_points(model: mujoco.MjModel) -> None:
    """Move what is at points where the derivative of MJX's formula is lost.

    A tendon's spring that rests at one length is linear, and MuJoCo's formula for a range of lengths without force has
    that value everywhere; but at exactly that length neither of its two sides acts, and the derivative of MJX's formula
    is zero. The range's ends are made to overlap by one rounding.
    """
    low, high = model.tendon_lengthspring.T
    # Numbers below 1e-308 are zero to XLA.
    beyond = np.maximum(np.nextafter(high, np.inf), high + 1e-20)
    model.tendon_lengthspring[:, 0] = np.where(low == high, beyond, low)
