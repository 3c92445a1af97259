"""Tables of numbers for programs: dataclasses as lines of comma-separated values, and back, checked."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dynamic_sparsity.errors import CorruptResultError
from dynamic_sparsity.untrusted.archives import translated
from dynamic_sparsity.untrusted.files import read_regular

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["format_table", "parse_table", "read_text"]

Line = TypeVar("Line", bound="DataclassInstance")


def format_table(kind: type[Line], lines: Iterable[Line], keys: Sequence[str]) -> str:
    """Return dataclasses as comma-separated values with a header; numbers have six digits, or are left out.

    Args:
        kind: Their class.
        lines: In any order.
        keys: Attributes by which they are sorted.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [field.name for field in fields(kind)]
    writer.writerow(names)
    for line in sorted(lines, key=attrgetter(*keys)):
        values = [getattr(line, name) for name in names]
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in values])
    return stream.getvalue()


def read_text(path: Path, bytes_max: int, what: str) -> str:
    """Read a table's file.

    Args:
        path: The file.
        bytes_max: Most bytes that it may have.
        what: What it should be, as "a leaderboard".

    Raises:
        CorruptResultError: It is larger, no regular file, or no text.
    """
    contents = read_regular(path, bytes_max, CorruptResultError)
    try:
        return contents.decode()
    except UnicodeDecodeError as error:
        raise CorruptResultError(f"{path} can't be read as {what}: {error}") from error


def parse_table(
    kind: type[Line], text: str, path: str, what: str, line_of: str, check_text: Callable[[str, str], str]
) -> list[Line]:
    """Parse what `format_table` made.

    Args:
        kind: The class of the lines: its fields are str, int, or float or None.
        text: The table.
        path: Where it is from; begins messages.
        what: What it should be, as "leaderboard".
        line_of: What a line should be, as "entry of a leaderboard".
        check_text: Returns a text, given its field's name and it; raises ValueError or one of our errors.

    Raises:
        CorruptResultError: It has other columns or values.
    """
    reader = csv.DictReader(io.StringIO(text), strict=True)
    with translated(f"{path} is no {what}", CorruptResultError):
        # What csv raises has no base among Python's own errors.
        try:
            found = list(reader)
        except csv.Error as error:
            raise CorruptResultError(f"{path}, line {reader.line_num} is no {line_of}: {error}") from error
    kinds = {field.name: str(field.type) for field in fields(kind)}
    lines = []
    for number, line in enumerate(found, 2):
        try:
            if None in line or None in line.values():
                raise ValueError("it has more or fewer values than the header")
            lines.append(kind(**{name: _parsed(name, line[name], type_, check_text) for name, type_ in kinds.items()}))
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise CorruptResultError(f"{path}, line {number} is no {line_of}: {error!r:.200}") from error
    return lines


def _parsed(name: str, text: str, kind: str, check_text: Callable[[str, str], str]) -> Any:
    if kind == "str":
        return check_text(name, text)
    if kind == "int":
        if not (text.isascii() and text.isdecimal()):
            raise ValueError(f"{name} is {text[:60]!r}, expected a whole number")
        return int(text)
    value = float(text) if text else None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{name} is {text}, expected a number or nothing")
    return value
