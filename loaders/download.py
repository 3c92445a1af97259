"""Fetching what a request needs of a published store, and no more: by task, policy, split and columns.

Whole files go through the Hub's cache. Where a split needs little of a file, only its pieces are fetched. Either way
the result is a partial copy of the store (see `partial`) in the cache's folder for libraries; a second request finds
it there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError, UnknownNameError
from dynamic_sparsity.loaders.hub import Repository, import_hub, quiet
from dynamic_sparsity.loaders.partial import PARTIAL_FILE, PartialLedger, Pieces
from dynamic_sparsity.loaders.progress import Progress, Silent
from dynamic_sparsity.loaders.publication import PublishedFile, PublishedStore
from dynamic_sparsity.loaders.store import Store, open_store
from dynamic_sparsity.schemas.splits import SPLITS

__all__ = ["FilePlan", "LocalCopy", "fetch_file", "fetch_run", "in_threads", "plan_files"]

THREADS: Final = 8
# A file is fetched in pieces if that saves at least this share of it, and this many bytes: a request costs as much.
LEAST_SHARE_SAVED: Final = 0.35
LEAST_BYTES_SAVED: Final = 16 * 1024
RANGE_BYTES_MAX: Final = 16 * 2**20
# Pieces this near to each other are fetched with one request.
GAP_BYTES_MAX: Final = 4096

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class FilePlan:
    """How one shard file is to be fetched.

    Attributes:
        name: Its path inside the store.
        size: Its size, bytes.
        sha256: Digest of the whole file, hexadecimal.
        pieces: How it is cut; None where it is fetched whole.
        needed: Which pieces are needed; empty where it is fetched whole.
        run_bytes_max: About how many bytes one request may ask for.
    """

    name: str
    size: int
    sha256: str
    pieces: Pieces | None = None
    needed: tuple[int, ...] = ()
    run_bytes_max: int = RANGE_BYTES_MAX

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """First needed piece, and the piece behind the last, of every request; a whole file is one piece."""
        if self.pieces is None:
            return [(0, 1)]
        runs: list[tuple[int, int]] = []
        for piece in self.needed:
            start, stop = self.pieces.bounds(piece)
            if runs:
                first, behind = runs[-1]
                near = start - self.pieces.bounds(behind - 1)[1] <= GAP_BYTES_MAX
                if near and stop - self.pieces.bounds(first)[0] <= self.run_bytes_max:
                    runs[-1] = first, piece + 1
                    continue
            runs.append((piece, piece + 1))
        return runs

    def bounds(self, run: tuple[int, int]) -> tuple[int, int]:
        """First byte of a request, and the byte behind its last.

        Args:
            run: One of `runs`.
        """
        if self.pieces is None:
            return 0, self.size
        return self.pieces.bounds(run[0])[0], self.pieces.bounds(run[1] - 1)[1]

    def is_right(self, run: tuple[int, int], contents: Bytes) -> bool:
        """Whether bytes are those that were published.

        Args:
            run: One of `runs`.
            contents: Its bytes, shape (n,).
        """
        if self.pieces is None:
            return hashlib.sha256(contents.data).hexdigest() == self.sha256
        pieces, first = self.pieces, self.bounds(run)[0]
        places = ((piece, *pieces.bounds(piece)) for piece in range(*run))
        return all(pieces.is_right(piece, contents.data[start - first : stop - first]) for piece, start, stop in places)

    @property
    def bytes(self) -> int:
        """Bytes that are fetched."""
        return sum(stop - start for start, stop in map(self.bounds, self.runs))

    @property
    def requests(self) -> int:
        """Requests that this takes: a whole file is looked up and then read."""
        return 2 if self.pieces is None else len(self.runs)


def plan_files(
    ledger: PartialLedger, arrays: Sequence[str], shards: Sequence[int] | None = None, *, force: bool = False
) -> list[FilePlan]:
    """The shard files that some arrays of a partial copy still need.

    Args:
        ledger: Of the copy.
        arrays: Names of arrays.
        shards: Only these shards; None for all.
        force: Also those that are there.
    """
    plans = []
    for name, (array, shard) in ledger.wanted_files.items():
        if array in arrays and (shards is None or shard in shards) and (force or not ledger.is_there(name)):
            sha256, size = ledger.record(name)
            plan = FilePlan(name, size, sha256)
            pieces = ledger.pieces.get(name)
            needed = tuple(pieces.needed(ledger.shard_ranges(shard))) if pieces else ()
            if pieces and len(needed) < len(pieces.offsets):
                cut = FilePlan(name, size, sha256, pieces, needed)
                saved = size - cut.bytes
                if saved >= LEAST_BYTES_SAVED and saved >= LEAST_SHARE_SAVED * size:
                    plan = cut
            plans.append(plan)
    return plans


def fetch_file(repository: Repository, store_path: str, plan: FilePlan, target: Path, *, force: bool = False) -> None:
    """Fetch one file of a store; it appears whole and checked, or not at all.

    Args:
        repository: Where it is published.
        store_path: The store's folder in the repository.
        plan: Which of its bytes; a whole file goes through the Hub's cache, and `target` becomes a link to it.
        target: Where to put it.
        force: Download a whole file though the cache has it.

    Raises:
        CorruptStoreError: The bytes are not those that were published, after a second attempt too.
        HubError: The Hub can't be reached, or refuses.
    """
    path = f"{store_path}/{plan.name}"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        if plan.pieces is None:
            source = repository.file(PublishedFile(path, plan.sha256, plan.size), force=force)
            partial.symlink_to(source.absolute())
        else:
            with partial.open("wb") as out:
                out.truncate(plan.size)
                for run in plan.runs:
                    start, stop = plan.bounds(run)
                    contents = np.empty(stop - start, np.uint8)
                    fetch_run(repository, path, plan, run, contents)
                    out.seek(start)
                    out.write(contents.data)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


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


class LocalCopy:
    """The part of a published store that one split needs, on this machine; arrays are added as they are asked for."""

    def __init__(
        self, repository: Repository, published: PublishedStore, split: str | None, folder: Path | None = None
    ):
        """Fetch the store's index, if it is not there yet.

        Args:
            repository: Where the store is published.
            published: The store.
            split: "train", "validation" or "test"; None for all rows.
            folder: Folder of the copy; by default one in the Hub's cache, the same for the same data and split.

        Raises:
            UnknownNameError: There is no such split.
            CorruptStoreError: The index is not what was published.
            HubError: The Hub can't be reached, or refuses.
        """
        if split is not None and split not in SPLITS:
            raise UnknownNameError(f"there is no split {split!r}; there is {', '.join(map(repr, SPLITS))}")
        self.repository = repository
        self.published = published
        self.split = split
        self._inside = Path(published.task, Path(published.path).name)
        self.path = (folder or _cache_folder(repository, published, split)) / self._inside
        if not (self.path / PARTIAL_FILE).exists():
            self._unpack(repository.file(published.index))

    @cached_property
    def store(self) -> Store:
        """The copy as it was when it was first looked at."""
        return open_store(self.path)

    @cached_property
    def ledger(self) -> PartialLedger:
        """The copy's files."""
        ledger = open_store(self.path).ledger
        assert isinstance(ledger, PartialLedger)
        return ledger

    @cached_property
    def cached_folders(self) -> list[Path]:
        """Where files of the store may be that were downloaded: this split's, which may have holes, and whole ones."""
        folders = [self.repository.folder / self.published.path]
        with suppress(OSError):  # the client makes the folder, which needs a right to write
            folders.insert(0, _cache_folder(self.repository, self.published, self.split) / self._inside)
        return folders

    @property
    def arrays(self) -> tuple[str, ...]:
        """All row arrays of the whole store."""
        return (*self.store.arrays, *self.store.absent)

    def fetch(self, arrays: Sequence[str], progress: Progress | None = None, *, force: bool = False) -> None:
        """Make sure that arrays are there.

        Args:
            arrays: Their names; `arrays` has all.
            progress: Told how it goes on.
            force: Fetch them though they are there.

        Raises:
            CorruptStoreError: The Hub's bytes are not those that were published.
            HubError: The Hub can't be reached, or refuses.
        """
        plans = plan_files(self.ledger, arrays, force=force)
        if not plans:
            return
        progress = progress or Silent()
        progress.started(f"{self.published.task} {self.published.policy}", sum(plan.bytes for plan in plans))

        def fetch(plan: FilePlan) -> None:
            fetch_file(self.repository, self.published.path, plan, self.path / plan.name, force=force)
            progress.advanced(plan.bytes)

        try:
            with quiet():
                in_threads(fetch, plans)
        finally:
            progress.finished()

    def _unpack(self, archive: Path) -> None:
        """Lay out the copy's folder from the store's index; it appears whole or not at all."""
        made = self.path.with_name(f"{self.path.name}.{os.getpid()}-{threading.get_ident()}.partial")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        try:
            with tarfile.open(archive, "r:xz") as index:
                index.extractall(made, filter="data")
            attributes = json.loads((made / "zarr.json").read_bytes())["attributes"]
            document = {"split": self.split, "rows": attributes["rows"], "shard_rows": attributes["shard_rows"]}
            # The episode table is read as a copy without any rows, then the rows of its split are written down.
            _write(made / PARTIAL_FILE, document | {"ranges": []})
            _write(made / PARTIAL_FILE, document | {"ranges": _ranges(open_store(made), self.split).tolist()})
            try:
                made.rename(self.path)
            except OSError:
                if not (self.path / PARTIAL_FILE).exists():
                    raise
        except (tarfile.TarError, KeyError, ValueError) as error:
            if isinstance(error, CorruptStoreError):
                raise
            raise self.repository.wrong_bytes(self.published.index.path) from error
        finally:
            shutil.rmtree(made, ignore_errors=True)


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


def _cache_folder(repository: Repository, published: PublishedStore, split: str | None) -> Path:
    """Where a copy lies: the same store in another version of the data is the same copy."""
    name = f"{published.manifest_sha256[:16]}-{split or 'all'}"
    return Path(import_hub().cached_assets_path("dynamic-sparsity", repository.id, name))


def _ranges(store: Store, split: str | None) -> Integers:
    """The runs of rows of a split's episodes, int64, shape (runs, 2)."""
    table = store.episodes
    if split is None:
        return np.asarray([[0, store.rows]], np.int64)
    chosen = table["split"] == store.metadata["splits"].index(split)
    starts = table["start"][chosen].astype(np.int64)
    stops = starts + table["length"][chosen]
    first = np.flatnonzero(np.concatenate([[True], starts[1:] != stops[:-1]])) if starts.size else starts
    last = np.concatenate([first[1:], [starts.size]]) - 1 if starts.size else starts
    return np.stack([starts[first], stops[last]], axis=1)


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document) + "\n")
