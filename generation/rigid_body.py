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

    ∂f_l/∂q_j = S_j ×* f_l + I_l ψ̈_j + B_l ψ̇_j         B_l y = v_l ×* I_l y - I_l (v_l × y) + y ×* I_l v_l -
    (∂w_l/∂v_l) y ∂f_l/∂v_j = I_l (Ṡ_j + ψ̇_j) + B_l S_j

and, with I^C, B^C, F summed over the bodies behind the later one of i and j in the chain (zero if they share none):

    ∂τ_i/∂q_j = S_iᵀ (I_i^C ψ̈_j + B_i^C ψ̇_j)                        if j carries axis i, or i = j,
              = S_iᵀ (I_j^C ψ̈_j + B_j^C ψ̇_j + S_j ×* F_j)            if i comes before j,
    ∂τ_i/∂v_j = S_iᵀ (I^C (Ṡ_j + ψ̇_j) + B^C S_j).

The three axes of a ball joint, or of a free joint's rotation, carry each other. A few small matrix products replace 2
nv differentiations of the recursive algorithm.

Source: Singh, Russell, Wensing, "Efficient analytical derivatives of rigid-body dynamics using spatial vector algebra",
IEEE RA-L 2022; Featherstone, "Rigid body dynamics algorithms"; MuJoCo's `mj_rne` and `mj_comVel`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx
from mujoco.mjx._src import passive as mjx_passive
from numpy.typing import NDArray

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
    """

    moves: Bools
    behind: Bools
    carries: Bools
    before: Bools
    rests: Bools
    body: NDArray[np.int32]


def topology(model: mujoco.MjModel) -> Topology:
    """Reads a model's topology."""
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
    return Topology(moves, behind, carries, before, rests, body_of)


def cross(u: jax.Array, v: jax.Array) -> jax.Array:
    """u × v of motions, shapes (..., 6)."""
    angular = jnp.cross(u[..., :3], v[..., :3])
    linear = jnp.cross(u[..., 3:], v[..., :3]) + jnp.cross(u[..., :3], v[..., 3:])
    return jnp.concatenate([angular, linear], axis=-1)


def cross_force(v: jax.Array, f: jax.Array) -> jax.Array:
    """v ×* f of a motion and a force, shapes (..., 6)."""
    angular = jnp.cross(v[..., :3], f[..., :3]) + jnp.cross(v[..., 3:], f[..., 3:])
    linear = jnp.cross(v[..., :3], f[..., 3:])
    return jnp.concatenate([angular, linear], axis=-1)


def _skew(a: jax.Array) -> jax.Array:
    """[a]× for a of shape (n, 3), shape (n, 3, 3)."""
    x, y, z = a[:, 0], a[:, 1], a[:, 2]
    zero = jnp.zeros_like(x)
    return jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)


def _blocks(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> jax.Array:
    return jnp.concatenate([jnp.concatenate([a, b], axis=2), jnp.concatenate([c, d], axis=2)], axis=1)


def _inertia_matrix(cinert: jax.Array) -> jax.Array:
    """MuJoCo's packed inertias (n, 10) as matrices (n, 6, 6)."""
    rotational = cinert[:, np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])]
    moment = _skew(cinert[:, 6:9])
    mass = cinert[:, 9, None, None] * jnp.eye(3, dtype=cinert.dtype)
    return _blocks(rotational, moment, -moment, mass)


class Motion(NamedTuple):
    """Velocities of axes and bodies for one velocity v; shapes (nv, 6) and (nbody, 6).

    Attributes:
        axis_rate: Ṡ.
        body: v_l.
        resting: U_j.
        psi_dot: ψ̇.
    """

    axis_rate: jax.Array
    body: jax.Array
    resting: jax.Array
    psi_dot: jax.Array


def motion(top: Topology, axes: jax.Array, qvel: jax.Array) -> Motion:
    """Velocities for qvel of shape (nv,) and axes S of shape (nv, 6)."""
    each = axes * qvel[:, None]
    resting = jnp.asarray(top.rests, each.dtype) @ each
    return Motion(
        axis_rate=cross(jnp.asarray(top.carries.T, each.dtype) @ each, axes),
        body=jnp.asarray(top.moves, each.dtype) @ each,
        resting=resting,
        psi_dot=cross(resting, axes),
    )


class Medium(NamedTuple):
    """Force of the medium on each body and its derivative by the body's velocity, (nbody, 6) and (nbody, 6, 6)."""

    force: jax.Array
    by_velocity: jax.Array


def medium(model: mjx.Model, data: mjx.Data, body_velocity: jax.Array) -> Medium:
    """The medium's forces about O, from body velocities (nbody, 6) about O.

    Source: MJX `passive._inertia_box_fluid_model`; MuJoCo's documentation, "Inertia model".
    """
    root_com = data.subtree_com[np.asarray(model.body_rootid)]

    def one(
        velocity: jax.Array,
        inertia: jax.Array,
        mass: jax.Array,
        com: jax.Array,
        position: jax.Array,
        rotation: jax.Array,
    ) -> jax.Array:
        force, torque = mjx_passive._inertia_box_fluid_model(model, inertia, mass, com, position, rotation, velocity)
        return jnp.concatenate([torque + jnp.cross(position - com, force), force])

    arguments = (body_velocity, model.body_inertia, model.body_mass, root_com, data.xipos, data.ximat)
    return Medium(jax.vmap(one)(*arguments), jax.vmap(jax.jacfwd(one))(*arguments))


