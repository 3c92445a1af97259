"""The main job: one store, from settings to sealed data, in blocks of episodes; killed at any moment, it goes on."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from dynamic_sparsity.generation.metadata import store_attributes, store_sizes
from dynamic_sparsity.generation.recording import Columns
from dynamic_sparsity.generation.rollout import Episodes
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.schemas import FLAG_BITS, ArraySpec, row_arrays
from dynamic_sparsity.schemas.splits import split_of
from dynamic_sparsity.storage import layout, writer


class Progress(Protocol):
    """Told how a run goes on; the command line draws a bar from it."""

    def compiling(self, task: str, group: str) -> None:
        """The programs of a group of tasks are being compiled, or read from the cache."""

    def started(self, task: str, rows: int, finished: int) -> None:
        """Simulation begins: how many rows the store will have, and how many are there already."""

    def advanced(self, rows: int) -> None:
        """More rows were computed."""

    def sealing(self, task: str) -> None:
        """All rows are on disk; checksums and statistics are being made."""


class Silent:
    """Reports nothing."""

    def compiling(self, task: str, group: str) -> None:
        """Does nothing."""

    def started(self, task: str, rows: int, finished: int) -> None:
        """Does nothing."""

    def advanced(self, rows: int) -> None:
        """Does nothing."""

    def sealing(self, task: str) -> None:
        """Does nothing."""


@dataclass(frozen=True)
class Unit:
    """A block of whole episodes whose rows fill whole shards.

    Attributes:
        first_episode: Index of its first episode.
        episodes: Number of its episodes that belong to the store.
        first_row: Row of the store where it begins.
        shards: Indices of its shards.
    """

    first_episode: int
    episodes: int
    first_row: int
    shards: range


def plan_layout(settings: Settings, dx: int) -> layout.Layout:
    """The store's layout; a store of fewer episodes than a unit simulates just those."""
    planned = layout.plan(settings.episode_length, dx, settings.batch)
    return replace(planned, unit_episodes=min(planned.unit_episodes, settings.episodes))


def plan_units(settings: Settings, planned: layout.Layout) -> list[Unit]:
    """Cuts a store into units, in order. Deterministic, and independent of what is already done."""
    units = []
    for first in range(0, settings.episodes, planned.unit_episodes):
        episodes = min(planned.unit_episodes, settings.episodes - first)
        start, stop = first * settings.episode_length, (first + episodes) * settings.episode_length
        shards = range(start // planned.shard_rows, math.ceil(stop / planned.shard_rows))
        units.append(Unit(first, episodes, start, shards))
    return units


def generate(settings: Settings, root: Path, progress: Progress | None = None) -> Path:
    """Makes a store, or goes on with one, and seals it. A store that is complete is checked and left as it is.

    Args:
        settings: What to generate.
        root: Folder of all stores.
        progress: Told how it goes on.

    Returns:
        The store's path.

    Raises:
        SettingsMismatchError: The store exists with other settings.
        StoreLockedError: Another process is writing to it.
        NotConvergedError: The constraint solver failed on a state.
    """
    progress = progress or Silent()
    path = settings.store_path(root)
    with writer.lock(path):
        episodes = Episodes.prepare(settings)
        planned = plan_layout(settings, episodes.physics.task.dx)
        writer.create_store(path, store_attributes(episodes.physics, settings, planned, jax.default_backend()))
        writer.sweep(path)
        missing = writer.missing_shards(path)
        units = [unit for unit in plan_units(settings, planned) if missing.intersection(unit.shards)]
        if units:
            progress.compiling(settings.task, episodes.physics.task.group)
            episodes.compile(planned.unit_episodes)
            total = settings.episodes * settings.episode_length
            progress.started(settings.task, total, total - sum(u.episodes for u in units) * settings.episode_length)
            _run(episodes, planned, units, path, progress)
        progress.sealing(settings.task)
        writer.finalize(path)
    return path


@contextmanager
def _one_writer() -> Iterator[Callable[..., None]]:
    """Writes in the background, one unit at a time: memory holds the unit being computed and the one being written."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="unit-writer")
    last: Future[Any] | None = None

    def submit(*arguments: Any) -> None:
        nonlocal last
        if last is not None:
            last.result()
        last = pool.submit(writer.write_unit, *arguments)

    try:
        yield submit
        if last is not None:
            last.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Stopped(Exception):
    """Another unit failed, or the run was interrupted: this one is given up."""


def _run(episodes: Episodes, planned: layout.Layout, units: list[Unit], path: Path, progress: Progress) -> None:
    """Simulates units, one at a time on each device, and writes each when it is finished."""
    devices = jax.local_devices()
    stop = threading.Event()

    def simulate(unit: Unit, device: jax.Device) -> Columns:
        share = unit.episodes / planned.unit_episodes

        def report(rows: int) -> None:
            if stop.is_set():
                raise _Stopped
            progress.advanced(round(rows * share))

        with jax.default_device(device):
            # The last unit is simulated whole as well: bits depend on how many episodes run side by side.
            return episodes.simulate(unit.first_episode, planned.unit_episodes, report)

    specs = row_arrays(store_sizes(episodes.physics), episodes.settings.dynamics)
    with _one_writer() as write, ThreadPoolExecutor(len(devices), thread_name_prefix="device") as pool:
        waiting, running = deque(units), dict[Future[Columns], tuple[Unit, jax.Device]]()
        idle = list(devices)
        try:
            while waiting or running:
                while waiting and idle:
                    unit, device = waiting.popleft(), idle.pop()
                    running[pool.submit(simulate, unit, device)] = unit, device
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    unit, device = running.pop(future)
                    idle.append(device)
                    _write(write, path, unit, future.result(), specs, episodes.settings)
        except BaseException:
            stop.set()
            raise


def _write(
    write: Callable[..., None],
    path: Path,
    unit: Unit,
    columns: Columns,
    specs: Sequence[ArraySpec],
    settings: Settings,
) -> None:
    table = finish(columns, specs, settings, unit.first_episode)
    used = slice(0, unit.episodes * settings.episode_length)
    flat = {spec.name: columns[spec.name].reshape(-1, *columns[spec.name].shape[2:])[used] for spec in specs}
    write(path, unit.first_row, flat, table[: unit.episodes])


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
