"""The environment is the stored dynamics: its resets and steps are a store's.

The sample's bits are those of the machine that made it; on others the last one may differ.
"""

from __future__ import annotations

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")
jax = pytest.importorskip("jax")

from gymnasium.utils.env_checker import check_env  # noqa: E402

from dynamic_sparsity import load_dataset  # noqa: E402
from dynamic_sparsity.envs import DynamicsEnv  # noqa: E402
from dynamic_sparsity.errors import InvalidSettingError, NotConvergedError, UnknownNameError  # noqa: E402
from dynamic_sparsity.generation import jax_runtime  # noqa: E402
from dynamic_sparsity.schemas import FLAG_BITS  # noqa: E402

ID = "dynamic_sparsity/CartpoleBalance-v1"


def assert_stored(found, stored):
    assert found.dtype == stored.dtype and found.shape == stored.shape
    np.testing.assert_allclose(found, stored, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def stored():
    return load_dataset("CartpoleBalance", sample=True)


@pytest.fixture
def env():
    return DynamicsEnv("CartpoleBalance", jacobians=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*observation space m[ai][xn]imum value is:UserWarning")
def test_gymnasium_accepts_it():
    check_env(gymnasium.make(ID).unwrapped, skip_render_check=True)


@pytest.mark.slow
def test_resets_are_those_of_the_store(env, stored):
    table = stored.episodes
    for number, (index, seed) in enumerate(zip(table["index"], table["seed"], strict=True)):
        first = stored.episode(number)["state"][0]
        state, info = env.reset(seed=int(seed), options={"episode": int(index)})
        assert_stored(state, first)
        assert info["episode"] == index
    env.reset(seed=int(seed))
    for index in range(1, 4):
        following, info = env.reset()
        again, _ = env.reset(seed=int(seed), options={"episode": index})
        np.testing.assert_array_equal(following, again)
        assert info["episode"] == index


@pytest.mark.slow
def test_steps_are_those_of_the_store(env, stored):
    table, rows = stored.episodes, stored.episode(0)
    env.reset(seed=int(table["seed"][0]), options={"episode": int(table["index"][0])})
    for t in range(5):
        state, reward, terminated, truncated, info = env.step(rows["action"][t])
        assert_stored(state, rows["next_state"][t])
        assert_stored(np.float32(reward), rows["reward"][t])
        assert (terminated, truncated) == (bool(rows["done"][t]), False)
        assert info["flags"] == rows["flags"][t]
        for name in ("J_s", "J_a", "mask_s", "mask_a"):
            assert_stored(info[name], rows[name][t])


@pytest.mark.slow
def test_a_step_from_a_stored_state(env, stored):
    row = stored[len(stored) // 2]
    state, _ = env.reset(seed=7, options={"state": row["state"]})
    np.testing.assert_array_equal(state, row["state"])
    state, reward, *_ = env.step(row["action"])
    assert_stored(state, row["next_state"])
    assert_stored(np.float32(reward), row["reward"])


@pytest.mark.slow
def test_jax_stays_as_the_user_has_it(env):
    before, _ = env.reset(seed=3)
    jax.config.update("jax_enable_x64", False)
    try:
        with_float32, _ = env.reset(seed=3)
        env.step(np.zeros(1))
        assert jax.numpy.zeros(1).dtype == np.float32
    finally:
        jax.config.update("jax_enable_x64", True)
    np.testing.assert_array_equal(before, with_float32)


def test_the_configuration_comes_back_after_an_error():
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        with pytest.raises(KeyError), jax_runtime.pinned():
            assert jax.config.jax_default_matmul_precision is None
            raise KeyError
        assert jax.config.jax_default_matmul_precision == "highest"
    finally:
        jax.config.update("jax_default_matmul_precision", None)


@pytest.mark.slow
def test_a_random_seed_is_one_of_a_store(env):
    state, _ = env.reset()
    again, _ = env.reset(seed=env._seed)
    np.testing.assert_array_equal(state, again)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "2\\*\\*63 - 1"),
        ({"options": {"phase": 1}}, "'phase'; it may have: episode, state"),
        ({"options": {"episode": -1}}, "whole number"),
        ({"options": {"episode": 1.5}}, "whole number"),
        ({"options": {"state": [0.0, 1.0]}}, "4 finite numbers"),
        ({"options": {"state": [0.0, 1.0, 2.0, np.nan]}}, "4 finite numbers"),
    ],
)
def test_wrong_resets(env, arguments, said):
    with pytest.raises(InvalidSettingError, match=said):
        env.reset(**arguments)


@pytest.mark.parametrize("action", [[0.0, 0.0], 0.0, [np.nan]])
def test_wrong_actions(env, action):
    with pytest.raises(InvalidSettingError, match="1 finite numbers"):
        env.step(action)
    with pytest.raises(InvalidSettingError, match="before reset"):
        env.step([0.0])


def test_unknown_tasks():
    with pytest.raises(UnknownNameError, match="CartpoleBalance"):
        DynamicsEnv("CartpoleBalanc")


@pytest.mark.parametrize(
    ("outcomes", "asked"),
    [
        # (not converged, overflow) of each attempt; (iterations over the usual, all slots) it must be asked for.
        ([(False, False)], [(1, False)]),
        ([(True, True), (False, False)], [(1, False), (1, True)]),
        ([(True, False), (False, False)], [(1, False), (10, False)]),
        ([(False, True), (True, False), (True, False)], [(1, False), (1, True), (10, True)]),
    ],
)
def test_steps_that_are_made_again(env, outcomes, asked, monkeypatch):
    from types import SimpleNamespace

    from dynamic_sparsity.generation.physics.constraint_solver import MAX_ITERATIONS

    calls = []

    def step(now, action, iterations=MAX_ITERATIONS, all_slots=False):
        calls.append((iterations // MAX_ITERATIONS, all_slots))
        failed, overflow = outcomes[len(calls) - 1]
        flags = np.array([failed << FLAG_BITS["not_converged"]])
        row = SimpleNamespace(flags=flags, overflow=np.array([overflow]), solver_residual=np.ones(1))
        return now, SimpleNamespace(row=row)

    env._simulation = SimpleNamespace(step=step)
    if outcomes[-1][0]:
        with pytest.raises(NotConvergedError, match=r"CartpoleBalance.*1\.0e\+00"):
            env._stepped(None, np.zeros(1, np.float32))
    else:
        env._stepped(None, np.zeros(1, np.float32))
    assert calls == asked
