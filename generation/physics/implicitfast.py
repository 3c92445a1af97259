r"""The velocity derivative of smooth forces that the implicitfast integrator uses, as MuJoCo C has it.

    Q = Σ_i m_i s_i m_iᵀ - diag(damping) - Σ_t J_t b_t J_tᵀ          m_i moment, s_i slope of actuator i's force

An actuator whose force is at a bound has no slope: its own bound, that of its tendon, or that of its joint. MJX's
`deriv_smooth_vel` keeps the slopes there, and takes the control as it is where MuJoCo C clamps it.

Source: `mjd_actuator_vel`, `mjd_passive_vel` of `engine_derivative.c`; the tests hold it to `mjData.qDeriv`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Bool, Float
from mujoco import mjx

AFFINE_GAIN, AFFINE_BIAS = mujoco.mjtGain.mjGAIN_AFFINE, mujoco.mjtBias.mjBIAS_AFFINE

_NEAR = 1e-12
"""Relative distance from its bound at which a tendon's force is there: MJX scales its parts, and rounds."""


def has_slopes(model: mujoco.MjModel) -> bool:
    """Return whether the force of any actuator depends on velocity: if none does, MJX's derivative is MuJoCo C's.

    Args:
        model: MuJoCo's model.
    """
    gain = (model.actuator_gaintype == AFFINE_GAIN) & (model.actuator_gainprm[:, 2] != 0)
    bias = (model.actuator_biastype == AFFINE_BIAS) & (model.actuator_biasprm[:, 2] != 0)
    return bool((gain | bias).any())


def clamped_control(m: mjx.Model, ctrl: Float[jax.Array, " nu"]) -> Float[jax.Array, " nu"]:
    """Return controls as the actuators see them.

    Args:
        m: MJX model.
        ctrl: Controls.
    """
    if m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL or not np.any(m.actuator_ctrllimited):
        return ctrl
    bounded = jnp.clip(ctrl, m.actuator_ctrlrange[:, 0], m.actuator_ctrlrange[:, 1])
    return jnp.where(m.actuator_ctrllimited, bounded, ctrl)


def _at_bound(force: jax.Array, bounds: jax.Array, near: float = 0.0) -> jax.Array:
    low, high = bounds[:, 0], bounds[:, 1]
    return (force <= low + near * jnp.abs(low)) | (force >= high - near * jnp.abs(high))


def saturated(m: mjx.Model, d: mjx.Data) -> Bool[jax.Array, " nu"]:
    """Return which actuators' forces are at a bound.

    Args:
        m: MJX model.
        d: MJX data after its actuation stage.
    """
    at = jnp.zeros(m.nu, bool)
    if np.any(m.actuator_forcelimited):
        at |= jnp.asarray(m.actuator_forcelimited) & _at_bound(d.actuator_force, m.actuator_forcerange)
    target = np.asarray(m.actuator_trnid)[:, 0]
    on_tendon = np.asarray(m.actuator_trntype) == mujoco.mjtTrn.mjTRN_TENDON
    if np.any(m.tendon_actfrclimited) and on_tendon.any():
        tendon = np.where(on_tendon, target, 0)
        parts = jnp.asarray(on_tendon[:, None] & (tendon[:, None] == np.arange(m.ntendon)))
        total = jnp.sum(jnp.where(parts, d.actuator_force[:, None], 0.0), axis=0)
        bound = jnp.asarray(m.tendon_actfrclimited) & _at_bound(total, m.tendon_actfrcrange, _NEAR)
        at |= jnp.asarray(on_tendon) & bound[tendon]
    on_joint = np.isin(m.actuator_trntype, (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT))
    if np.any(m.jnt_actfrclimited) and on_joint.any():
        joint = np.where(on_joint, target, 0)
        force = d.qfrc_actuator[np.asarray(m.jnt_dofadr)[joint]]
        bound = jnp.asarray(np.asarray(m.jnt_actfrclimited)[joint]) & _at_bound(
            force, jnp.asarray(m.jnt_actfrcrange)[joint]
        )
        at |= jnp.asarray(on_joint) & bound
    return at


def velocity_derivative(m: mjx.Model, d: mjx.Data) -> Float[jax.Array, "nv nv"]:
    """Return Q.

    Args:
        m: MJX model.
        d: MJX data after its velocity and actuation stages.
    """
    q_matrix = jnp.zeros((m.nv, m.nv))
    if m.nu and not m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_ACTUATION:
        affine = jnp.asarray(np.asarray(m.actuator_biastype) == AFFINE_BIAS)
        slope = jnp.where(affine, m.actuator_biasprm[:, 2], 0.0)
        driven = np.asarray(m.actuator_gaintype) == AFFINE_GAIN
        if driven.any():
            ctrl = clamped_control(m, d.ctrl)
            slope = slope + jnp.where(jnp.asarray(driven), m.actuator_gainprm[:, 2] * ctrl, 0.0)
        moment = d._impl.actuator_moment
        slope = jnp.where(saturated(m, d), 0.0, slope)
        q_matrix = q_matrix + moment.T @ (moment * slope[:, None])
    if not m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_DAMPER:
        q_matrix = q_matrix - jnp.diag(m.dof_damping)
        if m.ntendon:
            lengths = d._impl.ten_J
            q_matrix = q_matrix - lengths.T @ (m.tendon_damping[:, None] * lengths)
    return q_matrix
