"""The regulator that stands: its linearisation, its network, and how long it stands."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.environments.loading import load_environment
from dynamic_sparsity.generation.physics.model import load_physics
from dynamic_sparsity.training import balance, balance_search, planned
from dynamic_sparsity.training.balance_search import START, episode
from dynamic_sparsity.training.host_physics import host_physics
from dynamic_sparsity.training.hyperparameters import resolve

pytestmark = pytest.mark.slow


def by_differences(physics, qpos, control):
    """A and B of a control step in a pose at rest, by MuJoCo C's central differences."""
    model, data = physics.mj_model, mujoco.MjData(physics.mj_model)
    size = 2 * model.nv
    one, by_control = np.zeros((size, size)), np.zeros((size, model.nu))
    balance._at_rest(model, data, qpos)
    data.ctrl[:] = control
    mujoco.mjd_transitionFD(model, data, 1e-6, True, one, by_control, None, None)
    A, B = np.eye(size), np.zeros((size, model.nu))
    for _ in range(physics.task.substeps):
        A, B = one @ A, one @ B + by_control
    return A, B


@pytest.fixture(scope="module")
def standing():
    jax_runtime.configure()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(balance, "_control_step", by_differences)  # the exact ones take a minute to compile
        return balance.stand(load_physics("HumanoidStand"))


def test_pose_is_held(standing):
    data = mujoco.MjData(standing.model)
    balance._at_rest(standing.model, data, standing.qpos)
    data.ctrl[:] = standing.control
    mujoco.mj_step(standing.model, data, standing.substeps)
    assert np.abs(data.qvel).max() < 1e-3
    assert np.abs(standing.control).max() < 0.3


def test_observation_is_the_environments(standing):
    environment = load_environment("HumanoidStand")
    with host_physics(standing.model):
        state = environment.reset(jax.random.PRNGKey(0))
    data = mujoco.MjData(standing.model)
    mujoco.mj_forward(standing.model, data)
    np.testing.assert_allclose(balance.observe(standing.model, data), state.obs, atol=1e-12)


def test_network_is_regulator_and_gate(standing):
    policy = balance.network(standing, START, "HumanoidStand", 0.01)
    matrix = balance.gains(standing, START)
    apart = np.random.default_rng(0).normal(scale=1e-3, size=len(standing.observed))
    observed = standing.observed + apart
    location, scale = policy.distribution(jnp.asarray(observed))
    expected = np.arctanh(standing.control) - matrix @ apart
    np.testing.assert_allclose(location, expected, atol=1e-3)
    np.testing.assert_allclose(scale, 0.01, rtol=1e-4)
    for index, value in ((balance.HEAD_HEIGHT, 1.6), (balance.RISE, -2.0)):  # in the air, or falling
        other = observed.copy()
        other[index] = value
        location, _ = policy.distribution(jnp.asarray(other))
        knees = [i for i in range(21) if "knee" in standing.model.actuator(i).name]
        np.testing.assert_allclose((location - np.arctanh(standing.control))[np.array(knees)], START[15], atol=1e-3)


def test_it_stands_and_does_not_without(standing):
    assert episode(standing, START, 0.005, 300, 0) == 300
    deaf = dataclasses.replace(standing, pseudoinverse=0 * standing.pseudoinverse)
    assert episode(deaf, START, 0.005, 300, 0) < 100


def test_search_keeps_the_better(standing):
    told = []
    weights = balance_search.search(
        standing,
        steps=1,
        population=3,
        episodes=1,
        length=20,
        noise=0.01,
        episode_length=60,
        scale=0.005,
        seed=0,
        on_generation=lambda *values: told.append(values),
    )
    assert weights.shape == START.shape
    assert len(told) == 1 and told[0][0] <= 60 and told[0][1] == 20.0


def test_no_regulator_for_other_tasks():
    with pytest.raises(InvalidSettingError, match="no regulator for WalkerRun; there are some for HumanoidStand"):
        planned.policy(resolve("WalkerRun", "lqr", "cpu", None, 0), 1000, lambda *_: None)


def assert_linearisation_is_exact(task, qpos, control):
    physics = load_physics(task)
    exact = balance._control_step(physics, qpos, control)
    for ours, theirs in zip(exact, by_differences(physics, qpos, control), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())


def test_linearisation_is_exact():
    assert_linearisation_is_exact("PendulumSwingup", np.array([0.3]), np.array([0.2]))


@pytest.mark.exhaustive
def test_linearisation_of_who_stands_is_exact(standing):
    assert_linearisation_is_exact("HumanoidStand", standing.qpos, standing.control)
