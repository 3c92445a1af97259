"""Training end to end, on very few steps; physics on the host against MJX; what the stored policies reach."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from dynamic_sparsity.errors import (
    CorruptPolicyError,
    InvalidSettingError,
    SettingsMismatchError,
    UnknownNameError,
)
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.environments.loading import load_environment
from dynamic_sparsity.generation.physics.model import load_physics
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.policies import ExpertPolicy, available, load_policy, read_record
from dynamic_sparsity.policies.files import FOLDER, encode_policy, expert_path
from dynamic_sparsity.training import returns as evaluation
from dynamic_sparsity.training import run
from dynamic_sparsity.training.checkpoints import expert_from
from dynamic_sparsity.training.host_physics import host_physics
from dynamic_sparsity.training.hyperparameters import resolve
from dynamic_sparsity.training.shaping import shaped
from dynamic_sparsity.training.warm_start import begin_with

REPRODUCED_EPISODES = 16


class Log:
    def __init__(self):
        self.starts, self.points = [], []

    def started(self, task, steps, done):
        self.starts.append((task, steps, done))

    def evaluated(self, point, best):
        self.points.append((point.steps, best.steps))

    def measuring(self, task):
        pass


@pytest.fixture
def quick(monkeypatch):
    """Short evaluations, often; every step of the way is the real one."""
    monkeypatch.setattr(run, "STEPS_BETWEEN_EVALUATIONS", {"cpu": 2048})
    monkeypatch.setattr(run, "EVALUATION_EPISODES", 4)
    monkeypatch.setattr(run, "EPISODE_LENGTH", 20)
    monkeypatch.setattr(evaluation, "EPISODE_LENGTH", 20)
    short = evaluation.returns
    monkeypatch.setattr(evaluation, "returns", lambda *a, **k: short(*a, **(k | {"episodes": 4, "length": 20})))


def small(task, algorithm, steps, **changes):
    settings = resolve(task, algorithm, "cpu", steps, 3)
    few = {"num_envs": 16, "batch_size": 16}
    few |= (
        {"num_minibatches": 4, "unroll_length": 8, "num_updates_per_batch": 2, "policy_hidden_layer_sizes": [8]}
        if algorithm == "ppo"
        else {"grad_updates_per_step": 1, "min_replay_size": 64, "max_replay_size": 4096, "hidden_layer_sizes": [8, 8]}
    )
    return type(settings)(**(vars(settings) | {"hyperparameters": settings.hyperparameters | few | changes}))


@pytest.mark.slow
def test_train_stop_and_go_on(quick, tmp_path):
    log = Log()
    first = run.train(small("CartpoleBalance", "ppo", 4096), tmp_path, log)
    assert first.kept
    record = read_record(first.path)
    assert (record["task"], record["algorithm"], record["seed"]) == ("CartpoleBalance", "ppo", 3)
    assert record["stages"][0]["num_envs"] == 16
    assert load_policy(first.path).sha256 == record["sha256"]
    assert Settings("CartpoleBalance", policy=str(tmp_path)).policy_file == first.path
    assert first.curve.read_bytes().startswith(b"\x89PNG")
    # What the trained policy is asked in a test is what brax left: the same numbers come out of the stored file.
    again = evaluation.returns("CartpoleBalance", load_policy(first.path))
    assert record["evaluation"]["measured"][0]["mean"] == pytest.approx(again.mean(), abs=1e-3)

    second = run.train(small("CartpoleBalance", "ppo", 8192), tmp_path, log)
    assert log.starts == [("CartpoleBalance", 4096, 0), ("CartpoleBalance", 8192, 4096)]
    assert [steps for steps, _ in log.points] == [2048, 4096, 6144, 8192]
    reached = read_record(second.path)["evaluation"]["measured"][0]["mean"]
    assert reached == max(first.mean, second.mean)
    assert second.kept == (second.mean > first.mean)
    assert not list(tmp_path.rglob("*.partial"))

    with pytest.raises(SettingsMismatchError, match="other settings"):
        run.train(small("CartpoleBalance", "ppo", 8192, discounting=0.5), tmp_path, log)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_train_with_sac(quick, tmp_path):
    log, place = Log(), tmp_path / "BallInCup.training"
    updates = []
    for steps in (2048, 4096):
        result = run.train(small("BallInCup", "sac", steps), tmp_path, log)
        state = load_file(place / "latest.safetensors")
        updates.append(int(state["learner.gradient_steps.lo"]))
        assert int(state["learner.q_optimizer_state[0].count"]) == updates[-1]
    assert len(log.points) == 2
    assert load_policy(result.path).activation == "relu"
    assert json.loads((place / "run.json").read_bytes())["steps"] == log.points[-1][0] >= 4096
    # The second call went on from the critic, the optimisers and the temperature of the first.
    assert updates[1] > 1.5 * updates[0] > 0
    with pytest.raises(InvalidSettingError, match=r"steps are 64.*min_replay_size is 64"):
        run.train(small("BallInCup", "sac", 64), tmp_path / "other", log)


def a_policy(folder, task="CartpoleBalance", inputs=5, hidden=6, activation="swish"):
    random = np.random.default_rng(0)
    sizes = ((inputs, hidden), (hidden, 2))
    layers = tuple((random.normal(size=two).astype(np.float32), np.zeros(two[1], np.float32)) for two in sizes)
    ones = np.ones(inputs, np.float32)
    policy = ExpertPolicy(task, activation, 0.3 * ones, 2 * ones, layers, "")
    path = folder / f"of{task}{hidden}{activation}.safetensors"
    path.write_bytes(encode_policy(policy))
    return path, policy


@pytest.mark.slow
def test_begin_with_a_policy(tmp_path):
    """brax's parameters are the policy, and the run has its network's form and its history."""
    settings = resolve("CartpoleSwingup", "ppo", "cpu", None, 0)
    path, policy = a_policy(tmp_path)
    changed, beginning = begin_with(str(path), settings)
    assert changed.hyperparameters["policy_hidden_layer_sizes"] == [6]
    assert changed.hyperparameters["initial_policy"] == load_policy(path).sha256
    assert changed.digest() != settings.digest()
    assert beginning.stages == ()
    again = expert_from("CartpoleSwingup", "ppo", beginning.parameters)
    seen = jnp.asarray(np.random.default_rng(1).normal(size=(4, 5)))
    np.testing.assert_array_equal(again.distribution(seen), policy.distribution(seen))
    theirs = begin_with("CartpoleBalance", settings)[1].stages
    assert [stage["task"] for stage in theirs] == ["CartpoleBalance"] * len(theirs) != []
    assert "task" not in begin_with("CartpoleSwingup", settings)[1].stages[0]


@pytest.mark.slow
def test_what_cannot_begin(tmp_path):
    ppo = resolve("CartpoleSwingup", "ppo", "cpu", None, 0)
    for algorithm in ("sac", "dagger"):
        with pytest.raises(InvalidSettingError, match=f"'{algorithm}' and there is an initial policy"):
            run.train(resolve("CartpoleSwingup", algorithm, "cpu", None, 0), tmp_path, Log(), "CartpoleBalance")
    with pytest.raises(InvalidSettingError, match=r"swish, 4 observations, 1 actions; .* needs .*swish, 5 obs"):
        begin_with(str(a_policy(tmp_path, inputs=4)[0]), ppo)
    with pytest.raises(InvalidSettingError, match="has activation relu"):
        begin_with(str(a_policy(tmp_path, activation="relu")[0]), ppo)
    with pytest.raises(UnknownNameError, match="no expert policy for Nothing"):
        begin_with("Nothing", ppo)
    with pytest.raises(CorruptPolicyError):
        begin_with(str(tmp_path / "absent.safetensors"), ppo)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_train_from_a_policy(quick, tmp_path):
    """Without learning, what comes out is what it began with; a run that was stopped resumes where it was."""
    path, policy = a_policy(tmp_path)
    log, still = Log(), {"learning_rate": 0.0, "num_updates_per_batch": 1}
    result = run.train(small("CartpoleSwingup", "ppo", 2048, **still), tmp_path, log, str(path))
    for (kernel, bias), (theirs, of_theirs) in zip(load_policy(result.path).layers, policy.layers, strict=True):
        np.testing.assert_array_equal(kernel, theirs)
        np.testing.assert_array_equal(bias, of_theirs)
    record = read_record(result.path)
    assert record["stages"][-1]["initial_policy"] == load_policy(path).sha256
    with pytest.raises(SettingsMismatchError, match="other settings"):
        run.train(small("CartpoleSwingup", "ppo", 4096, **still), tmp_path, log)
    run.train(small("CartpoleSwingup", "ppo", 4096, **still), tmp_path, log, str(path))
    assert [steps for steps, _ in log.points] == [2048, 4096]


def test_settings_of_training():
    assert resolve("BallInCup", "ppo", "cpu", None, 0).hyperparameters["shaping"] > 0
    theirs = resolve("WalkerRun", "ppo", "playground", None, 0)
    assert (theirs.steps, theirs.hyperparameters["num_envs"]) == (100_000_000, 2048)
    assert resolve("WalkerRun", "sac", "playground", 10, 0).hyperparameters["q_network_layer_norm"] is True
    assert theirs.digest() == resolve("WalkerRun", "ppo", "playground", 7, 0).digest()
    assert theirs.digest() != resolve("WalkerRun", "ppo", "playground", None, 1).digest()
    with pytest.raises(InvalidSettingError, match="algorithm is 'dqn'"):
        resolve("WalkerRun", "dqn", "cpu", None, 0)
    with pytest.raises(InvalidSettingError, match="steps are 0"):
        resolve("WalkerRun", "ppo", "cpu", 0, 0)
    with pytest.raises(UnknownNameError, match="WalkerRun"):
        resolve("walkerrun", "ppo", "cpu", None, 0)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["CartpoleSwingup", pytest.param("ReacherEasy", marks=pytest.mark.exhaustive)])
def test_host_physics_is_the_tasks(task):
    """A task on MuJoCo C starts where it starts on MJX, and goes where it goes there."""
    environment = load_environment(task)
    physics = load_physics(task, "converged")
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    actions = jnp.tanh(jax.random.normal(jax.random.PRNGKey(1), (5, 3, physics.task.da)))
    results = []
    for context in (host_physics(physics.mj_model), evaluation._mjx_physics(physics)):
        with context:
            reset, step = jax_runtime.jit(jax.vmap(environment.reset)), jax_runtime.jit(jax.vmap(environment.step))
            state = reset(keys)
            results.append([np.asarray(state.obs)])
            for action in actions:
                state = step(state, action)
                results[-1].append(np.concatenate([state.obs, state.reward[:, None]], axis=1))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("task", ["FingerTurnEasy", "BallInCup", "PendulumSwingup", "SwimmerSwimmer6"])
def test_shaped_reward(task):
    """The weight of the added reward decides it alone: nothing else of a step changes."""
    environment, physics = load_environment(task), load_physics(task, "converged")
    action = jnp.full(physics.task.da, 0.5)
    with host_physics(physics.mj_model):
        state = environment.reset(jax.random.PRNGKey(4))
        plain, once, twice = (shaped(environment, task, weight).step(state, action) for weight in (0.0, 1.0, 2.0))
    bonus = float(once.reward - plain.reward)
    assert float(twice.reward - plain.reward) == pytest.approx(2 * bonus)
    assert 0 < abs(bonus) <= 1
    np.testing.assert_array_equal(once.obs, plain.obs)
    if task == "FingerTurnEasy":  # whose last observation is the distance
        assert bonus == pytest.approx(float(np.exp(-max(float(once.obs[-1]), 0.0) / 0.1)))
    with pytest.raises(InvalidSettingError, match=r"WalkerRun; only BallInCup, .* can have a shaped reward"):
        shaped(environment, "WalkerRun", 1.0)


def record_of(expert, noise, zero):
    both = {"simulator": "mujoco", "dynamics": "converged", "episodes": 64, "deviation": 80.0}
    means = {"expert": expert, "noise": noise, "zero": zero}
    return {"evaluation": {"measured": [both | {"policy": name, "mean": mean} for name, mean in means.items()]}}


def test_an_expert_beats_noise_and_no_action():
    # The standard error of a difference of two means is 80 · √(2/64) ≈ 14.1.
    assert evaluation.beats_chance(record_of(200.0, 171.0, 10.0))
    assert not evaluation.beats_chance(record_of(200.0, 172.0, 10.0))
    assert not evaluation.beats_chance(record_of(200.0, 10.0, 172.0))
    assert not evaluation.beats_chance(record_of(100.0, 200.0, 10.0))


@pytest.mark.slow
def test_every_policy_loads_and_acts():
    assert set(available()) >= {"CartpoleBalance", "ReacherHard"}
    for task in available():
        policy, record = load_policy(task), read_record(expert_path(task))
        assert policy.task == record["task"] == task
        assert expert_path(task).stat().st_size < 100_000
        location, scale = policy.distribution(jnp.asarray(policy.mean, jnp.float64)[None])
        assert np.isfinite(location).all() and (np.asarray(scale) > 0).all()
        assert location.shape == scale.shape == (1, policy.action_size)


@pytest.mark.sample(24)
@pytest.mark.slow
@pytest.mark.parametrize("task", available(FOLDER))
def test_stated_returns_are_reproduced(task):
    """Other episodes than those of the record, fewer: their mean lies within four standard errors of it."""
    record = read_record(expert_path(task))["evaluation"]
    stated = next(m for m in record["measured"] if (m["simulator"], m["policy"]) == ("mujoco", "expert"))
    assert stated["episodes"] >= 64
    values = evaluation.returns(task, load_policy(task), episodes=REPRODUCED_EPISODES, seed=record["seed"] + 1)
    error = stated["deviation"] * np.sqrt(1 / REPRODUCED_EPISODES + 1 / stated["episodes"])
    assert abs(values.mean() - stated["mean"]) < 4 * error + 1


def test_the_policy_of_hopper_stand_can_be_made_again():
    (stage,) = read_record(expert_path("HopperStand"))["stages"]
    assert stage.pop("steps") > 0
    assert resolve("HopperStand", "sac", "cpu", 10, 0).hyperparameters == stage
