"""Derivatives where a formula has a kink and the dynamics have none: at rest, at neutral poses, at bounds."""

from __future__ import annotations

import jax
import mujoco
import numpy as np
import pytest
from jacobian_samples import run
from mujoco import mjx

from dynamic_sparsity.generation import jax_runtime, tasks
from dynamic_sparsity.generation.physics import mjx_private
from dynamic_sparsity.generation.physics.model import Physics, load_physics
from dynamic_sparsity.generation.verification import finite_differences

FIRST = ("fish",)
"""A free joint, limits, springs and a medium; `--exhaustive` tries every dynamics."""
GROUPS = [
    pytest.param(name, marks=[] if name in FIRST else [pytest.mark.exhaustive])
    for name in sorted(tasks.group_representatives())
]
SCALAR_JOINTS = (int(mujoco.mjtJoint.mjJNT_SLIDE), int(mujoco.mjtJoint.mjJNT_HINGE))

pytestmark = pytest.mark.slow


def test_springs_at_the_one_length_without_force():
    """Fish's fins at rest: neither side of the spring's range acts at exactly its length; it is linear all the same."""
    physics = load_physics("FishSwim")
    m, model = physics.mjx_model, physics.mj_model
    empty = mjx.make_data(model, impl="jax")

    def by_mjx(qpos):
        d = mjx.tendon(m, mjx.com_pos(m, mjx.kinematics(m, empty.replace(qpos=qpos))))
        return mjx_private.spring_damper(m, d)

    derivative = np.asarray(jax_runtime.jit(jax.jacfwd(by_mjx))(model.qpos0))[:, 7:]
    data, expected = mujoco.MjData(model), np.zeros((model.nv, model.nq - 7))
    for index in range(model.nq - 7):
        sides = []
        for step in (1e-6, -1e-6):
            mujoco.mj_resetData(model, data)
            data.qpos[7 + index] += step
            mujoco.mj_forward(model, data)
            sides.append(data.qfrc_spring.copy())
        expected[:, index] = (sides[0] - sides[1]) / 2e-6
    stiffness = float(model.tendon_stiffness.max())
    assert np.abs(expected).max() > stiffness / 10 > 0
    np.testing.assert_allclose(derivative, expected, atol=1e-6 * stiffness)


def _inside_limits(model: mujoco.MjModel) -> np.ndarray:
    """The model's neutral pose, with joints that are at a limit there moved away from it."""
    neutral = model.qpos0.copy()
    for joint in range(model.njnt):
        if model.jnt_limited[joint] and int(model.jnt_type[joint]) in SCALAR_JOINTS:
            low, high = model.jnt_range[joint] + (0.1, -0.1)
            neutral[model.jnt_qposadr[joint]] = np.clip(neutral[model.jnt_qposadr[joint]], low, high)
    return neutral


def special_states(physics: Physics) -> tuple[np.ndarray, np.ndarray]:
    """States (n, ds) and actions (n, da) with as many exact zeros, equal numbers and bounds as there are."""
    model, nq = physics.mj_model, physics.task.nq
    states, actions = [], []

    def add(qpos: np.ndarray, qvel: np.ndarray | float = 0.0, action: float = 0.0) -> None:
        state = np.zeros(physics.task.ds)
        state[:nq], state[nq:] = qpos, qvel
        states.append(state)
        actions.append(np.full(physics.task.da, action))

    # Walker's knees are at their limit at qpos0, where the dynamics have a kink themselves.
    neutral = _inside_limits(model)
    add(neutral)
    add(neutral, action=0.5)
    add(neutral, action=float(np.float32(1) - np.float32(2) ** -20))
    add(neutral, qvel=0.1)
    for dof in range(model.nv):
        qvel = np.zeros(model.nv)
        qvel[dof] = 0.1
        add(neutral, qvel)
    for joint in range(model.njnt):
        if int(model.jnt_type[joint]) in SCALAR_JOINTS:
            turned = neutral.copy()
            turned[model.jnt_qposadr[joint]] += np.pi / 2
            add(turned)
            if model.jnt_limited[joint]:
                # Just beyond a limit, at rest.
                for bound, beyond in zip(model.jnt_range[joint], (-1e-3, 1e-3), strict=True):
                    at_limit = neutral.copy()
                    at_limit[model.jnt_qposadr[joint]] = bound + beyond
                    add(at_limit)
    for key in range(model.nkey):
        add(model.key_qpos[key])
    both = np.stack(states), np.stack(actions)
    return tuple(x.astype(np.float32).astype(np.float64) for x in both)


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_derivatives_at_special_states(group):
    physics = load_physics(tasks.group_representatives()[group])
    state, action = special_states(physics)
    scalar = np.isin(physics.mj_model.jnt_type, SCALAR_JOINTS).sum()
    assert 4 + physics.mj_model.nv + scalar <= len(state) <= 128
    next_state, jacobian, _ = run(group, state, action)
    reference, compared = finite_differences.MujocoOracle(physics), 0
    for row in range(len(state)):
        truth = reference.reference(state[row], action[row])
        assert finite_differences.same_next_state(next_state[row], truth.next_state), row
        assert np.isfinite(jacobian[row]).all(), row
        if truth.disagreement > finite_differences.AGREEMENT:
            continue
        error = finite_differences.relative_error(jacobian[row], truth.jacobian)
        assert error < max(1e-4, 10 * truth.disagreement), f"row {row}: {error}, at {state[row]}, {action[row]}"
        # No entry may be lost, however small beside the others.
        scale = np.abs(truth.jacobian).max(axis=1, keepdims=True)
        assert (np.abs(jacobian[row] - truth.jacobian) / np.maximum(scale, 1e-6)).max() < 1e-3, f"row {row}"
        compared += 1
    assert compared >= 0.7 * len(state)
