"""What a run of `generate` leaves on disk for `status`: a small file beside each store."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity.generation.executors.protocol import Event, Happening, Trouble
from dynamic_sparsity.generation.jobs.units import Part, Unit
from dynamic_sparsity.storage.atomic import publish

STATUS_SUFFIX: Final = ".status.json"
WRITE_EVERY_S: Final = 2.0


def status_path(store: Path, part: Part) -> Path:
    """Where a run says what it is at, beside the store."""
    return store.with_name(store.name + ("" if part.whole else f".{part.name}") + STATUS_SUFFIX)


class Board:
    """What a run is at with one store, kept in a small file beside it. Times are durations: no clock is trusted."""

    def __init__(self, store: Path, part: Part, rows: int) -> None:
        """Begins with the number of rows this run has to make."""
        self._path = status_path(store, part)
        self._began, self._written = time.monotonic(), -WRITE_EVERY_S
        self._first_rows: float | None = None
        self._running: dict[int, int] = {}
        self._failures: dict[int, int] = {}
        self._aside: dict[int, str] = {}
        self._rows, self._made = rows, 0
        self._write()

    def told(self, event: Event) -> int:
        """Takes an event of a unit of this store; returns by how many rows the progress changed."""
        index, change = event.unit.index, 0
        if event.what is Happening.STARTED:
            self._running[index] = 0
        elif event.what is Happening.ADVANCED:
            change = round(event.amount)
            self._running[index] = self._running.get(index, 0) + change
            self._first_rows = self._first_rows or time.monotonic()
        elif event.what is Happening.FINISHED:
            change = event.unit.rows - self._running.pop(index, 0)
            self._made += event.unit.rows
            self._first_rows = self._first_rows or time.monotonic()
        elif event.what is Happening.FAILED:
            change = -self._running.pop(index, 0)
            self._failures[index] = self._failures.get(index, 0) + 1
        if event.what is not Happening.ADVANCED or time.monotonic() - self._written > WRITE_EVERY_S:
            self._write()
        return change

    def set_aside(self, unit: Unit, trouble: Trouble) -> None:
        """A unit is given up."""
        self._aside[unit.index] = str(trouble)
        self._write()

    def _write(self) -> None:
        now = time.monotonic()
        self._written = now
        document = {
            "pid": os.getpid(),
            "seconds": now - self._began,
            "computing_seconds": 0.0 if self._first_rows is None else now - self._first_rows,
            "rows_to_make": self._rows,
            "rows_made": self._made + sum(self._running.values()),
            "running": sorted(self._running),
            "failures": {str(index): count for index, count in self._failures.items()},
            "set_aside": {str(index): text for index, text in self._aside.items()},
        }
        # What is wrong with the disk, the store itself will say.
        with contextlib.suppress(OSError):
            publish(self._path, [json.dumps(document, indent=1).encode()])

    def close(self) -> None:
        """Leaves the file only if it has failures to tell of."""
        self._running.clear()
        if self._aside:
            self._write()
        else:
            self._path.unlink(missing_ok=True)


def boards(store: Path) -> list[dict[str, Any]]:
    """What the runs that write to a store say of themselves, or said before they were killed."""
    found = []
    for file in sorted(store.parent.glob(f"{store.name}*{STATUS_SUFFIX}")):
        with contextlib.suppress(OSError, ValueError):
            found.append(json.loads(file.read_bytes()))
    return found


def forget(store: Path) -> None:
    """Deletes what earlier runs said of a store."""
    for file in store.parent.glob(f"{store.name}*{STATUS_SUFFIX}"):
        file.unlink(missing_ok=True)
