"""Closed forms against MuJoCo C, the teachers of swing-up tasks, and imitation on very few steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from dynamic_sparsity.errors import InvalidSettingError, UnsupportedModelError
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.environments.loading import load_environment
from dynamic_sparsity.generation.physics.model import load_physics
from dynamic_sparsity.policies import load_policy, read_record
from dynamic_sparsity.training import imitation, planar, run, swing_up
from dynamic_sparsity.training import returns as evaluation
from dynamic_sparsity.training.host_physics import host_physics
from dynamic_sparsity.training.hyperparameters import resolve

pytestmark = pytest.mark.slow

PLANAR = ["AcrobotSwingup", "CartpoleSwingup", "PendulumSwingup"]


class Log:
    def __init__(self):
        self.points = []

    def started(self, task, steps, done):
        pass

    def evaluated(self, point, best):
        self.points.append((point.steps, best.mean >= point.mean))

    def measuring(self, task):
        pass


@pytest.mark.parametrize("task", PLANAR)
def test_closed_form_is_mujocos(task):
    """The closed form goes where MuJoCo C goes, and without damping and control its energy stays."""
    physics = load_physics(task)
    chain = planar.chain(physics.mj_model, physics.task.substeps)
    data = mujoco.MjData(physics.mj_model)
    random = np.random.default_rng(0)
    data.qpos[:], data.qvel[:] = random.uniform(-1, 1, data.qpos.shape), random.normal(size=data.qvel.shape)
    q, v = jnp.asarray(data.qpos), jnp.asarray(data.qvel)
    step = jax.jit(chain.step)
    for control in random.uniform(-1, 1, 30):
        data.ctrl[:] = control
        mujoco.mj_step(physics.mj_model, data, physics.task.substeps)
        q, v = step(q, v, jnp.asarray(control))
    np.testing.assert_allclose(q, data.qpos, atol=1e-12)
    np.testing.assert_allclose(v, data.qvel, atol=1e-12)


def test_energy_is_mujocos():
    physics = load_physics("AcrobotSwingup")
    chain = planar.chain(physics.mj_model, physics.task.substeps)
    data = mujoco.MjData(physics.mj_model)
    physics.mj_model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY
    differences = []
    for q, v in (([0.3, -2.0], [1.0, 4.0]), ([2.0, 0.5], [-3.0, 0.2])):
        data.qpos[:], data.qvel[:] = q, v
        mujoco.mj_forward(physics.mj_model, data)
        differences.append(data.energy.sum() - float(chain.energy(list(jnp.asarray(q)), list(jnp.asarray(v)))))
    assert differences[0] == pytest.approx(differences[1], abs=1e-12)  # potentials differ by a constant


def test_no_closed_form_for_other_models():
    with pytest.raises(UnsupportedModelError, match="7 joints and 4 motors"):
        planar.chain(load_physics("HopperStand").mj_model, 4)
    with pytest.raises(InvalidSettingError, match=r"no swing-up teacher for WalkerRun; .* AcrobotSwingup"):
        swing_up.SwingUpTeacher("WalkerRun", samples=1, size=1, horizon=1, length=1, seed=0)


@pytest.fixture(scope="module")
def pendulum():
    jax_runtime.configure()
    return swing_up.SwingUpTeacher("PendulumSwingup", samples=64, size=4, horizon=150, length=400, seed=0)


def test_swing_up_teacher(pendulum):
    assert pendulum.library.shape == (4, 5)
    qpos, qvel, returns = pendulum.demonstrate(8, 20)
    assert qpos.shape == qvel.shape == (400, 8, 1)
    assert returns.shape == (8,)
    # Within 400 steps it is up, and stays there, from nearly everywhere.
    assert np.mean(np.cos(qpos[-1]) > 0.99) >= 0.75
    # Upright but for a little, balance is what every controller does: against the fall.
    actions, good = pendulum.label(np.array([[0.05], [-0.05]]), np.zeros((2, 1)))
    assert actions.shape == (2, 4, 1)
    assert good.any(1).all()
    assert (actions[0][good[0]] < 0).all() and (actions[1][good[1]] > 0).all()


@pytest.mark.slow
def test_regulator_balances():
    """A and B are the exact Jacobians, so the closed loop is stable on the true simulator, and without it is not."""
    physics = load_physics("AcrobotSwingup")
    gain, cost = swing_up.regulator(physics)
    assert cost[1, 1] == pytest.approx(1.0)
    for gains, holds in ((gain, True), (0 * gain, False)):
        data = mujoco.MjData(physics.mj_model)
        data.qpos[:] = [0.01, 0.0]
        for _ in range(500):
            data.ctrl[:] = np.clip(-gains @ np.concatenate([data.qpos, data.qvel]), -1, 1)
            mujoco.mj_step(physics.mj_model, data)
        assert (np.abs(data.qpos).max() < 1e-3) == holds


def test_nearest_good_action_counts():
    """Two actions are as good in every state; the network learns one of them, not their mean."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(256, 3)).astype(np.float32)
    actions = np.tile(np.array([[[-0.8], [0.8], [0.1]]], np.float32), (256, 1, 1))
    good = np.tile(np.array([[True, True, False]]), (256, 1))
    settings = imitation.ImitationSettings(updates=600, batch_size=64, hidden_layers=(16,), learning_rate=1e-2)
    policy = imitation._fresh("PendulumSwingup", random, inputs, 1, settings)
    policy = imitation._fitted(policy, inputs, (actions, good), settings, 1e-2, random)
    location, _ = imitation._with_scale(policy, (0.2, 0.05), 1.0).distribution(jnp.asarray(inputs))
    assert np.mean(np.abs(np.abs(np.tanh(location)) - 0.8) < 0.05) > 0.9


