"""Make units in this process: its devices, its compiled programs, and the memory that units write to."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.executors.protocol import UnitProgress
from dynamic_sparsity.generation.jobs.store_attributes import store_attributes, store_sizes
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.rollout.batch_size import default_batch
from dynamic_sparsity.generation.rollout.episodes import Episodes
from dynamic_sparsity.generation.rollout.recorder import Columns
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.schemas import FLAG_BITS, ArraySpec, row_arrays
from dynamic_sparsity.schemas.splits import split_of
from dynamic_sparsity.storage import chunking as layout
from dynamic_sparsity.storage import writer


class SimulationUnitRunner:
    """Makes units by simulation, from several threads at once; keeps compiled programs for the next units."""

    def __init__(self) -> None:
        """Set JAX up.

        Raises:
            InvalidSettingError: The XLA flags are wrong, or make numbers wrong.
            MissingDependencyError: A simulator is not installed.
        """
        jax_runtime.configure()
        self._preparing, self._compiling, self._lending = threading.Lock(), threading.Lock(), threading.Lock()
        self._episodes: dict[Settings, Episodes] = {}
        self._compiled: set[tuple[Settings, int, jax.Device]] = set()
        self._column_kind: tuple[Any, ...] = ()
        self._free_columns: list[Columns] = []

    def devices(self) -> Sequence[jax.Device]:
        """Return all of JAX's devices in this process."""
        return jax_runtime.devices()

    def _prepare(self, settings: Settings) -> Episodes:
        # The number of episodes changes nothing about the programs.
        key = replace(settings, episodes=1)
        with self._preparing:
            if key not in self._episodes:
                self._episodes[key] = Episodes.prepare(key)
            return self._episodes[key]

    def describe(self, settings: Settings) -> dict[str, Any]:
        """Return the attributes of the store that these settings make on this machine.

        Args:
            settings: The settings.

        Raises:
            InvalidSettingError: The policy does not fit the task.
        """
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
        # A store of fewer episodes than a unit simulates just those; to grow, it is made again in whole units.
        planned = replace(planned, unit_episodes=min(planned.unit_episodes, settings.episodes))
        return store_attributes(physics, settings, planned, backend)

    def check(self, unit: Unit) -> None:
        """Check that this machine makes units of the store that exists.

        Args:
            unit: A unit of the store.

        Raises:
            SettingsMismatchError: It would make units of a different store.
        """
        writer.create_store(unit.store, self.describe(unit.settings))

    def run(self, unit: Unit, device: jax.Device, progress: UnitProgress) -> None:
        """Simulate a unit on a device and write it. A unit that is on disk already is left as it is.

        Args:
            unit: The unit.
            device: The device.
            progress: Receives the unit's progress.

        Raises:
            NotConvergedError: The constraint solver failed on a state.
            OSError: The unit can't be written.
        """
        if not writer.missing_shards(unit.store).intersection(unit.shards):
            return
        # A program that uses JAX for other things may have changed it since.
        jax_runtime.pin()
        episodes = self._compiled_episodes(unit, device, progress)
        with self._lend_columns(episodes, unit.simulated) as memory:
            with jax.default_device(device):
                share = unit.episodes / unit.simulated
                columns = episodes.simulate(
                    unit.first_episode,
                    unit.simulated,
                    lambda rows: progress.on_progress(unit, round(rows * share)),
                    memory,
                )
            specs = row_arrays(store_sizes(episodes.physics, unit.settings.check_with_mujoco), unit.settings.dynamics)
            table = finish_columns(columns, specs, unit.settings, unit.first_episode)
            # Episodes behind the store's last one were simulated only because bits depend on their number.
            flat = {spec.name: columns[spec.name].reshape(-1, *columns[spec.name].shape[2:]) for spec in specs}
            rows = {name: column[: unit.rows] for name, column in flat.items()}
            writer.write_unit(unit.store, unit.first_row, rows, table[: unit.episodes])

    @contextmanager
    def _lend_columns(self, *kind: Any) -> Iterator[Columns]:
        """Lend the columns of an earlier unit of the same kind; fresh memory costs up to a tenth of the time."""
        with self._lending:
            if self._column_kind != kind:
                self._column_kind, self._free_columns = kind, []
            columns = self._free_columns.pop() if self._free_columns else {}
        yield columns
        with self._lending:
            if self._column_kind == kind:
                self._free_columns.append(columns)

    def _compiled_episodes(self, unit: Unit, device: jax.Device, progress: UnitProgress) -> Episodes:
        """Return the unit's programs, compiled for a device. Threads take turns, because tracing patches Playground."""
        episodes = self._prepare(unit.settings)
        with self._compiling:
            key = (episodes.settings, unit.simulated, device)
            if key not in self._compiled:
                progress.on_compiling(unit)
                group = f"{episodes.physics.task.group}-{episodes.physics.dynamics}-{unit.simulated}"
                with jax.default_device(device), jax_runtime.compiled_once(group):
                    seconds = episodes.compile(unit.simulated)
                self._compiled.add(key)
                progress.on_compiled(unit, seconds)
        return episodes


def finish_columns(
    columns: Columns, specs: Sequence[ArraySpec], settings: Settings, first_episode: int
) -> list[dict[str, Any]]:
    """Add `episode` and `step`, turn what follows a termination into padding, and list the episodes.

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
    """Give the rows of an episode behind its end the fill value, and the padding flag."""
    for spec in specs:
        columns[spec.name][row, used:] = spec.fill_value
    columns["flags"][row, used:] = 1 << FLAG_BITS["padding"]
