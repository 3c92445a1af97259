"""Tasks as Gymnasium environments whose step is the stored dynamics. Needs the extra `gymnasium`.

Importing this registers `dynamic_sparsity/<Task>-v1` for every task; JAX is imported when an environment is made.
"""

from __future__ import annotations

from typing import Final

from dynamic_sparsity.errors import MissingDependencyError
from dynamic_sparsity.generation.tasks import EPISODE_LENGTH, ROBOTS, TASKS
from dynamic_sparsity.loaders.export.environment_spec import ENTRY_POINT, environment_id

try:
    import gymnasium
except ImportError as error:
    raise MissingDependencyError(
        "Environments need the package gymnasium: pip install 'dynamic-sparsity[gymnasium]'"
    ) from error

from dynamic_sparsity.envs.environment import DynamicsEnv

__all__ = ["ENVIRONMENT_IDS", "DynamicsEnv"]

ENVIRONMENT_IDS: Final = {name: environment_id(name) for name in (*TASKS, *ROBOTS)}
"""Gymnasium's id of each task."""

for _task, _id in ENVIRONMENT_IDS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(_id, entry_point=ENTRY_POINT, max_episode_steps=EPISODE_LENGTH, kwargs={"task": _task})
