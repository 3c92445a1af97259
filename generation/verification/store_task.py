"""The task of a store, loaded again to check its rows: with the model that they were made with, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.environments.interface import Control
from dynamic_sparsity.generation.environments.loading import load_task
from dynamic_sparsity.generation.physics import model_hash
from dynamic_sparsity.generation.physics.model import Dynamics, Physics, load_physics
from dynamic_sparsity.generation.task_sources import settled
from dynamic_sparsity.generation.verification.finite_differences import Array, HostControl


@dataclass(frozen=True, eq=False)
class StoreTask:
    """The task of a store.

    Attributes:
        physics: Its physics.
        control: Its control; None where it is the action.
        host_control: The same for arrays on the host.
    """

    physics: Physics
    control: Control | None
    host_control: HostControl | None


def load(attributes: Mapping[str, Any], source: str | None = None) -> StoreTask:
    """Load the task of a store.

    Args:
        attributes: The store's.
        source: Where the task comes from, if it is one of the user's own, as of `task_sources`.

    Raises:
        InvalidSettingError: The source is missing, or the model is another one than that of the store.
        DynamicSparsityError: As `load_physics`.
    """
    name, settings = attributes["task"], attributes["settings"]
    if source is None and "source" in settings:
        raise InvalidSettingError(
            f"{name} is no task of Playground; its rows were made from {settings['source']!r:.200}: say where that is, "
            "with --source PATH or --source MODULE:FUNCTION."
        )
    if source is not None:
        given, source = settled(source)
        if given != name or source is None:
            raise InvalidSettingError(f"--source gives the task {given}, but the store is one of {name}.")
    physics = load_physics(name, cast(Dynamics, attributes["dynamics"]), source=source)
    recorded, found = settings.get("physics_sha256"), model_hash.of(physics.mj_model)
    if recorded not in (None, found):
        raise InvalidSettingError(
            f"The model of {name} on this machine is another one than that of the store (physics_sha256 is "
            f"{found[:12]}…, the store has {recorded!r:.14}…): use the version that it was made with."
        )
    control = load_task(name, source).interface.control
    return StoreTask(physics, control, None if control is None else _on_host(physics, control))


def _on_host(physics: Physics, control: Control) -> HostControl:
    nq, size = physics.task.nq, physics.task.nq + physics.task.nv
    compiled = jax_runtime.jit(control)

    def ctrl(state: Array, action: Array) -> Array:
        memory = state[size:] if physics.task.memory else np.zeros(physics.task.nu)
        found: Array = np.asarray(compiled(state[:nq], state[nq:size], memory, action))
        return found

    return ctrl
