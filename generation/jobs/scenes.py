"""Makes the scenes that the explorer draws: bodies, joints and geoms of every task's model, without meshes or physics.

    python -m dynamic_sparsity.generation.jobs.scenes [FOLDER]

With the extra `generate`; a few minutes on a CPU. FOLDER is the package's own by default. Robots need their models,
too (docs/robots.md). A mesh is drawn as the box around it, and only where its body has no other shape: robots have
simple ones for collisions. A height field is left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity.errors import UnsupportedModelError
from dynamic_sparsity.explorer import SCENES
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.tasks import ROBOTS, TASKS
from dynamic_sparsity.schemas import validate
from dynamic_sparsity.storage.atomic import publish

__all__ = ["describe_scene", "drawn_geoms", "write"]

HIDDEN: Final = "target"
"""Geoms of a task's goal: it is no part of the state, so where it was can't be known."""

UNCOLOURED: Final = [0.5, 0.5, 0.5, 1.0]
"""MuJoCo's default colour of geoms, which a material replaces."""


def describe_scene(task: str, model: Any) -> dict[str, Any]:
    """Return a model as a scene.

    Args:
        task: Name of the task.
        model: MuJoCo's `MjModel`.

    Returns:
        The document, as `schemas/scene.schema.json` has it; lengths in m, angles in rad, quaternions with w first.

    Raises:
        UnsupportedModelError: The model has geoms of a kind that a scene can't have.
    """
    document = {
        "format": "dynamic-sparsity-scene",
        "version": 1,
        "task": task,
        "bodies": [_body(model, number) for number in range(model.nbody)],
        "strings": [string for number in range(model.ntendon) if (string := _string(model, number))],
        "extent": _rounded(model.stat.extent),
    }
    validate(document, "scene", f"the scene of {task}")
    return document


def write(folder: Path, tasks: Sequence[str]) -> None:
    """Write scenes of tasks, one file each.

    Args:
        folder: Where to; older ones are replaced.
        tasks: Their names.

    Raises:
        UnsupportedModelError: As `describe_scene`.
        MissingDependencyError: The models of robots are not there.
    """
    jax_runtime.configure()
    from dynamic_sparsity.generation.environments.loading import load_environment

    for task in tasks:
        document = describe_scene(task, load_environment(task).mj_model)
        publish(folder / f"{task}.json", [json.dumps(document, separators=(",", ":")).encode(), b"\n"])


def drawn_geoms(model: Any, body: int) -> list[int]:
    """Return which geoms of a body a scene has.

    Args:
        model: MuJoCo's `MjModel`.
        body: Number of the body.
    """
    own = [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] == body]
    kinds = {geom: _kind(model, geom) for geom in own if HIDDEN not in model.geom(geom).name}
    shapes = [geom for geom, kind in kinds.items() if kind not in ("mesh", "hfield")]
    return shapes or [geom for geom, kind in kinds.items() if kind == "mesh"]


def _kind(model: Any, number: int) -> str:
    import mujoco

    return str(mujoco.mjtGeom(model.geom_type[number]).name.removeprefix("mjGEOM_").lower())


def _body(model: Any, number: int) -> dict[str, Any]:
    body = model.body(number)
    first, count = int(model.body_jntadr[number]), int(model.body_jntnum[number])
    geoms = drawn_geoms(model, number)
    return {
        "name": body.name,
        "parent": int(model.body_parentid[number]),
        "pos": _rounded(body.pos),
        "quat": _rounded(body.quat),
        "joints": [_joint(model, joint) for joint in range(first, first + count)],
        "geoms": [_geom(model, geom) for geom in geoms],
    }


def _joint(model: Any, number: int) -> dict[str, Any]:
    import mujoco

    joint, at = model.joint(number), int(model.jnt_qposadr[number])
    return {
        "name": joint.name,
        "type": mujoco.mjtJoint(model.jnt_type[number]).name.removeprefix("mjJNT_").lower(),
        "axis": _rounded(joint.axis),
        "pos": _rounded(joint.pos),
        "qpos_address": at,
        "reference": _rounded(model.qpos0[at]),
    }


def _geom(model: Any, number: int) -> dict[str, Any]:
    geom, kind = model.geom(number), _kind(model, number)
    size, position = geom.size, geom.pos
    if kind == "mesh":
        # The box of its own frame, whose centre is not the frame's.
        kind, size = "box", model.geom_aabb[number, 3:]
        position = position + _rotated(model.geom_aabb[number, :3], geom.quat)
    if kind not in ("plane", "sphere", "capsule", "ellipsoid", "cylinder", "box"):
        raise UnsupportedModelError(f"geom {geom.name!r} is a {kind}; a scene has planes, spheres, capsules and boxes")
    material = int(model.geom_matid[number])
    colour = geom.rgba if material < 0 or geom.rgba.tolist() != UNCOLOURED else model.mat_rgba[material]
    return {
        "name": geom.name or f"geom{number}",
        "type": kind,
        "size": _rounded(size),
        "pos": _rounded(position),
        "quat": _rounded(geom.quat),
        "rgba": _rounded(colour),
    }


def _rotated(vector: Any, quaternion: Any) -> Any:
    import mujoco
    import numpy as np

    found = np.empty(3)
    mujoco.mju_rotVecQuat(found, vector, quaternion)
    return found


def _string(model: Any, number: int) -> dict[str, Any] | None:
    """Return a tendon that is drawn, as places on bodies; None for one that has no place in space."""
    import mujoco

    first, count = int(model.tendon_adr[number]), int(model.tendon_num[number])
    sites = [
        int(model.wrap_objid[at])
        for at in range(first, first + count)
        if model.wrap_type[at] == mujoco.mjtWrap.mjWRAP_SITE
    ]
    if len(sites) < 2:
        return None
    places = [{"body": int(model.site_bodyid[site]), "pos": _rounded(model.site_pos[site])} for site in sites]
    return {"name": model.tendon(number).name, "places": places, "rgba": _rounded(model.tendon_rgba[number])}


def _rounded(values: Any) -> Any:
    """Return numbers as JSON has them, to a precision that neither eyes nor float32 can tell from the whole."""
    if getattr(values, "ndim", 0):
        return [_rounded(value) for value in values]
    return float(f"{float(values):.9g}")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else SCENES, [*TASKS, *ROBOTS])
