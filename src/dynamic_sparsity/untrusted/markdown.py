"""Markdown with names from outside in it: the one place that escapes them, and that draws tables.

What is Markdown already is a `Markdown`; every other string is text, and is escaped where it becomes part of a page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote

from dynamic_sparsity.untrusted.text import one_line

__all__ = ["Markdown", "code", "escape", "link", "table"]

# Characters that begin emphasis, code, links, tables, mathematics, headings, or mentions. An underscore inside a word,
# as in J_s, means nothing; a colon does in an address, which some readers turn into a link.
_ACTIVE: Final = re.compile(r"[\\`*\[\]|~$#@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=www)\.")
_IN_HTML: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_BAR: Final = re.compile(r"(?<!\\)\|")


class Markdown(str):
    """A string that is Markdown, not to be escaped."""

    __slots__ = ()


def escape(text: object) -> Markdown:
    """Return a text as Markdown that shows it as it is, in one line.

    Args:
        text: Anything; `Markdown` is returned as it is, what is no string as its `str`.
    """
    if isinstance(text, Markdown):
        return text
    line = re.sub("[&<>]", lambda found: _IN_HTML[found[0]], one_line(str(text)))
    return Markdown(_ACTIVE.sub(lambda found: f"\\{found[0]}", line))


def code(text: str) -> Markdown:
    """Return a text in the typeface of code, in one line.

    Args:
        text: The text.
    """
    line = one_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    padding = " " if line[:1] in ("`", " ", "") or line[-1:] in ("`", " ") else ""
    return Markdown(f"{fence}{padding}{line}{padding}{fence}")


def link(text: object, target: str) -> Markdown:
    """Return a link.

    Args:
        text: What is shown; escaped unless it is `Markdown`.
        target: A relative path or an address.
    """
    return Markdown(f"[{escape(text)}]({quote(target, safe='/:#._-~', errors='replace')})")


def table(head: Sequence[object], rows: Iterable[Sequence[object]], align: Sequence[str] | None = None) -> list[str]:
    """Return a table.

    Args:
        head: Titles of the columns; text, or `Markdown`.
        rows: Cells, row by row, likewise.
        align: What stands below each title: "---", or "---:" for numbers; None for "---" everywhere.

    Returns:
        Its lines.
    """
    rule = list(map(Markdown, align or ["---"] * len(head)))
    # Inside code a bar still ends its cell.
    lines = ([_BAR.sub(r"\\|", escape(cell)) for cell in line] for line in (head, rule, *rows))
    return [f"| {' | '.join(line)} |" for line in lines]
