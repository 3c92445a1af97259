"""The attributes of a store's root group: names, sizes and meaning of what is in it."""

from __future__ import annotations

from typing import Any

from dynamic_sparsity.generation import coordinate_names
from dynamic_sparsity.generation import settings as settings_module
from dynamic_sparsity.generation.jacobians import engines
from dynamic_sparsity.generation.physics import model_hash
from dynamic_sparsity.generation.physics.model import Physics
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.generation.tasks import TASKS
from dynamic_sparsity.schemas import FLAG_BITS, SCHEMA_VERSION
from dynamic_sparsity.schemas.consistency import settings_digest
from dynamic_sparsity.storage.chunking import Layout


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
        **({"nm": task.memory} if task.memory else {}),
        "nc": len(constraints.items),
        "np": len(constraints.pairs),
        "nr": int(check and physics.dynamics == "converged"),
    }


def store_attributes(physics: Physics, settings: Settings, layout: Layout, backend: str) -> dict[str, Any]:
    """Return the attributes of a store's root group; `docs/format.md` explains each one.

    Args:
        physics: The task's physics.
        settings: The run's settings.
        layout: How the rows are cut into chunks, shards and units.
        backend: JAX's backend: "cpu", "gpu" or "tpu".
    """
    model, task = physics.mj_model, physics.task
    document = settings.document(layout.unit_episodes, backend)
    if task.name not in TASKS:
        # Whoever makes the data has the model, in a version of their own.
        document["physics_sha256"] = model_hash.of(model)
    constraints = physics.constraints
    memory = coordinate_names.memory_names(model) if task.memory else []
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
        "state_names": coordinate_names.state_names(model) + memory,
        "tangent_names": coordinate_names.tangent_names(model) + memory,
        "action_names": coordinate_names.action_names(model, task.da),
        "joints": coordinate_names.joints(model),
        "constraints": [{"name": item.name, "kind": item.kind} for item in constraints.items],
        "contact_pairs": [{"name": f"{a}/{b}", "geom1": a, "geom2": b} for a, b in constraints.pairs],
        "mask_threshold": settings_module.MASK_THRESHOLD,
        "flag_bits": dict(FLAG_BITS),
        "policies": list(settings.policies),
        "splits": ["train", "validation", "test"],
        "settings": document,
        "settings_sha256": settings_digest(document),
        "provenance": settings_module.provenance(backend) | {"jacobians": engines.description(physics)},
    }
