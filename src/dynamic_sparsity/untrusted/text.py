"""Text from outside on its way to a reader: nothing in it commands a terminal, a page or a table."""

from __future__ import annotations

import json
import re
from typing import Any, Final

__all__ = ["figure_label", "json_in_html", "one_line", "printable"]

LABEL_LENGTH_MAX: Final = 60

# Controls but newline and tab; soft hyphens, marks without width and marks of direction, which hide or turn around what
# stands beside them; separators that some programs take for the end of a line; halves of surrogate pairs, as a file's
# name may have them, which no encoding knows; tags.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
# What could end or begin something in HTML, and what JavaScript once took for the end of a line; "/" as in `*/` and
# `</script>`. All of it is spelled as JSON's own escapes, so that the data stay the same.
_ACTIVE_IN_HTML: Final = re.compile("[<>&/\u2028\u2029\ud800-\udfff\x7f-\x9f]")


def printable(text: str) -> str:
    r"""Return a text with everything that a reader can't see written out, as `\x1b`; newlines and tabs stay.

    Args:
        text: Any text.
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """Return a printable text without newlines and tabs: they become spaces.

    Args:
        text: Any text.
    """
    return printable(" ".join(re.split("[\n\t]+", text)))


def figure_label(text: str) -> str:
    """Return a name as it can stand beside a figure of matplotlib: short, in one line, and no mathematics.

    Args:
        text: The name.
    """
    line = one_line(text)
    cut = line if len(line) <= LABEL_LENGTH_MAX else f"{line[:LABEL_LENGTH_MAX]}…"
    # A backslash before a dollar would take its escape away.
    return cut.replace("\\$", "$").replace("$", r"\$")


def json_in_html(document: Any) -> str:
    """Return a document as JSON that stays inside the `<script>` element it is written into, whatever strings it has.

    Args:
        document: What `json.dumps` takes; its numbers are finite.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # Outside strings JSON has none of these characters.
    return _ACTIVE_IN_HTML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
