"""Rows of an HDF5 file, read like a store: every column under its own name, the rest as attributes of the root.

libhdf5 is not used: the position of everything follows from the file's own index (`index`), and for files of version
1, which have none, from what a separate process finds (`version1`). docs/hub.md has the layout.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError, StoreNotFoundError
from dynamic_sparsity.loaders.hdf5.contents import ROW, Contents
from dynamic_sparsity.loaders.hdf5.index import read_index
from dynamic_sparsity.loaders.hdf5.version1 import read_old
from dynamic_sparsity.loaders.store.row_store import RowStore
from dynamic_sparsity.schemas.joining import ORIGIN, readable_arrays
from dynamic_sparsity.schemas.truncation import TRUNCATED
from dynamic_sparsity.untrusted.files import open_regular, read_at

__all__ = ["HDF5_SUFFIXES", "Hdf5Store"]

HDF5_SUFFIXES: Final = (".h5", ".hdf5")
DECODED_BYTES: Final = 128 * 2**20
"""How much memory the compressed chunks used last may take once decoded."""

Array = NDArray[Any]
Integers = NDArray[np.int64]


class Hdf5Reader:
    """Reads rows of the file's datasets; a row has the number that it has in the store."""

    def __init__(self, file: ChunkedFile, selection: Integers):
        """Read nothing yet.

        Args:
            file: The file.
            selection: The row in the store of each of its rows, int64, shape (n,).
        """
        self._file = file
        self._order = np.argsort(selection, kind="stable")
        self._sorted = selection[self._order]

    def gather(self, names: Iterable[str], rows: Integers) -> dict[str, Array]:
        """Copy rows out of several datasets.

        Args:
            names: Their names.
            rows: Rows of the store in any order, int64, shape (n,).

        Raises:
            IndexError: A row is not in the file.
            CorruptStoreError: The file is damaged.
        """
        at = np.searchsorted(self._sorted, rows)
        if rows.size and (not self._sorted.size or (self._sorted[np.minimum(at, self._sorted.size - 1)] != rows).any()):
            raise IndexError(f"{self._file.path} does not hold all requested rows")
        places = self._order[at] if rows.size else rows
        ordered = places.size < 2 or bool((np.diff(places) > 0).all())
        unique, inverse = (places, slice(None)) if ordered else np.unique(places, return_inverse=True)
        return {name: self._file.rows(name, unique)[inverse] for name in names}

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Array]:
        """Copy consecutive rows out of several datasets.

        Args:
            names: Their names.
            start: First row.
            stop: The row behind the last.

        Raises:
            IndexError: A row is not in the file.
            CorruptStoreError: The file is damaged.
        """
        return self.gather(names, np.arange(start, stop))

    def will_need(self, names: Iterable[str], start: int, stop: int) -> None:
        """Ignore the hint; see `ArrayReader.will_need`."""


