"""Writing rows as an HDF5 file that any reader of HDF5 understands, with an index at its end for `Hdf5Store`."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import MissingDependencyError
from dynamic_sparsity.loaders.hdf5.chunks import ChunkForm
from dynamic_sparsity.loaders.hdf5.contents import FORMAT, ROW, TABLE, Contents, row_shapes, small_arrays
from dynamic_sparsity.loaders.hdf5.index import VERSION, encode_index, rest_digest
from dynamic_sparsity.loaders.row_source import RowSource
from dynamic_sparsity.loaders.whole_file import check_space, whole_file

__all__ = ["write_hdf5"]

BLOCK_ROWS: Final = 1024
CHUNK_BYTES: Final = 2**20
# Attributes beyond 64 KiB, such as the statistics of large states, need this version of the file format.
FILE_VERSION: Final = ("v110", "latest")
PAGE_BYTES: Final = 4096

Array = NDArray[Any]


def write_hdf5(dataset: RowSource, path: Path) -> Path:
    """Write a data set's rows, in their order.

    Args:
        dataset: The rows.
        path: The file; it appears when it is complete. An older one is replaced.

    Raises:
        MissingDependencyError: h5py is not installed.
        CorruptStoreError: The store is damaged.
        WriteFailedError: The disk is full, say.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError("HDF5 needs the package h5py: pip install 'dynamic-sparsity[hub]'") from error
    contents = _plan(dataset)
    with whole_file(path) as stream:
        check_space(path, sum(len(dataset) * form.row_bytes for form in contents.forms.values() if form.raw))
        steady = SteadyFile(stream)
        with h5py.File(steady, "w", libver=FILE_VERSION) as file:
            _write_attributes(file, contents)
            _write_rows(file, dataset, contents, steady)
        steady.check()
        end = stream.seek(0, os.SEEK_END)
        digest = rest_digest(stream.fileno(), end, contents.tables, str(path))
        steady.write_all(encode_index(contents, digest))
        steady.check()
    return path


