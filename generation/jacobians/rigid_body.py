r"""Closed-form derivatives of inverse dynamics, in spatial (six-dimensional) vectors.

Notation, per kinematic tree about one point O (the tree's centre of mass, held fixed while differentiating): S_k motion
axis of degree of freedom k (rotation, then velocity at O); x acceleration, v velocity of the degrees of freedom;
"k ≤ l" says that k moves body l; × and ×* the cross products of a motion with a motion and with a force.

    v_l = Σ_{k≤l} S_k v_k        a_l = a₀ + Σ_{k≤l} (S_k x_k + Ṡ_k v_k)        a₀ = -gravity
    f_l = I_l a_l + v_l ×* I_l v_l - w_l            w_l: force that a resting medium exerts on a body with velocity v_l
    τ_i = S_iᵀ F_i,   F_i = Σ f_l over the bodies l that i moves

Turning q_j carries everything behind joint j along rigidly, with twist S_j. With U_j, A_j the velocity and
acceleration of what j does *not* carry, and

    ψ̇_j = U_j × S_j        ψ̈_j = A_j × S_j + U_j × ψ̇_j,

a body behind j changes its velocity by S_j × v_l + ψ̇_j and its acceleration by S_j × a_l + ψ̇_j × v_l + ψ̈_j. So

    ∂f_l/∂q_j = S_j ×* f_l + I_l ψ̈_j + B_l ψ̇_j              ∂f_l/∂v_j = I_l (Ṡ_j + ψ̇_j) + B_l S_j
    B_l y = v_l ×* I_l y - I_l (v_l × y) + y ×* I_l v_l - (∂w_l/∂v_l) y.

Without the medium, B_l y is the Coriolis force of the body's particles (mass m at r, velocity u) in a frame that
turns with y's rotation ω_y, 2 Σ m (r × (ω_y × u), ω_y × u): twelve numbers per body, with p = Σ m u, P = Σ m r rᵀ and
c = Σ m r,

    B_l y = 2 (c × (ω_y × v_lin) - ω_l × P ω_y,  ω_y × p).

With I^C, B^C, F summed over the bodies behind the later one of i and j in the chain (zero if they share none),

    ∂τ_i/∂q_j = S_iᵀ (I_i^C ψ̈_j + B_i^C ψ̇_j)                        if j carries axis i, or i = j,
              = S_iᵀ (I_j^C ψ̈_j + B_j^C ψ̇_j + S_j ×* F_j)            if i comes before j,
    ∂τ_i/∂v_j = S_iᵀ (I^C (Ṡ_j + ψ̇_j) + B^C S_j).

The three axes of a ball joint, or of a free joint's rotation, carry each other. A few small matrix products replace 2
nv differentiations of the recursive algorithm. All arrays have the batch as their last axis (`batch_last`).

Source: Singh, Russell, Wensing, "Efficient analytical derivatives of rigid-body dynamics using spatial vector algebra",
IEEE RA-L 2022; Featherstone, "Rigid body dynamics algorithms"; MuJoCo's `mj_rne` and `mj_comVel`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Float
from mujoco import mjx
from numpy.typing import NDArray

from dynamic_sparsity.generation.physics import mjx_private
from dynamic_sparsity.generation.physics.batch_last import apply, cross, cross_force, cross_motion, dot, outer, total

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Topology:
    """Who moves whom in a model; all constant.

    Attributes:
        moves: moves[l, k]: degree of freedom k moves body l, shape (nbody, nv).
        behind: behind[l, b]: body b hangs on body l or is it, shape (nbody, nbody).
        carries: carries[j, i]: turning j moves the axis of i, shape (nv, nv).
        before: before[i, j]: i comes before j in a chain and is not carried by it, shape (nv, nv).
        rests: rests[j, k]: k acts on what j moves, but j does not carry it, shape (nv, nv).
        body: Body of each degree of freedom, shape (nv,).
        moving: Bodies that move at all.
    """

    moves: Bools
    behind: Bools
    carries: Bools
    before: Bools
    rests: Bools
    body: NDArray[np.int32]
    moving: NDArray[np.int64]


@cache
def topology(model: mujoco.MjModel) -> Topology:
    """Read a model's topology.

    Args:
        model: MuJoCo's model.
    """
    behind = np.eye(model.nbody, dtype=bool)
    for body in range(model.nbody - 1, 0, -1):
        behind[model.body_parentid[body]] |= behind[body]
    # The world's "descendants" play no part, but its row must not hide that bodies hang on themselves.
    body_of = np.asarray(model.dof_bodyid)
    moves = behind[body_of].T.copy()
    index = np.arange(model.nv)
    shares_chain = moves[body_of] | moves[body_of].T
    rotation = np.full(model.nv, -1)
    for joint in range(model.njnt):
        kind, dof = model.jnt_type[joint], model.jnt_dofadr[joint]
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            rotation[dof + 3 : dof + 6] = joint
        elif kind == mujoco.mjtJoint.mjJNT_BALL:
            rotation[dof : dof + 3] = joint
    same_rotation = (rotation[:, None] == rotation) & (rotation >= 0) & (index[:, None] != index)
    carries = shares_chain & (index[:, None] < index) | same_rotation
    before = shares_chain & (index[:, None] < index) & ~same_rotation
    rests = moves[body_of] & (index[:, None] != index) & ~carries
    return Topology(moves, behind, carries, before, rests, body_of, np.flatnonzero(moves.any(axis=1)))


def _times_inertia(inertia: Float[jax.Array, "n 10 B"], motion: Float[jax.Array, "n 6 B"]) -> Float[jax.Array, "n 6 B"]:
    """Return the momenta of motions, by MuJoCo's packed inertias."""
    xx, yy, zz, xy, xz, yz = jnp.moveaxis(inertia[:, :6], 1, 0)
    rows = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
    tensor = jnp.stack([jnp.stack(row, axis=1) for row in rows], axis=1)
    turn, shift = motion[:, :3], motion[:, 3:]
    moment, mass = inertia[:, 6:9], inertia[:, 9:]
    return jnp.concatenate([apply(tensor, turn) + cross(moment, shift), mass * shift - cross(moment, turn)], axis=1)


