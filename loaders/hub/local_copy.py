"""The part of a published store that requests needed, on this machine: by task, policy, split and columns.

Whole files go through the Hub's cache. Where a split needs little of a file, only its pieces are fetched. Either way
the result is a partial copy of the store (see `partial`) in the Hub's folder of the repository; a second request finds
it there, and one for a split finds the copy of the whole store.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError, UnknownNameError
from dynamic_sparsity.loaders import coordinates as conversion
from dynamic_sparsity.loaders.hub.cache_files import cache_errors
from dynamic_sparsity.loaders.hub.leftovers import own_partial, working_on
from dynamic_sparsity.loaders.hub.publication import PublishedStore
from dynamic_sparsity.loaders.hub.repository import Repository, quiet
from dynamic_sparsity.loaders.hub.store_index import check_identity, read_index
from dynamic_sparsity.loaders.hub.transfer import fetch_file, in_threads, make_folder, place
from dynamic_sparsity.loaders.hub.transfer_plan import FilePlan, plan_files
from dynamic_sparsity.loaders.hub.transfer_progress import Silent, TransferProgress
from dynamic_sparsity.loaders.row_reader import needed_arrays
from dynamic_sparsity.loaders.row_source import check_choice
from dynamic_sparsity.loaders.store.partial import PARTIAL_FILE, PartialLedger, copy_corrupt
from dynamic_sparsity.loaders.store.store import Store, open_store
from dynamic_sparsity.schemas import validate
from dynamic_sparsity.schemas.documents import encode_document
from dynamic_sparsity.schemas.files import MANIFEST_FILE
from dynamic_sparsity.schemas.joining import DERIVED
from dynamic_sparsity.schemas.layout import CHECKSUM_BYTES, ArrayLayout, array_layouts
from dynamic_sparsity.schemas.splits import SPLITS
from dynamic_sparsity.untrusted.documents import DOCUMENT_BYTES_MAX, read_json
from dynamic_sparsity.untrusted.files import read_regular
from dynamic_sparsity.untrusted.names import inside

__all__ = ["LocalCopy", "split_rows"]

FRAME_BYTES: Final = 16
"""What blosc puts before a chunk; one that does not compress is no larger by more than that."""

Integers = NDArray[np.int64]


class LocalCopy:
    """The part of a published store that one split needs, on this machine; arrays are added when they are requested.

    Attributes:
        repository: Where the store is published.
        published: The store.
        split: "train", "validation" or "test"; None for all rows.
        path: Folder of the copy; `plan` may turn from the whole store's copy to the split's own.
    """

    def __init__(
        self,
        repository: Repository,
        published: PublishedStore,
        split: str | None,
        folder: Path | None = None,
        *,
        force: bool = False,
    ):
        """Fetch the store's index, if it is not there yet.

        Args:
            repository: Where the store is published.
            published: The store.
            split: "train", "validation" or "test"; None for all rows.
            folder: Folder of the copy; by default one in the Hub's cache, the same for the same data and split: the
                whole store's if that is there.
            force: Fetch the index although it is there, and write its files again.

        Raises:
            UnknownNameError: There is no such split.
            CorruptStoreError: The index is not what was published, or the local copy is damaged.
            HubError: The Hub can't be reached, or refuses.
            WriteFailedError: The cache's disk is full, or may not be written to.
        """
        if split is not None and split not in SPLITS:
            raise UnknownNameError(f"there is no split {split!r}; there is {', '.join(map(repr, SPLITS))}")
        self.repository = repository
        self.published = published
        self.split = split
        self._own = folder / published.path if folder else self._kept(split)
        places = (self._own,) if folder else (self._kept(None), self._own)
        self.path = next((path for path in places if (path / PARTIAL_FILE).exists()), self._own)
        self._prepare(force=force)

    @cached_property
    def store(self) -> Store:
        """The copy as it was when it was first looked at."""
        return self._open(self.path)

    @cached_property
    def ledger(self) -> PartialLedger:
        """The copy's files."""
        ledger = self.store.ledger
        assert isinstance(ledger, PartialLedger)
        return ledger

    @cached_property
    def cached_folders(self) -> list[Path]:
        """Where files of the store may be that were downloaded: this split's, which may have holes, and whole ones."""
        kept = dict.fromkeys((self._kept(self.split), self._kept(None)))
        return [*kept, self.repository.folder / self.published.path]

    @property
    def arrays(self) -> tuple[str, ...]:
        """All row arrays of the whole store, and what follows from them."""
        return (*self.store.arrays, *self.store.absent)

    def arrays_for(
        self, columns: Sequence[str] | None, coordinates: str = "tangent", exclude_flags: Sequence[str] = ()
    ) -> list[str]:
        """Return the arrays that a request needs to be fetched.

        Args:
            columns: Names of columns; None for all.
            coordinates: "tangent" or "ambient".
            exclude_flags: Flags by which rows are left out.

        Raises:
            UnknownNameError: A column does not exist.
        """
        if columns is None:
            return [name for name in self.arrays if name not in DERIVED]
        converts = coordinates == "ambient" and conversion.has_quaternions(self.store.metadata["joints"])
        known = (*self.store.readable, *self.store.absent)
        names = [check_choice("column", name, known) for name in columns] + ["flags"] * bool(exclude_flags)
        needed = needed_arrays(names, converts=converts)
        return [name for name in needed if name in self.arrays and name not in DERIVED]

    def plan(self, arrays: Sequence[str], *, force: bool = False) -> list[FilePlan]:
        """Return the files of arrays that have to be fetched; of the whole store's copy, none is fetched for a split.

        Args:
            arrays: Their names; `arrays` has all.
            force: Also those that are there.

        Raises:
            CorruptStoreError: The index is not what was published, or the local copy is damaged.
            HubError: The Hub can't be reached, or refuses.
        """
        if self.path != self._own and plan_files(self.ledger, arrays):
            self.path = self._own
            for name in ("store", "ledger"):
                self.__dict__.pop(name, None)
            self._prepare(force=force)
        return plan_files(self.ledger, arrays, force=force)

    def fetch(self, arrays: Sequence[str], progress: TransferProgress | None = None, *, force: bool = False) -> None:
        """Make sure that arrays are there.

        Args:
            arrays: Their names; `arrays` has all.
            progress: Receives the progress.
            force: Fetch them though they are there.

        Raises:
            CorruptStoreError: The Hub's bytes are not those that were published.
            HubError: The Hub can't be reached, or refuses.
            WriteFailedError: The cache's disk is full, or may not be written to.
        """
        plans = self.plan(arrays, force=force)
        if not plans:
            return
        progress = progress or Silent()
        progress.started(f"{self.published.task} {self.published.policy}", sum(plan.bytes for plan in plans))

        def fetch(plan: FilePlan) -> None:
            fetch_file(self.repository, self.published.path, plan, self.path, force=force)
            progress.advanced(plan.bytes)

        try:
            with cache_errors(self.path), quiet(), working_on(self.path):
                in_threads(fetch, plans)
        finally:
            progress.finished()

    def _kept(self, split: str | None) -> Path:
        """Return where a split's copy is kept: the same store in another version of the data is the same copy."""
        name = f"{self.published.manifest_sha256[:16]}-{split or 'all'}"
        return self.repository.copies / name / self.published.path

    def _prepare(self, *, force: bool) -> None:
        """Make sure that the copy's small files are there."""
        if force or not (self.path / PARTIAL_FILE).exists():
            self._lay_out(force=force)
        self._check_manifest()

    def _lay_out(self, *, force: bool) -> None:
        """Fetch the index and write its files to the copy's folder, which appears when it is complete.

        Files of a folder that is there already are replaced one by one: they are the same unless they are damaged.
        """
        where = f"{self.repository.name}: {self.published.index.path}"
        with quiet():
            contents = self.repository.read(self.published.index, force=force)
        members = read_index(contents, self.published, where)
        del contents
        with cache_errors(self.path), working_on(self.path):
            made = own_partial(self.path)
            shutil.rmtree(made, ignore_errors=True)
            try:
                for name, member in members.items():
                    path = inside(made, name, CorruptStoreError)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(member)
                names = [*members]
                del members
                self._write_ranges(made)
                if not self.path.exists():
                    with suppress(OSError):
                        made.rename(self.path)
                        return
                for name in (*names, PARTIAL_FILE):
                    target = inside(self.path, name, CorruptStoreError)
                    make_folder(target.parent)
                    place(made / name, target)
            finally:
                shutil.rmtree(made, ignore_errors=True)

    def _write_ranges(self, made: Path) -> None:
        """Check a copy without rows, and write down which rows it is to have."""
        where = f"{self.repository.name}: {self.published.path}/zarr.json"
        attributes = read_json(made / "zarr.json").get("attributes")
        validate(attributes, "store", where)
        assert isinstance(attributes, dict)
        # The whole store's copy, by which a split is served, stays one of all rows.
        split = self.split if self.path == self._own else None
        document = {"split": split, "rows": attributes["rows"], "shard_rows": attributes["shard_rows"]}
        # The episode table is read as that of a copy without any rows.
        (made / PARTIAL_FILE).write_bytes(encode_document(document | {"ranges": []}))
        store = self._open(made)
        found = split_rows(store)
        if found != self.published.splits:
            raise CorruptStoreError(
                f"{self.repository.name}: {self.published.path} has {found} rows by split, but it was published with "
                f"{dict(self.published.splits)}; whoever published it has to fix that"
            )
        ranges = _ranges(store, split).tolist()
        (made / PARTIAL_FILE).write_bytes(encode_document(document | {"ranges": ranges}))
        self._open(made)

    def _check_manifest(self) -> None:
        """Is the copy's manifest the one that was published? All else of it is checked against that."""
        try:
            contents = read_regular(self.path / MANIFEST_FILE, DOCUMENT_BYTES_MAX)
        except CorruptStoreError as error:
            raise copy_corrupt(self.path, MANIFEST_FILE, f"can't be read ({error})") from error
        if hashlib.sha256(contents).hexdigest() != self.published.manifest_sha256:
            raise copy_corrupt(self.path, MANIFEST_FILE, "is not the one that was published")

    def _open(self, path: Path) -> Store:
        """Open a copy, and compare it with what was published."""
        store = open_store(path)
        ledger = store.ledger
        size = sum(ledger.size(name) for name in ledger.names())
        for layout in array_layouts(store.metadata).values():
            for shard in range(layout.shards):
                name = layout.shard_name(shard)
                least, most = _size_bounds(layout, shard)
                if not least <= ledger.size(name) <= most:
                    raise CorruptStoreError(
                        f"{self.repository.name}: {self.published.path}/{name} was published with {ledger.size(name)} "
                        f"bytes; its rows take {least} to {most}. Whoever published it has to fix that."
                    )
        check_identity(self.published, store.metadata, size, f"{self.repository.name}: {self.published.path}")
        return store


