"""Tasks of the user's own, and what is found out about a task by tracing it."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import own_tasks
import pytest

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import InvalidSettingError, UnknownNameError, UnsupportedModelError
from dynamic_sparsity.generation.environments import interface, model_file
from dynamic_sparsity.generation.environments.loading import load_task
from dynamic_sparsity.generation.jobs.generate import generate
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.generation.task_sources import settled
from dynamic_sparsity.generation.tasks import Task
from dynamic_sparsity.generation.verification.deep import MUJOCO_C, verify_deep
from dynamic_sparsity.schemas import FLAG_BITS
from dynamic_sparsity.storage.verify import verify_store

SERVO = "own_tasks:servo"


@pytest.mark.slow
def test_what_a_task_does_around_its_physics():
    found = load_task("Servo", SERVO)
    assert found.task == Task("Servo", "Servo", 1, 1, 1, 2, 0.02, memory=1, actions=1)
    assert (found.task.ds, found.task.dx, found.task.da) == (3, 3, 1)
    assert found.interface.depends_on == ("qpos", "ctrl", "action")
    assert found.interface.observed == ("ctrl", "xpos")
    assert found.interface.looked_back == ("ctrl", "qpos")
    ctrl = found.interface.control(*(jnp.array([x]) for x in (0.5, 0.0, 0.2, 0.4)))
    np.testing.assert_allclose(ctrl, 0.9 * 0.2 + 0.3 * np.sin(0.5) * 0.4, rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (own_tasks.Hidden, "depends on info.target"),
        (own_tasks.Pushed, "changes qvel before its physics"),
        (own_tasks.Twice, "calls `mjx_env.step` 2 times"),
        (own_tasks.Elsewhere, "does not call `mjx_env.step`"),
    ],
)
def test_what_no_data_could_say_is_refused(kind, words):
    with pytest.raises(UnsupportedModelError, match=words):
        interface.trace(kind())


@pytest.mark.slow
def test_a_model_alone_is_a_task():
    loaded = load_task("Model", "own_tasks:model")
    assert loaded.task == Task("Model", "Model", 1, 1, 1, 2, 0.02, actions=1)
    assert loaded.interface.depends_on == ("action",)
    environment = model_file.ModelEnvironment(own_tasks.model())
    starts = np.asarray(
        jax.jit(jax.vmap(lambda key: environment.reset(key).obs))(jax.random.split(jax.random.PRNGKey(0), 4))
    )
    assert len(np.unique(starts[:, 0])) == 4
    assert (np.abs(starts) < 0.4).all()


def test_names_of_sources(tmp_path: Path):
    path = tmp_path / "my_robot-2.xml"
    path.write_text(own_tasks.MODEL)
    assert settled(str(path)) == ("MyRobot2", str(path))
    assert settled(SERVO) == ("Servo", SERVO)
    assert settled("CheetahRun") == ("CheetahRun", None)
    with pytest.raises(UnknownNameError, match="no task 'my_robot'"):
        settled("my_robot")
    with pytest.raises(InvalidSettingError, match="no file"):
        settled(str(tmp_path / "none.xml"))
    with pytest.raises(InvalidSettingError, match="one of Playground's"):
        settled("my_tasks:cheetahRun")
    with pytest.raises(InvalidSettingError, match="gives the task 'Servo'"):
        Settings("Other", source=SERVO)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no_such_module:servo", "can't be imported"),
        ("own_tasks:none", "can't be imported"),
        ("own_tasks:number", "returns a int, without mj_model"),
        ("broken.xml", "no model that MuJoCo can read"),
    ],
)
def test_sources_that_give_no_task(source, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.xml").write_text("<mujoco><body>")
    with pytest.raises(InvalidSettingError, match=words):
        model_file.load(source)


@pytest.mark.slow
def test_a_task_with_memory_from_function_to_rows(tmp_path):
    settings = Settings("Servo", source=SERVO, episodes=2, episode_length=40, batch=1)
    store = generate(settings, tmp_path)
    assert verify_store(store) == []
    ds = load_dataset("Servo", root=tmp_path)
    assert ds.metadata["sizes"]["nm"] == 1
    assert ds.metadata["state_names"] == ["qpos:hinge", "qvel:hinge", "ctrl:servo"]
    rows = ds[:]
    assert not rows["flags"].any() or set(np.unique(rows["flags"])) <= {0, 1 << FLAG_BITS["active_set_changed"]}
    ctrl = 0.9 * rows["state"][:, 2] + 0.3 * np.sin(rows["state"][:, 0]) * rows["action"][:, 0]
    np.testing.assert_allclose(rows["next_state"][:, 2], ctrl, atol=1e-6)
    np.testing.assert_allclose(rows["J_s"][:, 2, 2], 0.9, rtol=1e-6)
    np.testing.assert_allclose(rows["J_a"][:, 2, 0], 0.3 * np.sin(rows["state"][:, 0]), atol=1e-6)
    assert (np.abs(rows["reward"]) > 0).any()
    with pytest.raises(InvalidSettingError, match="--source"):
        verify_deep(store)
    report = verify_deep(store, source=SERVO)
    assert report.problems == ()
    assert report.comparisons[0].oracle == MUJOCO_C and report.comparisons[0].errors.max() < 1e-5
