"""States to test on, rolled out by MuJoCo C from varied starts: contacts, limits, free flight and rest all occur."""

from __future__ import annotations

import mujoco
import numpy as np

from dynamic_sparsity.generation.physics.model import Physics
from dynamic_sparsity.generation.verification.finite_differences import MujocoOracle

LARGEST = 1e3
"""States whose next state is larger than this are left out: the simulation diverges there."""


def _start(model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
    """Sets a random position, now and then beyond joint limits or in the ground, and random velocities."""
    mujoco.mj_resetData(model, data)
    move = np.zeros(model.nv)
    for joint in range(model.njnt):
        dof, kind = model.jnt_dofadr[joint], model.jnt_type[joint]
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            move[dof + 3 : dof + 6] = rng.normal(size=3)
            move[dof + 2] = rng.uniform(-0.9, 0.1)
        elif model.jnt_limited[joint]:
            low, high = model.jnt_range[joint]
            beyond = 0.02 * (high - low)
            move[dof] = rng.uniform(low - beyond, high + beyond) - data.qpos[model.jnt_qposadr[joint]]
        elif kind == mujoco.mjtJoint.mjJNT_SLIDE:
            move[dof] = rng.uniform(-0.3, 0.3)
        else:
            move[dof] = rng.uniform(-np.pi, np.pi)
    mujoco.mj_integratePos(model, data.qpos, move, 1.0)
    data.qvel[:] = rng.normal(size=model.nv)


def varied_states(physics: Physics, count: int, seed: int = 0, rest: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    """Draws states and actions.

    Args:
        physics: The task's physics.
        count: How many.
        seed: Seed of the draw.
        rest: Share of states that were left without control for 400 control steps, and get the action 0.

    Returns:
        States (count, ds) and actions (count, da), |a| < 1: float64 arrays of float32 numbers, as stores have them.
    """
    rng = np.random.default_rng(seed)
    oracle = MujocoOracle(physics)
    model = physics.mj_model
    data = mujoco.MjData(model)
    states: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    while len(states) < count:
        _start(model, data, rng)
        resting = rng.random() < rest
        steps = 400 if resting else rng.integers(0, 40)
        action = np.zeros(model.nu)
        for step in range(steps * physics.task.substeps):
            if not resting and step % 10 == 0:
                action = rng.uniform(-0.95, 0.95, size=model.nu)
            data.ctrl[:] = action
            mujoco.mj_step(model, data)
        if data.warning[mujoco.mjtWarning.mjWARN_BADQACC].number:
            continue
        state = np.concatenate([data.qpos, data.qvel]).astype(np.float32).astype(np.float64)
        action = action.astype(np.float32).astype(np.float64)
        following = oracle.step(state, action)
        # Also false where the simulation ends in NaN.
        if np.abs(np.concatenate([state, following])).max() < LARGEST:
            states.append(state)
            actions.append(action)
    return np.stack(states), np.stack(actions)