class Motion(NamedTuple):
    """Velocities of axes and bodies for one velocity v; shapes (nv, 6, B) and (bodies that move, 6, B).

    Attributes:
        axis_rate: Ṡ.
        body: v_l.
        resting: U_j.
        psi_dot: ψ̇.
    """

    axis_rate: Float[jax.Array, "nv 6 B"]
    body: Float[jax.Array, "moving 6 B"]
    resting: Float[jax.Array, "nv 6 B"]
    psi_dot: Float[jax.Array, "nv 6 B"]


def motion(top: Topology, axes: Float[jax.Array, "nv 6 B"], qvel: Float[jax.Array, "nv B"]) -> Motion:
    """Return the velocities of axes and bodies.

    Args:
        top: The topology.
        axes: Motion axes S.
        qvel: v.
    """
    each = axes * qvel[:, None]
    resting = total(top.rests, each)
    return Motion(
        axis_rate=cross_motion(total(top.carries.T, each), axes),
        body=total(top.moves[top.moving], each),
        resting=resting,
        psi_dot=cross_motion(resting, axes),
    )


class Medium(NamedTuple):
    """Force of the medium on the n moving bodies.

    Attributes:
        force: About O, (n, 6) of one row, (n, 6, B) of many.
        by_velocity: Derivative of the force by the body's velocity, (n, 6, 6) of one row, (n, 6, 6, B) of many.
    """

    force: jax.Array
    by_velocity: jax.Array


def medium(top: Topology, model: mjx.Model, data: mjx.Data) -> Medium:
    """Return the medium's forces in one row.

    Args:
        top: The topology.
        model: MJX model.
        data: MJX data after its velocity stage, unbatched.

    Source: MJX `passive._inertia_box_fluid_model`; MuJoCo's documentation, "Inertia model".
    """
    moving = top.moving
    velocity = jnp.asarray(top.moves[moving], data.qvel.dtype) @ (data.cdof * data.qvel[:, None])
    root_com = data.subtree_com[np.asarray(model.body_rootid)[moving]]

    def one(
        velocity: jax.Array,
        inertia: jax.Array,
        mass: jax.Array,
        com: jax.Array,
        position: jax.Array,
        rotation: jax.Array,
    ) -> jax.Array:
        force, torque = mjx_private.inertia_box_fluid_model(model, inertia, mass, com, position, rotation, velocity)
        return jnp.concatenate([torque + jnp.cross(position - com, force), force])

    body = model.body_inertia[moving], model.body_mass[moving]
    arguments = (velocity, *body, root_com, data.xipos[moving], data.ximat[moving])
    return Medium(jax.vmap(one)(*arguments), jax.vmap(jax.jacfwd(one))(*arguments))


class Derivatives(NamedTuple):
    """Derivatives of inverse dynamics.

    Attributes:
        by_position: ∂τ/∂q in tangent coordinates.
        by_velocity: ∂τ/∂v.
    """

    by_position: Float[jax.Array, "nv nv B"]
    by_velocity: Float[jax.Array, "nv nv B"]


