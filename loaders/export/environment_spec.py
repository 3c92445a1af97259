"""By which names and arguments Gymnasium makes a task's environment; the environment itself is in `envs`."""

from __future__ import annotations

from typing import Any, Final

from dynamic_sparsity.loaders.export.optional import imported

__all__ = ["ENTRY_POINT", "environment_id", "environment_spec"]

ENTRY_POINT: Final = "dynamic_sparsity.envs.environment:DynamicsEnv"


def environment_id(task: str) -> str:
    """Return Gymnasium's id of a task.

    Args:
        task: Its name.
    """
    return f"dynamic_sparsity/{task}-v1"


def environment_spec(task: str, steps: int) -> Any:
    """Return Gymnasium's description of a task's environment.

    Args:
        task: Its name.
        steps: Control steps after which an episode is cut.

    Raises:
        MissingDependencyError: Gymnasium is not installed.
    """
    registration = imported("gymnasium.envs.registration", "gymnasium")
    return registration.EnvSpec(
        id=environment_id(task), entry_point=ENTRY_POINT, max_episode_steps=steps, kwargs={"task": task}
    )
