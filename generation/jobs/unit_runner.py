"""Where units are made: one process with its devices, its compiled programs, and the store's folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.executors.protocol import Report
from dynamic_sparsity.generation.jobs.store_attributes import store_attributes, store_sizes
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.rollout.batch_size import default_batch
from dynamic_sparsity.generation.rollout.episodes import Episodes
from dynamic_sparsity.generation.rollout.recorder import Columns
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.schemas import FLAG_BITS, ArraySpec, row_arrays
from dynamic_sparsity.schemas.splits import split_of
from dynamic_sparsity.storage import layout, writer


class Workshop:
    """Makes units, from several threads if one likes; keeps what was compiled for the next ones."""

    def __init__(self) -> None:
        self._preparing, self._compiling, self._lending = threading.Lock(), threading.Lock(), threading.Lock()
        self._episodes: dict[Settings, Episodes] = {}
        self._compiled: set[tuple[Settings, int, jax.Device]] = set()
        self._memory_of: tuple[Any, ...] = ()
        self._unused: list[Columns] = []

    def devices(self) -> Sequence[jax.Device]:
        """All of JAX's devices in this process."""
        devices: list[jax.Device] = jax.local_devices()
        return devices

    def _prepare(self, settings: Settings) -> Episodes:
        # The number of episodes changes nothing about the programs.
        key = replace(settings, episodes=1)
        with self._preparing:
            if key not in self._episodes:
                self._episodes[key] = Episodes.prepare(key)
            return self._episodes[key]

    def describe(self, settings: Settings) -> dict[str, Any]:
        """The attributes of the store that these settings make on this machine."""
        physics = self._prepare(settings).physics
        backend = jax.default_backend()
        specs = row_arrays(store_sizes(physics, settings.check_with_mujoco), settings.dynamics)
        row_bytes = sum(
            int(np.prod(spec.shape(store_sizes(physics, settings.check_with_mujoco), 1)))
            * np.dtype(spec.dtype).itemsize
            for spec in specs
        )
        batch = settings.batch or default_batch(physics.task, row_bytes, settings.episode_length, backend)
        planned = layout.plan(settings.episode_length, physics.task.dx, batch)
        # A store of fewer episodes than a unit simulates just those.
        planned = replace(planned, unit_episodes=min(planned.unit_episodes, settings.episodes))
        return store_attributes(physics, settings, planned, backend)

    def check(self, unit: Unit) -> None:
        """Raises SettingsMismatchError if this machine would make a unit of another store than the one there is."""
        writer.create_store(unit.store, self.describe(unit.settings))

    def make(self, unit: Unit, device: jax.Device, report: Report) -> None:
        """Simulates a unit on a device and writes it. One that is there already is left as it is.

        Raises:
            NotConvergedError: The constraint solver failed on a state.
            OSError: It can't be written.
        """
        if not writer.missing_shards(unit.store).intersection(unit.shards):
            return
        episodes = self._ready(unit, device, report)
        with self._memory(episodes, unit.simulated) as memory:
            with jax.default_device(device):
                share = unit.episodes / unit.simulated
                columns = episodes.simulate(
                    unit.first_episode, unit.simulated, lambda rows: report.advanced(unit, round(rows * share)), memory
                )
            specs = row_arrays(store_sizes(episodes.physics, unit.settings.check_with_mujoco), unit.settings.dynamics)
            table = finish(columns, specs, unit.settings, unit.first_episode)
            # What lies behind the store's last episode was simulated for the shape's sake.
            flat = {spec.name: columns[spec.name].reshape(-1, *columns[spec.name].shape[2:]) for spec in specs}
            rows = {name: column[: unit.rows] for name, column in flat.items()}
            writer.write_unit(unit.store, unit.first_row, rows, table[: unit.episodes])

    @contextmanager
    def _memory(self, *kind: Any) -> Iterator[Columns]:
        """Columns of an earlier unit of the same kind to write over: fresh memory costs up to a tenth of the time."""
        with self._lending:
            if self._memory_of != kind:
                self._memory_of, self._unused = kind, []
            columns = self._unused.pop() if self._unused else {}
        yield columns
        with self._lending:
            if self._memory_of == kind:
                self._unused.append(columns)

    def _ready(self, unit: Unit, device: jax.Device, report: Report) -> Episodes:
        """The unit's programs, compiled for a device. Threads take turns: tracing patches Playground."""
        episodes = self._prepare(unit.settings)
        with self._compiling:
            key = (episodes.settings, unit.simulated, device)
            if key not in self._compiled:
                report.compiling(unit)
                group = f"{episodes.physics.task.group}-{episodes.physics.dynamics}-{unit.simulated}"
                with jax.default_device(device), jax_runtime.compiled_once(group):
                    seconds = episodes.compile(unit.simulated)
                self._compiled.add(key)
                report.compiled(unit, seconds)
        return episodes


def finish(
    columns: Columns, specs: Sequence[ArraySpec], settings: Settings, first_episode: int
) -> list[dict[str, Any]]:
    """Adds `episode` and `step`, turns what follows a termination into padding, and lists the episodes.

    Args:
        columns: Columns with leading axes (count, episode_length); changed in place.
        specs: The row arrays of the store.
        settings: The run's settings.
        first_episode: Index of the first episode.

    Returns:
        One record of the episode table per episode.
    """
    count, length = columns["done"].shape
    columns["step"] = np.tile(np.arange(length, dtype=np.int32), (count, 1))
    columns["episode"] = np.tile(np.arange(first_episode, first_episode + count, dtype=np.int32)[:, None], (1, length))
    ended = (columns["done"] == 1) | (columns["flags"] & (1 << FLAG_BITS["nonfinite"]) != 0)
    records = []
    for row in range(count):
        index = first_episode + row
        terminated = bool(ended[row].any())
        used = int(np.argmax(ended[row])) + 1 if terminated else length
        if used < length:
            _pad(columns, specs, row, used)
        rewards = columns["reward"][row, :used].astype(np.float64)
        records.append(
            {
                "index": index,
                "start": index * settings.episode_length,
                "length": used,
                "seed": settings.seed,
                "return": float(rewards.sum()),
                "terminated": int(terminated),
                "split": split_of(index),
                "policy": index % len(settings.policies),
            }
        )
    return records


def _pad(columns: Columns, specs: Sequence[ArraySpec], row: int, used: int) -> None:
    """Gives the rows of an episode behind its end the fill value, and the padding flag."""
    for spec in specs:
        columns[spec.name][row, used:] = spec.fill_value
    columns["flags"][row, used:] = 1 << FLAG_BITS["padding"]
