"""What a run of `generate` leaves on disk for `status`: a small JSON file beside each store."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.generation.executors.protocol import Event, EventKind, Failure
from dynamic_sparsity.generation.jobs.units import Job, Unit
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.untrusted.documents import read_json

STATUS_SUFFIX: Final = ".status.json"
WRITE_INTERVAL_S: Final = 2.0


def status_path(store: Path, job: Job) -> Path:
    """Return where a job keeps its status file, beside the store.

    Args:
        store: Path of the store.
        job: The job.
    """
    return store.with_name(store.name + ("" if job.alone else f".{job.name}") + STATUS_SUFFIX)


class StatusFile:
    """The progress of a run with one store, kept in a file beside it.

    Times in it are durations: clocks of other machines are not trusted.
    """

    def __init__(self, store: Path, job: Job, rows: int) -> None:
        """Write the file.

        Args:
            store: Path of the store.
            job: The job.
            rows: Rows that this run has to make.
        """
        self._path = status_path(store, job)
        self._start, self._last_write = time.monotonic(), -WRITE_INTERVAL_S
        self._first_rows: float | None = None
        self._running: dict[int, int] = {}
        self._failures: dict[int, int] = {}
        self._quarantined: dict[int, str] = {}
        self._rows, self._made = rows, 0
        self._write()

    def on_event(self, event: Event) -> int:
        """Record an event of a unit of this store.

        Args:
            event: The event.

        Returns:
            By how many rows the progress changed; negative if rows were lost.
        """
        index, change = event.unit.index, 0
        if event.kind is EventKind.STARTED:
            self._running[index] = 0
        elif event.kind is EventKind.PROGRESS:
            change = round(event.amount)
            self._running[index] = self._running.get(index, 0) + change
            self._first_rows = self._first_rows or time.monotonic()
        elif event.kind is EventKind.FINISHED:
            change = event.unit.rows - self._running.pop(index, 0)
            self._made += event.unit.rows
            self._first_rows = self._first_rows or time.monotonic()
        elif event.kind is EventKind.FAILED:
            change = -self._running.pop(index, 0)
            self._failures[index] = self._failures.get(index, 0) + 1
        if event.kind is not EventKind.PROGRESS or time.monotonic() - self._last_write > WRITE_INTERVAL_S:
            self._write()
        return change

    def quarantine(self, unit: Unit, failure: Failure) -> None:
        """Record that a unit is not tried again.

        Args:
            unit: The unit.
            failure: Why it failed the last time.
        """
        self._quarantined[unit.index] = str(failure)
        self._write()

    def _write(self) -> None:
        now = time.monotonic()
        self._last_write = now
        document = {
            "pid": os.getpid(),
            "seconds": now - self._start,
            "computing_seconds": 0.0 if self._first_rows is None else now - self._first_rows,
            "rows_to_make": self._rows,
            "rows_made": self._made + sum(self._running.values()),
            "running": sorted(self._running),
            "failures": {str(index): count for index, count in self._failures.items()},
            "set_aside": {str(index): text for index, text in self._quarantined.items()},
        }
        # A disk that fails shows when the store itself is written.
        with contextlib.suppress(OSError):
            publish(self._path, [json.dumps(document, indent=1).encode()])

    def close(self) -> None:
        """Delete the file, unless units were quarantined."""
        self._running.clear()
        if self._quarantined:
            self._write()
        else:
            self._path.unlink(missing_ok=True)


_FORM: Final = {
    "computing_seconds": int | float,
    "rows_to_make": int,
    "rows_made": int,
    "running": list,
    "failures": dict,
    "set_aside": dict,
}


def read_status_files(store: Path) -> list[dict[str, Any]]:
    """Read the status files of the jobs that write to a store, or wrote before they were killed.

    A file that is damaged is left out: the status is for people, and the store itself does not depend on it.

    Args:
        store: Path of the store.
    """
    found = []
    for file in sorted(store.parent.glob(f"{store.name}*{STATUS_SUFFIX}")):
        with contextlib.suppress(CorruptStoreError):
            document = read_json(file)
            if all(isinstance(document.get(key), kind) for key, kind in _FORM.items()):
                found.append(document)
    return found


def delete_status_files(store: Path) -> None:
    """Delete the status files that earlier runs left beside a store.

    Args:
        store: Path of the store.
    """
    for file in store.parent.glob(f"{store.name}*{STATUS_SUFFIX}"):
        file.unlink(missing_ok=True)
