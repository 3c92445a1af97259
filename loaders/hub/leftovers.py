"""What killed downloads leave behind: a running process holds a lock, and what no process holds is deleted.

The lock of a file goes with the process that holds it, even if that is killed. So a lock that can be taken says that
nobody is at work, whatever machine or container the others are on.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dynamic_sparsity.storage.file_lock import HAS_LOCKS, take

__all__ = ["PARTIAL_SUFFIX", "own_partial", "owned_folder", "release", "working_on"]

PARTIAL_SUFFIX: Final = ".partial"
LOCK_SUFFIX: Final = ".lock"
OWNER_FILE: Final = "owner.lock"
FOLDER_PREFIX: Final = "dynamic-sparsity-"
_OWNER: Final = re.compile(r".*\.([0-9]{1,10})-[0-9]+\.partial")


def own_partial(path: Path) -> Path:
    """Return where this thread writes what will appear as `path` when it is complete.

    Args:
        path: A file or folder.
    """
    return path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL_SUFFIX}")


@contextmanager
def working_on(path: Path) -> Iterator[None]:
    """While it lasts, others leave alone what this process has begun in a folder; what nobody works on goes first.

    Args:
        path: The folder of a copy of a store; it need not exist yet. The lock is a file next to it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _open_lock(path.with_name(path.name + LOCK_SUFFIX))
    if descriptor is None:  # the folder belongs to somebody else: what is to be written will tell
        yield
        return
    try:
        if _take(descriptor, wait=False):
            _sweep(path)
        # Others may work on it too, but wait until it is swept.
        _take(descriptor, wait=True, shared=True)
        yield
    finally:
        os.close(descriptor)


def owned_folder() -> Path:
    """Make a temporary folder for this process; those of killed processes are deleted."""
    _sweep_folders(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    if not HAS_LOCKS:  # nor may an open file get another name there
        _owned[folder] = os.getpid(), None
        return folder
    partial = folder / f"{OWNER_FILE}{PARTIAL_SUFFIX}"
    # The lock lasts until the process ends, or `release`; it gets its name when it is held.
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o600)
    _take(descriptor, wait=False)
    partial.rename(folder / OWNER_FILE)
    _owned[folder] = os.getpid(), descriptor
    return folder


def release(folder: Path) -> None:
    """Delete a folder of `owned_folder`; a process that was forked off leaves it to the one that made it.

    Args:
        folder: The folder.
    """
    owner, descriptor = _owned.pop(folder, (None, None))
    if owner == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
    if descriptor is not None:
        os.close(descriptor)


_owned: Final[dict[Path, tuple[int, int | None]]] = {}


def _open_lock(path: Path) -> int | None:
    """Open the file of a lock, also one that another user has made; None where that is not permitted."""
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        with suppress(OSError):
            return os.open(path, flags, 0o666)
    return None


def _take(descriptor: int, *, wait: bool, shared: bool = False) -> bool:
    """Take the lock of an open file, if nobody holds one against it; whether that is so."""
    with suppress(OSError):
        return take(descriptor, wait=wait, shared=shared)
    return False  # there are no locks


def _sweep(path: Path) -> None:
    """Delete the unfinished files of a folder, and unfinished folders next to it."""
    for leftover in [*path.parent.glob(f"{path.name}.*{PARTIAL_SUFFIX}"), *path.rglob(f"*{PARTIAL_SUFFIX}")]:
        if _is_owned(leftover):
            continue
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            with suppress(OSError):
                leftover.unlink()


def _is_owned(leftover: Path) -> bool:
    """Return whether the process that a name contains runs here: older versions of this package hold no lock."""
    found = _OWNER.fullmatch(leftover.name)
    if found is None or int(found[1]) == os.getpid():
        return False
    try:
        os.kill(int(found[1]), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _sweep_folders(parent: Path) -> None:
    """Delete this user's temporary folders whose process is gone."""
    if not HAS_LOCKS:
        return
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        owner = folder / OWNER_FILE
        # Anybody may put links, or folders of that name, where temporary files are.
        with suppress(OSError):
            if folder.is_symlink() or not folder.is_dir() or folder.lstat().st_uid != os.getuid():
                continue
            descriptor = os.open(owner, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _take(descriptor, wait=False):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