class _Bias(NamedTuple):
    """The matrix B of every axis, summed over the bodies behind it.

    Attributes:
        momentum: p.
        turning: The matrix of 2 (c × (y × v) - ω × P y).
        medium: The medium's part of B, if there is one.
    """

    momentum: Float[jax.Array, "nv 3 B"]
    turning: Float[jax.Array, "nv 3 3 B"]
    medium: Float[jax.Array, "nv 6 6 B"] | None

    def times(self, y: Float[jax.Array, "nv 6 B"]) -> Float[jax.Array, "nv 6 B"]:
        """Return B y for motions y."""
        turn = y[:, :3]
        result = jnp.concatenate([apply(self.turning, turn), 2 * cross(turn, self.momentum)], axis=1)
        return result if self.medium is None else result - apply(self.medium, y)

    def transposed_times(self, y: Float[jax.Array, "nv 6 B"]) -> Float[jax.Array, "nv 6 B"]:
        """Return Bᵀ y for motions y."""
        angular = apply(jnp.swapaxes(self.turning, 1, 2), y[:, :3]) + 2 * cross(self.momentum, y[:, 3:])
        result = jnp.concatenate([angular, jnp.zeros_like(angular)], axis=1)
        return result if self.medium is None else result - apply(jnp.swapaxes(self.medium, 1, 2), y)


def _bias(
    behind: Bools,
    inertia: Float[jax.Array, "moving 10 B"],
    velocity: Float[jax.Array, "moving 6 B"],
    momentum: Float[jax.Array, "moving 6 B"],
    fluid: Medium | None,
) -> _Bias:
    """Sum B over the bodies behind each axis, from the bodies' inertias, velocities and momenta."""
    turn, shift, moment = velocity[:, :3], velocity[:, 3:], inertia[:, 6:9]
    xx, yy, zz, xy, xz, yz = jnp.moveaxis(inertia[:, :6], 1, 0)
    half = (xx + yy + zz) / 2
    rows = [[half - xx, -xy, -xz], [-xy, half - yy, -yz], [-xz, -yz, half - zz]]
    # Row k is P e_k; [c]×[v]× = v cᵀ - (c · v) 1.
    second = jnp.stack([jnp.stack(row, axis=1) for row in rows], axis=1)
    gyration = jnp.swapaxes(cross(turn[:, None], second), 1, 2)
    identity = jnp.eye(3, dtype=turn.dtype)[None, :, :, None]
    product = shift[:, :, None] * moment[:, None] - dot(moment, shift)[:, None, None] * identity
    return _Bias(
        total(behind, momentum[:, 3:]),
        total(behind, -2 * (product + gyration)),
        None if fluid is None else total(behind, fluid.by_velocity),
    )


def inverse_dynamics_derivatives(
    top: Topology,
    axes: Float[jax.Array, "nv 6 B"],
    cinert: Float[jax.Array, "moving 10 B"],
    moving: Motion,
    qvel: Float[jax.Array, "nv B"],
    qacc: Float[jax.Array, "nv B"],
    gravity: Float[jax.Array, " 3"],
    fluid: Medium | None = None,
) -> Derivatives:
    """Return the derivatives of τ = RNE(q, v, x), without armature, less the generalized forces of the medium.

    The module's docstring derives them. In short: sum inertia I^C, bias B^C and force F over what each axis moves; pair
    row i with column j through those sums of the later of both axes.

    Args:
        top: The topology.
        axes: S, MJX's `cdof`.
        cinert: MJX's packed inertias of the bodies that move.
        moving: `motion` for `qvel`.
        qvel: v.
        qacc: x.
        gravity: Acceleration of gravity, m/s².
        fluid: The medium's forces, if there is one.
    """
    each = axes * qacc[:, None] + moving.axis_rate * qvel[:, None]
    base = jnp.concatenate([jnp.zeros(3, axes.dtype), -gravity])[None, :, None]
    velocity, acceleration = moving.body, base + total(top.moves[top.moving], each)
    momentum = _times_inertia(cinert, velocity)
    force = _times_inertia(cinert, acceleration) + cross_force(velocity, momentum)
    if fluid is not None:
        force -= fluid.force

    behind = top.behind[top.body][:, top.moving]
    inertia = total(behind, cinert)
    bias = _bias(behind, cinert, velocity, momentum, fluid)
    psi_dot, psi_ddot = moving.psi_dot, cross_motion(base + total(top.rests, each), axes)
    psi_ddot += cross_motion(moving.resting, psi_dot)
    velocity_like = moving.axis_rate + psi_dot

    # Row i acts where j carries i (or is it), column j where i comes before j.
    row_inertia, row_bias = _times_inertia(inertia, axes), bias.transposed_times(axes)
    column_position = _times_inertia(inertia, psi_ddot) + bias.times(psi_dot)
    column_position += cross_force(axes, total(behind, force))
    column_velocity = _times_inertia(inertia, velocity_like) + bias.times(axes)
    carried = (top.carries.T | np.eye(len(top.body), dtype=bool))[:, :, None]

    def joined(first: jax.Array, second: jax.Array, column: jax.Array) -> jax.Array:
        row = outer(row_inertia, first) + outer(row_bias, second)
        return jnp.where(carried, row, jnp.where(top.before[:, :, None], outer(axes, column), 0.0))

    return Derivatives(joined(psi_ddot, psi_dot, column_position), joined(velocity_like, axes, column_velocity))
