"""Units in threads of this process: on every device of the machine, `UNITS_AT_ONCE` on each."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dynamic_sparsity.generation.executors.protocol import UNITS_AT_ONCE, Event, EventKind, Failure, UnitRunner
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.settings import Settings

POLL_TIMEOUT_S = 0.5
PROGRESS_INTERVAL_S = 0.1


class _RunStopped(Exception):
    """The run ends: this unit is abandoned."""


class _EventProgress:
    """Turns a unit's progress into events; abandons the unit when the run ends."""

    def __init__(self, on_event: Callable[[Event], None], stop: threading.Event) -> None:
        self._on_event, self._stop = on_event, stop
        self._last_event, self._rows = time.monotonic(), 0

    def _send(self, kind: EventKind, unit: Unit, amount: float = 0.0) -> None:
        if self._stop.is_set():
            raise _RunStopped
        self._on_event(Event(kind, unit, amount))

    def on_compiling(self, unit: Unit) -> None:
        self._send(EventKind.COMPILING, unit)

    def on_compiled(self, unit: Unit, seconds: float) -> None:
        self._send(EventKind.COMPILED, unit, seconds)

    def on_progress(self, unit: Unit, rows: int) -> None:
        self._rows += rows
        if time.monotonic() - self._last_event > PROGRESS_INTERVAL_S or self._stop.is_set():
            self._send(EventKind.PROGRESS, unit, self._rows)
            self._last_event, self._rows = time.monotonic(), 0


class ThreadExecutor:
    """The simplest executor, and the one inside every worker of the others.

    Attributes:
        capacity: Units that it accepts at a time.
    """

    def __init__(self, runner: UnitRunner | None = None, on_event: Callable[[Event], None] | None = None) -> None:
        """Use all devices of a unit runner.

        Args:
            runner: Makes the units; a `SimulationUnitRunner` by default.
            on_event: Receives the events, in place of `events`.
        """
        if runner is None:
            from dynamic_sparsity.generation.jobs.unit_runner import SimulationUnitRunner

            runner = SimulationUnitRunner()
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._on_event = on_event or self._queue.put
        self._runner = runner
        self._devices: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(UNITS_AT_ONCE):
            for device in runner.devices():
                self._devices.put(device)
        self.capacity = self._devices.qsize()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(self.capacity, thread_name_prefix="unit")

    def __enter__(self) -> ThreadExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def describe(self, settings: Settings) -> dict[str, Any]:
        """Return a store's attributes, as `Executor.describe`.

        Args:
            settings: The settings.
        """
        return self._runner.describe(settings)

    def check(self, unit: Unit) -> None:
        """Check a unit's store, as `UnitRunner.check`.

        Args:
            unit: A unit of the store.

        Raises:
            SettingsMismatchError: This machine would make units of a different store.
        """
        self._runner.check(unit)

    def submit(self, unit: Unit) -> None:
        """Accept a unit, as `Executor.submit`.

        Args:
            unit: The unit.
        """
        self._pool.submit(self._run, unit)

    def _run(self, unit: Unit) -> None:
        device = self._devices.get()
        start = time.monotonic()
        try:
            self._on_event(Event(EventKind.STARTED, unit))
            self._runner.run(unit, device, _EventProgress(self._on_event, self._stop))
            self._on_event(Event(EventKind.FINISHED, unit, time.monotonic() - start))
        except _RunStopped:
            pass
        except BaseException as error:
            self._on_event(Event(EventKind.FAILED, unit, failure=Failure.from_exception(error)))
        finally:
            self._devices.put(device)

    def events(self) -> Sequence[Event]:
        """Wait for events and return them, as `Executor.events`."""
        try:
            found = [self._queue.get(timeout=POLL_TIMEOUT_S)]
        except queue.Empty:
            return []
        while not self._queue.empty():
            found.append(self._queue.get())
        return found
