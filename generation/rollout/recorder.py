"""Rows from the device to the store's columns, in the background while the next control steps are computed."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.generation import machine
from dynamic_sparsity.generation.physics.model import Physics
from dynamic_sparsity.generation.rollout.transition import Row
from dynamic_sparsity.generation.verification import finite_differences, mujoco_steps
from dynamic_sparsity.schemas import FLAG_BITS, MUJOCO_TOLERANCE

IN_FLIGHT = 4
"""Control steps that may wait to be recorded: enough to keep the device busy, few enough to bound memory."""

CORES_PER_CHECKER = 2
"""Of so many cores, one steps rows with MuJoCo C; the others are left to the simulation and to what writes rows."""

MAX_CHECKERS = 32

BLOCK_STEPS = 32
"""Control steps that are gathered before they go to the columns. A column has an episode's steps side by side: single
steps of many small columns would each touch another line of the processor's cache for every row."""

Columns = dict[str, NDArray[Any]]


class Recorder:
    """Collects the rows of a batch of episodes on the host; a context, after which `columns` is whole.

    Attributes:
        columns: The store's columns but `episode` and `step`, each with leading axes (count, episode_length).
        overflow: Whether a row had more contact points than slots: such rows are wrong.
    """

    def __init__(
        self,
        physics: Physics,
        first_state: NDArray[np.float32],
        length: int,
        memory: Columns | None = None,
        check: bool = True,
        part: slice | None = None,
        whole: int | None = None,
    ) -> None:
        """Begin with the states after the reset.

        Args:
            physics: The task's physics.
            first_state: Float32, shape (count, ds).
            length: Control steps of an episode.
            memory: Columns of an earlier batch to write over; None or an empty dictionary for none.
            check: Hold every row against MuJoCo C: its next state and, at each substep, its number of contact points;
                for `stock`, whose step no other program takes, the number of contact points at the row's state.
            part: Which of a unit's episodes these are, from and to a multiple of their number; None for all.
            whole: How many episodes the columns have; None for just these.
        """
        count = len(first_state)
        self._part, self._shape = part or slice(0, count), (count if whole is None else whole, length)
        self.columns: Columns = {} if memory is None else memory
        self.overflow = False
        self._state = first_state
        checkers = min(MAX_CHECKERS, max(1, machine.threads() // CORES_PER_CHECKER)) if check else 0
        steps, counts = physics.dynamics == "converged", bool(physics.constraints.pairs)
        self._stepper = mujoco_steps.Stepper(physics, checkers) if checkers and steps else None
        self._oracles = [finite_differences.MujocoOracle(physics) for _ in range(checkers * (not steps and counts))]
        self._counters = ThreadPoolExecutor(max(1, len(self._oracles)), thread_name_prefix="contacts")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._pending: deque[Future[None]] = deque()
        self._block: Columns = {}

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._pending and error is None:
                self._pending.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)
            self._counters.shutdown(cancel_futures=True)
            if self._stepper is not None:
                self._stepper.close()

    def put(self, step: int, action: jax.Array, row: Row, reward: jax.Array, done: jax.Array) -> None:
        """Record one control step of all episodes; wait while `IN_FLIGHT` of them are not recorded yet.

        Args:
            step: Control steps since the reset.
            action: Actions, shape (count, da).
            row: What the transition program gave.
            reward: Rewards, shape (count,).
            done: Whether the task ended, shape (count,).
        """
        if len(self._pending) == IN_FLIGHT:
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(self._store, step, action, row, reward, done))

    def _store(self, step: int, action: jax.Array, row: Row, reward: jax.Array, done: jax.Array) -> None:
        values = {name: np.asarray(value) for name, value in row._asdict().items() if value is not None}
        values |= {
            "state": self._state,
            "action": np.asarray(action).astype(np.float32),
            "reward": np.asarray(reward).astype(np.float32),
            "done": (np.asarray(done) != 0).astype(np.uint8),
        }
        seen = values.pop("contact_count")
        self.overflow |= bool(values.pop("overflow").any())
        flags = values["flags"] | _bit("nonfinite", ~np.isfinite(values["reward"]))
        if self._oracles:
            flags = flags | _bit("contact_mismatch", self._contacts(self._state) != seen[:, 0])
        ctrl = values.pop("ctrl", values["action"])
        if self._stepper is not None:
            found = self._stepper.steps(self._state, ctrl)
            reached = values["next_state"][:, : found.next_state.shape[1]]
            difference = mujoco_steps.difference(reached, found.next_state)
            flags = flags | _bit("contact_mismatch", (found.contacts != seen).any(axis=1))
            flags = flags | _bit("differs_from_mujoco", difference >= MUJOCO_TOLERANCE)
            values["mujoco_difference"] = difference
        values["flags"] = flags
        self._state = values["next_state"]
        for name, value in values.items():
            if name not in self._block:
                self._block[name] = np.empty((BLOCK_STEPS, *value.shape), value.dtype)
                if name not in self.columns:
                    self.columns[name] = np.empty((*self._shape, *value.shape[1:]), value.dtype)
            self._block[name][step % BLOCK_STEPS] = value
        if (step + 1) % BLOCK_STEPS == 0 or step + 1 == self._shape[1]:
            first = step - step % BLOCK_STEPS
            for name, block in self._block.items():
                self.columns[name][self._part, first : step + 1] = block[: step + 1 - first].swapaxes(0, 1)

    def _contacts(self, states: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return MuJoCo C's number of contact points in touch at each state."""
        parts = np.array_split(states.astype(np.float64), len(self._oracles))
        counts = self._counters.map(lambda one, part: one.contact_counts(part), self._oracles, parts)
        return np.concatenate(list(counts))


def _bit(name: str, condition: NDArray[np.bool_]) -> NDArray[np.uint16]:
    return condition.astype(np.uint16) << np.uint16(FLAG_BITS[name])
