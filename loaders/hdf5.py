"""Rows as an HDF5 file, and back: every column under its own name, the rest as attributes of the root.

The root holds only datasets of one length, as the `hdf5` module of `datasets` wants it. docs/hub.md has the layout.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError, MissingDependencyError, StoreNotFoundError
from dynamic_sparsity.loaders.integrity import Ledger
from dynamic_sparsity.loaders.store import Store

if TYPE_CHECKING:
    from dynamic_sparsity.loaders.dataset import JacobianDataset

__all__ = ["HDF5_SUFFIXES", "Hdf5Store", "read_hdf5", "write_hdf5"]

HDF5_SUFFIXES: Final = (".h5", ".hdf5")
FORMAT: Final = "dynamic-sparsity-hdf5"
VERSION: Final = 1
ROW: Final = "row"
"""The dataset with each row's number in the store."""

BLOCK_ROWS: Final = 1024
CHUNK_BYTES: Final = 2**20
# Attributes beyond 64 KiB, such as the statistics of large states, need this version of the file format.
FILE_VERSION: Final = ("v110", "latest")

Array = NDArray[Any]
Integers = NDArray[np.int64]


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("HDF5 needs the package h5py: pip install 'dynamic-sparsity[hub]'") from error
    return h5py


def write_hdf5(dataset: JacobianDataset, path: Path) -> Path:
    """Write a data set's rows, in their order.

    Args:
        dataset: The rows.
        path: The file; it appears whole or not at all.

    Raises:
        MissingDependencyError: h5py is not installed.
        CorruptStoreError: The store is damaged.
    """
    h5py = _h5py()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    store = dataset.store
    try:
        with h5py.File(partial, "w", libver=FILE_VERSION) as file:
            attributes = {"format": FORMAT, "version": VERSION, "metadata": json.dumps(store.metadata)}
            attributes |= {"split": dataset.split or "", "coordinates": dataset.coordinates}
            attributes |= {"columns": json.dumps(dataset.columns)}
            attributes |= {f"episodes.{name}": values for name, values in store.episodes.items()}
            attributes |= {f"statistics.{name}": values for name, values in store.statistics.items()}
            for name, value in attributes.items():
                file.attrs[name] = value
            file.create_dataset(ROW, data=dataset.rows, fletcher32=True, chunks=(max(1, min(2**14, len(dataset))),))
            targets = {}
            for name, values in dataset[:0].items():
                row_bytes = max(1, int(np.prod(values.shape[1:], dtype=int)) * values.itemsize)
                rows = max(1, min(BLOCK_ROWS, CHUNK_BYTES // row_bytes, len(dataset)))
                shape = len(dataset), *values.shape[1:]
                options = {"compression": "gzip", "compression_opts": 1} if values.dtype.kind in "iu" else {}
                targets[name] = file.create_dataset(
                    name, shape, values.dtype, chunks=(rows, *shape[1:]), fletcher32=True, shuffle=True, **options
                )
            for start in range(0, len(dataset), BLOCK_ROWS):
                for name, values in dataset[start : start + BLOCK_ROWS].items():
                    targets[name][start : start + len(values)] = values
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_hdf5(path: Path) -> JacobianDataset:
    """The rows of a file, in their order.

    Args:
        path: The file.

    Raises:
        StoreNotFoundError: There is no file.
        CorruptStoreError: It is not what `write_hdf5` writes.
        MissingDependencyError: h5py is not installed.
    """
    from dynamic_sparsity.loaders.dataset import JacobianDataset

    store = Hdf5Store(path.absolute())
    coordinates: Literal["tangent", "ambient"] = "ambient" if store.coordinates == "ambient" else "tangent"
    return JacobianDataset(path, split=store.split, columns=store.columns, coordinates=coordinates)


class Hdf5Reader:
    """Reads rows of the file's datasets; a row has the number that it has in the store."""

    def __init__(self, store: Hdf5Store):
        """Read nothing yet.

        Args:
            store: The file.
        """
        self._store = store
        self._order = np.argsort(store.selection, kind="stable")
        self._sorted = store.selection[self._order]

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
        if rows.size and not (self._sorted[np.minimum(at, self._sorted.size - 1)] == rows).all():
            raise IndexError(f"{self._store.path} does not hold all rows asked for")
        places = self._order[np.minimum(at, max(0, self._sorted.size - 1))] if rows.size else rows
        unique, inverse = np.unique(places, return_inverse=True)
        return {name: self._read(name, unique)[inverse] for name in names}

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
        """A hint of which no use is made."""

    def _read(self, name: str, places: Integers) -> Array:
        source = self._store.file[name]
        if places.size == 0:
            return np.empty((0, *source.shape[1:]), source.dtype)
        first, last = int(places[0]), int(places[-1]) + 1
        try:
            # A list of places is slow in HDF5; reading what lies between costs less, unless they are far apart.
            if last - first <= max(4 * places.size, BLOCK_ROWS):
                return np.asarray(source[first:last])[places - first]
            return np.asarray(source[places])
        except OSError as error:
            raise CorruptStoreError(
                f"{self._store.path}: {name} can't be read ({error}); write the file anew"
            ) from error


class Hdf5Store(Store):
    """An HDF5 file in the place of a store.

    Attributes:
        selection: The row in the store of each row of the file, int64, shape (n,).
        split: The split it was written from; None for all.
        coordinates: "tangent" or "ambient": the coordinates in which it was written.
        columns: Names of its columns, in the order in which they were asked for.
    """

    def __init__(self, path: Path):
        """Open the file.

        Args:
            path: The file, absolute.

        Raises:
            StoreNotFoundError: There is no file.
            CorruptStoreError: It is not what `write_hdf5` writes.
            MissingDependencyError: h5py is not installed.
        """
        h5py = _h5py()
        if not path.is_file():
            raise StoreNotFoundError(f"there is no file {path}; `to_hdf5` writes one")
        self.path = path
        try:
            self.file: Any = h5py.File(path, "r")
            attributes = dict(self.file.attrs)
            if (attributes["format"], int(attributes["version"])) != (FORMAT, VERSION):
                raise ValueError(f"its format is {attributes['format']!r}, version {attributes['version']}")
            self.metadata = json.loads(attributes["metadata"])
            self.columns: list[str] = json.loads(attributes["columns"])
            self.selection: Integers = np.asarray(self.file[ROW][:], np.int64)
        except (OSError, KeyError, ValueError) as error:
            raise CorruptStoreError(f"{path} is not an HDF5 file of this package ({error})") from error
        self._attributes = attributes
        self.split = attributes["split"] or None
        self.coordinates = str(attributes["coordinates"])
        self.arrays = tuple(name for name in self._in_order() if name in self.file)
        self.absent = tuple(name for name in self._in_order() if name not in self.file)
        self.ledger = Ledger(path.parent, {}, "size")
        self.reader = Hdf5Reader(self)  # type: ignore[assignment]  # it has the methods that are used

    @cached_property
    def episodes(self) -> dict[str, Array]:
        """See `Store.episodes`."""
        return self._group("episodes.")

    @cached_property
    def statistics(self) -> dict[str, Array]:
        """See `Store.statistics`."""
        return self._group("statistics.")

    def _group(self, prefix: str) -> dict[str, Array]:
        found = self._attributes.items()
        return {name.removeprefix(prefix): np.asarray(value) for name, value in found if name.startswith(prefix)}

    def _in_order(self) -> Sequence[str]:
        """The names of the columns as the schema has them."""
        from dynamic_sparsity.schemas import row_arrays

        return [spec.name for spec in row_arrays(self.metadata["sizes"], self.metadata["dynamics"])]
