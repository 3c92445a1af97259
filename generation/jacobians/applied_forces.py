r"""Closed-form derivative by position of the generalized force of wrenches that are applied to bodies.

A wrench in the world's frame, force F and torque T at a body's centre of mass p, gives the generalized forces
c_i = ω_i · (T + r × F) + v_i · F of the axes S_i = (ω_i, v_i) that move the body; r = p - O, as in `rigid_body`.
Turning q_j moves p by u_j = v_j + ω_j × r, and the axes behind j by S_j × S_i, so that

    ∂c_i/∂q_j = ω_i · (u_j × F) + [j carries i] (S_j × S_i) · (T + r × F, F),

summed over bodies. F and T do not turn with the body.

Source: MuJoCo's `mj_xfrcAccumulate`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Float
from mujoco import mjx

from dynamic_sparsity.generation.jacobians import rigid_body


def by_position(
    top: rigid_body.Topology, model: mjx.Model, data: mjx.Data, wrenches: Float[jax.Array, "nbody 6"]
) -> Float[jax.Array, "nv nv"]:
    """Return ∂c/∂q in tangent coordinates.

    Args:
        top: The topology.
        model: MJX model.
        data: MJX data after its position stage, unbatched.
        wrenches: Force and torque on each body, as `xfrc_applied`.
    """
    turn, shift = data.cdof[:, :3], data.cdof[:, 3:]
    force, torque = wrenches[:, :3], wrenches[:, 3:]
    arm = data.xipos - data.subtree_com[np.asarray(model.body_rootid)]
    moves = jnp.asarray(top.moves).astype(data.qpos.dtype)
    displaced = moves[:, :, None] * (shift[None] + jnp.cross(turn[None], arm[:, None, :]))
    moment = jnp.cross(displaced, force[:, None, :])
    by_arm = jnp.einsum("bi,ic,bjc->ij", moves, turn, moment)
    wrench = moves.T @ jnp.concatenate([torque + jnp.cross(arm, force), force], axis=1)
    turned = jnp.cross(turn[:, None, :], turn[None])
    shifted = jnp.cross(shift[:, None, :], turn[None]) + jnp.cross(turn[:, None, :], shift[None])
    swung = jnp.where(jnp.asarray(top.carries)[:, :, None], jnp.concatenate([turned, shifted], axis=2), 0.0)
    return by_arm + jnp.einsum("jic,ic->ij", swung, wrench)


def gravity_compensation(model: mjx.Model) -> Float[jax.Array, "nbody 6"] | None:
    """Return the wrenches that compensate gravity, which are constant; None if there are none.

    Args:
        model: MJX model.

    Source: `mj_gravcomp`; MJX leaves all passive forces out where springs or dampers are disabled.
    """
    bits = mujoco.mjtDisableBit
    disabled = model.opt.disableflags & (bits.mjDSBL_SPRING | bits.mjDSBL_DAMPER | bits.mjDSBL_GRAVITY)
    if disabled or not model.flg_gravcomp:
        return None
    force = -model.opt.gravity[None] * (model.body_mass * model.body_gravcomp)[:, None]
    return jnp.concatenate([force, jnp.zeros_like(force)], axis=1)
