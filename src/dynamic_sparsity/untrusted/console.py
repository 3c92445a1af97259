"""The console that all output for people goes through: it shows names from outside as they are, and obeys none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from dynamic_sparsity.untrusted.text import printable

__all__ = ["PlainConsole", "PlainTextColumn", "progress"]


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
        return super().status(Text(status) if isinstance(status, str) else status, **options)


class PlainTextColumn(TextColumn):
    """A column of a bar with a text that is no markup."""

    def __init__(self, text_format: str, **options: Any) -> None:
        """Make a column.

        Args:
            text_format: As Rich's.
            **options: Those of Rich's `TextColumn` except markup.
        """
        super().__init__(text_format, markup=False, **options)


def progress(console: PlainConsole, **options: Any) -> Progress:
    """Return bars with what is done, how much of it, and the time left.

    Args:
        console: Where they are drawn.
        **options: Those of Rich's `Progress`.
    """
    columns = (PlainTextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, **options)
