"""The environments of Playground's tasks, on MJX's JAX implementation: Warp, its default, has no derivatives."""

from __future__ import annotations

from typing import Any, Final

from dynamic_sparsity.generation.environments import menagerie
from dynamic_sparsity.generation.tasks import ROBOTS

OBSERVED: Final[dict[str, tuple[str, ...]]] = {
    "acrobot": ("xmat", "site_xpos"),
    "ball_in_cup": ("xpos", "site_xpos"),
    "cartpole": ("xmat",),
    "cheetah": ("sensordata",),
    "finger_spin": ("sensordata",),
    "finger_turn": ("sensordata",),
    "fish": ("xmat", "geom_xpos", "geom_xmat"),
    "hopper": ("sensordata", "xipos"),
    "humanoid": ("sensordata", "xpos", "xmat"),
    "pendulum": ("xmat",),
    "point_mass": ("geom_xpos",),
    "reacher_easy": ("geom_xpos",),
    "reacher_hard": ("geom_xpos",),
    "swimmer6": ("sensordata", "xmat", "geom_xpos"),
    "walker": ("sensordata", "xpos", "xmat"),
}
"""Fields of MJX's data, beside qpos and qvel, from which the tasks of each group of the DM Control Suite compute
observation, reward and termination: those of all tasks of a group, which share a program. For all other tasks they are
found by tracing."""

_WITHOUT_PUSHES: Final[dict[str, Any]] = {"push_config.enable": False}

_PUSHED: Final = (
    "ApolloJoystickFlatTerrain",
    "BerkeleyHumanoidJoystickFlatTerrain",
    "BerkeleyHumanoidJoystickRoughTerrain",
    "G1JoystickFlatTerrain",
    "G1JoystickRoughTerrain",
    "T1JoystickFlatTerrain",
    "T1JoystickRoughTerrain",
)
"""Tasks in which the robot is pushed now and then, by a change of its velocity."""

OVERRIDES: Final[dict[str, dict[str, Any]]] = {name: _WITHOUT_PUSHES for name in _PUSHED} | {
    # Kicks come and go with a clock that is no part of the state.
    "BarkourJoystick": {"velocity_kick": [0.0, 0.0]},
}
"""What is set otherwise than Playground has it, by task, so that nothing but state and action acts on the physics."""

WRITTEN: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(_PUSHED, ("qvel",)),
    "BarkourJoystick": ("xfrc_applied",),
}
"""Fields of MJX's data that a task writes before its physics, with what is there already, by task."""


def load(name: str) -> Any:
    """Return the environment of a task.

    Args:
        name: Name of the task.

    Raises:
        MissingDependencyError: It is a robot's, whose model is not there and can't be fetched.
    """
    import mujoco_playground

    overrides = {"impl": "jax"} | OVERRIDES.get(name, {})
    if name not in ROBOTS:
        return mujoco_playground.dm_control_suite.load(name, config_overrides=overrides)
    menagerie.provide()
    arms = name in mujoco_playground.manipulation.ALL_ENVS
    registry = mujoco_playground.manipulation if arms else mujoco_playground.locomotion
    return registry.load(name, config_overrides=overrides)
