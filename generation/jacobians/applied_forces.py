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
import numpy as np
from jaxtyping import Float
from mujoco import mjx

from dynamic_sparsity.generation.jacobians import rigid_body


def by_position(top: rigid_body.Topology, model: mjx.Model, data: mjx.Data) -> Float[jax.Array, "nv nv"]:
    """Return ∂c/∂q in tangent coordinates.

    Args:
        top: The topology.
        model: MJX model.
        data: MJX data after its position stage, with `xfrc_applied`, unbatched.
    """
    turn, shift = data.cdof[:, :3], data.cdof[:, 3:]
    force, torque = data.xfrc_applied[:, :3], data.xfrc_applied[:, 3:]
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
