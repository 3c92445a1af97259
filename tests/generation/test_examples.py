"""The worked examples do what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _examples(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])


def test_ilqr_swings_the_pole_up():
    from ilqr_swing_up import swing_up

    states, controls, costs = swing_up()
    assert np.all(np.diff(costs) <= 0)
    assert costs[-1] < 0.05 * costs[0]
    assert abs(states[0, 1]) == pytest.approx(np.pi)
    assert np.abs(states[-1, :2]).max() < 0.1
    assert np.abs(controls).max() <= 2


@pytest.mark.exhaustive
def test_gains_hold_the_gait():
    from lqr_along_a_gait import hold_the_gait

    without, held = (np.median(x, axis=0)[-1] for x in hold_the_gait())
    assert held < 0.2 < 1.0 < without
