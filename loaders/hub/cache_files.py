"""Files in the Hub's cache: second names for what is downloaded, and what the cache's disk refuses.

A link from one file of the cache to another is relative: the cache may be copied, or mounted elsewhere.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dynamic_sparsity.errors import DynamicSparsityError, WriteFailedError

__all__ = ["cache_errors", "give_name", "write_failure"]

REFUSALS: Final = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EFBIG, errno.ENAMETOOLONG, errno.ENOLCK),
    getattr(errno, "EDQUOT", errno.ENOSPC),  # Windows has no quotas
}
"""What a disk answers that is full, may not be written to, or has no lock to give, without which the client stops."""


def give_name(source: Path, target: Path) -> None:
    """Give a file a second name, by the first way that the disk allows: a symbolic link, a hard link, a copy.

    Args:
        source: The file, or a link to it; nobody changes it in place.
        target: The second name; nothing may be there.
    """
    from huggingface_hub import constants

    source = source.resolve()
    if not constants.HF_HUB_DISABLE_SYMLINKS:
        with suppress(OSError, NotImplementedError, ValueError):  # ValueError: there is no way from drive to drive
            target.symlink_to(os.path.relpath(source, target.parent.resolve()))
            return
    with suppress(OSError, NotImplementedError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)


@contextmanager
def cache_errors(path: Path) -> Iterator[None]:
    """Turn a refusal of the cache's disk into our error.

    Args:
        path: What is being written; named where the system names no file.

    Raises:
        WriteFailedError: The disk is full, or may not be written to.
    """
    try:
        yield
    except OSError as error:
        ours = write_failure(error, path)
        if ours is None:
            raise
        raise ours from error


def write_failure(error: Exception, path: Path | None = None) -> WriteFailedError | None:
    """Return our error for a refusal of the cache's disk; None for any other error.

    Args:
        error: What was raised.
        path: What is being written; None for the whole cache.
    """
    if type(error).__module__ != "builtins" or isinstance(error, DynamicSparsityError):
        return None  # errors of TLS have numbers of their own
    if not isinstance(error, OSError) or error.errno not in REFUSALS:
        return None
    from huggingface_hub import constants

    what = error.filename2 or error.filename or path or constants.HF_HUB_CACHE
    return WriteFailedError(
        f"{os.fsdecode(what)} can't be written ({error.strerror}). The Hub's cache is {constants.HF_HUB_CACHE}: make "
        "room in it, or let the environment variable HF_HUB_CACHE name a folder that you may write to; what is in a "
        "cache is read without writing"
    )
