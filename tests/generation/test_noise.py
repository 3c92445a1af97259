"""Coloured noise against the package `colorednoise`."""

from __future__ import annotations

import colorednoise
import jax
import numpy as np
import pytest

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.rollout.actions import LARGEST_ACTION, SquashedPolicy
from dynamic_sparsity.generation.rollout.coloured_noise import coloured_noise

LENGTH, SERIES = 512, 4000


def autocorrelation(series, lag):
    return float(np.mean(series[lag:] * series[: len(series) - lag]) / np.mean(series**2))


def spectral_slope(series):
    power = np.mean(np.abs(np.fft.rfft(series, axis=0)) ** 2, axis=1)[1:-1]
    return np.polyfit(np.log(np.arange(1, len(power) + 1)), np.log(power), 1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0])
def test_like_colorednoise(beta):
    ours = np.asarray(coloured_noise(jax.random.PRNGKey(0), LENGTH, SERIES, beta))
    theirs = colorednoise.powerlaw_psd_gaussian(beta, (SERIES, LENGTH), random_state=1).T
    assert ours.shape == (LENGTH, SERIES)
    assert np.var(ours) == pytest.approx(1.0, abs=0.03)
    assert spectral_slope(ours) == pytest.approx(-beta, abs=0.02)
    assert spectral_slope(ours) == pytest.approx(spectral_slope(theirs), abs=0.02)
    for lag in (1, 2, 10):
        assert autocorrelation(ours, lag) == pytest.approx(autocorrelation(theirs, lag), abs=0.02)


def test_series_are_independent():
    series = np.asarray(coloured_noise(jax.random.PRNGKey(1), 2000, 8, 0.5))
    correlation = np.corrcoef(series.T) - np.eye(8)
    assert np.abs(correlation).max() < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_short_series(length):
    assert np.isfinite(np.asarray(coloured_noise(jax.random.PRNGKey(2), length, 3, 0.5))).all()


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="transforms on a GPU are made side by side")
def test_bits_of_an_episode_are_its_own(size):
    """As many as are made side by side, one looks the same."""
    keys = jax.random.split(jax.random.PRNGKey(4), 8)
    many = jax_runtime.jit(jax.vmap(lambda key: coloured_noise(key, 300, size, 0.5)))
    for count in (1, 3):
        np.testing.assert_array_equal(many(keys[:count]), many(keys)[:count])


@pytest.mark.parametrize("beta", [-0.1, 4.1, float("nan")])
def test_refuses_exponents(beta):
    with pytest.raises(InvalidSettingError, match="exponent"):
        coloured_noise(jax.random.PRNGKey(0), 8, 1, beta)


@pytest.mark.slow
def test_actions_are_inside_and_episodes_are_their_own():
    policy = SquashedPolicy(("noise",), 3, 0.5, None)
    keys = jax.vmap(jax.random.PRNGKey)(np.arange(500))
    plan = policy.start(keys, np.arange(500), 100)
    assert plan.noise.shape == (500, 100, 3)
    actions = np.stack([policy.act(plan, step, np.zeros((500, 1))) for step in range(100)], axis=1)
    assert np.abs(actions).max() <= LARGEST_ACTION < 1
    assert (actions == actions.astype(np.float32)).all()
    alone = policy.start(keys[7:8], np.arange(7, 8), 100)
    np.testing.assert_array_equal(alone.noise[0], plan.noise[7])
