"""Fetching files of a published store, or pieces of them: each appears complete and checked, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.loaders.hub.cache_files import give_name
from dynamic_sparsity.loaders.hub.leftovers import own_partial
from dynamic_sparsity.loaders.hub.publication import PublishedFile
from dynamic_sparsity.loaders.hub.repository import Repository
from dynamic_sparsity.loaders.hub.transfer_plan import FilePlan
from dynamic_sparsity.untrusted.names import inside

__all__ = ["THREADS", "fetch_file", "fetch_run", "in_threads", "make_folder", "place"]

THREADS: Final = 8
"""Requests at a time."""

Bytes = NDArray[np.uint8]


def fetch_file(repository: Repository, store_path: str, plan: FilePlan, copy: Path, *, force: bool = False) -> None:
    """Fetch one file of a store; it appears when it is complete and checked.

    Args:
        repository: Where it is published.
        store_path: The store's folder in the repository.
        plan: Which of its bytes; a whole file goes through the Hub's cache, and the copy has a second
            name of it.
        copy: Folder of the copy of the store.
        force: Download a whole file although the cache has it.

    Raises:
        CorruptStoreError: The bytes are not those that were published, after a second attempt too.
        HubError: The Hub can't be reached, or refuses.
    """
    path = f"{store_path}/{plan.name}"
    target = inside(copy, plan.name, CorruptStoreError)
    make_folder(target.parent)
    partial = own_partial(target)
    try:
        if plan.pieces is None:
            source = repository.file(PublishedFile(path, plan.sha256, plan.size), force=force)
            give_name(source, partial)
        else:
            with partial.open("wb") as out:
                out.truncate(plan.size)
                for run in plan.runs:
                    start, stop = plan.bounds(run)
                    contents = np.empty(stop - start, np.uint8)
                    fetch_run(repository, path, plan, run, contents)
                    out.seek(start)
                    out.write(contents.data)
        place(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def place(source: Path, target: Path) -> None:
    """Give a finished file its name, whatever damage has put in that place.

    Args:
        source: The file, complete.
        target: Its name.
    """
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    source.replace(target)


def make_folder(folder: Path) -> None:
    """Make a folder, whatever damage has put in its place.

    Args:
        folder: The folder; those above it are made, too.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        for above in (*reversed(folder.parents), folder):
            if above.is_symlink() or (above.exists() and not above.is_dir()):
                above.unlink()
                break
        folder.mkdir(parents=True, exist_ok=True)


def fetch_run(repository: Repository, path: str, plan: FilePlan, run: tuple[int, int], out: Bytes) -> None:
    """Fetch the bytes of one request, and check them.

    Args:
        repository: Where the file is published.
        path: Its path in the repository.
        plan: Which of its bytes.
        run: One of its `runs`.
        out: Where to put them, shape (n,).

    Raises:
        CorruptStoreError: The bytes are not those that were published, after a second attempt too.
        HubError: The Hub can't be reached, or refuses.
    """
    for _ in range(2):
        repository.receive(path, plan.bounds(run)[0], out)
        if plan.is_right(run, out):
            return
    raise repository.wrong_bytes(path)


def in_threads(function: Callable[[Any], None], items: Sequence[Any], threads: int = THREADS) -> None:
    """Call a function for each item; the first error stops what has not begun.

    Args:
        function: What to do.
        items: With what.
        threads: How many at a time.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="hub") as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            # One wait for all: who is woken for each takes Python's lock from those at work.
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for future in futures:
        if not future.cancelled():
            future.result()
