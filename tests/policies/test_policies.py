"""Policies: their files, their network against brax, the choice of actions in an episode."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamic_sparsity.errors import (
    CorruptPolicyError,
    InvalidSettingError,
    UnknownNameError,
)
from dynamic_sparsity.generation.rollout.actions import LARGEST_ACTION, SquashedPolicy, make_policy
from dynamic_sparsity.generation.rollout.coloured_noise import coloured_noise
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.policies import ExpertPolicy, load_policy
from dynamic_sparsity.policies.files import encode_policy

OBSERVATION, ACTION, EPISODES = 5, 2, 6


def make(rng, activation="swish", hidden=(8, 8), task="CartpoleBalance", action=ACTION):
    sizes = (OBSERVATION, *hidden, 2 * action)
    layers = tuple(
        (rng.normal(size=(a, b)).astype(np.float32) / np.sqrt(a, dtype=np.float32), rng.normal(size=b).astype("f4"))
        for a, b in itertools.pairwise(sizes)
    )
    mean, std = rng.normal(size=OBSERVATION).astype("f4"), rng.uniform(0.5, 2, OBSERVATION).astype("f4")
    return ExpertPolicy(task, activation, mean, std, layers, "")


@pytest.fixture
def policy():
    return make(np.random.default_rng(0))


@pytest.fixture
def file(policy, tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(encode_policy(policy))
    return path


def test_file_holds_the_policy(policy, file):
    loaded = load_policy(file)
    assert (loaded.task, loaded.activation, loaded.action_size) == ("CartpoleBalance", "swish", ACTION)
    np.testing.assert_array_equal(loaded.mean, policy.mean)
    np.testing.assert_array_equal(loaded.std, policy.std)
    for (kernel, bias), (other_kernel, other_bias) in zip(loaded.layers, policy.layers, strict=True):
        np.testing.assert_array_equal(kernel, other_kernel)
        np.testing.assert_array_equal(bias, other_bias)
    assert loaded.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert encode_policy(loaded) == file.read_bytes()


@pytest.mark.parametrize("damage", ["cut", "text", "activation", "shape", "nan", "record"])
def test_damaged_files_are_refused(policy, file, damage):
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-4])
    elif damage == "text":
        file.write_bytes(b"no policy at all")
    elif damage == "activation":
        file.write_bytes(content.replace(b'"swish"', b'"print"'))
    elif damage == "shape":
        layers = (*policy.layers[:1], *policy.layers[2:])
        wrong = ExpertPolicy("X", "swish", policy.mean, policy.std, ((np.ones((4, 8), "f4"), np.ones(8, "f4")),), "")
        file.write_bytes(encode_policy(wrong))
        assert len(layers) == 2
    elif damage == "nan":
        policy.layers[1][0][0, 0] = np.nan
        file.write_bytes(encode_policy(policy))
    else:
        file.with_suffix(".json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(CorruptPolicyError, match=r"mine\."):
        load_policy(file)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "sac"])
def test_network_is_braxs(algorithm):
    """Location and scale of our few lines are those that brax's own inference uses, to the last bits of float32."""
    from brax.training.acme import running_statistics
    from brax.training.agents.ppo import networks as ppo
    from brax.training.agents.sac import networks as sac

    rng = np.random.default_rng(1)
    policy = make(rng, "swish" if algorithm == "ppo" else "relu", hidden=(16, 16))
    options = {"preprocess_observations_fn": running_statistics.normalize}
    if algorithm == "ppo":
        network = ppo.make_ppo_networks(OBSERVATION, ACTION, policy_hidden_layer_sizes=(16, 16), **options)
        inference = ppo.make_inference_fn(network)
    else:
        network = sac.make_sac_networks(OBSERVATION, ACTION, hidden_layer_sizes=(16, 16), **options)
        inference = sac.make_inference_fn(network)
    weights = {
        "params": {f"hidden_{i}": {"kernel": kernel, "bias": bias} for i, (kernel, bias) in enumerate(policy.layers)}
    }
    normaliser = running_statistics.NestedMeanStd(mean=policy.mean, std=policy.std)
    observation = jnp.asarray(rng.normal(size=(64, OBSERVATION)), jnp.float32)
    location, scale = policy.distribution(observation)
    theirs = network.policy_network.apply(normaliser, weights, observation)
    their_location, raw = jnp.split(theirs, 2, axis=-1)
    assert location.dtype == jnp.float32
    np.testing.assert_allclose(location, their_location, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(scale, jax.nn.softplus(raw) + 0.001, rtol=2e-6)
    # The whole of brax's own path to a deterministic action.
    action, _ = inference((normaliser, weights), deterministic=True)(observation, jax.random.PRNGKey(0))
    np.testing.assert_allclose(jnp.tanh(location), action, rtol=2e-6, atol=2e-6)


@pytest.mark.slow
def test_each_kind_of_action(policy):
    keys = jax.vmap(jax.random.PRNGKey)(np.arange(EPISODES))
    observation = jnp.asarray(np.random.default_rng(2).normal(size=(EPISODES, OBSERVATION)))
    mixture = SquashedPolicy(("noise", "expert", "expert-mean"), ACTION, 0.5, policy)
    plan = mixture.start(keys, 10 + jnp.arange(EPISODES), 50)
    actions = np.asarray(mixture.act(plan, jnp.asarray(7), observation))
    noise = np.stack([np.asarray(coloured_noise(key, 50, ACTION, 0.5))[7] for key in keys])
    location, scale = map(np.asarray, policy.distribution(observation))
    expected = np.stack([noise, location + scale * noise, location])[(10 + np.arange(EPISODES)) % 3, range(EPISODES)]
    np.testing.assert_allclose(actions, np.tanh(expected), atol=2e-7)
    assert actions.dtype == np.float64
    assert (actions == actions.astype(np.float32)).all()
    for name in mixture.names:
        alone = SquashedPolicy((name,), ACTION, 0.5, policy)
        same = alone.act(alone.start(keys, jnp.arange(EPISODES), 50), jnp.asarray(7), observation)
        chosen = [i for i in range(EPISODES) if mixture.names[(10 + i) % 3] == name]
        np.testing.assert_array_equal(np.asarray(same)[chosen], actions[chosen])


@pytest.mark.slow
def test_actions_are_inside(policy):
    certain = ExpertPolicy(
        "X",
        "swish",
        policy.mean,
        policy.std,
        (*policy.layers[:-1], (policy.layers[-1][0] * 100, policy.layers[-1][1])),
        "",
    )
    one = SquashedPolicy(("expert",), ACTION, 0.5, certain)
    keys = jax.vmap(jax.random.PRNGKey)(np.arange(EPISODES))
    observation = 1e3 * jnp.asarray(np.random.default_rng(2).normal(size=(EPISODES, OBSERVATION)))
    actions = one.act(one.start(keys, jnp.arange(EPISODES), 3), jnp.asarray(0), observation)
    assert float(jnp.abs(actions).max()) == LARGEST_ACTION < 1


def test_settings_name_a_file_by_its_content(file, tmp_path):
    settings = Settings("CartpoleBalance", policy=str(file))
    assert settings.store_path(Path("data")) == Path("data/CartpoleBalance/mine.zarr")
    assert settings.policies == ("mine",)
    document = settings.document(16, "cpu")
    assert document["policy"] == "mine"
    assert document["policy_sha256"] == load_policy(file).sha256
    elsewhere = tmp_path / "folder" / "mine.safetensors"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(file.read_bytes())
    assert Settings("CartpoleBalance", policy=str(elsewhere)).document(16, "cpu") == document
    (tmp_path / "Theirs").mkdir()
    (tmp_path / "Theirs" / "CartpoleBalance.safetensors").write_bytes(file.read_bytes())
    folder = Settings("CartpoleBalance", policy=str(tmp_path / "Theirs")).document(16, "cpu")
    assert folder == document | {"policy": "theirs"}
    with pytest.raises(InvalidSettingError, match=r"policy is .*CheetahRun.safetensors"):
        Settings("CheetahRun", policy=str(tmp_path / "Theirs"))
    assert "policy_sha256" not in Settings("CartpoleBalance").document(16, "cpu")


def test_settings_refuse_other_policies(file, tmp_path):
    for name in ("my own.safetensors", "Noise.safetensors", "a-stock.safetensors"):
        other = tmp_path / name
        other.write_bytes(file.read_bytes())
        with pytest.raises(InvalidSettingError, match=r"policy is .*name"):
            Settings("CartpoleBalance", policy=str(other))
    with pytest.raises(InvalidSettingError, match=r"policy is .*exists"):
        Settings("CartpoleBalance", policy=str(tmp_path / "absent.safetensors"))
    with pytest.raises(InvalidSettingError, match=r"2 action dimensions; CartpoleBalance has 1"):
        make_policy(Settings("CartpoleBalance", policy=str(file)), 1)


def test_the_page_of_policies_is_what_the_records_say():
    from dynamic_sparsity.policies.files import FOLDER
    from dynamic_sparsity.training.table import table

    again = "python -m dynamic_sparsity.training.table"
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == table(), f"run `{again}`"


def test_the_page_says_which_policy_is_no_expert(tmp_path):
    from dynamic_sparsity.policies.files import FOLDER
    from dynamic_sparsity.training.table import table

    record = json.loads((FOLDER / "CartpoleBalance.json").read_bytes())
    for name, mean in (("A", 900.0), ("B", 0.0)):
        for one in record["evaluation"]["measured"]:
            if one["policy"] == "noise":
                one["mean"], one["deviation"] = mean, 500.0
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
        (tmp_path / f"{name}.safetensors").touch()
    first, second = (line for line in table(tmp_path).splitlines() if line.startswith("| CartpoleBalance"))
    assert "*no expert*" in first and "| 900 ± 500 |" in first
    assert "*no expert*" not in second and "| 0 ± 500 |" in second


def test_task_without_expert(monkeypatch, tmp_path):
    from dynamic_sparsity.policies import files

    monkeypatch.setattr(files.expert_path, "__defaults__", (tmp_path,))
    with pytest.raises(UnknownNameError, match=r"no expert policy for CheetahRun.*dynamic-sparsity train CheetahRun"):
        Settings("CheetahRun", policy="expert")
