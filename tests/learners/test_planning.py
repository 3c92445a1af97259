"""Planning with a model: the truth is the best model, a wrong one is worse than chance."""

from __future__ import annotations

import numpy as np
import pytest

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.planning import Planner, relative_return, returns

PLANNER = Planner(horizon=5, candidates=64, iterations=4, elites=8)
STARTS = np.random.default_rng(0).normal(size=(4, 2))


def cart(state, action):
    """A mass on a line, pushed: a double integrator, 0.1 s per step."""
    speed = state[:, 1] + 0.5 * action[:, 0]
    return np.stack([state[:, 0] + 0.1 * speed, speed], axis=1)


def mirrored(state, action):
    return cart(state, -action)


def near(state):
    return -(state[:, 0] ** 2) - 0.1 * state[:, 1] ** 2


def test_the_truth_plans_best():
    given = (cart, near, STARTS, 15, 1, 0)
    truth, random = returns(PLANNER, cart, *given), returns(None, cart, *given)
    assert truth.mean() > random.mean() + 1
    assert relative_return(truth, random, truth) == 1
    wrong = relative_return(returns(PLANNER, mirrored, *given), random, truth)
    assert wrong is not None and wrong < 0.5
    assert np.array_equal(truth, returns(PLANNER, cart, *given))


def test_predictions_that_are_no_numbers_are_never_chosen():
    def broken(state, action):
        return np.where(action > 0, np.nan, cart(state, action))

    plan = PLANNER.plan(broken, near, np.array([-1.0, 0.0]), np.zeros((5, 1)), np.random.default_rng(1))
    assert np.isfinite(plan).all()
    assert (plan <= 1).all() and (plan >= -1).all()


def test_no_gain_no_number():
    assert relative_return(np.ones(2), np.ones(2), np.ones(2)) is None


def test_settings_are_checked():
    with pytest.raises(InvalidSettingError, match="elites 9"):
        Planner(candidates=8, elites=9)
