"""The time that a run may take: no unit is begun that may not end in time, so that a run ends by itself.

Batch systems end a job when its time is over. A run that knows that time loses nothing by it.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.jobs.units import Unit

__all__ = ["TimeLimit", "TimeOver", "parse_duration"]

_LETTERS: Final = re.compile(r"(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_DAYS: Final = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)
_COLONS: Final = re.compile(r"()(\d+):(\d+):(\d+)", re.ASCII)
_UNIT_SECONDS: Final = (86400, 3600, 60, 1)
_DIGITS_MAX: Final = 9
_ALARM_MAX_S: Final = 1e8


def parse_duration(text: str) -> int:
    """Parse a duration such as "4h", "90m", "1h30m", or Slurm's "04:00:00" and "1-12:00:00".

    Args:
        text: The duration. What Slurm would take for minutes, "90" and "4:00", is refused: others would not.

    Returns:
        Seconds.

    Raises:
        InvalidSettingError: The text is none of these, or no time at all.
    """
    found = next((match for form in (_LETTERS, _DAYS, _COLONS) if (match := form.fullmatch(text.strip()))), None)
    numbers = [number or "0" for number in found.groups()] if found else []
    seconds = 0
    if all(len(number) <= _DIGITS_MAX for number in numbers):
        seconds = sum(int(number) * unit for number, unit in zip(numbers, _UNIT_SECONDS[: len(numbers)], strict=True))
    if not seconds:
        raise InvalidSettingError(
            f"the time limit is {text[:80]!r}; it must be a time such as 4h, 90m, 1h30m, 2d, or Slurm's 04:00:00 or "
            "1-12:00:00"
        )
    return seconds


class TimeOver(Exception):
    """The time was over while something was awaited; see `TimeLimit.cutting`."""


class TimeLimit:
    """The time that a run may take, and whether there is room in it for another unit.

    Attributes:
        stopped: Whether some work was left because of it.
    """

    def __init__(self, seconds: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to count.

        Args:
            seconds: The time; None for as long as it takes.
            clock: Returns the time, s.
        """
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds
        self._begun: dict[Unit, float] = {}
        self._longest = 0.0
        self.stopped = False

    def begun(self, unit: Unit) -> None:
        """Count a unit's time from now.

        Args:
            unit: A unit that an executor was given.
        """
        self._begun[unit] = self._clock()

    def ended(self, unit: Unit) -> None:
        """Count it no more.

        Args:
            unit: A unit that was begun.
        """
        self._longest = max(self._longest, self._clock() - self._begun.pop(unit))

    @contextmanager
    def cutting(self) -> Iterator[None]:
        """End what is done meanwhile, such as the loading of a simulator, when the time is over.

        Only the main thread can be interrupted; in others the time is looked at afterwards.

        Raises:
            TimeOver: It is over, or has no room for another unit.
        """
        if self._end is not None and threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGALRM, _raise_time_over)
            try:
                signal.setitimer(signal.ITIMER_REAL, min(max(self._end - self._clock(), 1e-3), _ALARM_MAX_S))
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
        else:
            yield
        if not self.has_room:
            raise TimeOver

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self._end is not None and self._clock() >= self._end

    @property
    def has_room(self) -> bool:
        """Whether a unit as long as the longest so far would end in time."""
        if self._end is None:
            return True
        now = self._clock()
        longest = max([self._longest, *(now - since for since in self._begun.values())])
        return now + longest < self._end


def _raise_time_over(number: int, frame: object) -> None:
    raise TimeOver