def _size_bounds(layout: ArrayLayout, shard: int) -> tuple[int, int]:
    """Return the least and most bytes that a shard's file may have."""
    exact = layout.shard_bytes(shard)
    if exact is not None:
        return exact, exact
    chunks = layout.chunks_needed(shard)
    most = chunks * (layout.chunk_bytes + FRAME_BYTES + CHECKSUM_BYTES) + layout.index_bytes
    return chunks * (FRAME_BYTES + CHECKSUM_BYTES) + layout.index_bytes, most


def split_rows(store: Store) -> dict[str, int]:
    """Return rows with data, by split.

    Args:
        store: The store.
    """
    lengths, codes = store.episodes["length"], store.episodes["split"]
    return {split: int(np.sum(lengths[codes == code])) for code, split in enumerate(SPLITS)}


def _ranges(store: Store, split: str | None) -> Integers:
    """Return the runs of rows of a split's episodes, int64, shape (runs, 2)."""
    table = store.episodes
    if split is None:
        return np.asarray([[0, store.rows]], np.int64)
    chosen = table["split"] == store.metadata["splits"].index(split)
    starts = table["start"][chosen].astype(np.int64)
    stops = starts + table["length"][chosen]
    first = np.flatnonzero(np.concatenate([[True], starts[1:] != stops[:-1]])) if starts.size else starts
    last = np.concatenate([first[1:], [starts.size]]) - 1 if starts.size else starts
    return np.stack([starts[first], stops[last]], axis=1)
