"""The attributes of a store's root group: names, sizes and meaning of what is in it."""

from __future__ import annotations

from typing import Any

import mujoco

from dynamic_sparsity.generation import settings as settings_module
from dynamic_sparsity.generation.jacobians import residual
from dynamic_sparsity.generation.physics.model import Physics
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.schemas import FLAG_BITS, SCHEMA_VERSION
from dynamic_sparsity.schemas.consistency import settings_digest
from dynamic_sparsity.storage.chunking import Layout

CLOSED_FORM = "implicit, by closed forms of the residual's derivatives"

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


def store_sizes(physics: Physics, check: bool = True) -> dict[str, int]:
    """Return the sizes by which a store's arrays are shaped; `docs/format.md` explains the keys.

    Args:
        physics: The task's physics.
        check: Whether rows are held against MuJoCo C.
    """
    task, constraints = physics.task, physics.constraints
    return {
        "nq": task.nq,
        "nv": task.nv,
        "na": 0,
        "nu": task.nu,
        "ds": task.ds,
        "dx": task.dx,
        "da": task.da,
        "nc": len(constraints.items),
        "np": len(constraints.pairs),
        "nr": int(check and physics.dynamics == "converged"),
    }


def jacobian_engine(physics: Physics) -> str:
    """Return which engine computes the Jacobians of a model, and why if it is not the fast one.

    Args:
        physics: The task's physics.
    """
    if physics.dynamics == "stock":
        return "forward differentiation of the control step"
    gap = residual.closed_form_gap(physics)
    if gap is None:
        return CLOSED_FORM
    return f"implicit, by forward differentiation of the residual, which is slower (no closed form for {gap})"


def store_attributes(physics: Physics, settings: Settings, layout: Layout, backend: str) -> dict[str, Any]:
    """Return the attributes of a store's root group; `docs/format.md` explains each one.

    Args:
        physics: The task's physics.
        settings: The run's settings.
        layout: How the rows are cut into chunks, shards and units.
        backend: JAX's backend: "cpu", "gpu" or "tpu".
    """
    model, task = physics.mj_model, physics.task
    described = joints(model)
    velocities = _names("qvel", _QVEL_PARTS, described)
    document = settings.document(layout.unit_episodes, backend)
    constraints = physics.constraints
    storage = {} if settings.storage == "raw" else {"storage": settings.storage}
    return storage | {
        "format": "dynamic-sparsity",
        "schema_version": SCHEMA_VERSION,
        "complete": False,
        "task": task.name,
        "policy": settings.policy_name,
        "dynamics": settings.dynamics,
        "rows": settings.episodes * settings.episode_length,
        "episodes": settings.episodes,
        "episode_length": settings.episode_length,
        "chunk_rows": layout.chunk_rows,
        "shard_rows": layout.shard_rows,
        "sizes": store_sizes(physics, settings.check_with_mujoco),
        "substeps": task.substeps,
        "timestep": physics.timestep,
        "control_dt": task.control_dt,
        "coordinates": "tangent",
        "state_names": _names("qpos", _QPOS_PARTS, described) + velocities,
        "tangent_names": _names("qpos", _TANGENT_PARTS, described) + velocities,
        "action_names": [model.actuator(index).name or f"actuator{index}" for index in range(model.nu)],
        "joints": described,
        "constraints": [{"name": item.name, "kind": item.kind} for item in constraints.items],
        "contact_pairs": [{"name": f"{a}/{b}", "geom1": a, "geom2": b} for a, b in constraints.pairs],
        "mask_threshold": settings_module.MASK_THRESHOLD,
        "flag_bits": dict(FLAG_BITS),
        "policies": list(settings.policies),
        "splits": ["train", "validation", "test"],
        "settings": document,
        "settings_sha256": settings_digest(document),
        "provenance": settings_module.provenance(backend) | {"jacobians": jacobian_engine(physics)},
    }
