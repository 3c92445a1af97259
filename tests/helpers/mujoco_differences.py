"""MuJoCo C's own step of any model, and its central differences in tangent coordinates."""

from __future__ import annotations

import mujoco
import numpy as np


class Simulator:
    """Steps a model in MuJoCo C, with whatever of mjData's inputs is given."""

    def __init__(self, model: mujoco.MjModel, substeps: int = 1) -> None:
        """Prepare a model with the options that it is to be stepped with."""
        self.model, self.substeps, self._data = model, substeps, mujoco.MjData(model)

    def step(self, **inputs):
        """Return (qpos, qvel) after the substeps."""
        data = self._data
        mujoco.mj_resetData(self.model, data)
        for name, value in inputs.items():
            getattr(data, name)[:] = value
        for _ in range(self.substeps):
            mujoco.mj_step(self.model, data)
        return np.concatenate([data.qpos, data.qvel])

    def difference(self, start, end):
        """Return the tangent from one state to another."""
        nq, nv = self.model.nq, self.model.nv
        moved = np.empty(nv)
        mujoco.mj_differentiatePos(self.model, moved, 1.0, start[:nq], end[:nq])
        return np.concatenate([moved, end[nq:] - start[nq:]])

    def jacobians(self, epsilon=1e-6, **inputs):
        """Return A and B."""
        nv, nu = self.model.nv, self.model.nu

        def moved(column, sign):
            changed = {name: np.array(value, float) for name, value in inputs.items()}
            if column < nv:
                direction = np.zeros(nv)
                direction[column] = sign * epsilon
                mujoco.mj_integratePos(self.model, changed["qpos"], direction, 1.0)
            elif column < 2 * nv:
                changed["qvel"][column - nv] += sign * epsilon
            else:
                changed["ctrl"][column - 2 * nv] += sign * epsilon
            return self.step(**changed)

        columns = [self.difference(moved(c, -1), moved(c, 1)) / (2 * epsilon) for c in range(2 * nv + nu)]
        both = np.stack(columns, axis=1)
        return both[:, : 2 * nv], both[:, 2 * nv :]


def states(model: mujoco.MjModel, count: int, seed: int = 0, width: float = 0.3):
    """Return positions near the model's first keyframe or its zero, velocities, and controls within their ranges."""
    rng = np.random.default_rng(seed)
    start = model.key_qpos[0] if model.nkey else model.qpos0
    qpos = np.tile(start, (count, 1))
    for row in qpos:
        mujoco.mj_integratePos(model, row, width * rng.normal(size=model.nv), 1.0)
    low, high = np.where(model.actuator_ctrllimited[:, None], model.actuator_ctrlrange, [-1.0, 1.0]).T
    ctrl = low + (high - low) * rng.uniform(0.02, 0.98, size=(count, model.nu))
    return qpos, rng.normal(size=(count, model.nv)), ctrl
