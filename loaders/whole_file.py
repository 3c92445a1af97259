"""Files that appear when they are complete: an older one is kept until then, and killed writers leave nothing."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from dynamic_sparsity.errors import DynamicSparsityError, InvalidSettingError, WriteFailedError
from dynamic_sparsity.storage.atomic import missing_folders, remove_empty, sync
from dynamic_sparsity.storage.file_lock import HAS_LOCKS, take

__all__ = ["check_space", "whole_file", "whole_folder"]


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file, open for reading and writing, that appears under its name when the context ends without an error.

    Until then it is next to it, as `<name>.<token>.partial`, locked. Those of killed writers are deleted first.

    Args:
        path: The file; its folder is made if missing. An older file of that name is replaced, at the end.

    Yields:
        The unbuffered stream; its `name` is the path of the unfinished file.

    Raises:
        WriteFailedError: The disk is full, say, or the folder may not be written to.
        InvalidSettingError: The path is a folder.
    """
    try:
        if path.is_dir():
            raise InvalidSettingError(f"{path} is a folder; give the path of a file to write")
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        stream = _create(path)
    except OSError as error:
        raise _failed(path, error) from error
    partial = Path(stream.name)
    try:
        with stream:
            yield stream
            sync(stream.fileno())
            if HAS_LOCKS:
                partial.replace(path)
        if not HAS_LOCKS:
            partial.replace(path)
    except DynamicSparsityError:
        raise
    except OSError as error:
        raise _failed(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a folder that appears under its name when the context ends without an error; else nothing of it is left.

    Until then it is next to it and hidden, as `.<name>.<token>.partial`, locked. Those of killed writers are deleted
    first.

    Args:
        path: The folder; its parent is made if missing. It must not be there, unless it is empty.

    Yields:
        The unfinished folder.

    Raises:
        WriteFailedError: The disk is full, say, or the parent may not be written to.
        InvalidSettingError: It is there already.
    """
    partial, made, lock = None, list[Path](), None
    try:
        if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
            raise InvalidSettingError(f"{path} is there already; delete it, or write elsewhere")
        made = missing_folders(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep_folders(path)
        partial, lock = _create_folder(path)
        yield partial
        if path.is_dir():
            path.rmdir()
        partial.rename(path)
    except DynamicSparsityError:
        raise
    except OSError as error:
        raise _failed(path, error) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        remove_empty(made)


def check_space(path: Path, size: int) -> None:
    """Refuse a file that the disk has no room for.

    Args:
        path: The file to be written; its folder exists.
        size: Its least size, bytes.

    Raises:
        WriteFailedError: There is less room.
    """
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError:
        return
    if free < size:
        raise WriteFailedError(
            f"{path} can't be written: it takes at least {size:,} bytes, and the disk has {free:,} left. Make room, "
            "write elsewhere, or choose fewer columns or rows"
        )


def _failed(path: Path, error: OSError) -> WriteFailedError:
    return WriteFailedError(
        f"{path} can't be written ({error.strerror or error}); nothing of it is left, and what lay there before is "
        "untouched. Make room, or write elsewhere"
    )


def _create(path: Path) -> BinaryIO:
    while True:
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        stream: Any = partial.open("x+b", buffering=0)
        # Between the open and the lock, another writer may have taken it for an abandoned one.
        if _lock(stream.fileno(), wait=True) is None or partial.exists():
            return stream  # type: ignore[no-any-return]
        stream.close()


def _create_folder(path: Path) -> tuple[Path, int | None]:
    """Make an unfinished folder and lock it; return it, and the descriptor that holds the lock, where there are any."""
    while True:
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        partial.mkdir()
        if not HAS_LOCKS:
            return partial, None
        # Between the two, another writer may have taken it for an abandoned one.
        with suppress(FileNotFoundError):
            descriptor = os.open(partial, os.O_RDONLY)
            if _lock(descriptor, wait=True) is None or partial.exists():
                return partial, descriptor
            os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool | None:
    """Lock an open file; whether that succeeded, or None where there are no locks."""
    with suppress(OSError):
        return take(descriptor, wait=wait)
    return None


def _sweep(path: Path) -> None:
    """Delete the unfinished files of writers of this file that do not run any more."""
    for file in _unfinished(path, f"{path.name}."):
        with suppress(OSError):
            if not stat.S_ISREG(file.lstat().st_mode):
                continue
            with _abandoned(file, os.O_RDWR) as abandoned:
                if abandoned:
                    file.unlink()


def _sweep_folders(path: Path) -> None:
    """Delete the unfinished folders of writers of this folder that do not run any more."""
    for folder in _unfinished(path, f".{path.name}."):
        with suppress(OSError):
            if not HAS_LOCKS or not stat.S_ISDIR(folder.lstat().st_mode):
                continue
            with _abandoned(folder, os.O_RDONLY) as abandoned:
                if abandoned:
                    shutil.rmtree(folder, ignore_errors=True)


def _unfinished(path: Path, begin: str) -> list[Path]:
    """Return what is next to a path with a name such as unfinished files and folders of it have."""
    name = re.compile(re.escape(begin) + r"[0-9a-f]{1,16}\.partial")
    return [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]


@contextmanager
def _abandoned(entry: Path, flags: int) -> Iterator[bool]:
    """Yield whether no writer holds the lock of a file or folder; meanwhile, none can take it."""
    descriptor = os.open(entry, flags)
    try:
        yield bool(_lock(descriptor, wait=False))
    finally:
        os.close(descriptor)
