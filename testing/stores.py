"""Small stores that obey every rule of the format, made without a simulator: pendulums whose Jacobians are known.

Each pendulum is a hinge; its motor is one of the actions. The tests of this package use them, too.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from dynamic_sparsity.schemas import FLAG_BITS, SCHEMA_VERSION, row_arrays
from dynamic_sparsity.schemas.consistency import settings_digest
from dynamic_sparsity.schemas.splits import split_of
from dynamic_sparsity.storage import writer

STEP_S = 0.05
THRESHOLD = 1e-12

__all__ = ["STEP_S", "jacobians", "make_all", "make_attributes", "make_store", "make_unit", "step", "write_units"]

Columns = dict[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]
Episodes = list[dict[str, Any]]


def make_store(path: Path, *, finalize: bool = True, sync: bool = False, **options: Any) -> Path:
    """Write a store.

    Args:
        path: The store, `ROOT/<Task>/<policy>[-stock].zarr` for `load_dataset` to find it.
        finalize: Whether to seal it; otherwise it stays incomplete.
        sync: Whether to wait for the disk, as a real run does.
        **options: Of `make_attributes`, and `early` of `make_unit`.

    Returns:
        `path`.
    """
    early = options.pop("early", {})
    attributes = make_attributes(**options)
    with nullcontext() if sync else mock.patch("os.fsync"):
        writer.create_store(path, attributes)
        write_units(path, attributes, early=early)
        if finalize:
            writer.finalize(path)
    return path


def make_all(early: dict[int, int] | None = None, **options: Any) -> tuple[dict[str, Any], Columns, Episodes]:
    """Make all contents of a store without writing it.

    Args:
        early: Of `make_unit`.
        **options: Of `make_attributes`.

    Returns:
        Attributes, columns by name with rows first, and the episode table.
    """
    attributes = make_attributes(**options)
    return attributes, *make_unit(attributes, range(attributes["episodes"]), early)


def write_units(path: Path, attributes: dict[str, Any], early: dict[int, int] | None = None) -> None:
    """Write every unit of a store; a unit is the fewest episodes that fill whole shards.

    Args:
        path: The store, which exists and is not sealed.
        attributes: Its attributes.
        early: Of `make_unit`.
    """
    length = attributes["episode_length"]
    per_unit = attributes["shard_rows"] // np.gcd(attributes["shard_rows"], length)
    for first in range(0, attributes["episodes"], per_unit):
        columns, episodes = make_unit(attributes, range(first, first + per_unit), early)
        writer.write_unit(path, first * length, columns, episodes)


def make_attributes(
    *,
    episodes: int = 12,
    episode_length: int = 20,
    hinges: int = 3,
    activations: int = 0,
    actions: int = 2,
    limits: int = 2,
    pairs: int = 2,
    quaternion: bool = False,
    stock: bool = False,
    seed: int = 0,
    chunk_rows: int = 16,
    shard_rows: int = 80,
    task: str = "Pendulums",
    policy: str = "noise",
) -> dict[str, Any]:
    """Make the attributes of a store of `hinges` pendulums, after a free body if `quaternion`.

    Args:
        episodes: Number of episodes, E.
        episode_length: Control steps per episode, T.
        hinges: Number of pendulums, at least 1.
        activations: Number of activations, na.
        actions: Size of the action, da.
        limits: Constraints that are joint limits.
        pairs: Constraints that are contacts.
        quaternion: Put a free joint first, so that ds = dx + 1.
        stock: Write a store of the stock dynamics.
        seed: Seed of initial states and actions.
        chunk_rows: Rows per chunk.
        shard_rows: Rows per shard.
        task: Name of the task in the attributes.
        policy: Name of the policy in the attributes.

    Returns:
        Attributes of the root group, as the schema of stores has them.
    """
    nq, nv = hinges + 7 * quaternion, hinges + 6 * quaternion
    sizes = {"nq": nq, "nv": nv, "na": activations, "nu": actions, "da": actions, "nc": limits + pairs, "np": pairs}
    sizes |= {"ds": nq + nv + activations, "dx": 2 * nv + activations}
    joints = [{"name": "root", "type": "free", "qpos_address": 0, "dof_address": 0}] * quaternion
    joints += [
        {"name": f"hinge{i}", "type": "hinge", "qpos_address": i + 7 * quaternion, "dof_address": i + 6 * quaternion}
        for i in range(hinges)
    ]
    settings = {"seed": seed, "episodes": episodes, "episode_length": episode_length, "solver": {"tolerance": 1e-9}}
    contacts = [{"name": f"pair{i}", "geom1": f"geom{i}", "geom2": "floor"} for i in range(pairs)]
    constraints = [{"name": f"limit{i}", "kind": "joint_limit"} for i in range(limits)]
    constraints += [{"name": f"pair{i}", "kind": "contact"} for i in range(pairs)]
    act_names = [f"act{i}" for i in range(activations)]
    return {
        "format": "dynamic-sparsity",
        "schema_version": SCHEMA_VERSION,
        "complete": False,
        "task": task,
        "policy": policy,
        "dynamics": "stock" if stock else "converged",
        "rows": episodes * episode_length,
        "episodes": episodes,
        "episode_length": episode_length,
        "chunk_rows": chunk_rows,
        "shard_rows": shard_rows,
        "sizes": sizes,
        "substeps": 4,
        "timestep": STEP_S / 4,
        "control_dt": STEP_S,
        "coordinates": "tangent",
        "state_names": [f"qpos{i}" for i in range(nq)] + [f"qvel{i}" for i in range(nv)] + act_names,
        "tangent_names": [f"dpos{i}" for i in range(nv)] + [f"dvel{i}" for i in range(nv)] + act_names,
        "action_names": [f"motor{i}" for i in range(actions)],
        "joints": joints,
        "constraints": constraints,
        "contact_pairs": contacts,
        "mask_threshold": THRESHOLD,
        "flag_bits": dict(FLAG_BITS),
        "policies": [policy],
        "splits": ["train", "validation", "test"],
        "settings": settings,
        "settings_sha256": settings_digest(settings),
        "provenance": {"packages": {"numpy": np.__version__}, "git_commit": None},
    }


def make_unit(
    attributes: dict[str, Any], episodes: range, early: dict[int, int] | None = None
) -> tuple[Columns, Episodes]:
    """Simulate some episodes; each depends on seed and index only.

    Args:
        attributes: Of `make_attributes`.
        episodes: Indices; those beyond the store's last are simulated too, as the last unit's are.
        early: Episode index to the length at which the task ends it; None for none.

    Returns:
        Columns by name with rows first, in the dtypes of the store, and the entries of the episode table.
    """
    parts, table = [], []
    for index in episodes:
        columns, entry = _episode(attributes, index, (early or {}).get(index, attributes["episode_length"]))
        parts.append(columns)
        table.append(entry)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, table


def step(attributes: dict[str, Any], state: Floats, action: Floats) -> Floats:
    """Take one control step.

    Args:
        attributes: Of `make_attributes`.
        state: float64, shape (ds,), ambient coordinates.
        action: float64, shape (da,).

    Returns:
        Next state, float64, shape (ds,).
    """
    sizes, free = attributes["sizes"], attributes["sizes"]["nq"] > attributes["sizes"]["nv"]
    qpos, qvel, act = np.split(state, [sizes["nq"], sizes["nq"] + sizes["nv"]])
    angles = qpos[7 * free :]
    force = _actuation(sizes) @ action
    force[6 * free :] -= np.sin(angles)
    hinge_next = angles + STEP_S * qvel[6 * free :]
    root = np.concatenate([qpos[:3] + STEP_S * qvel[:3], _turn(qpos[3:7], STEP_S * qvel[3:6])]) if free else qpos[:0]
    act_next = (1 - STEP_S) * act + STEP_S * action.sum()
    return np.concatenate([root, hinge_next, (1 - STEP_S) * qvel + STEP_S * force, act_next])


def jacobians(attributes: dict[str, Any], state: Floats) -> tuple[Floats, Floats]:
    """Return the derivatives of `step` in tangent coordinates; they do not depend on the action.

    Args:
        attributes: Of `make_attributes`.
        state: float64, shape (ds,), ambient coordinates.

    Returns:
        J_s and J_a, float64, shapes (dx, dx) and (dx, da).
    """
    sizes, free = attributes["sizes"], attributes["sizes"]["nq"] > attributes["sizes"]["nv"]
    nv, dx, da = sizes["nv"], sizes["dx"], sizes["da"]
    by_state, by_action = np.zeros((dx, dx)), np.zeros((dx, da))
    dofs, hinges = np.arange(nv), np.arange(6 * free, nv)
    by_state[dofs, dofs] = 1
    by_state[dofs, nv + dofs] = STEP_S
    by_state[nv + dofs, nv + dofs] = 1 - STEP_S
    by_state[nv + hinges, hinges] = -STEP_S * np.cos(state[7 * free : sizes["nq"]])
    if free:
        turn = STEP_S * state[sizes["nq"] + 3 : sizes["nq"] + 6]
        by_state[3:6, 3:6] = _rotation(turn).T
        by_state[3:6, nv + 3 : nv + 6] = STEP_S * _right_jacobian(turn)
    by_state[2 * nv :, 2 * nv :] = (1 - STEP_S) * np.eye(sizes["na"])
    by_action[nv : 2 * nv] = STEP_S * _actuation(sizes)
    by_action[2 * nv :] = STEP_S
    return by_state, by_action


def _actuation(sizes: dict[str, int]) -> Floats:
    """Return the force on each degree of freedom per action, (nv, da): action i drives the i-th from the last."""
    matrix = np.zeros((sizes["nv"], sizes["da"]))
    for action in range(min(sizes["nv"], sizes["da"])):
        matrix[sizes["nv"] - 1 - action, action] = 1
    return matrix


def _episode(attributes: dict[str, Any], index: int, length: int) -> tuple[Columns, dict[str, Any]]:
    sizes, total = attributes["sizes"], attributes["episode_length"]
    random = np.random.default_rng([attributes["settings"]["seed"], index])
    states = np.zeros((total + 1, sizes["ds"]))
    states[0] = random.normal(size=sizes["ds"])
    if sizes["nq"] > sizes["nv"]:
        states[0, 3:7] /= np.linalg.norm(states[0, 3:7])
    actions = np.tanh(random.normal(size=(total, sizes["da"])))
    pairs = []
    for row in range(total):
        states[row + 1] = step(attributes, states[row], actions[row])
        pairs.append(jacobians(attributes, states[row]))
    by_state, by_action = (np.stack(parts) for parts in zip(*pairs, strict=True))
    active = random.random((2, total, sizes["nc"])) < 0.4
    touching = active[0][:, sizes["nc"] - sizes["np"] :]
    changes = random.integers(0, 4, total)
    columns: Columns = {
        "state": states[:-1],
        "action": actions,
        "next_state": states[1:],
        "J_s": by_state,
        "J_a": by_action,
        "mask_s": np.abs(by_state) >= THRESHOLD,
        "mask_a": np.abs(by_action) >= THRESHOLD,
        "reward": np.cos(states[:-1, -1]),
        "done": np.arange(total) == length - 1 if length < total else np.zeros(total),
        "episode": np.full(total, index),
        "step": np.arange(total),
        "flags": (changes > 0) << FLAG_BITS["active_set_changed"],
        "solver_residual": random.random(total) * 1e-9,
        "solver_iterations": random.integers(1, 9, total),
        "active_any": active[0],
        "active_all": active[0] & active[1],
        "active_changes": changes,
        "contact_distance": np.where(touching, -1e-3, np.inf),
        "contact_force": np.where(touching, random.random(touching.shape) * 10, 0),
        "qacc_warmstart": random.normal(size=(total, sizes["nv"])),
    }
    specs = row_arrays(sizes, attributes["dynamics"])
    columns = {spec.name: columns[spec.name].astype(spec.dtype) for spec in specs}
    for spec in specs:
        columns[spec.name][length:] = spec.fill_value if spec.name != "flags" else 1 << FLAG_BITS["padding"]
    entry = {
        "index": index,
        "start": index * total,
        "length": length,
        "seed": attributes["settings"]["seed"],
        "return": float(columns["reward"][:length].astype(np.float64).sum()),
        "terminated": int(length < total),
        "split": split_of(index),
        "policy": 0,
    }
    return columns, entry


def _turn(quaternion: Floats, turn: Floats) -> Floats:
    """Return quaternion times exp(turn), w first, the turn in the body's frame; (4,), (3,) rad -> (4,)."""
    angle = np.linalg.norm(turn)
    w, v = np.cos(angle / 2), turn * (0.5 * np.sinc(angle / (2 * np.pi)))
    return np.concatenate(
        [
            [quaternion[0] * w - quaternion[1:] @ v],
            quaternion[0] * v + w * quaternion[1:] + np.cross(quaternion[1:], v),
        ]
    )


def _cross_matrix(vector: Floats) -> Floats:
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _rotation(turn: Floats) -> Floats:
    """Return exp of a turn (rad) as a rotation matrix, by Rodrigues' formula."""
    angle, cross = np.linalg.norm(turn), _cross_matrix(turn)
    half = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    rotation: Floats = np.eye(3) + np.sinc(angle / np.pi) * cross + half * (cross @ cross)
    return rotation


def _right_jacobian(turn: Floats) -> Floats:
    """Return the right Jacobian of the exponential of SO(3); the turn must not be zero."""
    angle, cross = np.linalg.norm(turn), _cross_matrix(turn)
    first, second = (1 - np.cos(angle)) / angle**2, (angle - np.sin(angle)) / angle**3
    jacobian: Floats = np.eye(3) - first * cross + second * (cross @ cross)
    return jacobian
