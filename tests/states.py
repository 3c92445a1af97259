"""States to test on: rolled out by MuJoCo C from varied starts, so that contacts, limits and free flight all occur."""

import mujoco
import numpy as np

from dynamic_sparsity.generation.dynamics import Physics


def varied_states(physics: Physics, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns float32-representable float64 states (count, ds) and actions (count, da), |a| < 1."""
    rng = np.random.default_rng(seed)
    model = physics.mj_model
    data = mujoco.MjData(model)
    states, actions = [], []
    while len(states) < count:
        mujoco.mj_resetData(model, data)
        spread = np.zeros(model.nv)
        for joint in range(model.njnt):
            dof, kind = model.jnt_dofadr[joint], model.jnt_type[joint]
            if kind == mujoco.mjtJoint.mjJNT_FREE:
                spread[dof + 3 : dof + 6] = rng.normal(size=3)
                spread[dof + 2] = rng.uniform(-0.9, 0.1)
            elif model.jnt_limited[joint]:
                low, high = model.jnt_range[joint]
                width = high - low
                value = rng.uniform(low - 0.02 * width, high + 0.02 * width)
                spread[dof] = value - data.qpos[model.jnt_qposadr[joint]]
            elif kind == mujoco.mjtJoint.mjJNT_SLIDE:
                spread[dof] = rng.uniform(-0.3, 0.3)
            else:
                spread[dof] = rng.uniform(-np.pi, np.pi)
        mujoco.mj_integratePos(model, data.qpos, spread, 1.0)
        data.qvel[:] = rng.normal(size=model.nv)
        action = rng.uniform(-0.95, 0.95, size=model.nu)
        wait = rng.integers(0, 40) * physics.task.substeps
        for i in range(wait):
            if i % 10 == 0:
                action = rng.uniform(-0.95, 0.95, size=model.nu)
            data.ctrl[:] = action
            mujoco.mj_step(model, data)
        state = np.concatenate([data.qpos, data.qvel]).astype(np.float32)
        if np.isfinite(state).all() and np.abs(state).max() < 200:
            states.append(state)
            actions.append(action.astype(np.float32))
    return np.stack(states).astype(np.float64), np.stack(actions).astype(np.float64)
