"""What deep verification draws, differentiates and concludes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dynamic_sparsity.generation.physics.model import load_physics
from dynamic_sparsity.generation.rollout.actions import LARGEST_ACTION
from dynamic_sparsity.generation.verification import finite_differences, mujoco_steps
from dynamic_sparsity.generation.verification.deep import (
    MUJOCO_C,
    MjxDifferenceOracle,
    OracleComparison,
    _check_limits,
    hard_rows,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("bound", [LARGEST_ACTION, -LARGEST_ACTION, 1.0])
def test_actions_at_their_bound(bound):
    """Differences must not cross it: beyond, MuJoCo clamps, and half of the derivative is lost."""
    physics = load_physics("CartpoleBalance")
    state = np.array([0.1, 0.3, -0.2, 0.5])
    reference = finite_differences.MujocoOracle(physics)
    at_bound, inside = (reference.reference(state, np.array([a])) for a in (bound, 0.999 * bound))
    assert at_bound.disagreement < 1e-6
    assert finite_differences.relative_error(at_bound.jacobian[:, -1], inside.jacobian[:, -1]) < 1e-5
    own = MjxDifferenceOracle(physics).reference(state, np.array([bound]), np.zeros(2))
    assert finite_differences.relative_error(own.jacobian, at_bound.jacobian) < 1e-6


def test_two_derivatives_at_the_end_of_a_range():
    """At rest where a limit begins to push, a derivative is right if it is that of one side; their mean is wrong."""
    physics = load_physics("CartpoleBalance")
    end, action = float(physics.mj_model.jnt_range[0, 1]), np.array([0.0])
    state, free = np.array([end, 0.0, 0.0, 0.0]), np.array([end - 0.1, 0.0, 0.0, 0.0])
    truth, smooth = (finite_differences.MujocoOracle(physics).reference(one, action) for one in (state, free))
    assert truth.kinks[0] and not smooth.kinks.any() and truth.disagreement < 1e-6
    np.testing.assert_array_equal(smooth.nearest(smooth.jacobian), smooth.jacobian)
    behind = np.where(truth.kinks, smooth.jacobian, truth.jacobian)
    for side in (truth.forward, truth.backward):
        assert finite_differences.relative_error(side, truth.nearest(side)) == 0
    assert finite_differences.relative_error(behind, truth.nearest(behind)) < 1e-6, "not at the limit's side"
    assert finite_differences.relative_error(truth.jacobian, truth.nearest(truth.jacobian)) > 0.1
    own = MjxDifferenceOracle(physics).reference(state, action, np.zeros(2))
    np.testing.assert_array_equal(own.kinks, truth.kinks)
    for ours, theirs in ((own.forward, truth.forward), (own.backward, truth.backward)):
        assert finite_differences.relative_error(ours, theirs) < 1e-6


def _comparison(compared: int, other: tuple[int, ...] = (), switch: int = 0) -> OracleComparison:
    return OracleComparison(MUJOCO_C, np.full(compared, 1e-8), other, switch)


@pytest.mark.parametrize(
    ("checkable", "explained", "comparison", "problems"),
    [
        (10, set(), _comparison(10), ()),
        (10, set(), _comparison(8, switch=2), ()),
        (10, set(), _comparison(7, switch=3), ("only 7 of 10 rows could be compared",)),
        (0, set(), _comparison(0), ("only 0 of 0 rows",)),
        (10, {1, 2, 3}, _comparison(7, (1, 2, 3)), ()),
        (10, {1, 2}, _comparison(7, (1, 2, 3)), ("1 next states are not those of MuJoCo C",)),
        (10, set(range(10)), _comparison(0, tuple(range(10))), ()),
    ],
)
def test_a_verdict_needs_rows(checkable, explained, comparison, problems):
    found = [str(problem) for problem in _check_limits(Path("store"), checkable, explained, [comparison])]
    assert len(found) == len(problems)
    for text, expected in zip(found, problems, strict=True):
        assert expected in text


def test_wrong_jacobians_are_a_problem():
    wrong = OracleComparison(MUJOCO_C, np.array([1e-8] * 60 + [0.5] * 5), (), 0)
    assert any("99th percentile" in str(problem) for problem in _check_limits(Path("store"), 65, set(), [wrong]))


def test_hard_rows():
    columns = {
        "state": np.zeros((100, 4)),
        "action": np.zeros((100, 1)),
        "active_any": np.zeros((100, 2), np.uint8),
        "active_changes": np.zeros(100, np.uint8),
    }
    columns["active_changes"][3] = 1
    columns["active_any"][5, 1] = 1
    columns["action"][7] = -LARGEST_ACTION
    columns["state"][9, 3] = 8.0
    assert np.flatnonzero(hard_rows(columns)).tolist() == [3, 5, 7, 9]


def test_steps_and_differences_of_mujoco_c():
    physics = load_physics("BallInCup")
    rng = np.random.default_rng(0)
    state, action = rng.normal(size=(7, 8)) * 0.1, rng.uniform(-1, 1, (7, 2))
    one = finite_differences.MujocoOracle(physics)
    with mujoco_steps.Stepper(physics, 3) as stepper:
        made = stepper.steps(state.astype(np.float32), action.astype(np.float32))
    expected = np.stack(
        [one.step(s, a) for s, a in zip(state.astype(np.float32), action.astype(np.float32), strict=True)]
    )
    np.testing.assert_array_equal(made.next_state, expected)
    assert made.contacts.shape == (7, 10)
    moved = expected.copy()
    moved[2, 3] += 0.5 * (1 + abs(moved[2, 3]))
    moved[4, 0] = np.nan
    difference = mujoco_steps.difference(moved, expected)
    assert difference.dtype == np.float32
    np.testing.assert_allclose(difference[[0, 2]], [0, 0.5])
    assert difference[4] == np.finfo(np.float32).max


def test_mujoco_c_also_steps_rows_that_diverge_where_nothing_can_touch():
    physics = load_physics("PendulumSwingup")
    state = np.array([[0.1, 0.2], [0.3, 1e6], [0.2, 1e12], [np.inf, 0.0], [0.0, np.nan], [0.4, -0.3]])
    action = np.linspace(-1, 1, 6)[:, None]
    one = finite_differences.MujocoOracle(physics)
    with mujoco_steps.Stepper(physics, 2) as stepper:
        made = stepper.steps(state, action)
    np.testing.assert_array_equal(made.next_state, [one.step(s, a) for s, a in zip(state, action, strict=True)])
    assert np.isfinite(made.next_state[:3]).all()
    assert not made.contacts.any()
