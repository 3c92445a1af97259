"""Units in threads of this process: on every device of the machine, `UNITS_AT_ONCE` on each."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dynamic_sparsity.generation.executors.protocol import UNITS_AT_ONCE, Event, Happening, Maker, Trouble
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.settings import Settings

PATIENCE_S = 0.5
TELL_EVERY_S = 0.1


class _Stopped(Exception):
    """The run ends: this unit is given up."""


class _Reporter:
    """Turns what a unit reports into events; gives the unit up when the run ends."""

    def __init__(self, tell: Callable[[Event], None], stop: threading.Event) -> None:
        self._tell, self._stop = tell, stop
        self._told, self._rows = time.monotonic(), 0

    def _event(self, what: Happening, unit: Unit, amount: float = 0.0) -> None:
        if self._stop.is_set():
            raise _Stopped
        self._tell(Event(what, unit, amount))

    def compiling(self, unit: Unit) -> None:
        self._event(Happening.COMPILING, unit)

    def compiled(self, unit: Unit, seconds: float) -> None:
        self._event(Happening.COMPILED, unit, seconds)

    def advanced(self, unit: Unit, rows: int) -> None:
        self._rows += rows
        if time.monotonic() - self._told > TELL_EVERY_S or self._stop.is_set():
            self._event(Happening.ADVANCED, unit, self._rows)
            self._told, self._rows = time.monotonic(), 0


class InProcess:
    """The simplest executor, and the one inside every worker of the others.

    Attributes:
        capacity: Units it takes at a time.
    """

    def __init__(self, maker: Maker | None = None, tell: Callable[[Event], None] | None = None) -> None:
        """Uses all of a maker's devices.

        Args:
            maker: Makes the units; a `Workshop` by default.
            tell: Gets the events, in place of `events`.
        """
        if maker is None:
            from dynamic_sparsity.generation.jobs.unit_runner import Workshop

            maker = Workshop()
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._tell = tell or self._queue.put
        self._maker = maker
        self._devices: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(UNITS_AT_ONCE):
            for device in maker.devices():
                self._devices.put(device)
        self.capacity = self._devices.qsize()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(self.capacity, thread_name_prefix="unit")

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def describe(self, settings: Settings) -> dict[str, Any]:
        """As `Executor`."""
        return self._maker.describe(settings)

    def check(self, unit: Unit) -> None:
        """As `Maker`."""
        self._maker.check(unit)

    def submit(self, unit: Unit) -> None:
        """As `Executor`."""
        self._pool.submit(self._make, unit)

    def _make(self, unit: Unit) -> None:
        device = self._devices.get()
        began = time.monotonic()
        try:
            self._tell(Event(Happening.STARTED, unit))
            self._maker.make(unit, device, _Reporter(self._tell, self._stop))
            self._tell(Event(Happening.FINISHED, unit, time.monotonic() - began))
        except _Stopped:
            pass
        except BaseException as error:
            self._tell(Event(Happening.FAILED, unit, trouble=Trouble.of(error)))
        finally:
            self._devices.put(device)

    def events(self) -> Sequence[Event]:
        """As `Executor`."""
        try:
            found = [self._queue.get(timeout=PATIENCE_S)]
        except queue.Empty:
            return []
        while not self._queue.empty():
            found.append(self._queue.get())
        return found
