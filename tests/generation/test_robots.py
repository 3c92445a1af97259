"""Tasks of robots, where there is a copy of their models."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from robot_models import menagerie

from dynamic_sparsity import load_dataset
from dynamic_sparsity.analysis import StudyOptions, contact_sets, study_store
from dynamic_sparsity.errors import InvalidSettingError, MissingDependencyError
from dynamic_sparsity.explorer import SCENES
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.environments import interface, playground
from dynamic_sparsity.generation.environments.loading import load_environment, load_task
from dynamic_sparsity.generation.environments.menagerie import VARIABLE, provide
from dynamic_sparsity.generation.environments.replacing import step_replaced
from dynamic_sparsity.generation.jobs.generate import generate
from dynamic_sparsity.generation.jobs.scenes import describe_scene
from dynamic_sparsity.generation.physics import model_hash
from dynamic_sparsity.generation.rollout.rendering import render_states
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.generation.tasks import ROBOTS, Task
from dynamic_sparsity.generation.verification import store_task
from dynamic_sparsity.generation.verification.deep import MUJOCO_C, verify_deep
from dynamic_sparsity.loaders import open_dataset
from dynamic_sparsity.publishing.publish import plan, publish
from dynamic_sparsity.storage.verify import verify_store


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models, for Playground and for the processes that a test starts."""
    jax_runtime.configure()
    from mujoco_playground._src import mjx_env

    monkeypatch.setattr(mjx_env, "MENAGERIE_PATH", mjx_env.MENAGERIE_PATH)
    folder = menagerie()
    monkeypatch.setenv(VARIABLE, str(folder))
    return folder


@pytest.mark.sample(4)
@pytest.mark.slow
@pytest.mark.parametrize("name", list(ROBOTS))
@pytest.mark.usefixtures("models")
def test_the_table_is_what_tracing_finds(name):
    loaded = load_task(name)
    model, environment = loaded.environment.mj_model, loaded.environment
    memory = model.nu if loaded.interface.remembers else 0
    sizes = (model.nq, model.nv, model.nu, environment.n_substeps, environment.dt, memory)
    assert ROBOTS[name] == Task(name, ROBOTS[name].group, *sizes)
    assert environment.action_size == ROBOTS[name].da
    assert environment._config.action_repeat == (2 if name == "AlohaSinglePegInsertion" else 1)
    assert environment._config.episode_length <= 1000
    assert loaded.interface.written == playground.WRITTEN.get(name, ())
    scene = json.loads((SCENES / f"{name}.json").read_bytes())
    assert describe_scene(name, model) == scene, "what the explorer draws is the model's"


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.usefixtures("models")
def test_what_pushed_robots_write_changes_nothing():
    environment = load_environment("T1JoystickFlatTerrain")
    _, shape = interface.shapes_of(environment)
    with step_replaced(lambda _model, data, *_args: data, lambda _model, data: data):
        state = environment.reset(jax.random.PRNGKey(0))
    state.info["push_step"] = state.info["push_interval_steps"] - 1  # now
    state = state.replace(data=state.data.replace(qvel=jnp.linspace(-1, 1, 29)))
    data, _, _ = interface.before_physics(environment, state, jnp.zeros(shape.shape))
    np.testing.assert_array_equal(data.qvel, state.data.qvel)


def test_stock_dynamics_are_refused():
    with pytest.raises(InvalidSettingError, match="has never been verified"):
        Settings("Go1JoystickFlatTerrain", dynamics="stock")


