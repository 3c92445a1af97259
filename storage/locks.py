"""The lock that keeps two writers of a store apart. Windows, where only the reading side works, has none."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dynamic_sparsity.errors import StoreLockedError
from dynamic_sparsity.storage import file_lock
from dynamic_sparsity.storage.atomic import missing_folders, remove_empty

__all__ = ["is_locked", "lock"]

NO_LOCKS: Final = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems answer that have no locks."""


@contextmanager
def lock(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Keep other processes from writing to a store while the context lasts.

    The lock is `<store>.lock` beside the store. It goes with the process that holds it, even if that is killed, so a
    lock file left behind locks nothing. Folders that are made for it go again, if nothing else was put there.

    Args:
        path: The store; it need not exist yet.
        shared: Let others in who also share: jobs that each write shards of their own.

    Raises:
        StoreLockedError: Another process holds the lock.
    """
    if not file_lock.HAS_LOCKS:
        yield
        return
    lock_path = path.with_name(path.name + ".lock")
    made = missing_folders(lock_path)
    try:
        descriptor = _acquire(lock_path, path, shared)
    except BaseException:
        remove_empty(made)
        raise
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        if not shared or _take(descriptor):
            lock_path.unlink(missing_ok=True)
        os.close(descriptor)
        remove_empty(made)


def is_locked(path: Path) -> bool:
    """Return whether some process is writing to a store now.

    Args:
        path: The store.
    """
    if not file_lock.HAS_LOCKS:
        return False
    lock_path = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock_path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _take(descriptor)
    finally:
        os.close(descriptor)


def _take(descriptor: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file, unless somebody holds one against it; return whether it was taken."""
    try:
        return file_lock.take(descriptor, shared=shared)
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise StoreLockedError(
                "the file system has no locks, so nothing would keep two writers of a store apart "
                f"({error.strerror}); write to another --out, on a local disk say, and move the finished store"
            ) from error
        raise


def _acquire(lock_path: Path, store: Path, shared: bool) -> int:
    if lock_path.is_symlink():
        raise StoreLockedError(f"{lock_path} is a link, which no lock of this package is; remove it")
    while True:
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Never through a link: the file is emptied.
            descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except FileNotFoundError:
            continue  # the last holder has removed the folder
        try:
            taken = _take(descriptor, shared=shared)
            # The last holder may have deleted the file between our open and our lock: then it is no longer the lock.
            if taken and lock_path.exists() and os.path.samestat(os.fstat(descriptor), lock_path.stat()):
                return descriptor
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not taken:
            raise StoreLockedError(
                f"{store} is being written by another process (id {holder}), which holds {lock_path.name}; wait until "
                f"it has ended, or write to another --out"
            )
