"""A model's identity, as far as physics goes: the same for copies that look different."""

from __future__ import annotations

import fnmatch
import hashlib

import mujoco
import numpy as np

from dynamic_sparsity.generation.physics import features, mjx_private

_NOT_FELT = (
    "cam_*", "light_*", "mat_*", "tex_*", "skin_*", "vis", "stat", "*_rgba", "*_matid", "*_group", "*_user", "names*",
    "name_*", "paths", "text_*", "tuple_*", "numeric_*", "key_*", "bvh_*", "oct_*", "sensor_*", "site_rgba", "mesh_*",
    "flex*", "n*", "*adr", "*num", "signature", "opt", "geom_castshadow", "geom_plugin", "plugin*", "body_bvh*",
)  # fmt: skip
"""Fields of MuJoCo's model, or patterns of their names, that no step depends on, or that others decide."""


def of(model: mujoco.MjModel) -> str:
    """Return a SHA-256 of what a step depends on: not of names, colours, sensors, or geoms that touch nothing.

    Args:
        model: MuJoCo's model.
    """
    digest = hashlib.sha256()
    touching = sorted({int(geom) for first, second, _ in mjx_private.geom_pairs(model) for geom in (first, second)})
    for name in features.fields(model):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in _NOT_FELT):
            continue
        value = np.asarray(getattr(model, name))
        _add(digest, name, value[touching] if name.startswith("geom_") else value)
    for name in features.fields(model.opt):
        _add(digest, f"opt.{name}", np.asarray(getattr(model.opt, name)))
    return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, value: np.ndarray) -> None:
    if value.dtype.kind in "biuf":
        digest.update(f"{name} {value.dtype} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
