"""Environments are known by name before a simulator is imported."""

from __future__ import annotations

import importlib
import sys

import pytest

gymnasium = pytest.importorskip("gymnasium")

from dynamic_sparsity import envs  # noqa: E402
from dynamic_sparsity.errors import MissingDependencyError  # noqa: E402
from dynamic_sparsity.generation.tasks import ROBOTS, TASKS  # noqa: E402


def test_every_task_is_registered():
    assert set(envs.ENVIRONMENT_IDS) == {*TASKS, *ROBOTS}
    for task, name in envs.ENVIRONMENT_IDS.items():
        spec = gymnasium.spec(name)
        assert spec.kwargs == {"task": task} and spec.max_episode_steps == 1000
    assert gymnasium.spec("dynamic_sparsity/CheetahRun-v1")


def test_a_second_import_registers_nothing(recwarn):
    before = dict(gymnasium.registry)
    importlib.reload(envs)
    assert gymnasium.registry == before and not recwarn


def test_without_gymnasium(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dynamic-sparsity\[gymnasium\]'"):
        importlib.reload(envs)
