"""A store of the shape of CheetahRun's with made-up values, for benchmarks that need no simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.schemas import FLAG_BITS, SCHEMA_VERSION, row_arrays
from dynamic_sparsity.schemas.splits import split_of
from dynamic_sparsity.storage import writer

NV, ACTIONS, LIMITS, PAIRS = 9, 6, 6, 8
EPISODE_LENGTH = 1024  # so that few episodes fill a shard
CHUNK_ROWS, SHARD_ROWS = 512, 16384


def write_example_store(root: Path, rows: int) -> Path:
    """Write the store.

    Args:
        root: Folder to put it in.
        rows: About how many rows, rounded up to whole episodes of 1024.

    Returns:
        Its path.
    """
    path = root / "CheetahRun" / "noise.zarr"
    path.parent.mkdir(parents=True, exist_ok=True)
    attributes = _attributes(-(-rows // EPISODE_LENGTH))
    writer.create_store(path, attributes)
    per_shard = SHARD_ROWS // EPISODE_LENGTH
    for first in range(0, attributes["episodes"], per_shard):
        episodes = range(first, min(first + per_shard, attributes["episodes"]))
        columns = _columns(attributes, episodes)
        writer.write_unit(path, first * EPISODE_LENGTH, columns, [_episode(index, columns) for index in episodes])
    writer.finalize(path)
    return path


def _attributes(episodes: int) -> dict[str, Any]:
    positions, velocities = [[f"{kind}{i}" for i in range(NV)] for kind in ("qpos", "qvel")]
    pairs = [{"name": f"pair{i}", "geom1": f"geom{i}", "geom2": "floor"} for i in range(PAIRS)]
    sizes = {"nq": NV, "nv": NV, "na": 0, "nu": ACTIONS, "ds": 2 * NV, "dx": 2 * NV, "da": ACTIONS}
    return {
        "format": "dynamic-sparsity",
        "schema_version": SCHEMA_VERSION,
        "complete": False,
        "task": "CheetahRun",
        "policy": "noise",
        "dynamics": "converged",
        "rows": episodes * EPISODE_LENGTH,
        "episodes": episodes,
        "episode_length": EPISODE_LENGTH,
        "chunk_rows": CHUNK_ROWS,
        "shard_rows": SHARD_ROWS,
        "sizes": {**sizes, "nc": LIMITS + PAIRS, "np": PAIRS},
        "substeps": 1,
        "timestep": 0.01,
        "control_dt": 0.01,
        "coordinates": "tangent",
        "state_names": positions + velocities,
        "tangent_names": positions + velocities,
        "action_names": [f"motor{i}" for i in range(ACTIONS)],
        "joints": [{"name": f"j{i}", "type": "hinge", "qpos_address": i, "dof_address": i} for i in range(NV)],
        "constraints": [{"name": f"limit{i}", "kind": "joint_limit"} for i in range(LIMITS)]
        + [{"name": pair["name"], "kind": "contact"} for pair in pairs],
        "contact_pairs": pairs,
        "mask_threshold": 1e-12,
        "flag_bits": dict(FLAG_BITS),
        "policies": ["noise"],
        "splits": ["train", "validation", "test"],
        "settings": {"made_up": True, "episodes": episodes},
        "provenance": {},
    }


def _columns(attributes: dict[str, Any], episodes: range) -> dict[str, NDArray[Any]]:
    """Random numbers with about the zeros that CheetahRun's Jacobians have, which come and go with contacts."""
    random = np.random.default_rng([0, episodes.start])
    rows = len(episodes) * EPISODE_LENGTH
    touching = np.repeat(random.random((rows // 64, PAIRS)) < 0.3, 64, axis=0)
    active = np.concatenate([np.zeros((rows, LIMITS), bool), touching], axis=1)
    sometimes_zero = random.random((PAIRS, 2 * NV, 2 * NV + ACTIONS)) < 0.2
    nonzero = random.random((2 * NV, 2 * NV + ACTIONS)) < 0.5
    masks = np.where(np.any(touching[:, :, None, None] & sometimes_zero, axis=1), True, nonzero)
    jacobians = random.standard_normal(masks.shape, np.float32) * masks
    masks = jacobians != 0  # a normal number may be zero in float32
    states = random.standard_normal((rows + 1, 2 * NV), np.float32)
    values: dict[str, Any] = {
        "state": states[:-1],
        "next_state": states[1:],
        "action": np.tanh(random.standard_normal((rows, ACTIONS))),
        "J_s": jacobians[..., : 2 * NV],
        "J_a": jacobians[..., 2 * NV :],
        "mask_s": masks[..., : 2 * NV],
        "mask_a": masks[..., 2 * NV :],
        "reward": random.random(rows),
        "episode": np.repeat(np.asarray(episodes), EPISODE_LENGTH),
        "step": np.tile(np.arange(EPISODE_LENGTH), len(episodes)),
        "active_any": active,
        "active_all": active,
        "contact_distance": np.where(touching, -1e-3, np.inf),
        "contact_force": np.where(touching, random.random(touching.shape), 0),
    }
    sizes = attributes["sizes"]
    return {
        spec.name: np.asarray(values.get(spec.name, np.zeros(spec.shape(sizes, rows))), spec.dtype)
        for spec in row_arrays(sizes, attributes["dynamics"])
    }


def _episode(index: int, columns: dict[str, NDArray[Any]]) -> dict[str, Any]:
    of_episode = columns["episode"] == index
    return {
        "index": index,
        "start": index * EPISODE_LENGTH,
        "length": EPISODE_LENGTH,
        "seed": 0,
        "return": float(columns["reward"][of_episode].sum(dtype=np.float64)),
        "terminated": 0,
        "split": split_of(index),
        "policy": 0,
    }
