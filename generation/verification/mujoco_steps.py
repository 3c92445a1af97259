"""MuJoCo C's own step of many rows, on the host's threads: whether the data's next states are MuJoCo's.

For `converged`, MuJoCo C with enough iterations and no warm start is the same map, in another implementation. So each
row that was made can be stepped again by it while the device computes the next ones, and be confirmed, or flagged.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import mujoco
import numpy as np
from mujoco import rollout
from numpy.typing import NDArray

from dynamic_sparsity.generation.physics.model import Physics


class HostSteps(NamedTuple):
    """What MuJoCo C makes of rows.

    Attributes:
        next_state: (qpos, qvel) after the control step, float64, shape (n, nq + nv).
        contacts: Contact points in touch at each physics step, shape (n, substeps).
    """

    next_state: NDArray[np.float64]
    contacts: NDArray[np.int32]


def difference(next_state: NDArray[Any], reference: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest |s' - s'_C| / (1 + |s'_C|) of each row, shape (n,); float32's maximum where not finite.

    Args:
        next_state: s', shape (n, ds).
        reference: s'_C, float64, shape (n, ds).
    """
    most = np.finfo(np.float32).max
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(next_state.astype(np.float64) - reference) / (1 + np.abs(reference))
    largest: NDArray[np.float32] = np.minimum(np.where(np.isnan(gap), np.inf, gap).max(axis=-1), most).astype(
        np.float32
    )
    return largest


def _ignore_warning(message: str) -> None:
    """Drop MuJoCo's warnings, which it would write to a file in the working directory; results show divergence."""


@contextmanager
def without_warnings() -> Iterator[None]:
    """Drop MuJoCo's warnings meanwhile, and hand them to the user's own function again after it."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_ignore_warning)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def c_model(physics: Physics) -> mujoco.MjModel:
    """Return a model with its options, as MuJoCo C steps it; silences MuJoCo's warnings in this process.

    Args:
        physics: The physics.
    """
    mujoco.set_mju_user_warning(_ignore_warning)
    model = copy.copy(physics.mj_model)
    # A simulation that diverges must show it, not be reset.
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    return model


class Stepper:
    """Steps rows of one task with MuJoCo C on a few threads; a context."""

    def __init__(self, physics: Physics, threads: int) -> None:
        """Prepare as many simulations as there are threads.

        Args:
            physics: The physics.
            threads: Number of threads; at least one is used.
        """
        self._model = c_model(physics)
        self._model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
        self._data = [mujoco.MjData(self._model) for _ in range(max(1, threads))]
        self._pool = ThreadPoolExecutor(len(self._data), thread_name_prefix="mujoco")
        self._substeps = physics.task.substeps
        self._touch = bool(physics.constraints.pairs)

    def __enter__(self) -> Stepper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def steps(self, state: NDArray[Any], ctrl: NDArray[Any]) -> HostSteps:
        """Make one control step of many rows.

        Args:
            state: (qpos, qvel), shape (n, nq + nv); what follows is left out.
            ctrl: Controls, shape (n, nu).
        """
        count = len(self._data)
        parts = zip(np.array_split(state, count), np.array_split(ctrl, count), strict=True)
        made = list(self._pool.map(lambda data, part: self._some(data, *part), self._data, parts))
        return HostSteps(*(np.concatenate(x) for x in zip(*made, strict=True)))

    def _some(self, data: mujoco.MjData, state: NDArray[Any], controls: NDArray[Any]) -> HostSteps:
        result = HostSteps(
            np.empty((len(state), self._model.nq + self._model.nv)), np.zeros((len(state), self._substeps), np.int32)
        )
        if self._touch:
            self._one_by_one(data, state, controls, result, range(len(state)))
        elif len(state):
            self._rolled_out(data, state, controls, result)
        return result

    def _rolled_out(self, data: mujoco.MjData, state: NDArray[Any], controls: NDArray[Any], result: HostSteps) -> None:
        """Step all rows in one call, which costs a cheap model half as much; where nothing can touch."""
        size = result.next_state.shape[1]
        begin = np.concatenate([np.zeros((len(state), 1)), state[:, :size]], axis=1)
        ctrl = np.ascontiguousarray(controls[:, None], np.float64)
        made, _ = rollout.rollout(self._model, [data], begin, ctrl, nstep=self._substeps)
        result.next_state[:] = made[:, -1, 1:]
        # A roll-out ends, and its time stands still, at the first warning; a single step goes on.
        ended = made[:, -1, 0] < (self._substeps - 0.5) * self._model.opt.timestep
        self._one_by_one(data, state, controls, result, np.flatnonzero(ended))

    def _one_by_one(
        self,
        data: mujoco.MjData,
        state: NDArray[Any],
        controls: NDArray[Any],
        result: HostSteps,
        rows: Iterable[int],
    ) -> None:
        model, nq, size = self._model, self._model.nq, result.next_state.shape[1]
        qpos, qvel, ctrl = data.qpos, data.qvel, data.ctrl
        for row in rows:
            # Nothing else of the data acts on a step: there is no warm start.
            qpos[:], qvel[:], ctrl[:] = state[row, :nq], state[row, nq:size], controls[row]
            if self._touch:
                for substep in range(self._substeps):
                    mujoco.mj_step(model, data)
                    result.contacts[row, substep] = data.ncon
            else:
                mujoco.mj_step(model, data, self._substeps)
            result.next_state[row, :nq], result.next_state[row, nq:] = qpos, qvel
