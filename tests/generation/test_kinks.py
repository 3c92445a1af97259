"""Derivatives where a formula has a kink and the dynamics have none."""

from __future__ import annotations

import jax
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.physics import mjx_private
from dynamic_sparsity.generation.physics.model import load_physics

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
