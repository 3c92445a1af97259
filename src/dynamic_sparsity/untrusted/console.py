"""The console that all output for people goes through: it shows names from outside as they are, and obeys none."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from dynamic_sparsity.untrusted.text import printable

__all__ = ["Bars", "PlainConsole", "PlainTextColumn", "progress"]

LINE_EVERY_S: Final = 30.0
"""How often a long command says in a log where it is: a file or a pipe has no bars that move."""

PIPE_WIDTH: Final = 1000
"""Columns of a file or a pipe, where no line has to be wrapped, and no name cut."""


class PlainConsole(Console):
    """Rich's console for output with paths and names in it.

    Markup and emoji codes are plain text here, in tables too: what is to be bold is a `Text`. Control characters, with
    which a name could command the terminal, are spelled out; those that Rich makes itself still work.
    """

    def __init__(self, **options: Any) -> None:
        """Make a console.

        Args:
            **options: Those of Rich's `Console` except markup, emoji and highlight.
        """
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        if not (self.is_terminal or "width" in options or os.environ.get("COLUMNS")):
            self.width = PIPE_WIDTH

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as Rich's `Console`, with every text made printable.

        Args:
            renderable: What to render.
            options: As Rich's.
        """
        # Before it is laid out, so that columns are as wide as what they show.
        shown = printable(renderable) if isinstance(renderable, str) else renderable
        for segment in super().render(shown, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a text as Rich's `Console`, made printable.

        Args:
            text: The text.
            **options: As Rich's.
        """
        return super().render_str(printable(text), **options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        """Return a status as Rich's `Console`, whose words are no markup.

        Args:
            status: The words.
            **options: As Rich's.
        """
        words = Text(status) if isinstance(status, str) else status
        return _LoggedStatus(words, console=self, **options)


class PlainTextColumn(TextColumn):
    """A column of a bar with a text that is no markup."""

    def __init__(self, text_format: str, **options: Any) -> None:
        """Make a column.

        Args:
            text_format: As Rich's.
            **options: Those of Rich's `TextColumn` except markup.
        """
        super().__init__(text_format, markup=False, **options)


class _Log:
    """Prints lines now and then, from a thread of its own, while a command works and nobody sees its bars."""

    def __init__(self, console: Console, lines: Callable[[], Iterable[str]]) -> None:
        """Do nothing yet.

        Args:
            console: Where to print.
            lines: Returns what to say now.
        """
        self._console, self._lines = console, lines
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless there is a terminal, or it has begun."""
        if self._thread is None and not self._console.is_terminal:
            self._ended.clear()
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Print no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._ended.wait(LINE_EVERY_S):
            for line in self._lines():
                self._console.print(line, soft_wrap=True)


class Bars(Progress):
    """Rich's bars; where there is no terminal, a line for each unfinished one every `LINE_EVERY_S`."""

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        """Draw nothing yet.

        Args:
            *columns: The columns of each bar.
            **options: Those of Rich's `Progress`.
        """
        super().__init__(*columns, **options)
        self._log = _Log(self.console, self.lines)

    def start(self) -> None:
        """Draw, or begin to print lines."""
        super().start()
        self._log.start()

    def stop(self) -> None:
        """Stop that."""
        self._log.stop()
        super().stop()

    def lines(self) -> list[str]:
        """Return what the unfinished bars say, without what only a terminal can show."""
        return [self._line(task) for task in self.tasks if task.remaining != 0]

    def _line(self, task: Task) -> str:
        cells = (column(task) for column in self.columns if isinstance(column, ProgressColumn))
        return "  ".join(cell.plain for cell in cells if isinstance(cell, Text) and cell.plain.strip())


class _LoggedStatus(Status):
    """Rich's status; where there is no terminal, its words every `LINE_EVERY_S`."""

    def __init__(self, status: RenderableType, *, console: Console, **options: Any) -> None:
        super().__init__(status, console=console, **options)
        self._log = _Log(console, lambda: [f"{self.status} …"])

    def start(self) -> None:
        """Show it, or begin to print lines."""
        super().start()
        self._log.start()

    def stop(self) -> None:
        """Stop that."""
        self._log.stop()
        super().stop()


def progress(console: PlainConsole, **options: Any) -> Bars:
    """Return bars with what is done, how much of it, and the time left.

    Args:
        console: Where they are drawn.
        **options: Those of Rich's `Progress`.
    """
    columns = (PlainTextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Bars(*columns, console=console, **options)
