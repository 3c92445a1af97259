"""Names of the numbers of a model's state, of its tangent coordinates and of its controls."""

from __future__ import annotations

from typing import Any

import mujoco

_QPOS_PARTS = {
    "free": (".x", ".y", ".z", ".qw", ".qx", ".qy", ".qz"),
    "ball": (".qw", ".qx", ".qy", ".qz"),
    "slide": ("",),
    "hinge": ("",),
}
_QVEL_PARTS = {
    "free": (".vx", ".vy", ".vz", ".wx", ".wy", ".wz"),
    "ball": (".wx", ".wy", ".wz"),
    "slide": ("",),
    "hinge": ("",),
}
_TANGENT_PARTS = {
    "free": (".x", ".y", ".z", ".rx", ".ry", ".rz"),
    "ball": (".rx", ".ry", ".rz"),
    "slide": ("",),
    "hinge": ("",),
}


def joints(model: mujoco.MjModel) -> list[dict[str, Any]]:
    """Return name, type and addresses of every joint, in order.

    Args:
        model: MuJoCo's model.
    """
    return [
        {
            "name": model.joint(index).name or f"joint{index}",
            "type": mujoco.mjtJoint(model.jnt_type[index]).name.removeprefix("mjJNT_").lower(),
            "qpos_address": int(model.jnt_qposadr[index]),
            "dof_address": int(model.jnt_dofadr[index]),
        }
        for index in range(model.njnt)
    ]


def _names(prefix: str, parts: dict[str, tuple[str, ...]], described: list[dict[str, Any]]) -> list[str]:
    return [f"{prefix}:{joint['name']}{part}" for joint in described for part in parts[joint["type"]]]


def state_names(model: mujoco.MjModel) -> list[str]:
    """Return the names of the numbers of (qpos, qvel).

    Args:
        model: MuJoCo's model.
    """
    described = joints(model)
    return _names("qpos", _QPOS_PARTS, described) + _names("qvel", _QVEL_PARTS, described)


def tangent_names(model: mujoco.MjModel) -> list[str]:
    """Return the names of the state's tangent coordinates.

    Args:
        model: MuJoCo's model.
    """
    described = joints(model)
    return _names("qpos", _TANGENT_PARTS, described) + _names("qvel", _QVEL_PARTS, described)


def actuator_names(model: mujoco.MjModel) -> list[str]:
    """Return the names of the actuators.

    Args:
        model: MuJoCo's model.
    """
    return [model.actuator(index).name or f"actuator{index}" for index in range(model.nu)]


def action_names(model: mujoco.MjModel, size: int) -> list[str]:
    """Return the names of an action's numbers: the actuators', where there is one for each.

    Args:
        model: MuJoCo's model.
        size: Size of the action.
    """
    return actuator_names(model) if size == model.nu else [f"action{index}" for index in range(size)]


def memory_names(model: mujoco.MjModel) -> list[str]:
    """Return the names of the last control's numbers, where they are part of the state.

    Args:
        model: MuJoCo's model.
    """
    return [f"ctrl:{name}" for name in actuator_names(model)]
