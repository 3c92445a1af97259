"""How far the making of a store is, from the store itself and from what its runs leave beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dynamic_sparsity.generation.jobs.status_file import boards
from dynamic_sparsity.storage import writer
from dynamic_sparsity.storage.atomic import is_locked
from dynamic_sparsity.storage.manifests import read_attributes


@dataclass(frozen=True)
class Status:
    """How far the making of a store is.

    Attributes:
        store: Its path.
        state: "complete"; "running"; "waiting to be sealed": all units done, no process at it; "stopped": units
            are missing, no process at it.
        units: Units it consists of.
        units_done: Those on disk.
        running: Those that processes are making now.
        failures: How often a unit failed in the last or present run, by its number.
        set_aside: Why units were given up, by their number.
        rows: Rows it will have.
        rows_done: Rows of finished units.
        rows_per_s: Rows per second of the processes at it, since they began to compute; None if there are none.
        seconds_left: Time that the rest takes at that rate.
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


def read_status(store: Path) -> Status:
    """Reads how far a store is.

    Raises:
        StoreNotFoundError: There is none.
        CorruptStoreError: Its attributes are not what their schema says.
    """
    attributes = read_attributes(store)
    rows, shard_rows = attributes["rows"], attributes["shard_rows"]
    unit_rows = attributes["settings"].get("unit_episodes", attributes["episodes"]) * attributes["episode_length"]
    missing = writer.missing_shards(store)
    units = range(-(-rows // unit_rows))

    def done(unit: int) -> bool:
        stop = min((unit + 1) * unit_rows, rows)
        return not missing.intersection(range(unit * unit_rows // shard_rows, -(-stop // shard_rows)))

    finished = [unit for unit in units if done(unit)]
    rows_done = sum(min(unit_rows, rows - unit * unit_rows) for unit in finished)
    active, complete = is_locked(store), (store / "manifest.json").exists()
    told = boards(store)
    live = [one for one in told if active and one["computing_seconds"] > 0]
    rate = sum(one["rows_made"] / one["computing_seconds"] for one in live) or None
    left = sum(one["rows_to_make"] - one["rows_made"] for one in live)
    state = "complete" if complete else "running" if active else "stopped" if missing else "waiting to be sealed"
    return Status(
        store=store,
        state=state,
        units=len(units),
        units_done=len(finished),
        running=tuple(sorted(unit for one in told if active for unit in one["running"])),
        failures={unit: count for one in told for unit, count in one["failures"].items()},
        set_aside={unit: why for one in told for unit, why in one["set_aside"].items()},
        rows=rows,
        rows_done=rows_done,
        rows_per_s=rate,
        seconds_left=None if rate is None else left / rate,
    )
