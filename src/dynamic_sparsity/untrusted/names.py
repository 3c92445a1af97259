"""Names and relative paths that come from outside, and the check that a write stays inside its folder."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Final

from dynamic_sparsity.errors import CorruptInputError, CorruptStoreError, DynamicSparsityError

__all__ = ["NAME_PATTERN", "RELATIVE_PATH_PATTERN", "check_name", "check_relative_path", "inside", "is_name", "shown"]

NAME_PATTERN: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?"
"""One part of a path: ASCII letters, digits, `_`, `.` and `-`; no dot at its start or end (as `..` or `.bashrc`)."""

RELATIVE_PATH_PATTERN: Final = rf"{NAME_PATTERN}(?:/{NAME_PATTERN})*"
"""Names joined by single slashes: never absolute, never upwards."""

NAME_LENGTH_MAX: Final = 128
PATH_LENGTH_MAX: Final = 512
_NAME: Final = re.compile(NAME_PATTERN)
_RELATIVE_PATH: Final = re.compile(RELATIVE_PATH_PATTERN)
# Windows opens a device where a file has one of these names, whatever its ending.
_DEVICES: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)


def is_name(value: object) -> bool:
    """Return whether a value can be the name of a file or folder on every platform, and nothing else.

    Args:
        value: Anything.
    """
    return (
        isinstance(value, str)
        and len(value) <= NAME_LENGTH_MAX
        and _NAME.fullmatch(value) is not None
        and _DEVICES.fullmatch(value) is None
    )


def check_name(value: object, what: str, error: type[DynamicSparsityError] = CorruptStoreError) -> str:
    """Refuse what is not a plain name.

    Args:
        value: What came from outside.
        what: What it is, as in "manifest.json: the task"; begins the message.
        error: Class of the error.

    Returns:
        The name.

    Raises:
        CorruptInputError: It is not a name (or an error of the class given).
    """
    if not is_name(value):
        raise error(
            f"{what} is {shown(value)}; a name has 1 to {NAME_LENGTH_MAX} ASCII letters, digits, '_', '.' and '-', "
            "no dot at its start or end, and is no device of Windows"
        )
    return str(value)


def check_relative_path(value: object, what: str, error: type[DynamicSparsityError] = CorruptStoreError) -> str:
    """Refuse what is not a relative path that stays inside its folder.

    Args:
        value: What came from outside, with slashes between its parts.
        what: What it is, as in "index: a member's name"; begins the message.
        error: Class of the error.

    Returns:
        The path.

    Raises:
        CorruptInputError: It is not such a path (or an error of the class given).
    """
    if (
        not isinstance(value, str)
        or len(value) > PATH_LENGTH_MAX
        or _RELATIVE_PATH.fullmatch(value) is None
        or not all(map(is_name, value.split("/")))
    ):
        raise error(
            f"{what} is {shown(value)}; a path inside a folder has names of ASCII letters, digits, '_', '.' and '-', "
            f"joined by '/', at most {PATH_LENGTH_MAX} characters, and no name that begins or ends with a dot"
        )
    return value


def inside(root: Path, relative: str | PurePosixPath, error: type[DynamicSparsityError] = CorruptInputError) -> Path:
    """Return where to write a file below a folder, after a check that it is there, whatever links there are.

    Args:
        root: The folder; it need not exist.
        relative: Path of the file below it.
        error: Class of the error.

    Returns:
        `root / relative`.

    Raises:
        CorruptInputError: The path is not valid, or leads outside through a link (or an error of the class given).
    """
    path = root / check_relative_path(str(relative), f"{root}: a file's path", error)
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise error(f"{path} leads outside {root} through a link; remove the link {path.parent}")
    return path


def shown(value: object) -> str:
    """Return a value from outside as a message may show it: escaped, and short.

    Args:
        value: Anything.
    """
    # Python refuses to write out a number of many digits.
    if type(value) is int and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    text = ascii(value) if isinstance(value, str | int | float | bool | type(None)) else type(value).__name__
    return text if len(text) <= 120 else f"{text[:120]}…"
