"""A task, loaded: its environment, which resets, observes and rewards it, and what its step does around physics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from dynamic_sparsity.generation.environments import interface, playground
from dynamic_sparsity.generation.environments.interface import Interface
from dynamic_sparsity.generation.jax_runtime import require_float64
from dynamic_sparsity.generation.tasks import TASKS, Task, get_task


@dataclass(frozen=True, eq=False)
class LoadedTask:
    """A task, loaded.

    Attributes:
        task: What it is.
        environment: Playground's, or one like it.
        interface: What its step does around physics.
    """

    task: Task
    environment: Any
    interface: Interface


def load_environment(name: str, source: str | None = None) -> Any:
    """Return the environment of a task.

    Args:
        name: Name of the task.
        source: Where it comes from, as of `task_sources`; None for a task of Playground.

    Raises:
        InvalidSettingError: JAX computes in float32, or there is no task in the source.
        MissingDependencyError: It is a robot's, whose model is not there and can't be fetched.
    """
    require_float64()
    if source is None:
        return playground.load(name)
    from dynamic_sparsity.generation.environments import model_file  # with Playground, which takes seconds

    return model_file.load(source)


@cache
def load_task(name: str, source: str | None = None) -> LoadedTask:
    """Load a task.

    Args:
        name: Name of the task.
        source: Where it comes from, as of `task_sources`; None for a task of Playground.

    Raises:
        UnknownNameError: There is no such task.
        InvalidSettingError: JAX computes in float32, or there is no task in the source.
        MissingDependencyError: It is a robot's, whose model is not there and can't be fetched.
        UnsupportedModelError: Something else than state and action acts on its physics.
    """
    task = get_task(name) if source is None else None
    environment = load_environment(name, source)
    if task is not None and name in TASKS:
        # One program for all tasks of a group, so that what they look at is settled; the action is the control.
        return LoadedTask(task, environment, Interface(playground.OBSERVED[task.group]))
    found = interface.trace(environment, playground.WRITTEN.get(name, ()))
    if task is None:
        model = environment.mj_model
        memory = model.nu if found.remembers else 0
        substeps, actions = environment.n_substeps, environment.action_size
        task = Task(name, name, model.nq, model.nv, model.nu, substeps, float(environment.dt), memory, actions)
    return LoadedTask(task, environment, found)