def _plan(dataset: RowSource) -> Contents:
    """Return the description of the file, without the positions of the chunks."""
    metadata, store, length = dataset.metadata, dataset.store, len(dataset)
    shapes = row_shapes(metadata, dataset.coordinates)
    forms = {}
    for name in (ROW, *dataset.columns):
        dtype, shape = shapes[name]
        row_bytes = max(1, int(np.prod(shape, dtype=int)) * dtype.itemsize)
        # Powers of two, so that no chunk crosses the end of a block.
        fitting = 1 << max(0, (CHUNK_BYTES // row_bytes).bit_length() - 1)
        filters = ("shuffle", "deflate", "fletcher32") if dtype.kind in "iu" and name != ROW else ("fletcher32",)
        forms[name] = ChunkForm(dtype, shape, max(1, min(BLOCK_ROWS, fitting, length)), filters)
    arrays = {f"episodes.{name}": values for name, values in store.episodes.items()}
    arrays |= {f"statistics.{name}": values for name, values in store.statistics.items()}
    arrays = {name: np.asarray(arrays[name], spec.dtype) for name, (spec, _) in small_arrays(metadata).items()}
    tables: dict[str, NDArray[np.void]] = {
        name: np.zeros(-(-length // form.chunk_rows), TABLE) for name, form in forms.items()
    }
    names = dataset.split or "", dataset.coordinates, list(dataset.columns)
    return Contents(metadata, *names, length, arrays, forms, tables, sums=True)


def _write_attributes(file: Any, contents: Contents) -> None:
    attributes: dict[str, Any] = {"format": FORMAT, "version": VERSION, "metadata": json.dumps(contents.metadata)}
    attributes |= {"split": contents.split, "coordinates": contents.coordinates}
    attributes |= {"columns": json.dumps(contents.columns)}
    for name, value in (attributes | contents.arrays).items():
        file.attrs[name] = value


def _write_rows(file: Any, dataset: RowSource, contents: Contents, steady: SteadyFile) -> None:
    targets = {}
    for name, form in contents.forms.items():
        shape = contents.length, *form.row_shape
        options: dict[str, Any] = {"chunks": (form.chunk_rows, *form.row_shape)} if contents.length else {}
        if contents.length:
            options |= {"fletcher32": True, "shuffle": "shuffle" in form.filters}
            options |= {"compression": "gzip", "compression_opts": 1} if "deflate" in form.filters else {}
        targets[name] = file.create_dataset(name, shape, form.dtype, **options)
    for start in range(0, contents.length, BLOCK_ROWS):
        block = {ROW: dataset.rows[start : start + BLOCK_ROWS], **dataset[start : start + BLOCK_ROWS]}
        for name, values in block.items():
            form = contents.forms[name]
            for first in range(0, len(values), form.chunk_rows):
                encoded = form.encode(values[first : first + form.chunk_rows])
                place = (start + first, *(0 for _ in form.row_shape))
                targets[name].id.write_direct_chunk(place, encoded)
                entry = contents.tables[name][(start + first) // form.chunk_rows]
                entry["bytes"], entry["sha256"] = len(encoded), hashlib.sha256(encoded).digest()
        steady.check()
    for name, form in contents.forms.items():
        for row, offset in _offsets(targets[name].id, contents.length):
            contents.tables[name]["offset"][row // form.chunk_rows] = offset


def _offsets(dataset: Any, length: int) -> list[tuple[int, int]]:
    """Return the first row and the position in the file of each chunk."""
    found: list[tuple[int, int]] = []
    if not length:
        return found
    if hasattr(dataset, "chunk_iter"):
        dataset.chunk_iter(lambda chunk: found.append((chunk.chunk_offset[0], chunk.byte_offset)))
    else:
        chunks = (dataset.get_chunk_info(number) for number in range(dataset.get_num_chunks()))
        found += [(chunk.chunk_offset[0], chunk.byte_offset) for chunk in chunks]
    return found


class SteadyFile(io.RawIOBase):
    """A file on which no write fails as far as libhdf5 can see: it crashes when it can't write.

    From the first failure on, what is written stays in memory; whoever writes asks `check` from time to time, and ends.
    """

    def __init__(self, stream: BinaryIO):
        """Write from the start.

        Args:
            stream: The file, unbuffered, open for reading and writing.
        """
        self._stream = stream
        self._failure: OSError | None = None
        self._pages: dict[int, bytearray] = {}
        self._place = self._end = 0

    def check(self) -> None:
        """Raise the error of a failed write.

        Raises:
            OSError: A write failed.
        """
        if self._failure is not None:
            raise self._failure

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See `io.IOBase.seek`."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._end}[whence]
        return self._place

    def tell(self) -> int:
        """See `io.IOBase.tell`."""
        return self._place

    def readable(self) -> bool:
        """See `io.IOBase.readable`."""
        return True

    def writable(self) -> bool:
        """See `io.IOBase.writable`."""
        return True

    def seekable(self) -> bool:
        """See `io.IOBase.seekable`."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase.readinto`; what was never written is zero."""
        view = memoryview(buffer).cast("B")
        view[:] = self._read(self._place, len(view))
        self._place += len(view)
        return len(view)

    def write(self, contents: Any) -> int:
        """See `io.RawIOBase.write`; all is written."""
        view = memoryview(contents).cast("B")
        if self._failure is None:
            try:
                self._stream.seek(self._place)
                rest = view
                while rest:
                    rest = rest[self._stream.write(rest) :]
            except OSError as failure:
                self._failure = failure
        if self._failure is not None:
            self._keep(self._place, bytes(view))
        self._place += len(view)
        self._end = max(self._end, self._place)
        return len(view)

    def write_all(self, contents: bytes) -> None:
        """Write at the end.

        Args:
            contents: What to write.
        """
        self.seek(self._stream.seek(0, os.SEEK_END))
        self.write(contents)

    def truncate(self, size: int | None = None) -> int:
        """See `io.IOBase.truncate`."""
        self._end = self._place if size is None else size
        if self._failure is None:
            try:
                self._stream.truncate(self._end)
            except OSError as failure:
                self._failure = failure
        return self._end

    def _read(self, start: int, size: int) -> bytes:
        self._stream.seek(start)
        found = bytearray((self._stream.read(size) or b"").ljust(size, b"\0"))
        for number in range(start // PAGE_BYTES, -(-(start + size) // PAGE_BYTES)) if self._pages else ():
            if number in self._pages:
                first = number * PAGE_BYTES
                low, high = max(first, start), min(first + PAGE_BYTES, start + size)
                found[low - start : high - start] = self._pages[number][low - first : high - first]
        return bytes(found)

    def _keep(self, start: int, contents: bytes) -> None:
        """Put bytes over those of the file, in memory."""
        stop = start + len(contents)
        for number in range(start // PAGE_BYTES, -(-stop // PAGE_BYTES)):
            first = number * PAGE_BYTES
            if number not in self._pages:
                self._pages[number] = bytearray(self._read(first, PAGE_BYTES))
            low, high = max(first, start), min(first + PAGE_BYTES, stop)
            self._pages[number][low - first : high - first] = contents[low - start : high - start]
