"""Arguments that are checked before any work begins: folders, files, numbers, names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dynamic_sparsity.errors import InvalidSettingError, StoreNotFoundError
from dynamic_sparsity.storage.atomic import check_output_folder

__all__ = ["SEED_MAX", "check_least", "input_folder", "output_file", "output_folder"]

SEED_MAX: Final = 2**32 - 1
"""Largest seed of what NumPy's older generators and scikit-learn take."""


def output_folder(path: Path | None, option: str = "--out") -> None:
    """Refuse a folder that can't be written to.

    Args:
        path: The folder; it need not exist. None for none.
        option: The option that names it, for the message.

    Raises:
        InvalidSettingError: It is a file, lies below one, or may not be written to.
    """
    if path is not None:
        check_output_folder(path, option)


def output_file(path: Path | None, option: str, suffixes: Sequence[str] = ()) -> None:
    """Refuse a file that can't be written.

    Args:
        path: The file; it need not exist. None for none.
        option: The option that names it, for the message.
        suffixes: How it may end, as in ".png"; any way if empty.

    Raises:
        InvalidSettingError: It is a folder, its folder can't be written to, or it ends in another way.
    """
    if path is None:
        return
    if path.is_dir():
        raise InvalidSettingError(f"{option} is {str(path)!r}, which is a folder; name a file")
    if suffixes and path.suffix.lower() not in suffixes:
        raise InvalidSettingError(f"{option} is {str(path)!r}; its name must end in {' or '.join(suffixes)}")
    output_folder(path.parent, option)


def input_folder(path: Path, what: str) -> None:
    """Refuse a folder that is not there.

    Args:
        path: The folder.
        what: What it is, for the message.

    Raises:
        StoreNotFoundError: There is no such folder.
    """
    if not path.is_dir():
        kind = "is not a folder" if path.exists() else "does not exist"
        raise StoreNotFoundError(f"{what} is {str(path)!r}, which {kind}; name the folder that has the stores in it")


def check_least(value: int | None, option: str, least: int = 0, most: int = 2**63 - 1) -> None:
    """Refuse a number that is out of range.

    Args:
        value: The number; None for none.
        option: The option that gives it, for the message.
        least: Smallest legal value.
        most: Largest legal value.

    Raises:
        InvalidSettingError: It is smaller or larger.
    """
    if value is not None and not least <= value <= most:
        raise InvalidSettingError(f"{option} is {value}; it must be from {least} to {most}")
