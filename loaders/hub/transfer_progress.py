"""What is told how a transfer goes on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Bar", "Progress", "Silent", "chosen"]


class Progress(Protocol):
    """Told how a transfer goes on; a bar is drawn from it."""

    def started(self, what: str, total: int) -> None:
        """A step begins: what, and how many bytes it has."""

    def advanced(self, count: int) -> None:
        """More bytes are done."""

    def finished(self) -> None:
        """The step has ended."""


class Silent:
    """Reports nothing."""

    def started(self, what: str, total: int) -> None:
        """Does nothing."""

    def advanced(self, count: int) -> None:
        """Does nothing."""

    def finished(self) -> None:
        """Does nothing."""


class Bar:
    """A bar on stderr for each step, with bytes, rate and remaining time."""

    def __init__(self) -> None:
        """Nothing is drawn yet."""
        from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Bars

        from dynamic_sparsity.untrusted.console import PlainConsole, PlainTextColumn

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        console = PlainConsole(stderr=True)
        self._bars = Bars(PlainTextColumn("{task.description}"), *columns, console=console, transient=True)
        self._task: TaskID | None = None

    def started(self, what: str, total: int) -> None:
        """See `Progress.started`."""
        self._bars.start()
        self._task = self._bars.add_task(what, total=total)

    def advanced(self, count: int) -> None:
        """See `Progress.advanced`."""
        if self._task is not None:
            self._bars.advance(self._task, count)

    def finished(self) -> None:
        """See `Progress.finished`."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        self._bars.stop()


def chosen(progress: bool | Progress | None) -> Progress:
    """What to tell.

    Args:
        progress: That itself, or whether to draw a bar; None: if stderr is a terminal.
    """
    if progress is None:
        progress = sys.stderr.isatty()
    if isinstance(progress, bool):
        return Bar() if progress else Silent()
    return progress
