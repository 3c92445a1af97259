"""States on their manifold: integration and tangent coordinates of joint positions, in JAX.

A position q has nq numbers but nv directions to move in: a quaternion has four numbers and three directions. A tangent
δ ∈ R^nv moves q to q ⊕ δ, as `mj_integratePos` with unit time does: hinge and slide add; a quaternion x becomes x ⊗
exp(δ/2),
so δ is a rotation vector in the body's own frame, the frame of MuJoCo's angular velocity. The loader has the same
definitions in NumPy (`dynamic_sparsity.loaders.coordinates`); the tests hold one against the other.

Notation: ω rotation vector, s = |ω|²/4, [ω]× its cross-product matrix. Close to ω = 0 every function below is a
Taylor series, so
that values and derivatives are right at rest as well; MJX's own guard returns a zero derivative for |ω| < 1e-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Float

_SERIES_BELOW = 1e-6
"""s below which the series are used: their next term is then under 1e-18 of the value."""


@dataclass(frozen=True)
class JointBlock:
    """Where a joint's numbers are in qpos and qvel.

    Attributes:
        qpos_address: Index of the first one in qpos.
        dof_address: Index of the first one in qvel.
        width: Number of plain coordinates, which come first.
        quaternion: Whether four numbers of a quaternion, with three directions, follow.
    """

    qpos_address: int
    dof_address: int
    width: int
    quaternion: bool


def joint_blocks(model: mujoco.MjModel) -> tuple[JointBlock, ...]:
    """Return the blocks of all joints of a model, in order.

    Args:
        model: MuJoCo's model.
    """
    layout = {
        mujoco.mjtJoint.mjJNT_FREE: (3, True),
        mujoco.mjtJoint.mjJNT_BALL: (0, True),
        mujoco.mjtJoint.mjJNT_SLIDE: (1, False),
        mujoco.mjtJoint.mjJNT_HINGE: (1, False),
    }
    return tuple(
        JointBlock(int(model.jnt_qposadr[j]), int(model.jnt_dofadr[j]), *layout[mujoco.mjtJoint(model.jnt_type[j])])
        for j in range(model.njnt)
    )


def quaternion_parts(blocks: tuple[JointBlock, ...]) -> Iterator[tuple[int, int]]:
    """Yield, per quaternion, the address of its four numbers in qpos and of its three directions in qvel.

    Args:
        blocks: The joints.
    """
    for block in blocks:
        if block.quaternion:
            yield block.qpos_address + block.width, block.dof_address + block.width


def _product(left: Float[jax.Array, " 4"], right: Float[jax.Array, " 4"]) -> Float[jax.Array, " 4"]:
    """Return the Hamilton product of two quaternions (w, x, y, z)."""
    w, v = left[0], left[1:]
    x, u = right[0], right[1:]
    return jnp.concatenate([(w * x - v @ u)[None], w * u + x * v + jnp.cross(v, u)])


def exponential(omega: Float[jax.Array, " 3"]) -> Float[jax.Array, " 4"]:
    """Return the unit quaternion (w, x, y, z) of a rotation.

    Args:
        omega: Rotation vector, rad.
    """
    s = omega @ omega / 4
    small = s < _SERIES_BELOW
    safe = jnp.where(small, 1.0, s)
    root = jnp.sqrt(safe)
    cosine = jnp.where(small, 1 - s / 2 + s * s / 24, jnp.cos(root))
    sinc = jnp.where(small, 1 - s / 6 + s * s / 120, jnp.sin(root) / root)
    return jnp.concatenate([cosine[None], sinc / 2 * omega])


def integrate(
    blocks: tuple[JointBlock, ...], q: Float[jax.Array, " nq"], delta: Float[jax.Array, " nv"]
) -> Float[jax.Array, " nq"]:
    """Move a position: return q ⊕ δ, with quaternions normalised.

    Args:
        blocks: The joints.
        q: Positions.
        delta: Tangent; h·qvel for a physics step of duration h.

    Source: `mj_integratePos`; MJX `forward._integrate_pos`.
    """
    parts = []
    for block in blocks:
        i, k, n = block.qpos_address, block.dof_address, block.width
        parts.append(q[i : i + n] + delta[k : k + n])
        if block.quaternion:
            turned = _product(q[i + n : i + n + 4], exponential(delta[k + n : k + n + 3]))
            parts.append(turned / jnp.sqrt(turned @ turned))
    return jnp.concatenate(parts)


def difference(
    blocks: tuple[JointBlock, ...], start: Float[jax.Array, " nq"], end: Float[jax.Array, " nq"]
) -> Float[jax.Array, " nv"]:
    """Return the tangent δ with start ⊕ δ = end; rotations are at most π.

    Args:
        blocks: The joints.
        start: Positions.
        end: Positions.

    Source: `mj_differentiatePos`.
    """
    parts = []
    for block in blocks:
        i, n = block.qpos_address, block.width
        parts.append(end[i : i + n] - start[i : i + n])
        if block.quaternion:
            j = i + n
            conjugate = start[j : j + 4] * jnp.array([1.0, -1.0, -1.0, -1.0])
            turned = _product(conjugate, end[j : j + 4])
            turned = jnp.where(turned[0] < 0, -turned, turned)
            sine2 = turned[1:] @ turned[1:]
            still = sine2 < mujoco.mjMINVAL**2
            sine = jnp.sqrt(jnp.where(still, 1.0, sine2))
            rate = jnp.where(still, 2.0, 2 * jnp.arctan2(sine, turned[0]) / sine)
            parts.append(rate * turned[1:])
    return jnp.concatenate(parts)


def _cross_matrix(omega: Float[jax.Array, " 3"]) -> Float[jax.Array, "3 3"]:
    zero = jnp.zeros_like(omega[0])
    x, y, z = omega
    return jnp.stack([jnp.stack([zero, -z, y]), jnp.stack([z, zero, -x]), jnp.stack([-y, x, zero])])


def rotation_derivatives(omega: Float[jax.Array, " 3"]) -> tuple[Float[jax.Array, "3 3"], Float[jax.Array, "3 3"]]:
    """Return the derivatives of x ⊗ exp(ω/2) in tangent coordinates.

    Args:
        omega: Rotation vector, rad.

    Returns:
        exp(-[ω]×), how the result turns when x turns; and the right Jacobian of SO(3) at ω, how it turns when ω
        changes.

    Source: Solà, Deray, Atchuthan, "A micro Lie theory", equations 143 and 183.
    """
    cross = _cross_matrix(omega)
    square = cross @ cross
    angle2 = omega @ omega
    small = angle2 < 4 * _SERIES_BELOW
    safe = jnp.where(small, 1.0, angle2)
    angle = jnp.sqrt(safe)
    a = jnp.where(small, 1 - angle2 / 6 + angle2**2 / 120, jnp.sin(angle) / angle)
    # 1 - cos loses digits for small angles; 2 sin² of the half angle does not.
    b = jnp.where(small, 0.5 - angle2 / 24 + angle2**2 / 720, 2 * jnp.sin(angle / 2) ** 2 / safe)
    c = jnp.where(small, 1 / 6 - angle2 / 120 + angle2**2 / 5040, (angle - jnp.sin(angle)) / (safe * angle))
    identity = jnp.eye(3, dtype=omega.dtype)
    return identity - a * cross + b * square, identity - b * cross + c * square


def integration_derivatives(
    blocks: tuple[JointBlock, ...], delta: Float[jax.Array, " nv"]
) -> tuple[Float[jax.Array, "nv nv"], Float[jax.Array, "nv nv"]] | None:
    """Return the derivatives of `integrate` in tangent coordinates.

    Args:
        blocks: The joints.
        delta: Tangent.

    Returns:
        ∂(q ⊕ δ)/∂q and ∂(q ⊕ δ)/∂δ, both block diagonal; None if both are the identity (no quaternions).
    """
    parts = list(quaternion_parts(blocks))
    if not parts:
        return None
    by_position = by_delta = jnp.eye(delta.shape[0], dtype=delta.dtype)
    for _, k in parts:
        turn, right = rotation_derivatives(delta[k : k + 3])
        by_position = by_position.at[k : k + 3, k : k + 3].set(turn)
        by_delta = by_delta.at[k : k + 3, k : k + 3].set(right)
    return by_position, by_delta


def basis(blocks: tuple[JointBlock, ...], q: Float[jax.Array, " nq"]) -> Float[jax.Array, "nq nv"]:
    """Return ∂(q ⊕ δ)/∂δ at δ = 0 in ambient coordinates: the matrix that turns tangents into changes of qpos.

    Args:
        blocks: The joints.
        q: Positions.
    """
    nv = sum(block.width + 3 * block.quaternion for block in blocks)
    matrix = jnp.zeros((q.shape[0], nv), q.dtype)
    for block in blocks:
        i, k, n = block.qpos_address, block.dof_address, block.width
        matrix = matrix.at[np.arange(i, i + n), np.arange(k, k + n)].set(1.0)
    for i, k in quaternion_parts(blocks):
        w, v = q[i], q[i + 1 : i + 4]
        block_matrix = jnp.concatenate([-v[None], w * jnp.eye(3, dtype=q.dtype) + _cross_matrix(v)]) / 2
        matrix = matrix.at[i : i + 4, k : k + 3].set(block_matrix)
    return matrix


def dual_basis(blocks: tuple[JointBlock, ...], q: Float[jax.Array, " nq"]) -> Float[jax.Array, "nv nq"]:
    """Return the left inverse of `basis`: the matrix that turns changes of qpos into tangents.

    Args:
        blocks: The joints.
        q: Positions.
    """
    matrix = basis(blocks, q).T
    for i, k in quaternion_parts(blocks):
        x = q[i : i + 4]
        matrix = matrix.at[k : k + 3, i : i + 4].multiply(4 / (x @ x))
    return matrix
