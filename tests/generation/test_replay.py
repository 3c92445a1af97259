"""Stored episodes, simulated again by plain MuJoCo from their first state."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dynamic_sparsity.generation.environments.loading import load_environment
from dynamic_sparsity.generation.rollout.episodes import Episodes
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.generation.tasks import TASKS

STEPS = 200
FIRST = ("BallInCup", "PendulumSwingup")
"""Contacts and a tendon, and one that is gentle; `--exhaustive` replays every task."""
GENTLE = ("cartpole", "pendulum", "point_mass", "reacher_easy", "reacher_hard", "swimmer6", "fish")
"""Groups in which no rounding grows to anything within `STEPS` steps: no contacts, and no chaos to speak of."""


def _example() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "replay_in_mujoco.py"
    spec = importlib.util.spec_from_file_location("replay_in_mujoco", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in FIRST else [pytest.mark.exhaustive]) for name in TASKS],
)
def test_episodes_are_mujoco_s(name):
    example = _example()
    columns = Episodes.prepare(Settings(name, episodes=1, episode_length=STEPS)).simulate(0, 1)
    stored = np.concatenate([columns["state"][0], columns["next_state"][0][-1:]])
    action = columns["action"][0]
    model = example.converged(load_environment(name).mj_model)
    substeps = TASKS[name].substeps

    def gap(states):
        return (np.abs(states - stored) / (1 + np.abs(stored))).max(axis=1)

    free = gap(example.replay(model, stored[0], action, substeps))
    # Until chaos, the two stay within the last bit that states are rounded to.
    assert free[:11].max() < 1e-5
    if TASKS[name].group in GENTLE:
        assert free.max() < 1e-3
    # Set back to the stored state whenever it has gone 10 steps, the replay follows to the end.
    for start in range(0, STEPS, 10):
        piece = example.replay(model, stored[start], action[start : start + 10], substeps)
        expected = stored[start : start + 11]
        assert (np.abs(piece - expected) / (1 + np.abs(expected))).max() < 1e-3, start
    assert columns["mujoco_difference"].max() < 1e-6
    assert not (columns["flags"] >> 8 & 1).any()
