"""Hand out units, count attempts, quarantine the units that fail again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from dynamic_sparsity.generation.executors.protocol import Event, EventKind, Executor, Failure
from dynamic_sparsity.generation.jobs.time_limit import TimeLimit
from dynamic_sparsity.generation.jobs.units import Unit

MAX_ATTEMPTS = 3
"""Times a unit is tried before it is quarantined."""


@dataclass(frozen=True)
class QuarantinedUnit:
    """A unit that failed `MAX_ATTEMPTS` times.

    Attributes:
        unit: The unit.
        failure: Why it failed the last time.
    """

    unit: Unit
    failure: Failure


@dataclass
class _Queue:
    """Which unit runs next.

    Units share workers. If two units that failed ran side by side again, one that kills its worker would take the other
    one with it again, until both were quarantined: so at most one unit that has failed runs at a time.

    Attributes:
        fresh: Units to make, in order; drawn only when there is room for one.
        limit: The run's time.
        requeued: Units that no worker had begun when its worker died.
        suspects: Units that failed, and wait for another attempt.
        running_suspect: The suspect that runs now, if one does.
        attempts: Failed attempts by unit.
        quarantined: Units that are not tried again.
    """

    fresh: Iterator[Unit]
    limit: TimeLimit
    requeued: deque[Unit] = field(default_factory=deque)
    suspects: deque[Unit] = field(default_factory=deque)
    running_suspect: Unit | None = None
    attempts: dict[Unit, int] = field(default_factory=dict)
    quarantined: list[QuarantinedUnit] = field(default_factory=list)

    def next_unit(self) -> Unit | None:
        """Return the next unit that may run now; None if there is none."""
        if not self.limit.has_room:
            # The iterator opens no further store now, so that this costs nothing.
            if self.suspects or self.requeued or next(self.fresh, None) is not None:
                self.limit.stopped = True
            return None
        if self.suspects and self.running_suspect is None:
            self.running_suspect = self.suspects.popleft()
            return self.running_suspect
        return self.requeued.popleft() if self.requeued else next(self.fresh, None)

    def on_end(self, event: Event) -> None:
        """Take back a unit that finished, failed or was requeued; raises the exception of a fatal failure."""
        if event.unit == self.running_suspect:
            self.running_suspect = None
        if event.kind is EventKind.REQUEUED:
            self.requeued.append(event.unit)
        elif event.kind is EventKind.FAILED:
            failure = event.failure or Failure("WorkerError", "the worker did not say why")
            if failure.fatal:
                raise failure.to_exception()
            self.attempts[event.unit] = self.attempts.get(event.unit, 0) + 1
            if self.attempts[event.unit] < MAX_ATTEMPTS:
                self.suspects.append(event.unit)
            else:
                self.quarantined.append(QuarantinedUnit(event.unit, failure))


def run_units(
    executor: Executor, units: Iterator[Unit], on_event: Callable[[Event], None], limit: TimeLimit | None = None
) -> list[QuarantinedUnit]:
    """Have every unit made; keep the executor busy, and within its capacity.

    Args:
        executor: Makes the units; already entered.
        units: What to make, in order; drawn only when there is room for one.
        on_event: Called with every event.
        limit: The time for it: no unit is begun for which there may be no room, and those that run when it is over are
            left to whoever ends the executor.

    Returns:
        Units that failed `MAX_ATTEMPTS` times.

    Raises:
        Exception: The exception of a unit that failed for a reason for which every other unit would fail too.
    """
    limit = limit or TimeLimit()
    queue = _Queue(units, limit)
    running = 0
    while True:
        while running < executor.capacity and (unit := queue.next_unit()) is not None:
            executor.submit(unit)
            limit.begun(unit)
            running += 1
        if not running:
            return queue.quarantined
        if limit.over:
            limit.stopped = True
            return queue.quarantined
        for event in executor.events():
            on_event(event)
            if event.kind in (EventKind.FINISHED, EventKind.FAILED, EventKind.REQUEUED):
                running -= 1
                limit.ended(event.unit)
                queue.on_end(event)