class Derivatives(NamedTuple):
    """∂τ/∂q in tangent coordinates and ∂τ/∂v, both (nv, nv)."""

    by_position: jax.Array
    by_velocity: jax.Array


def inverse_dynamics_derivatives(
    top: Topology,
    axes: jax.Array,
    cinert: jax.Array,
    moving: Motion,
    qvel: jax.Array,
    qacc: jax.Array,
    gravity: jax.Array,
    fluid: Medium | None = None,
) -> Derivatives:
    """Derivatives of τ = RNE(q, v, x), without armature, less the generalized forces of the medium.

    Args:
        top: The topology.
        axes: S, MJX's `cdof`, shape (nv, 6).
        cinert: MJX's packed inertias, shape (nbody, 10).
        moving: `motion` for `qvel`.
        qvel: v, shape (nv,).
        qacc: x, shape (nv,).
        gravity: Acceleration of gravity, m/s², shape (3,).
        fluid: The medium's forces, if there is one.
    """
    dtype = axes.dtype
    body = top.body
    inertia = _inertia_matrix(cinert)
    each = axes * qacc[:, None] + moving.axis_rate * qvel[:, None]
    base = jnp.concatenate([jnp.zeros(3, dtype), -gravity])
    velocity, acceleration = moving.body, base + jnp.asarray(top.moves, dtype) @ each
    momentum = jnp.einsum("bij,bj->bi", inertia, velocity)
    force = jnp.einsum("bij,bj->bi", inertia, acceleration) + cross_force(velocity, momentum)

    turn, shift = _skew(velocity[:, :3]), _skew(velocity[:, 3:])
    zero = jnp.zeros_like(turn)
    v_cross, v_cross_force = _blocks(turn, zero, shift, turn), _blocks(turn, shift, zero, turn)
    # y ×* h as a matrix that acts on y.
    h_angular, h_linear = _skew(momentum[:, :3]), _skew(momentum[:, 3:])
    momentum_cross = _blocks(-h_angular, -h_linear, -h_linear, zero)
    bias = v_cross_force @ inertia - inertia @ v_cross + momentum_cross
    if fluid is not None:
        force, bias = force - fluid.force, bias - fluid.by_velocity

    behind = jnp.asarray(top.behind[body], dtype)
    total = behind @ force
    inertia_c = jnp.einsum("kb,bij->kij", behind, inertia)
    bias_c = jnp.einsum("kb,bij->kij", behind, bias)

    resting_acceleration = base + jnp.asarray(top.rests, dtype) @ each
    psi_ddot = cross(resting_acceleration, axes) + cross(moving.resting, moving.psi_dot)
    velocity_like = moving.axis_rate + moving.psi_dot

    # Row i acts where j carries i (or is it), column j where i comes before j.
    row_inertia, row_bias = jnp.einsum("ki,kij->kj", axes, inertia_c), jnp.einsum("ki,kij->kj", axes, bias_c)

    def column(first: jax.Array, second: jax.Array) -> jax.Array:
        return jnp.einsum("kij,kj->ki", inertia_c, first) + jnp.einsum("kij,kj->ki", bias_c, second)

    carried = top.carries.T | np.eye(len(body), dtype=bool)
    by_position = jnp.where(carried, row_inertia @ psi_ddot.T + row_bias @ moving.psi_dot.T, 0.0)
    rigid = cross_force(axes, total)
    by_position += jnp.where(top.before, axes @ (column(psi_ddot, moving.psi_dot) + rigid).T, 0.0)
    by_velocity = jnp.where(carried, row_inertia @ velocity_like.T + row_bias @ axes.T, 0.0)
    by_velocity += jnp.where(top.before, axes @ column(velocity_like, axes).T, 0.0)
    return Derivatives(by_position, by_velocity)


class Displacements(NamedTuple):
    """How frames move when each degree of freedom turns: leading axis j of size nv.

    Attributes:
        geom_xpos: (nv, ngeom, 3).
        geom_xmat: (nv, ngeom, 3, 3).
        site_xpos: (nv, nsite, 3).
        site_xmat: (nv, nsite, 3, 3).
        axes: ∂S/∂q about the fixed O, (nv, nv, 6).
    """

    geom_xpos: jax.Array
    geom_xmat: jax.Array
    site_xpos: jax.Array
    site_xmat: jax.Array
    axes: jax.Array


def displacements(top: Topology, model: mjx.Model, data: mjx.Data) -> Displacements:
    """Rigid displacements of geoms, sites and axes by every degree of freedom."""
    axes = data.cdof
    root_com = data.subtree_com[np.asarray(model.body_rootid)]

    def points(body: NDArray[np.int32], position: jax.Array) -> jax.Array:
        offset = position - root_com[body]
        moved = axes[:, None, 3:] + jnp.cross(axes[:, None, :3], offset)
        return jnp.where(top.moves[body].T[:, :, None], moved, 0.0)

    def frames(body: NDArray[np.int32], rotation: jax.Array) -> jax.Array:
        turned = jnp.einsum("jab,gbc->jgac", _skew(axes[:, :3]), rotation)
        return jnp.where(top.moves[body].T[:, :, None, None], turned, 0.0)

    geom_body, site_body = np.asarray(model.geom_bodyid), np.asarray(model.site_bodyid)
    carried = cross(axes[:, None], axes[None])
    return Displacements(
        geom_xpos=points(geom_body, data.geom_xpos),
        geom_xmat=frames(geom_body, data.geom_xmat),
        site_xpos=points(site_body, data.site_xpos),
        site_xmat=frames(site_body, data.site_xmat),
        axes=jnp.where(top.carries[:, :, None], carried, 0.0),
    )
