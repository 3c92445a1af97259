"""Locks of open files, which go with the process that holds them. Windows has none, and neither have some disks."""

from __future__ import annotations

import errno
import importlib
import os
from typing import Any, Final

fcntl: Any
try:
    fcntl = importlib.import_module("fcntl")
except ImportError:
    fcntl = None

__all__ = ["HAS_LOCKS", "take"]

HAS_LOCKS: Final = fcntl is not None
"""Whether this system has them at all."""


def take(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Take the lock of an open file; return False if somebody holds one against it.

    Args:
        descriptor: Of the file.
        shared: Let others in who also share.
        wait: Until nobody holds one against it.

    Raises:
        OSError: There are no locks, here or on the file's disk.
    """
    if not HAS_LOCKS:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