@pytest.mark.slow
@pytest.mark.usefixtures("models")
def test_what_barkour_writes_changes_nothing():
    """Its kicks are switched off by their strength, so that they are still computed: of the length of an episode."""
    environment = load_environment("BarkourJoystick")
    _, shape = interface.shapes_of(environment)

    def pushes(state, _):
        data, _, _ = interface.before_physics(environment, state, jnp.zeros(shape.shape))
        with step_replaced(lambda _model, data, *_args: data):
            after = environment.step(state.replace(data=state.data), jnp.zeros(shape.shape))
        same = jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), after, state)
        return same, jnp.abs(data.xfrc_applied).max()

    with step_replaced(lambda _model, data, *_args: data, lambda _model, data: data):
        state = environment.reset(jax.random.PRNGKey(0))
    largest = jax.jit(lambda state: jax.lax.scan(pushes, state, None, length=600)[1].max())(state)
    assert largest == 0


@pytest.mark.usefixtures("models")
def test_a_copy_that_looks_different_is_the_same_model():
    model = load_environment("Go1JoystickFlatTerrain").mj_model
    first = model_hash.of(model)
    model.geom_rgba[:] = 0.5
    seen = np.flatnonzero((model.geom_contype == 0) & (model.geom_conaffinity == 0))
    model.geom_size[seen] *= 2
    assert model_hash.of(model) == first
    model.body_mass[1] *= 1.01
    assert model_hash.of(model) != first


def test_a_store_of_another_model_is_not_compared():
    attributes = {"task": "PendulumSwingup", "dynamics": "converged", "settings": {"physics_sha256": "0" * 64}}
    with pytest.raises(InvalidSettingError, match="another one than that of the store"):
        store_task.load(attributes)


def test_models_that_are_not_there(tmp_path, monkeypatch):
    jax_runtime.configure()
    from mujoco_playground._src import mjx_env

    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(MissingDependencyError, match="no unitree_go1"):
        provide()
    monkeypatch.delenv(VARIABLE)

    def without_network() -> None:
        raise subprocess.CalledProcessError(128, ["git", "clone"])

    monkeypatch.setattr(mjx_env, "ensure_menagerie_exists", without_network)
    with pytest.raises(MissingDependencyError, match=f"could not be fetched: .* `export {VARIABLE}=FOLDER`"):
        provide()


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.usefixtures("models")
def test_go1_from_task_to_reader(tmp_path, hub):
    """Generated, verified, studied by bodies, published, read from the Hub, drawn."""
    store = generate(Settings("Go1JoystickFlatTerrain", episodes=2, episode_length=40, batch=1), tmp_path / "data")
    assert verify_store(store) == []
    rows = load_dataset("Go1JoystickFlatTerrain", root=tmp_path / "data")[:]
    assert rows["J_s"].shape[1:] == (36, 36) and rows["J_a"].shape[1:] == (36, 12)
    assert rows["mujoco_difference"].max() < 1e-6
    assert (rows["active_any"][:, -4:] == 1).any(), "its feet touch the floor"
    report = verify_deep(store, sample=16)
    assert report.problems == ()
    assert report.comparisons[0].oracle == MUJOCO_C and np.median(report.comparisons[0].errors) < 1e-5

    study = study_store(store, StudyOptions(map_rows=0))
    assert study.bodies is not None and study.bodies.names[:3] == ["base", "FR_hip", "FR_thigh"]
    parts = {part for one in contact_sets(open_dataset(store)) for part in one.parts}
    assert parts and parts <= {"FR", "FL", "RR", "RL"}, "which feet touch the floor"

    publish(plan(tmp_path / "data", "org/robots", tag="v1.0.0"))
    scene = hub.content("org/robots", "Go1JoystickFlatTerrain/scene.json")
    assert scene == (SCENES / "Go1JoystickFlatTerrain.json").read_bytes()
    read = load_dataset("Go1JoystickFlatTerrain", repo_id="org/robots", revision="v1.0.0")[:]
    for name, column in rows.items():
        np.testing.assert_array_equal(read[name], column)
    try:
        picture = render_states("Go1JoystickFlatTerrain", rows["state"][:1], 64, 48)
    except MissingDependencyError:
        return  # no off-screen renderer
    assert picture.shape == (1, 48, 64, 3) and picture.std() > 0
