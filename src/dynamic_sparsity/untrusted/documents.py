"""JSON from outside, parsed within limits."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final, NoReturn

from dynamic_sparsity.errors import CorruptStoreError, DynamicSparsityError
from dynamic_sparsity.untrusted.files import read_regular

__all__ = ["DOCUMENT_BYTES_MAX", "NESTING_MAX", "parse_json", "read_json"]

DOCUMENT_BYTES_MAX: Final = 64 * 2**20
"""How large a JSON file may be: a manifest of 300,000 files has about 45 MB."""

CONTAINERS: Final = frozenset((dict, list))

NESTING_MAX: Final = 24
"""How deep objects and arrays may lie in each other; documents of this package have at most 9 levels."""

VALUES_MAX: Final = 4_000_000
"""How many values a document may have, about: a manifest of 300,000 files has 900,000. An empty object is 3 characters
in JSON and 64 bytes in memory."""


def read_json(
    path: Path,
    error: type[DynamicSparsityError] = CorruptStoreError,
    bytes_max: int = DOCUMENT_BYTES_MAX,
    *,
    not_finite: bool = False,
) -> dict[str, Any]:
    """Parse a JSON file that holds an object.

    Args:
        path: The file.
        error: Class of the error.
        bytes_max: How large it may be, bytes.
        not_finite: See `parse_json`.

    Returns:
        The object.

    Raises:
        CorruptInputError: It can't be read, or is not such a file (or an error of the class given).
    """
    return parse_json(read_regular(path, bytes_max, error), str(path), error, not_finite=not_finite)


def parse_json(
    contents: bytes | str,
    where: str,
    error: type[DynamicSparsityError] = CorruptStoreError,
    values_max: int = VALUES_MAX,
    *,
    not_finite: bool = False,
) -> dict[str, Any]:
    """Parse JSON that is an object.

    Args:
        contents: The JSON text, in UTF-8 where it is bytes.
        where: What to call the document in the message, usually its path.
        error: Class of the error.
        values_max: How many values it may have, about.
        not_finite: Take NaN and Infinity too, which Python writes though JSON does not know them.

    Returns:
        The object.

    Raises:
        CorruptInputError: It is no JSON, no object, nested too deeply, too large, or has numbers that JSON does not
            know (or an error of the class given).
    """
    if _values(contents) > values_max:
        raise error(f"{where}: has more than the {values_max} values that are read of such a document")
    try:
        limits: dict[str, Any] = {} if not_finite else {"parse_constant": _refuse_constant, "parse_float": _finite}
        document = json.loads(contents, **limits)
    except RecursionError as failure:
        raise error(f"{where}: objects lie more than {NESTING_MAX} levels deep in each other") from failure
    except (ValueError, MemoryError) as failure:
        raise error(f"{where}: is not JSON ({failure or type(failure).__name__})") from failure
    if not isinstance(document, dict):
        raise error(f"{where}: is {type(document).__name__}, expected an object")
    level: list[Any] = [document]
    for _ in range(NESTING_MAX):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) in CONTAINERS
        ]
        if not level:
            return document
    raise error(f"{where}: objects lie more than {NESTING_MAX} levels deep in each other")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is too large a number")
    return value


def _values(contents: bytes | str) -> int:
    """Return a number no smaller than that of the values in a JSON text, without the outermost one."""
    if isinstance(contents, str):
        return sum(map(contents.count, "{[,"))
    return sum(map(contents.count, (b"{", b"[", b",")))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
