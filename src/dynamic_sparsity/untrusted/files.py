"""Opening files that strangers made: regular files only, and never more bytes than expected."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from dynamic_sparsity.errors import CorruptStoreError, DynamicSparsityError

__all__ = ["open_regular", "read_at", "read_regular"]

_PIECE_BYTES: Final = 2**30
# A FIFO would keep an ordinary open waiting for a writer, perhaps for ever.
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


def open_regular(path: Path, error: type[DynamicSparsityError] = CorruptStoreError) -> tuple[int, os.stat_result]:
    """Open a file for reading if it is a regular one (or a link to one).

    Args:
        path: The file.
        error: Class of the error.

    Returns:
        The file descriptor, for the caller to close, and the status of the open file.

    Raises:
        CorruptInputError: It is missing, or a folder, FIFO, socket or device (or an error of the class given).
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else str(failure)
        raise error(f"{path}: can't be opened ({reason})") from failure
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        kind = stat.filemode(status.st_mode)[0]
        names = {"d": "a folder", "p": "a FIFO", "s": "a socket", "c": "a device", "b": "a device"}
        raise error(f"{path}: can't be read: it is {names.get(kind, 'no regular file')}, not a regular file")
    return descriptor, status


def read_regular(path: Path, bytes_max: int, error: type[DynamicSparsityError] = CorruptStoreError) -> bytes:
    """Read a whole regular file, unless it is larger than it may be.

    Args:
        path: The file.
        bytes_max: How large it may be, bytes.
        error: Class of the error.

    Returns:
        Its bytes.

    Raises:
        CorruptInputError: It can't be read, is no regular file, or is too large (or an error of the class given).
    """
    descriptor, status = open_regular(path, error)
    with os.fdopen(descriptor, "rb") as stream:
        if status.st_size > bytes_max:
            raise error(f"{path}: has {status.st_size} bytes; at most {bytes_max} are read of such a file")
        try:
            # A reader takes memory for all that it is asked for; one byte more shows that the file grew.
            contents = stream.read(status.st_size + 1)
            if len(contents) > status.st_size:
                contents += stream.read(bytes_max + 1 - len(contents))
        except OSError as failure:
            raise error(f"{path}: can't be read ({failure.strerror})") from failure
    if len(contents) > bytes_max:
        raise error(f"{path}: has more than the {bytes_max} bytes that are read of such a file")
    return contents


def read_at(
    descriptor: int, offset: int, size: int, where: str, error: type[DynamicSparsityError] = CorruptStoreError
) -> bytes:
    """Read bytes from the middle of an open file.

    Args:
        descriptor: Of the file.
        offset: First byte.
        size: Number of bytes.
        where: What to call the file in the message, usually its path.
        error: Class of the error.

    Raises:
        CorruptInputError: It can't be read, or ends before (or an error of the class given).
    """
    pieces: list[bytes] = []
    end = offset + size
    try:
        while offset < end:
            pieces.append(_pread(descriptor, min(end - offset, _PIECE_BYTES), offset))
            if not pieces[-1]:
                break
            offset += len(pieces[-1])
    except (OSError, OverflowError) as failure:
        raise error(f"{where}: can't be read ({failure})") from failure
    if offset < end:
        raise error(f"{where}: ends at byte {offset}, where byte {end - 1} was to be read")
    return b"".join(pieces)


def _pread(descriptor: int, size: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)
