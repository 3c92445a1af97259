"""Stores of the shapes of real tasks' with made-up values, for benchmarks that need no simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.schemas import FLAG_BITS, SCHEMA_VERSION, row_arrays
from dynamic_sparsity.schemas.splits import split_of
from dynamic_sparsity.storage import writer

SHAPES = {"CheetahRun": (9, 6, 512), "HumanoidRun": (27, 21, 256)}
"""Velocities (positions are taken to be as many), actions, rows per chunk."""

LIMITS, PAIRS = 6, 8
EPISODE_LENGTH = 1024  # so that few episodes fill a shard
SHARD_ROWS = 16384


def write_example_store(root: Path, rows: int, task: str = "CheetahRun") -> Path:
    """Write the store.

    Args:
        root: Folder to put it in.
        rows: About how many rows, rounded up to whole episodes of 1024.
        task: One of `SHAPES`.

    Returns:
        Its path.
    """
    path = root / task / "noise.zarr"
    path.parent.mkdir(parents=True, exist_ok=True)
    attributes = _attributes(task, -(-rows // EPISODE_LENGTH))
    writer.create_store(path, attributes)
    per_shard = SHARD_ROWS // EPISODE_LENGTH
    for first in range(0, attributes["episodes"], per_shard):
        episodes = range(first, min(first + per_shard, attributes["episodes"]))
        columns = _columns(attributes, episodes)
        writer.write_unit(path, first * EPISODE_LENGTH, columns, [_episode(index, columns) for index in episodes])
    writer.finalize(path)
    return path


def _attributes(task: str, episodes: int) -> dict[str, Any]:
    nv, actions, chunk_rows = SHAPES[task]
    positions, velocities = [[f"{kind}{i}" for i in range(nv)] for kind in ("qpos", "qvel")]
    pairs = [{"name": f"pair{i}", "geom1": f"geom{i}", "geom2": "floor"} for i in range(PAIRS)]
    sizes = {"nq": nv, "nv": nv, "na": 0, "nu": actions, "ds": 2 * nv, "dx": 2 * nv, "da": actions}
    return {
        "format": "dynamic-sparsity",
        "schema_version": SCHEMA_VERSION,
        "complete": False,
        "task": task,
        "policy": "noise",
        "dynamics": "converged",
        "rows": episodes * EPISODE_LENGTH,
        "episodes": episodes,
        "episode_length": EPISODE_LENGTH,
        "chunk_rows": chunk_rows,
        "shard_rows": SHARD_ROWS,
        "sizes": {**sizes, "nc": LIMITS + PAIRS, "np": PAIRS},
        "substeps": 1,
        "timestep": 0.01,
        "control_dt": 0.01,
        "coordinates": "tangent",
        "state_names": positions + velocities,
        "tangent_names": positions + velocities,
        "action_names": [f"motor{i}" for i in range(actions)],
        "joints": [{"name": f"j{i}", "type": "hinge", "qpos_address": i, "dof_address": i} for i in range(nv)],
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
    rows, dx, actions = len(episodes) * EPISODE_LENGTH, attributes["sizes"]["dx"], attributes["sizes"]["da"]
    touching = np.repeat(random.random((rows // 64, PAIRS)) < 0.3, 64, axis=0)
    active = np.concatenate([np.zeros((rows, LIMITS), bool), touching], axis=1)
    sometimes_zero = random.random((PAIRS, dx, dx + actions)) < 0.2
    nonzero = random.random((dx, dx + actions)) < 0.5
    masks = np.broadcast_to(nonzero, (rows, *nonzero.shape)).copy()
    for pair in range(PAIRS):
        masks[touching[:, pair]] |= sometimes_zero[pair]
    jacobians = random.standard_normal(masks.shape, np.float32) * masks
    masks = jacobians != 0  # a normal number may be zero in float32
    states = random.standard_normal((rows + 1, dx), np.float32)
    values: dict[str, Any] = {
        "state": states[:-1],
        "next_state": states[1:],
        "action": np.tanh(random.standard_normal((rows, actions))),
        "J_s": jacobians[..., :dx],
        "J_a": jacobians[..., dx:],
        "mask_s": masks[..., :dx],
        "mask_a": masks[..., dx:],
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
