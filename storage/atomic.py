"""Files that are either complete or absent, on any system and disk: some can't sync files or folders."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dynamic_sparsity.errors import InvalidSettingError

PARTIAL_SUFFIX: Final = ".partial"
COPY_BLOCK_BYTES: Final = 2**20

NO_SYNC: Final = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems answer that can't sync."""

AT_FDCWD: Final = -100
RENAME_EXCHANGE: Final = 2
"""Numbers of Linux's renameat2."""

# Two processes, on whatever machines, never write to the same unfinished file.
_OWN: Final = secrets.token_hex(4)


def partial_path(path: Path) -> Path:
    """Return where this process writes what is to appear as `path` when it is complete.

    Args:
        path: The file's or folder's final path.
    """
    return path.with_name(f"{path.name}.{_OWN}{PARTIAL_SUFFIX}")


def check_output_folder(folder: Path, what: str = "the output folder") -> None:
    """Refuse a folder that can't be written to, before work begins whose results would go there.

    Args:
        folder: It need not exist; then it must be possible to make it.
        what: What the message calls it, such as the option that names it.

    Raises:
        InvalidSettingError: It, or the folder that it would be in, is a file or may not be written to.
    """
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
        if not there.is_dir():
            raise InvalidSettingError(
                f"{what} is {str(folder)!r}, but {there} is not a folder; name a folder, or one that can be made"
            )
        if not os.access(there, os.W_OK | os.X_OK):
            raise InvalidSettingError(
                f"{what} is {str(folder)!r}, but {there} can't be written to; name another folder"
            )
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidSettingError):
            raise
        raise InvalidSettingError(f"{what} is {str(folder)!r}, which can't be written to ({error})") from error


def sync(descriptor: int) -> None:
    """Wait until an open file or folder is on disk, where the file system can tell.

    Args:
        descriptor: Of the file or folder.

    Raises:
        OSError: The disk failed, or is full.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def publish(path: Path, pieces: Iterable[bytes]) -> tuple[str, int]:
    """Write a file so that it appears under its name only when all of it is on disk.

    The directory is not synced: the caller does that once for many files, with `sync_directories`.

    Args:
        path: The file; its directory is made if missing. An older file of that name is replaced.
        pieces: Its content, in order.

    Returns:
        sha256 of the bytes written, as hexadecimal digits, and their number.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    digest, size = hashlib.sha256(), 0
    try:
        with partial.open("wb") as stream:
            for piece in pieces:
                stream.write(piece)
                digest.update(piece)
                size += len(piece)
            stream.flush()
            sync(stream.fileno())
        partial.replace(path)
    except BaseException:
        # A full disk, or an interrupt: nothing unfinished stays behind.
        partial.unlink(missing_ok=True)
        raise
    return digest.hexdigest(), size


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or where the disk has only one name for a file, copy it. It appears complete.

    The directory is not synced, as by `publish`.

    Args:
        source: The file; nobody may change it in place.
        target: The second name; its directory is made if missing. An older file of that name is replaced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(target)
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial, follow_symlinks=False)
    except OSError:
        with source.open("rb") as stream:
            publish(target, iter(lambda: stream.read(COPY_BLOCK_BYTES), b""))
        return
    partial.replace(target)
    # Where both are names of one file already, the system leaves both.
    partial.unlink(missing_ok=True)


def delete_folder(folder: Path, path: Path) -> None:
    """Delete a folder, which loses its name at once; what is left if this is interrupted, `sweep` deletes.

    Args:
        folder: The folder.
        path: As whose unfinished file it counts from then on.
    """
    unfinished = partial_path(path)
    folder.rename(unfinished)
    shutil.rmtree(unfinished)


def missing_folders(path: Path) -> list[Path]:
    """Return the folders that would have to be made for a path, from the innermost one on.

    Args:
        path: The file or folder that is to be there.
    """
    return [folder for folder in path.parents if not folder.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those of some folders that are there, and empty.

    Args:
        folders: From the innermost one on, as of `missing_folders`.
    """
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def exchange(first: Path, second: Path) -> None:
    """Exchange the names of two folders at one instant: at any moment, each name has one of them.

    Args:
        first: A folder.
        second: Another one, on the same disk.

    Raises:
        OSError: The system or the disk can't do that.
    """
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError as error:
        raise OSError(errno.ENOSYS, "this system can't exchange names") from error
    if function(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(first), None, str(second))


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Let another library write a file so that it appears under its name only when all of it is on disk.

    The directory is not synced, as by `publish`.

    Args:
        path: The file; its directory is made if missing. An older file of that name is replaced.

    Yields:
        Where to write it meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        yield partial
        with partial.open("r+b") as stream:  # Windows syncs only what may be written to
            sync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def sync_directories(files: Iterable[Path], root: Path) -> None:
    """Make the names of files last through a power cut: sync every directory from each file's up to `root`.

    Args:
        files: Files under `root`.
        root: The topmost directory to sync.
    """
    directories = {root}
    for directory in {file.parent for file in files}:
        directories.update(parent for parent in (directory, *directory.parents) if parent.is_relative_to(root))
    if os.name != "posix":  # Windows opens no folder
        return
    # The deepest first, so that no directory is on disk before what it names.
    for directory in sorted(directories, key=lambda path: len(path.parts), reverse=True):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder in which others may be writing: what comes or goes meanwhile may be missed.

    `Path.rglob` fails if a folder is renamed while it looks into it.

    Args:
        folder: The folder; one that does not exist has no files.
    """
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def sweep(path: Path) -> list[Path]:
    """Delete what interrupted writes have left of a store. Nobody else may be writing to it.

    Args:
        path: The store; one that does not exist has nothing to sweep but unfinished templates beside it.

    Returns:
        The files deleted.
    """
    leftovers = sorted(file for file in files_below(path) if file.name.endswith(PARTIAL_SUFFIX))
    for template in path.parent.glob(f"{path.name}.*{PARTIAL_SUFFIX}"):
        if template.is_dir():
            leftovers += sorted(files_below(template))
            # A worker whose driver was killed may still be at it for a moment.
            shutil.rmtree(template, ignore_errors=True)
        else:
            leftovers.append(template)
    for file in leftovers:
        file.unlink(missing_ok=True)
    return leftovers


def sweep_folder(folder: Path) -> None:
    """Delete the unfinished files in a folder. Nobody else may be writing to it.

    Args:
        folder: The folder; folders in it are left alone.
    """
    for file in folder.glob(f"*{PARTIAL_SUFFIX}"):
        if file.is_file() or file.is_symlink():
            file.unlink(missing_ok=True)
