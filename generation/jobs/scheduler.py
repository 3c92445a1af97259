"""Hands out units, counts attempts, sets aside what fails again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dynamic_sparsity.generation.executors.protocol import Event, Executor, Happening, Trouble
from dynamic_sparsity.generation.jobs.units import Unit

ATTEMPTS = 3
"""Times a unit is tried before it is set aside."""


@dataclass(frozen=True)
class SetAside:
    """A unit that failed `ATTEMPTS` times.

    Attributes:
        unit: The unit.
        trouble: Why it failed the last time.
    """

    unit: Unit
    trouble: Trouble


def work(executor: Executor, units: Iterator[Unit], told: Callable[[Event], None]) -> list[SetAside]:
    """Has every unit made; keeps the executor busy and never gives it more than it takes.

    Args:
        executor: Makes the units.
        units: What to make, in order; drawn only when there is room for one.
        told: Called with every event.

    Returns:
        Units that failed `ATTEMPTS` times.

    Raises:
        Exception: A unit failed of something that every other unit would fail of too; that error.
    """
    failures: dict[Unit, int] = {}
    untouched: deque[Unit] = deque()
    suspects: deque[Unit] = deque()
    suspected: Unit | None = None
    aside: list[SetAside] = []
    running = 0
    while True:
        while running < executor.capacity:
            # Units share workers. If two that failed ran side by side again, one that kills its worker would take the
            # other one with it again, until both were set aside: so only one of them runs at a time.
            unit: Unit | None
            if suspects and suspected is None:
                unit = suspected = suspects.popleft()
            else:
                unit = untouched.popleft() if untouched else next(units, None)
            if unit is None:
                break
            executor.submit(unit)
            running += 1
        if not running:
            return aside
        for event in executor.events():
            told(event)
            if event.what not in (Happening.FINISHED, Happening.FAILED, Happening.RETURNED):
                continue
            running -= 1
            if event.unit == suspected:
                suspected = None
            if event.what is Happening.RETURNED:
                untouched.append(event.unit)
            if event.what is not Happening.FAILED:
                continue
            trouble = event.trouble or Trouble("WorkerError", "the worker did not say why")
            if trouble.fatal:
                raise trouble.error()
            failures[event.unit] = failures.get(event.unit, 0) + 1
            if failures[event.unit] < ATTEMPTS:
                suspects.append(event.unit)
            else:
                aside.append(SetAside(event.unit, trouble))
