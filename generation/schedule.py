"""Hands out units, counts attempts, sets aside what fails again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dynamic_sparsity.generation.executors.base import Event, Executor, Happening, Trouble
from dynamic_sparsity.generation.units import Unit

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
    again: deque[Unit] = deque()
    aside: list[SetAside] = []
    running = 0
    drawn_all = False
    while True:
        while running < executor.capacity:
            unit = again.popleft() if again else None
            if unit is None and not drawn_all:
                unit = next(units, None)
                drawn_all = unit is None
            if unit is None:
                break
            executor.submit(unit)
            running += 1
        if not running and drawn_all and not again:
            return aside
        for event in executor.events():
            told(event)
            if event.what is Happening.FINISHED:
                running -= 1
            elif event.what is Happening.RETURNED:
                running -= 1
                again.append(event.unit)
            elif event.what is Happening.FAILED:
                running -= 1
                trouble = event.trouble or Trouble("WorkerError", "the worker did not say why")
                if trouble.fatal:
                    raise trouble.error()
                failures[event.unit] = failures.get(event.unit, 0) + 1
                if failures[event.unit] < ATTEMPTS:
                    again.append(event.unit)
                else:
                    aside.append(SetAside(event.unit, trouble))