def test_exploration_has_one_scale():
    policy = load_policy("PendulumSwingup")
    observations = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))
    for share, scale in ((0.0, 0.2), (0.5, 0.1), (1.0, 0.05)):
        _, found = imitation._with_scale(policy, (0.2, 0.05), share).distribution(observations)
        np.testing.assert_allclose(found, scale, rtol=1e-5)


def test_observation_is_the_environments():
    environment, physics = load_environment("AcrobotSwingup"), load_physics("AcrobotSwingup")
    with host_physics(physics.mj_model):
        state = environment.reset(jax.random.PRNGKey(0))
        seen = imitation.observation(environment, state.data.qpos, state.data.qvel)
    np.testing.assert_array_equal(seen, state.obs)


@pytest.mark.slow
def test_train_by_imitation(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "EPISODE_LENGTH", 100)
    monkeypatch.setattr(evaluation, "EPISODE_LENGTH", 100)
    short = evaluation.returns
    monkeypatch.setattr(evaluation, "returns", lambda *a, **k: short(*a, **(k | {"episodes": 4, "length": 100})))
    settings = resolve("PendulumSwingup", "dagger", "cpu", 800, 3)
    few = {"samples": 8, "size": 2, "horizon": 50, "episodes": 4, "labels": 64, "updates": 20, "batch_size": 16}
    few["hidden_layers"] = [8]
    settings = type(settings)(**(vars(settings) | {"hyperparameters": settings.hyperparameters | few}))
    log = Log()
    result = run.train(settings, tmp_path, log)
    assert [steps for steps, _ in log.points] == [400, 800]
    assert all(is_best for _, is_best in log.points)
    record = read_record(result.path)
    assert (record["algorithm"], record["stages"][0]["size"], record["seed"]) == ("dagger", 2, 3)
    assert load_policy(result.path).sha256 == record["sha256"]
    assert result.curve.read_bytes().startswith(b"\x89PNG")


def test_settings_of_imitation():
    assert resolve("AcrobotSwingup", "dagger", "cpu", None, 0).steps == 640_000
    assert resolve("PendulumSwingup", "dagger", "cpu", None, 0).hyperparameters["horizon"] == 300
    with pytest.raises(InvalidSettingError, match="it has the profile 'cpu' alone"):
        resolve("PendulumSwingup", "dagger", "playground", None, 0)
