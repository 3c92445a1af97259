"""The table of tasks against Playground itself."""

from __future__ import annotations

import numpy as np
import pytest

from dynamic_sparsity.errors import UnknownNameError
from dynamic_sparsity.generation import tasks
from dynamic_sparsity.generation.environments.loading import load_environment

# Fields by which models of one group may differ: they are drawn, or measured by sensors, but not felt.
INERT = ("site_", "geom_rgba", "name", "mat_", "light_", "cam_", "bvh_", "signature", "tex_")


def models():
    return {name: load_environment(name) for name in tasks.TASKS}


@pytest.fixture(scope="module")
def environments():
    return models()


@pytest.mark.slow
def test_all_tasks_of_playground_are_there(environments):
    from mujoco_playground import dm_control_suite

    assert sorted(tasks.TASKS) == sorted(dm_control_suite.ALL_ENVS)
    assert len({task.group for task in tasks.TASKS.values()}) == 15


@pytest.mark.parametrize("name", tasks.TASKS)
def test_sizes(environments, name):
    task, environment = tasks.TASKS[name], environments[name]
    model = environment.mj_model
    assert (task.nq, task.nv, task.nu) == (model.nq, model.nv, model.nu)
    assert task.substeps == environment.n_substeps
    assert task.control_dt == pytest.approx(environment.dt)
    assert environment._config.episode_length == tasks.EPISODE_LENGTH
    assert environment._config.action_repeat == 1


def differing_fields(first, second):
    fields = []
    for name in dir(first):
        if name.startswith("_") or name.startswith(INERT):
            continue
        a, b = getattr(first, name), getattr(second, name)
        if isinstance(a, int | float | np.ndarray) and not np.array_equal(a, b):
            fields.append(name)
    return fields


def test_groups_share_their_physics(environments):
    representatives = tasks.group_representatives()
    for task in tasks.TASKS.values():
        representative = environments[representatives[task.group]].mj_model
        assert differing_fields(environments[task.name].mj_model, representative) == []


def test_groups_differ(environments):
    for first in tasks.group_representatives().values():
        for second in tasks.group_representatives().values():
            if first != second:
                a, b = environments[first].mj_model, environments[second].mj_model
                assert a.nv != b.nv or differing_fields(a, b)


def test_unknown_task_names_the_closest():
    with pytest.raises(UnknownNameError, match="CheetahRun"):
        tasks.get_task("cheetah_run")
