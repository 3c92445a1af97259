"""Values inside documents from outside: objects with just these keys, counts, digests."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from dynamic_sparsity.errors import CorruptStoreError, DynamicSparsityError
from dynamic_sparsity.untrusted.names import shown

__all__ = ["COUNT_MAX", "check_count", "check_list", "check_object", "check_sha256"]

COUNT_MAX: Final = 2**53
"""How large a count may be: what a float64, and so any reader of JSON, can tell from its neighbours."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def check_object(
    value: object, keys: Collection[str], what: str, error: type[DynamicSparsityError] = CorruptStoreError
) -> dict[str, Any]:
    """Refuse what is not an object with just these keys.

    Args:
        value: What came from outside.
        keys: The keys that it must have; no others.
        what: What it is; begins the message.
        error: Class of the error.

    Raises:
        CorruptInputError: It is no such object (or an error of the class given).
    """
    if type(value) is not dict:
        raise error(f"{what} is {shown(value)}; expected an object")
    if value.keys() != set(keys):
        lacking, more = sorted(set(keys) - value.keys()), sorted(value.keys() - set(keys))
        raise error(f"{what} lacks {shown(', '.join(lacking))}, and has {shown(', '.join(more))} too many")
    return value


def check_list(value: object, what: str, error: type[DynamicSparsityError] = CorruptStoreError) -> list[Any]:
    """Refuse what is not a list.

    Args:
        value: What came from outside.
        what: What it is; begins the message.
        error: Class of the error.

    Raises:
        CorruptInputError: It is none (or an error of the class given).
    """
    if type(value) is not list:
        raise error(f"{what} is {shown(value)}; expected a list")
    return value


def check_count(
    value: object,
    what: str,
    least: int = 0,
    most: int = COUNT_MAX,
    error: type[DynamicSparsityError] = CorruptStoreError,
) -> int:
    """Refuse what is not a whole number in a range; 1000.0 and true are none.

    Args:
        value: What came from outside.
        what: What it is; begins the message.
        least: Smallest legal value.
        most: Largest legal value.
        error: Class of the error.

    Raises:
        CorruptInputError: It is no such number (or an error of the class given).
    """
    if type(value) is not int or not least <= value <= most:
        raise error(f"{what} is {shown(value)}; expected a whole number from {least} to {most}")
    return value


def check_sha256(value: object, what: str, error: type[DynamicSparsityError] = CorruptStoreError) -> str:
    """Refuse what is not a SHA-256 digest.

    Args:
        value: What came from outside.
        what: What it is; begins the message.
        error: Class of the error.

    Raises:
        CorruptInputError: It is none (or an error of the class given).
    """
    if not isinstance(value, str) or _SHA256.fullmatch(value) is None:
        raise error(f"{what} is {shown(value)}; a SHA-256 digest has 64 of the digits 0 to 9 and a to f")
    return value
