"""A humanoid that stands: a linear-quadratic regulator about a standing pose, as the weights of a small network.

1. **Pose.** Knees a little bent; height, lean and ankles such that the contacts carry the body and no wrench is left on
   the floating base (`mj_inverse` at rest). The motors' torques there are the middle of the actions.
2. **Linear dynamics.** A and B are the exact Jacobians of a control step at the pose, without what the dynamics do not
   depend on (x, y and yaw).
3. **Regulator.** The discrete algebraic Riccati equation gives u = u* - K x, for a cost of the centre of mass against
   the feet, of its velocity, of joints and of torques. What a policy sees is o - o* = C x to first order, and C has
   full rank in what is left of x, so the policy is u* - K C⁺ (o - o*), linear in the observation.
4. **Search.** The linear regulator is optimal for infinitely small deviations; an episode begins with a fall of 0.2 m.
   The logarithms of the cost's weights are therefore searched by the cross-entropy method (CEM): episodes with noise,
   until the fall, on MuJoCo C. While the head is above a threshold or the body falls faster than another, the action is
   a constant, searched too: a regulator that meets the floor at 2 m/s does more harm than good.

The network is exact, not fitted: rectified linear units carry the observation's deviations and the gate.

Source: Bryson and Ho, "Applied optimal control", 1975; Rubinstein, "The cross-entropy method", 1999; MuJoCo's tutorial
on LQR, which balances another humanoid on one leg.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import scipy.linalg
import scipy.optimize
from mujoco import mjx
from numpy.typing import NDArray

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.jacobians import engines
from dynamic_sparsity.generation.physics.model import Physics
from dynamic_sparsity.policies import ExpertPolicy
from dynamic_sparsity.policies.network import LEAST_SCALE

Array = NDArray[np.float64]

TASKS = ("HumanoidStand", "HumanoidWalk", "HumanoidRun")
"""Tasks of the humanoid: standing earns a sixth of what walking does."""

HEAD_HEIGHT, RISE = 21, 39
"""Indices of the head's height and of the centre of mass's upward velocity among the observations."""

_UNSEEN = (0, 1, 5)
"""Tangent coordinates that nothing depends on: x, y and yaw of an upright base."""

_GATE = 1e4
"""Slope of the gate: beyond the threshold by a tenth of a millimetre, the regulator is silent."""

_MOTORS = ("abdomen", "hip", "knee", "ankle", "shoulder", "elbow")
_IN_THE_AIR = ("hip_y", "knee", "ankle_y", "abdomen_y")


@dataclass(frozen=True)
class Standing:
    """A pose to stand in, and what is linear about it.

    Attributes:
        model: MuJoCo's.
        substeps: Physics steps of a control step.
        qpos: The pose, shape (nq,).
        control: The motors' controls that hold it, shape (nu,).
        observed: The observation there, shape (do,).
        A: Of a control step, without `_UNSEEN`, shape (n, n).
        B: Shape (n, nu).
        pseudoinverse: C⁺, shape (n, do).
        over_feet: Derivative of the centre of mass's place over the feet, shape (3, nv).
        centre: Derivative of the centre of mass, shape (3, nv).
    """

    model: mujoco.MjModel
    substeps: int
    qpos: Array
    control: Array
    observed: Array
    A: Array
    B: Array
    pseudoinverse: Array
    over_feet: Array
    centre: Array


def observe(model: mujoco.MjModel, data: mujoco.MjData) -> Array:
    """Return the task's observation, shape (67,), as Playground's environment makes it.

    Args:
        model: The humanoid's.
        data: Its state, after `mj_forward`.
    """
    torso = model.body("torso").id
    turn = data.xmat[torso].reshape(3, 3)
    ends = [model.body(f"{side}_{end}").id for side in ("left", "right") for end in ("hand", "foot")]
    limbs = (data.xpos[ends] - data.xpos[torso]) @ turn
    head = data.xpos[model.body("head").id, 2:]
    velocity = data.sensor("torso_subtreelinvel").data
    seen: Array = np.concatenate([data.qpos[7:], head, limbs.ravel(), turn[2], velocity, data.qvel])
    return seen


def stand(physics: Physics, bend: float = 0.1) -> Standing:
    """Find the pose, and the linear dynamics about it.

    Args:
        physics: The humanoid's.
        bend: Of the knees, radians.
    """
    model, data = physics.mj_model, mujoco.MjData(physics.mj_model)
    qpos, force = _pose(model, data, bend)
    control = np.zeros(model.nu)
    for motor in range(model.nu):
        dof = model.jnt_dofadr[model.actuator_trnid[motor, 0]]
        control[motor] = force[dof] / model.actuator_gear[motor, 0]
    seen = [i for i in range(2 * model.nv) if i not in _UNSEEN]
    A, B = _control_step(physics, qpos, control)
    observed, C = _observation_matrix(model, data, qpos)
    centre, feet, part = np.zeros((3, model.nv)), np.zeros((3, model.nv)), np.zeros((3, model.nv))
    _at_rest(model, data, qpos)
    mujoco.mj_jacSubtreeCom(model, data, centre, model.body("torso").id)
    for foot in ("left_foot", "right_foot"):
        mujoco.mj_jacBodyCom(model, data, part, None, model.body(foot).id)
        feet += part / 2
    return Standing(
        model,
        physics.task.substeps,
        qpos,
        control,
        observed,
        A[np.ix_(seen, seen)],
        B[seen],
        np.asarray(np.linalg.pinv(C[:, seen]), np.float64),
        centre - feet,
        centre,
    )


def _at_rest(model: mujoco.MjModel, data: mujoco.MjData, qpos: Array) -> None:
    mujoco.mj_resetData(model, data)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)


def _pose(model: mujoco.MjModel, data: mujoco.MjData, bend: float) -> tuple[Array, Array]:
    """Return a pose in which no wrench is left on the base, and the forces on all dofs that hold it."""

    def bent(height: float, lean: float, ankle: float) -> Array:
        qpos: Array = model.qpos0.copy()
        qpos[2] = height
        qpos[3:7] = np.cos(lean / 2), 0.0, np.sin(lean / 2), 0.0
        for side in ("left_", "right_"):
            for name, angle in (("knee", -bend), ("hip_y", -bend / 2), ("ankle_y", -bend / 2 + ankle)):
                qpos[model.jnt_qposadr[model.joint(side + name).id]] = angle
        return qpos

    def forces(qpos: Array) -> Array:
        mujoco.mj_resetData(model, data)
        data.qpos[:] = qpos
        mujoco.mj_inverse(model, data)
        force: Array = data.qfrc_inverse.copy()
        return force

    heights = np.linspace(1.2, 1.35, 601)
    height = min(heights, key=lambda z: abs(forces(bent(z, 0.0, 0.0))[2]))
    best: tuple[float, Array] | None = None
    for lean in np.linspace(-0.06, 0.06, 25):

        def wrench(x: Array, lean: float = lean) -> Array:
            force = forces(bent(height + 0.01 * x[0], lean, x[1]))
            return np.array([force[2] / 10, force[4]])

        found = scipy.optimize.least_squares(wrench, [0.0, -lean], diff_step=1e-3)
        if best is None or found.cost < best[0]:
            best = float(found.cost), bent(height + 0.01 * found.x[0], lean, found.x[1])
    assert best is not None
    return best[1], forces(best[1])


def _control_step(physics: Physics, qpos: Array, control: Array) -> tuple[Array, Array]:
    """Return A and B of a control step: its exact Jacobians."""

    def linear(q: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = engines.transition(physics, mjx.make_data(physics.mj_model).replace(qpos=q), u)
        return found.J_s, found.J_a

    A, B = jax_runtime.jit(linear)(jnp.asarray(qpos), jnp.asarray(control))
    return np.asarray(A), np.asarray(B)


def _observation_matrix(model: mujoco.MjModel, data: mujoco.MjData, qpos: Array) -> tuple[Array, Array]:
    """Return the observation in a pose, and its derivative by the tangent state."""
    _at_rest(model, data, qpos)
    observed = observe(model, data)
    C, small = np.zeros((len(observed), 2 * model.nv)), 1e-6
    for column in range(2 * model.nv):
        for sign in (1, -1):
            mujoco.mj_resetData(model, data)
            data.qpos[:] = qpos
            step = np.zeros(2 * model.nv)
            step[column] = sign * small
            mujoco.mj_integratePos(model, data.qpos, step[: model.nv], 1.0)
            data.qvel[:] = step[model.nv :]
            mujoco.mj_forward(model, data)
            C[:, column] += sign * observe(model, data) / (2 * small)
    return observed, C


def gains(at: Standing, weights: Array) -> Array:
    """Return the regulator of weights: a matrix from observations to controls, shape (nu, do).

    Args:
        at: The pose.
        weights: As `balance_search.START`.
    """
    model = at.model
    joints = [model.joint(int(joint)).name for joint in model.actuator_trnid[:, 0]]
    torque = np.array([weights[min(_group(name), 4)] for name in joints])
    of_dof = np.zeros(model.nv, int)  # 0 base, 1 legs and abdomen, 2 arms
    for name, joint in zip(joints, model.actuator_trnid[:, 0], strict=True):
        of_dof[model.jnt_dofadr[joint]] = 1 if _group(name) < 4 else 2
    place = 10 ** weights[5] * at.over_feet.T @ at.over_feet + np.diag(10 ** weights[7:10][of_dof])
    motion = 10 ** weights[6] * at.centre.T @ at.centre + np.diag(10 ** weights[[10, 10, 11]][of_dof])
    seen = [i for i in range(2 * model.nv) if i not in _UNSEEN]
    cost = scipy.linalg.block_diag(place, motion)[np.ix_(seen, seen)]
    effort = np.diag(10**torque)
    P = scipy.linalg.solve_discrete_are(at.A, at.B, cost, effort)
    K = np.linalg.solve(effort + at.B.T @ P @ at.B, at.B.T @ P @ at.A)
    result: Array = K @ at.pseudoinverse
    return result


def _group(joint: str) -> int:
    return next(i for i, part in enumerate(_MOTORS) if part in joint)


def network(at: Standing, weights: Array, task: str, scale: float) -> ExpertPolicy:
    """Return the policy of weights (as `balance_search.START`) as a network of rectified linear units.

    The first layer has the positive and the negative part of each deviation, and how far height and speed of fall are
    beyond their thresholds; the second has the positive and the negative part of each motor's control, less the gate,
    and the gate.

    Args:
        at: The pose.
        weights: As `balance_search.START`.
        task: Name of the task that the policy is for.
        scale: Of its noise.
    """
    matrix, (height, speed) = gains(at, weights), weights[12:14]
    nu, do = matrix.shape
    joints = [at.model.joint(int(joint)).name for joint in at.model.actuator_trnid[:, 0]]
    airborne = sum(
        value * np.array([part in name for name in joints], float)
        for value, part in zip(weights[14:], _IN_THE_AIR, strict=True)
    )
    first, first_bias = np.zeros((do, 2 * do + 2)), np.zeros(2 * do + 2)
    first[:, :do], first[:, do : 2 * do] = np.eye(do), -np.eye(do)
    first[HEAD_HEIGHT, -2], first_bias[-2] = 1.0, at.observed[HEAD_HEIGHT] - height
    first[RISE, -1], first_bias[-1] = -1.0, -speed
    second, second_bias = np.zeros((2 * do + 2, 2 * nu + 2)), np.zeros(2 * nu + 2)
    signed = np.concatenate([-matrix.T, matrix.T], axis=1)
    second[:do, : 2 * nu], second[do : 2 * do, : 2 * nu] = signed, -signed
    second[-2:, : 2 * nu], second[-2:, 2 * nu :], second_bias[-1] = -_GATE, _GATE, -1.0
    last, last_bias = np.zeros((2 * nu + 2, 2 * nu)), np.zeros(2 * nu)
    last[:nu, :nu], last[nu : 2 * nu, :nu] = np.eye(nu), -np.eye(nu)
    last[-2, :nu], last[-1, :nu] = airborne, -airborne
    last_bias[:nu], last_bias[nu:] = np.arctanh(at.control), np.log(np.expm1(scale - LEAST_SCALE))
    layers = ((first, first_bias), (second, second_bias), (last, last_bias))
    return ExpertPolicy(
        task,
        "relu",
        at.observed.astype(np.float32),
        np.ones(do, np.float32),
        tuple((kernel.astype(np.float32), bias.astype(np.float32)) for kernel, bias in layers),
        "",
    )
