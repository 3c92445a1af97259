"""Reporting the progress of a transfer, as a bar for example."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Bar", "Silent", "TransferProgress", "chosen"]


class TransferProgress(Protocol):
    """Receives the progress of a transfer."""

    def started(self, what: str, total: int) -> None:
        """Report that a step begins.

        Args:
            what: What is transferred.
            total: Bytes of the step.
        """

    def advanced(self, count: int) -> None:
        """Report that more bytes were transferred.

        Args:
            count: How many.
        """

    def finished(self) -> None:
        """Report that the step has ended."""


class Silent:
    """Reports nothing."""

    def started(self, what: str, total: int) -> None:
        """Do nothing."""

    def advanced(self, count: int) -> None:
        """Do nothing."""

    def finished(self) -> None:
        """Do nothing."""


class Bar:
    """A bar on stderr for each step, with bytes, rate and remaining time."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Bars

        from dynamic_sparsity.untrusted.console import PlainConsole, PlainTextColumn

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        console = PlainConsole(stderr=True)
        self._bars = Bars(PlainTextColumn("{task.description}"), *columns, console=console, transient=True)
        self._task: TaskID | None = None

    def started(self, what: str, total: int) -> None:
        """See `TransferProgress.started`."""
        self._bars.start()
        self._task = self._bars.add_task(what, total=total)

    def advanced(self, count: int) -> None:
        """See `TransferProgress.advanced`."""
        if self._task is not None:
            self._bars.advance(self._task, count)

    def finished(self) -> None:
        """See `TransferProgress.finished`."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        self._bars.stop()


def chosen(progress: bool | TransferProgress | None) -> TransferProgress:
    """Choose what receives the progress of a transfer.

    Args:
        progress: That itself, or whether to draw a bar; None to draw one if stderr is a terminal.
    """
    if progress is None:
        progress = sys.stderr.isatty()
    if isinstance(progress, bool):
        return Bar() if progress else Silent()
    return progress
