"""Pictures of states, by MuJoCo's off-screen renderer, where the machine has one."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import MissingDependencyError
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.tasks import get_task

__all__ = ["render_states"]

HIDDEN = "target"
"""Geoms and sites of a task's goal: it is no part of the state, so where it was can't be known."""


def render_states(task: str, states: NDArray[np.float32], width: int, height: int) -> NDArray[np.uint8]:
    """Draw the task's model in some states, seen by its first camera, without the task's goal.

    Args:
        task: Name of the task.
        states: (qpos, qvel), shape (n, ds).
        width: Pixels.
        height: Pixels.

    Returns:
        RGB, uint8, shape (n, height, width, 3).

    Raises:
        UnknownNameError: There is no such task.
        MissingDependencyError: This machine has no simulator, or no off-screen renderer.
    """
    get_task(task)
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        # Read when mujoco is first imported; without a screen its own choice can only fail.
        os.environ.setdefault("MUJOCO_GL", "egl")
    model = _model(task)
    import mujoco

    data, pictures = mujoco.MjData(model), np.empty((len(states), height, width, 3), np.uint8)
    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as error:  # Each graphics library fails in its own way.
        raise MissingDependencyError(
            f"This machine can't draw off screen ({error}). Pictures need a graphics library, such as EGL or OSMesa of "
            "the package mesa; MUJOCO_GL says which one."
        ) from error
    with renderer:
        for picture, state in zip(pictures, np.asarray(states, np.float64), strict=True):
            data.qpos, data.qvel = state[: model.nq], state[model.nq : model.nq + model.nv]
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera=0 if model.ncam else -1)
            picture[...] = renderer.render()
    return pictures


@cache
def _model(task: str) -> Any:
    """Return the task's model with the goal made invisible."""
    jax_runtime.configure()
    from dynamic_sparsity.generation.environments.loading import load_environment

    model = load_environment(task).mj_model
    for kind, rgba in (("geom", model.geom_rgba), ("site", model.site_rgba)):
        for number in range(len(rgba)):
            if HIDDEN in getattr(model, kind)(number).name:
                rgba[number, 3] = 0
    return model
