"""What passes between the programs of a control step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mujoco import mjx

from dynamic_sparsity.generation.environments.loading import load_environment
from dynamic_sparsity.generation.environments.playground import OBSERVED
from dynamic_sparsity.generation.environments.replacing import physics_replaced
from dynamic_sparsity.generation.physics import linear_algebra
from dynamic_sparsity.generation.physics.model import load_physics
from dynamic_sparsity.generation.rollout.batch_size import default_batch
from dynamic_sparsity.generation.rollout.recorder import Recorder
from dynamic_sparsity.generation.rollout.transition import shown
from dynamic_sparsity.generation.tasks import TASKS, get_task, group_representatives


def test_every_group_says_what_it_observes():
    assert OBSERVED.keys() == group_representatives().keys()


@pytest.mark.slow
@pytest.mark.sample(6)
@pytest.mark.parametrize("name", TASKS)
def test_tasks_look_at_nothing_else(name):
    """All other fields are None where the task looks, so that tracing it is the test."""
    environment = load_environment(name)
    empty = mjx.make_data(environment.mj_model, impl="jax")
    with linear_algebra.without_lapack():
        state = jax.eval_shape(environment.reset, jax.random.PRNGKey(0))
    fields = {field: getattr(state.data, field) for field in ("qpos", "qvel", *OBSERVED[get_task(name).group])}

    def observe(task: Any, action: jax.Array, observed: dict[str, jax.Array]) -> Any:
        with physics_replaced(shown(empty, observed)):
            return environment.step(task, action).replace(data=None)

    action = jax.ShapeDtypeStruct((get_task(name).da,), jnp.float64)
    after = jax.eval_shape(observe, state.replace(data=None), action, fields)
    assert after.obs.shape == state.obs.shape
    assert jax.tree.structure(after) == jax.tree.structure(state.replace(data=None))


def test_a_task_that_looks_elsewhere_is_stopped():
    environment = load_environment("CartpoleBalance")
    empty = mjx.make_data(environment.mj_model, impl="jax")
    data = shown(empty, {"qpos": jnp.zeros(2), "qvel": jnp.zeros(2)})
    assert data.xmat is None
    with pytest.raises(TypeError):
        data.xmat[1]


@pytest.mark.parametrize(
    ("task", "row_bytes", "length", "backend", "batch"),
    [
        ("CartpoleBalance", 200, 1000, "cpu", 1024),
        ("CheetahRun", 1_800, 1000, "cpu", 64),
        ("HumanoidRun", 17_000, 1000, "cpu", 16),
        ("CheetahRun", 1_800, 1000, "gpu", 4096),
        ("CheetahRun", 180_000, 1000, "gpu", 32),
        ("Go1JoystickFlatTerrain", 9_000, 1000, "gpu", 512),
        ("CheetahRun", 1_800, 10**7, "cpu", 1),
    ],
)
def test_default_batch(task, row_bytes, length, backend, batch):
    assert default_batch(get_task(task), row_bytes, length, backend) == batch


def test_an_error_while_recording_is_raised():
    physics = load_physics("CartpoleBalance")
    with pytest.raises(AttributeError), Recorder(physics, np.zeros((2, 4), np.float32), 3) as recorder:
        recorder.put(0, jnp.zeros((2, 1)), None, jnp.zeros(2), jnp.zeros(2))