class ChunkedFile:
    """The chunks of an open file; each is checked when it is first used."""

    def __init__(self, path: Path, descriptor: int, contents: Contents):
        """Read nothing yet.

        Args:
            path: The file, for messages.
            descriptor: Of the open file, which is closed with this object.
            contents: What it says, checked.
        """
        self.path = path
        self.contents = contents
        self._descriptor = descriptor
        self._checked = {name: np.zeros(table.size, bool) for name, table in contents.tables.items()}
        self._decoded: dict[tuple[str, int], Array] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, os.close, descriptor)

    def rows(self, name: str, places: Integers) -> Array:
        """Copy rows out of a dataset.

        Args:
            name: Its name.
            places: Rows of the file, each once, in ascending order, int64, shape (n,).

        Raises:
            CorruptStoreError: A chunk is damaged.
        """
        form = self.contents.forms[name]
        taken = np.empty((places.size, *form.row_shape), form.dtype)
        chunks, within = np.divmod(places, form.chunk_rows)
        numbers, starts = np.unique(chunks, return_index=True)
        stops = [*starts[1:].tolist(), places.size][: numbers.size]
        for number, start, stop in zip(numbers.tolist(), starts.tolist(), stops, strict=True):
            inside = within[start:stop]
            first, last = int(inside[0]), int(inside[-1]) + 1
            found = self._stretch(name, number, first, last)
            taken[start:stop] = found if last - first == stop - start else found[inside - first]
        return taken

    def _stretch(self, name: str, number: int, first: int, last: int) -> Array:
        """Return some consecutive rows of one chunk."""
        form = self.contents.forms[name]
        if form.raw and self._checked[name][number]:
            offset = int(self.contents.tables[name]["offset"][number]) + first * form.row_bytes
            contents = read_at(self._descriptor, offset, (last - first) * form.row_bytes, str(self.path))
            return np.frombuffer(contents, form.dtype).reshape(last - first, *form.row_shape)
        decoded = self._decoded.get((name, number))
        if decoded is None:
            decoded = self._decode(name, number)
            if not form.raw:
                self._remember((name, number), decoded)
        return decoded[first:last]

    def _decode(self, name: str, number: int) -> Array:
        form, entry = self.contents.forms[name], self.contents.tables[name][number]
        first = not self._checked[name][number]
        contents = read_at(self._descriptor, int(entry["offset"]), int(entry["bytes"]), str(self.path))
        if first and self.contents.sums and hashlib.sha256(contents).digest() != entry["sha256"].tobytes():
            raise self._damaged(name, number, "it does not have the SHA-256 that it had when it was written")
        try:
            decoded = form.decode(contents, deflated=not entry["mask"], check=first and not self.contents.sums)
        except ValueError as error:
            raise self._damaged(name, number, str(error)) from error
        self._checked[name][number] = True
        return decoded

    def _remember(self, key: tuple[str, int], decoded: Array) -> None:
        """Keep a decoded chunk, and drop those that were decoded longest ago."""
        with self._lock:
            self._decoded[key] = decoded
            size = sum(one.nbytes for one in self._decoded.values())
            while size > DECODED_BYTES and len(self._decoded) > 1:
                size -= self._decoded.pop(next(iter(self._decoded))).nbytes

    def _damaged(self, name: str, number: int, problem: str) -> CorruptStoreError:
        rows = self.contents.forms[name].chunk_rows
        return CorruptStoreError(
            f"{self.path}: {name} is damaged from row {number * rows} on ({problem}); write the file again"
        )


class Hdf5Store(RowStore):
    """An HDF5 file, read like a store.

    Attributes:
        selection: The row in the store of each row of the file, int64, shape (n,).
        split: The split it was written from; None for all.
        coordinates: "tangent" or "ambient": the coordinates in which it was written.
        columns: Names of its columns, in the order in which they were requested.
    """

    selection: Integers

    def __init__(self, path: Path):
        """Open the file.

        Args:
            path: The file, absolute.

        Raises:
            StoreNotFoundError: There is no file.
            CorruptStoreError: It is not what `write_hdf5` writes.
            MissingDependencyError: It is of version 1, and h5py is not installed.
        """
        if not path.is_file():
            raise StoreNotFoundError(f"there is no file {path}; `to_hdf5` writes one")
        self.path = path
        descriptor, status = open_regular(path)
        try:
            contents = read_index(descriptor, status.st_size, str(path))
            if contents is None:
                contents = read_old(path, descriptor, status.st_size)
        except BaseException:
            os.close(descriptor)
            raise
        file = ChunkedFile(path, descriptor, contents)
        self.metadata, self.columns, self.coordinates = contents.metadata, contents.columns, contents.coordinates
        self.split = contents.split or None
        names = [spec.name for spec in readable_arrays(self.metadata) if spec.name != TRUNCATED.name]
        self.arrays = tuple(name for name in names if name in self.columns or name == ORIGIN.name)
        self.absent = tuple(name for name in names if name not in self.arrays)
        self.selection = file.rows(ROW, np.arange(contents.length)).astype(np.int64, copy=False)
        self._small = contents.arrays
        self._check_selection()
        self.reader = Hdf5Reader(file, self.selection)

    def _check_selection(self) -> None:
        """Refuse rows that no episode has, or that belong to another split than the file says."""
        starts, lengths = self.episodes["start"], self.episodes["length"]
        order = np.argsort(starts, kind="stable")
        at = np.searchsorted(starts[order], self.selection, side="right") - 1
        episode = order[np.maximum(at, 0)]
        inside = (at >= 0) & (self.selection < starts[episode] + lengths[episode])
        if self.split is not None:
            inside &= self.episodes["split"][episode] == self.metadata["splits"].index(self.split)
        if not inside.all():
            wrong = int(self.selection[np.argmin(inside)])
            raise CorruptStoreError(
                f"{self.path}: it has row {wrong}, which belongs to no episode of {self.split or 'the store'}; "
                "write the file again"
            )

    @property
    def episodes(self) -> dict[str, Array]:
        """See `Store.episodes`."""
        return self._group("episodes.")

    @property
    def statistics(self) -> dict[str, Array]:
        """See `Store.statistics`."""
        return self._group("statistics.")

    def _group(self, prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix): one for name, one in self._small.items() if name.startswith(prefix)}
