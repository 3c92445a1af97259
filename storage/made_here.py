"""Files that a command made itself may be replaced by it; those of others are not, unless asked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from dynamic_sparsity.errors import CorruptInputError, InvalidSettingError
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.untrusted.documents import read_json

__all__ = ["RECORD", "check_free_files", "check_free_folder", "note_files", "note_folder"]

RECORD = ".made-by-dynamic-sparsity.json"
"""In a folder: the names of the files there that this package made, and of the commands that have it for themselves."""

_BYTES_MAX = 2**20


def check_free_files(files: Iterable[Path], overwrite: bool) -> None:
    """Refuse to replace files that were not made here.

    Args:
        files: That are to be written.
        overwrite: Replace any file.

    Raises:
        InvalidSettingError: One of them exists, and its folder's record does not name it.
    """
    for path in files:
        if path.exists() and not overwrite and path.name not in _record(path.parent)["files"]:
            raise InvalidSettingError(
                f"{path} exists and was not made here by this command; name another file, or replace it by --overwrite"
            )


def note_files(files: Iterable[Path]) -> None:
    """Note that files are made here, so that they may be replaced.

    Args:
        files: That are written now.
    """
    for path in files:
        record = _record(path.parent)
        if path.name not in record["files"]:
            _write(path.parent, {**record, "files": sorted([*record["files"], path.name])})


def check_free_folder(folder: Path, command: str, overwrite: bool) -> None:
    """Refuse to write into a folder that has files of others.

    Args:
        folder: For the output of a command; it need not exist.
        command: That has the folder for itself.
        overwrite: Write into any folder.

    Raises:
        InvalidSettingError: It has files, and the command has not made it.
    """
    if overwrite or not folder.is_dir() or not any(folder.iterdir()) or command in _record(folder)["commands"]:
        return
    raise InvalidSettingError(
        f"{folder} has files that `{command}` did not make here; name another folder, or have those of the same names "
        "replaced by --overwrite"
    )


def note_folder(folder: Path, command: str) -> None:
    """Note that a command has a folder for itself.

    Args:
        folder: Made if missing.
        command: Its name.
    """
    record = _record(folder)
    if command not in record["commands"]:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, {**record, "commands": sorted([*record["commands"], command])})


def _record(folder: Path) -> dict[str, list[str]]:
    """Return a folder's record; what can't be read says that nothing was made here."""
    empty: dict[str, list[str]] = {"files": [], "commands": []}
    try:
        found = read_json(folder / RECORD, CorruptInputError, _BYTES_MAX)
    except (CorruptInputError, OSError):
        return empty
    for name in empty:
        listed = found.get(name)
        if isinstance(listed, list):
            empty[name] = [one for one in listed if isinstance(one, str)]
    return empty


def _write(folder: Path, record: dict[str, list[str]]) -> None:
    publish(folder / RECORD, [json.dumps(record, indent=1).encode(), b"\n"])
