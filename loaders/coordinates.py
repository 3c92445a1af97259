r"""Tangent and ambient coordinates of Jacobians of models with quaternions (free and ball joints).

The ambient state is (qpos, qvel[, act][, last control]), size ds = nq + nv + na + nm; the tangent state has three
angles where qpos has a quaternion, size dx = 2 nv + na + nm. A change v of the tangent state at q changes a unit
quaternion by ½ q ⊗ (0, v), with v in the body's frame like MuJoCo's `qvel`:

    Q(q) = ½ [q ⊗ (0, e_1), q ⊗ (0, e_2), q ⊗ (0, e_3)]   (4, 3),        P(q) = 4 Q(q)ᵀ   (3, 4),        P Q = 1

    J_ambient = Q(q') J_tangent P(q),        J_tangent = P(q') J_ambient Q(q)

with q of the state and q' of the next state; everything but quaternions is the same in both. A change of a quaternion's
length has no meaning (MuJoCo normalises it), and P maps it to zero.

Source: MuJoCo `mj_integratePos`, `mj_differentiatePos`, `mjd_transitionFD`; Solà, "Quaternion kinematics for the
error-state Kalman filter", arXiv:1711.02508, sections 4.1 and 4.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError

__all__ = [
    "ambient_to_tangent",
    "has_quaternions",
    "masks_to_ambient",
    "masks_to_tangent",
    "quaternion_basis",
    "quaternion_projection",
    "tangent_to_ambient",
    "to_ambient",
    "to_tangent",
]

Array = NDArray[Any]
Joints = Sequence[Mapping[str, Any]]

POSITION_SIZES = {"free": 7, "ball": 4, "slide": 1, "hinge": 1}
SMALLEST_NORM = 1e-15  # mju_normalize4 takes a shorter quaternion for the identity


@dataclass(frozen=True)
class _Block:
    """A run of coordinates: a quaternion, or others that are the same in both coordinate systems."""

    ambient: slice
    tangent: slice
    quaternion: bool


def has_quaternions(joints: Joints) -> bool:
    """Return whether the two coordinate systems differ.

    Args:
        joints: The metadata's `joints`.
    """
    return any(joint["type"] in ("free", "ball") for joint in joints)


def quaternion_basis(quaternion: Array) -> NDArray[np.float64]:
    """Return Q(q): how a unit quaternion changes with a rotation in the body's frame, per radian.

    Args:
        quaternion: (w, x, y, z), shape (…, 4); normalised here, and taken for the identity if it is zero.

    Returns:
        Shape (…, 4, 3).
    """
    q = np.asarray(quaternion, np.float64)
    norm = np.linalg.norm(q, axis=-1, keepdims=True)
    short = norm < SMALLEST_NORM
    q = np.where(short, [1.0, 0.0, 0.0, 0.0], q / np.where(short, 1.0, norm))
    w, x, y, z = np.moveaxis(q, -1, 0)
    columns = [-x, -y, -z, w, -z, y, z, w, -x, -y, x, w]
    return 0.5 * np.stack(columns, axis=-1).reshape(*q.shape[:-1], 4, 3)


def quaternion_projection(quaternion: Array) -> NDArray[np.float64]:
    """Return P(q), the left inverse of Q(q) that maps a change of the quaternion's length to zero.

    Args:
        quaternion: (w, x, y, z), shape (…, 4).

    Returns:
        Shape (…, 3, 4), radians per unit of quaternion.
    """
    # The columns of Q are orthogonal and ½ long.
    return 4.0 * np.swapaxes(quaternion_basis(quaternion), -1, -2)


def tangent_to_ambient(qpos: Array, joints: Joints) -> NDArray[np.float64]:
    """Return Q(q) of all joints as one matrix: the derivative of qpos by a change of the tangent position.

    Args:
        qpos: Positions, shape (…, nq).
        joints: The metadata's `joints`.

    Returns:
        Shape (…, nq, nv), block-diagonal.

    Raises:
        InvalidSettingError: The joints do not fill qpos.
    """
    return _position_matrix(qpos, joints, quaternion_basis, transposed=False)


def ambient_to_tangent(qpos: Array, joints: Joints) -> NDArray[np.float64]:
    """Return P(q) of all joints as one matrix, the left inverse of `tangent_to_ambient`.

    Args:
        qpos: Positions, shape (…, nq).
        joints: The metadata's `joints`.

    Returns:
        Shape (…, nv, nq), block-diagonal.

    Raises:
        InvalidSettingError: The joints do not fill qpos.
    """
    return _position_matrix(qpos, joints, quaternion_projection, transposed=True)


def to_ambient(J_s: Array, J_a: Array, state: Array, next_state: Array, joints: Joints) -> tuple[Array, Array]:
    """Turn tangent Jacobians into ambient ones.

    Args:
        J_s: ∂ next state / ∂ state, tangent, shape (…, dx, dx).
        J_a: ∂ next state / ∂ action, tangent, shape (…, dx, da).
        state: Ambient state before the step, shape (…, ds).
        next_state: Ambient state after it, shape (…, ds).
        joints: The metadata's `joints`.

    Returns:
        J_s, shape (…, ds, ds), and J_a, shape (…, ds, da), in the dtypes given.

    Raises:
        InvalidSettingError: The shapes do not fit the joints.
    """
    blocks = _blocks(joints, J_s.shape[-1], tangent=True)
    _check_shapes(J_s, J_a, state, next_state, blocks, tangent=True)
    rows = _rows_to_ambient(J_s, next_state, blocks)
    # J P = (Pᵀ Jᵀ)ᵀ, and Pᵀ = 4 Q.
    columns = _rows_to_ambient(np.swapaxes(rows, -1, -2), state, blocks, factor=4.0)
    return np.ascontiguousarray(np.swapaxes(columns, -1, -2)), _rows_to_ambient(J_a, next_state, blocks)


def to_tangent(J_s: Array, J_a: Array, state: Array, next_state: Array, joints: Joints) -> tuple[Array, Array]:
    """Turn ambient Jacobians into tangent ones; undoes `to_ambient`.

    Args:
        J_s: ∂ next state / ∂ state, ambient, shape (…, ds, ds).
        J_a: ∂ next state / ∂ action, ambient, shape (…, ds, da).
        state: Ambient state before the step, shape (…, ds).
        next_state: Ambient state after it, shape (…, ds).
        joints: The metadata's `joints`.

    Returns:
        J_s, shape (…, dx, dx), and J_a, shape (…, dx, da), in the dtypes given.

    Raises:
        InvalidSettingError: The shapes do not fit the joints.
    """
    blocks = _blocks(joints, J_s.shape[-1], tangent=False)
    _check_shapes(J_s, J_a, state, next_state, blocks, tangent=False)
    rows = _rows_to_tangent(J_s, next_state, blocks)
    # J Q = (Qᵀ Jᵀ)ᵀ, and Qᵀ = P / 4.
    columns = _rows_to_tangent(np.swapaxes(rows, -1, -2), state, blocks, factor=0.25)
    return np.ascontiguousarray(np.swapaxes(columns, -1, -2)), _rows_to_tangent(J_a, next_state, blocks)


def masks_to_ambient(mask_s: Array, mask_a: Array, joints: Joints) -> tuple[Array, Array]:
    """Return masks of the ambient Jacobians: an entry is 1 if any tangent entry that contributes to it is.

    That is a statement about structure: where Q(q) or P(q) happens to have a zero, or contributions cancel, the
    ambient Jacobian can be 0 though its mask is 1. The value 255 (missing) contributes like the largest of all.

    Args:
        mask_s: uint8 or bool, shape (…, dx, dx).
        mask_a: uint8 or bool, shape (…, dx, da).
        joints: The metadata's `joints`.

    Returns:
        mask_s, shape (…, ds, ds), and mask_a, shape (…, ds, da), in the dtypes given.

    Raises:
        InvalidSettingError: The shapes do not fit the joints.
    """
    return _convert_masks(mask_s, mask_a, joints, tangent=True)


def masks_to_tangent(mask_s: Array, mask_a: Array, joints: Joints) -> tuple[Array, Array]:
    """Return masks of the tangent Jacobians: an entry is 1 if any ambient entry that contributes to it is.

    A quaternion's entries can't be distinguished any more in an ambient mask, so this does not undo
    `masks_to_ambient`: it gives all the ones there were, and maybe more.

    Args:
        mask_s: uint8 or bool, shape (…, ds, ds).
        mask_a: uint8 or bool, shape (…, ds, da).
        joints: The metadata's `joints`.

    Returns:
        mask_s, shape (…, dx, dx), and mask_a, shape (…, dx, da), in the dtypes given.

    Raises:
        InvalidSettingError: The shapes do not fit the joints.
    """
    return _convert_masks(mask_s, mask_a, joints, tangent=False)


def _blocks(joints: Joints, size: int, *, tangent: bool) -> list[_Block]:
    """Cut the state of a given size (tangent or ambient) into blocks; velocities and activations are the last."""
    blocks: list[_Block] = []
    q = v = 0
    for joint in sorted(joints, key=lambda joint: int(joint["qpos_address"])):
        kind = joint["type"]
        if kind not in POSITION_SIZES or (joint["qpos_address"], joint["dof_address"]) != (q, v):
            raise InvalidSettingError(
                f"joint {joint['name']!r} of type {kind!r} starts at qpos {joint['qpos_address']} and dof "
                f"{joint['dof_address']}; expected one of {sorted(POSITION_SIZES)} at {q} and {v}"
            )
        plain = {"free": 3, "ball": 0}.get(kind, 1)
        if plain:
            blocks.append(_Block(slice(q, q + plain), slice(v, v + plain), quaternion=False))
        q, v = q + plain, v + plain
        if kind in ("free", "ball"):
            blocks.append(_Block(slice(q, q + 4), slice(v, v + 3), quaternion=True))
            q, v = q + 4, v + 3
    rest = size - (v if tangent else q)
    if rest < v:
        kind = "tangent" if tangent else "ambient"
        raise InvalidSettingError(f"a {kind} state of size {size} is too small for joints with nq = {q} and nv = {v}")
    blocks.append(_Block(slice(q, q + rest), slice(v, v + rest), quaternion=False))
    return _merged(blocks)


def _merged(blocks: list[_Block]) -> list[_Block]:
    """Join neighbouring blocks without quaternions, so that they are copied at once."""
    merged: list[_Block] = []
    for block in blocks:
        if merged and not block.quaternion and not merged[-1].quaternion:
            last = merged.pop()
            ambient = slice(last.ambient.start, block.ambient.stop)
            block = _Block(ambient, slice(last.tangent.start, block.tangent.stop), quaternion=False)
        merged.append(block)
    return merged


def _check_shapes(
    J_s: Array, J_a: Array, state: Array, next_state: Array, blocks: list[_Block], *, tangent: bool
) -> None:
    ds, dx = blocks[-1].ambient.stop, blocks[-1].tangent.stop
    size = dx if tangent else ds
    batch = J_s.shape[:-2]
    if (
        J_s.shape != (*batch, size, size)
        or J_a.shape[:-1] != (*batch, size)
        or state.shape != (*batch, ds)
        or next_state.shape != (*batch, ds)
    ):
        raise InvalidSettingError(
            f"J_s, J_a, state and next_state have shapes {J_s.shape}, {J_a.shape}, {state.shape} and "
            f"{next_state.shape}; expected (…, {size}, {size}), (…, {size}, da), (…, {ds}) and (…, {ds})"
        )


def _rows_to_ambient(matrix: Array, state: Array, blocks: list[_Block], factor: float = 1.0) -> Array:
    out = np.empty((*matrix.shape[:-2], blocks[-1].ambient.stop, matrix.shape[-1]), matrix.dtype)
    for block in blocks:
        part = matrix[..., block.tangent, :]
        if block.quaternion:
            part = factor * quaternion_basis(state[..., block.ambient]) @ part.astype(np.float64)
        out[..., block.ambient, :] = part
    return out


def _rows_to_tangent(matrix: Array, state: Array, blocks: list[_Block], factor: float = 1.0) -> Array:
    out = np.empty((*matrix.shape[:-2], blocks[-1].tangent.stop, matrix.shape[-1]), matrix.dtype)
    for block in blocks:
        part = matrix[..., block.ambient, :]
        if block.quaternion:
            part = factor * quaternion_projection(state[..., block.ambient]) @ part.astype(np.float64)
        out[..., block.tangent, :] = part
    return out


def _convert_masks(mask_s: Array, mask_a: Array, joints: Joints, *, tangent: bool) -> tuple[Array, Array]:
    blocks = _blocks(joints, mask_s.shape[-1], tangent=tangent)
    size = blocks[-1].tangent.stop if tangent else blocks[-1].ambient.stop
    if mask_s.shape[-2:] != (size, size) or mask_a.shape[-2:-1] != (size,):
        raise InvalidSettingError(
            f"mask_s and mask_a have shapes {mask_s.shape} and {mask_a.shape}; expected (…, {size}, {size}) and "
            f"(…, {size}, da)"
        )
    rows = _mask_rows(mask_s, blocks, from_tangent=tangent)
    columns = _mask_rows(np.swapaxes(rows, -1, -2), blocks, from_tangent=tangent)
    return np.ascontiguousarray(np.swapaxes(columns, -1, -2)), _mask_rows(mask_a, blocks, from_tangent=tangent)


def _mask_rows(mask: Array, blocks: list[_Block], *, from_tangent: bool) -> Array:
    size = blocks[-1].ambient.stop if from_tangent else blocks[-1].tangent.stop
    out = np.empty((*mask.shape[:-2], size, mask.shape[-1]), mask.dtype)
    for block in blocks:
        source, target = (block.tangent, block.ambient) if from_tangent else (block.ambient, block.tangent)
        part = mask[..., source, :]
        out[..., target, :] = part.max(axis=-2, keepdims=True) if block.quaternion else part
    return out


def _position_matrix(
    qpos: Array, joints: Joints, block_matrix: Callable[[Array], NDArray[np.float64]], *, transposed: bool
) -> NDArray[np.float64]:
    """Return all joints' blocks in one matrix, (…, nq, nv), or (…, nv, nq) if `transposed`."""
    nv = sum(POSITION_SIZES.get(joint["type"], 0) - (joint["type"] in ("free", "ball")) for joint in joints)
    blocks = _blocks(joints, 2 * nv, tangent=True)
    nq = blocks[-1].ambient.stop - nv
    if qpos.shape[-1] != nq:
        raise InvalidSettingError(f"qpos has shape {qpos.shape}; the joints have nq = {nq}")
    out = np.zeros((*qpos.shape[:-1], nv, nq) if transposed else (*qpos.shape[:-1], nq, nv))
    for block in blocks:
        # The last block extends into the velocities.
        q = slice(block.ambient.start, min(block.ambient.stop, nq))
        v = slice(block.tangent.start, min(block.tangent.stop, nv))
        place = (..., v, q) if transposed else (..., q, v)
        out[place] = block_matrix(qpos[..., q]) if block.quaternion else np.eye(v.stop - v.start)
    return out
