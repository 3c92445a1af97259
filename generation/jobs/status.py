"""How far a store is, read from the store itself and from the status files of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynamic_sparsity.generation.jobs.status_file import read_status_files
from dynamic_sparsity.storage import writer
from dynamic_sparsity.storage.growth import growing_path
from dynamic_sparsity.storage.locks import is_locked
from dynamic_sparsity.storage.manifests import read_attributes


@dataclass(frozen=True)
class Status:
    """How far a store is.

    Attributes:
        store: Its path.
        state: "complete"; "running"; "waiting to be sealed" (all units done, no process writes to it); "stopped"
            (units are missing, no process writes to it).
        units: Units it consists of.
        units_done: Those on disk.
        running: Indices of units that processes are making now.
        failures: Failed attempts in the last or present run, by index of the unit.
        set_aside: Why units were quarantined, by index of the unit.
        rows: Rows it will have.
        rows_done: Rows of finished units.
        rows_per_s: Rows per second of the processes that write to it, since they began to compute; None if there are
            none.
        seconds_left: Time that the remaining rows take at that rate.
    """

    store: Path
    state: str
    units: int
    units_done: int
    running: tuple[int, ...]
    failures: dict[str, int]
    set_aside: dict[str, str]
    rows: int
    rows_done: int
    rows_per_s: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class _Units:
    """Which units and rows of a store are on disk."""

    count: int
    done: int
    rows_done: int
    missing_shards: set[int]


def read_status(store: Path) -> Status:
    """Read how far a store is; of one that grows, how far the larger store is.

    Args:
        store: Path of the store.

    Raises:
        StoreNotFoundError: There is none.
        CorruptStoreError: Its attributes contradict their schema.
    """
    growing = growing_path(store)
    folder = growing if (growing / "zarr.json").exists() else store
    attributes = read_attributes(folder)
    units = _units_on_disk(attributes, writer.missing_shards(folder))
    active, complete = is_locked(store), folder == store and (store / "manifest.json").exists()
    reports = read_status_files(folder)
    computing = [one for one in reports if active and one["computing_seconds"] > 0]
    rate = sum(one["rows_made"] / one["computing_seconds"] for one in computing) or None
    rows_left = sum(one["rows_to_make"] - one["rows_made"] for one in computing)
    if complete:
        state = "complete"
    elif active:
        state = "running"
    else:
        state = "stopped" if units.missing_shards else "waiting to be sealed"
    return Status(
        store=store,
        state=state,
        units=units.count,
        units_done=units.done,
        running=tuple(sorted(unit for one in reports if active for unit in one["running"])),
        failures={unit: count for one in reports for unit, count in one["failures"].items()},
        set_aside={unit: why for one in reports for unit, why in one["set_aside"].items()},
        rows=attributes["rows"],
        rows_done=units.rows_done,
        rows_per_s=rate,
        seconds_left=None if rate is None else rows_left / rate,
    )


def _units_on_disk(attributes: Mapping[str, Any], missing_shards: set[int]) -> _Units:
    """Count the units of which every shard is on disk."""
    rows, shard_rows = attributes["rows"], attributes["shard_rows"]
    unit_rows = attributes["settings"].get("unit_episodes", attributes["episodes"]) * attributes["episode_length"]
    starts = range(0, rows, unit_rows)
    done = rows_done = 0
    for start in starts:
        stop = min(start + unit_rows, rows)
        if not missing_shards.intersection(range(start // shard_rows, -(-stop // shard_rows))):
            done, rows_done = done + 1, rows_done + stop - start
    return _Units(len(starts), done, rows_done, missing_shards)
