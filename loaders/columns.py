"""The three ways to read one array of a store: mapped, decoded, and through zarr-python."""

from __future__ import annotations

import math
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.loaders.integrity import Ledger
from dynamic_sparsity.loaders.layout import (
    CHECKSUM_BYTES,
    ArrayLayout,
    UnexpectedLayoutError,
    parse_shard_index,
)
from dynamic_sparsity.loaders.mapping import AddressRange

__all__ = ["Column", "PackedColumn", "Places", "RawColumn", "ZarrColumn"]

Array = NDArray[Any]
Integers = NDArray[np.int64]

BLOSC_HEADER_BYTES = 16


@dataclass(frozen=True)
class Places:
    """Where rows are; the same for every array of a store, so it is worked out once per minibatch.

    Attributes:
        rows: Rows of the store, int64, shape (n,).
        shard: The shard of each, int64, shape (n,).
        chunk: Its chunk inside the shard, int64, shape (n,).
        within: Its position inside the chunk, int64, shape (n,).
    """

    rows: Integers
    shard: Integers
    chunk: Integers
    within: Integers

    @staticmethod
    def of(rows: Integers, chunk_rows: int, shard_rows: int) -> Places:
        """Find the places of rows.

        Args:
            rows: Rows of the store, int64, shape (n,), none negative.
            chunk_rows: Rows per chunk.
            shard_rows: Rows per shard.
        """
        chunks = rows // chunk_rows
        shard = rows // shard_rows
        return Places(rows, shard, chunks - shard * (shard_rows // chunk_rows), rows - chunks * chunk_rows)


class Column(ABC):
    """One array of the store, opened shard by shard as rows are asked for.

    There are no locks, which a forked process could inherit locked: opening a shard twice at once does no harm.
    """

    def __init__(self, layout: ArrayLayout, ledger: Ledger):
        """Open no file yet.

        Args:
            layout: Where the rows are.
            ledger: What the files must be.
        """
        self.layout = layout
        self.ledger = ledger
        self._ready = np.zeros(layout.shards, bool)
        self._all_ready = False

    @abstractmethod
    def gather(self, places: Places) -> Array:
        """Copy out rows in any order.

        Args:
            places: n places of existing rows.

        Returns:
            A new array, shape (n, *row_shape).

        Raises:
            CorruptStoreError: A shard that is touched is not what was written.
        """

    @abstractmethod
    def read(self, start: int, stop: int) -> Array:
        """Copy out consecutive rows.

        Args:
            start: First row.
            stop: The row behind the last; both within the array.

        Returns:
            A new array, shape (stop − start, *row_shape).

        Raises:
            CorruptStoreError: A shard that is touched is not what was written.
        """

    def will_need(self, start: int, stop: int) -> None:  # noqa: B027 - a hint, and most kinds have no use for it
        """Hint that rows start…stop will be read soon; they are within one chunk.

        Args:
            start: First row.
            stop: The row behind the last.
        """

    def prepare(self, shards: Integers) -> None:
        """Open shards and check them, if this is their first use.

        Args:
            shards: Their numbers, repetitions allowed.

        Raises:
            CorruptStoreError: One is not what was written.
            UnexpectedLayoutError: Only zarr-python can read this array.
        """
        if self._all_ready:
            return
        touched = np.unique(shards)
        missing: list[int] = touched[~self._ready[touched]].tolist()
        if not missing:
            return
        _run_parallel(self._open_shard, missing)
        self._ready[missing] = True
        self._all_ready = bool(self._ready.all())

    @abstractmethod
    def _open_shard(self, shard: int) -> None: ...

    def _checked_index(self, contents: NDArray[np.uint8], shard: int) -> Integers:
        try:
            return parse_shard_index(self.layout, contents, shard)
        except ValueError as error:
            raise self.ledger.corrupt(self.layout.shard_name(shard), str(error)) from error


class RawColumn(Column):
    """An uncompressed array, mapped into memory; a row is copied once, straight from the page cache."""

    def __init__(self, layout: ArrayLayout, ledger: Ledger):
        """Reserve addresses for all shards, where the platform lets us.

        Args:
            layout: Where the rows are.
            ledger: What the files must be.

        Raises:
            CorruptStoreError: The manifest doesn't list all shards.
        """
        super().__init__(layout, ledger)
        self._row_dtype = np.dtype((np.void, layout.row_bytes))
        self._shard_bytes: dict[int, NDArray[np.uint8]] = {}
        self._range: AddressRange | None = None
        self._flat: Array | None = None
        unit = math.gcd(layout.chunk_stride, layout.row_bytes)
        largest = max((ledger.size(layout.shard_name(shard)) for shard in range(layout.shards)), default=0)
        with suppress(OSError):
            self._range = AddressRange(max(1, layout.shards), largest)
            unit = math.gcd(unit, self._range.slot_bytes)
            self._flat = _overlapping_rows(self._range.array, self._row_dtype, unit)
        self._unit = unit
        self._chunk_units = layout.chunk_stride // unit
        self._row_units = layout.row_bytes // unit
        self._shard_units = self._range.slot_bytes // unit if self._range else 0

    def gather(self, places: Places) -> Array:
        """See `Column.gather`."""
        self.prepare(places.shard)
        units = places.chunk * self._chunk_units + places.within * self._row_units
        if self._flat is not None:
            units += places.shard * self._shard_units
            taken = self._flat[units]
        else:
            taken = np.empty(units.size, self._row_dtype)
            for shard in np.unique(places.shard).tolist():
                chosen = places.shard == shard
                flat = _overlapping_rows(self._shard_bytes[shard], self._row_dtype, self._unit)
                taken[chosen] = flat[units[chosen]]
        return taken.view(self.layout.dtype).reshape(units.size, *self.layout.row_shape)

    def read(self, start: int, stop: int) -> Array:
        """See `Column.read`."""
        layout = self.layout
        shards = np.arange(start // layout.shard_rows, -(-stop // layout.shard_rows))
        self.prepare(shards)
        out = np.empty((stop - start) * layout.row_bytes, np.uint8)
        for shard in shards.tolist():
            first_row = shard * layout.shard_rows
            first, last = max(start, first_row), min(stop, first_row + layout.shard_rows)
            part = out[(first - start) * layout.row_bytes : (last - start) * layout.row_bytes]
            self._copy(shard, first - first_row, last - first_row, part)
        return out.view(layout.dtype).reshape(stop - start, *layout.row_shape)

    def will_need(self, start: int, stop: int) -> None:
        """See `Column.will_need`."""
        layout = self.layout
        if self._range is None:
            return
        shard, within = divmod(start, layout.shard_rows)
        chunk, row = divmod(within, layout.chunk_rows)
        if not self._ready[shard]:
            return
        offset = shard * self._range.slot_bytes + chunk * layout.chunk_stride + row * layout.row_bytes
        self._range.will_need(offset, (stop - start) * layout.row_bytes)

    def _copy(self, shard: int, first: int, last: int, out: NDArray[np.uint8]) -> None:
        """Copy rows first…last of a shard into `out`, whole chunks at a time where that is possible."""
        layout, data = self.layout, self._shard_bytes[shard]
        done = 0
        while first < last:
            chunk, within = divmod(first, layout.chunk_rows)
            offset = chunk * layout.chunk_stride + within * layout.row_bytes
            chunks = (last - first) // layout.chunk_rows if within == 0 else 0
            if chunks:
                rows, size = chunks * layout.chunk_rows, chunks * layout.chunk_bytes
                shape, strides = (chunks, layout.chunk_bytes), (layout.chunk_stride, 1)
                source: Array = np.ndarray(shape, np.uint8, data, offset, strides)
                out[done : done + size].reshape(shape)[...] = source
            else:
                rows = min(last - first, layout.chunk_rows - within)
                size = rows * layout.row_bytes
                out[done : done + size] = data[offset : offset + size]
            first, done = first + rows, done + size

    def _open_shard(self, shard: int) -> None:
        layout, name = self.layout, self.layout.shard_name(shard)
        descriptor, status = self.ledger.open(name)
        try:
            if self._range is not None:
                self._range.map_file(shard, descriptor, status.st_size)
                start = shard * self._range.slot_bytes
                contents = self._range.array[start : start + status.st_size]
            else:
                mapped = mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_READ)
                contents = np.frombuffer(mapped, np.uint8)
        finally:
            os.close(descriptor)
        # The bytes that are hashed are the mapped ones: replacing the file later changes neither.
        self.ledger.admit(name, contents, status)
        index = self._checked_index(contents, shard)
        offsets = np.arange(len(index)) * layout.chunk_stride
        if not (np.array_equal(index[:, 0], offsets) and (index[:, 1] == layout.chunk_stride).all()):
            raise UnexpectedLayoutError(f"{name}: its chunks do not follow each other")
        self._shard_bytes[shard] = contents


class PackedColumn(Column):
    """A compressed array, decoded into memory: shard by shard for good, or if it is too big, chunk by chunk."""

    def __init__(self, layout: ArrayLayout, ledger: Ledger, *, keep_decoded: bool, cache_bytes: int):
        """Decode nothing yet.

        Args:
            layout: Where the rows are.
            ledger: What the files must be.
            keep_decoded: Keep every shard decoded, from its first use on; takes `layout.decoded_bytes`.
            cache_bytes: Otherwise, how much to keep of the chunks used last, bytes.
        """
        super().__init__(layout, ledger)
        self._row_dtype = np.dtype((np.void, layout.row_bytes))
        self._compressed: dict[int, tuple[bytes, Integers]] = {}
        # The system gives out memory page by page as shards are decoded, not here.
        self._decoded = np.empty(layout.shards * layout.shard_rows, self._row_dtype) if keep_decoded else None
        self._chunk = lru_cache(maxsize=max(1, cache_bytes // layout.chunk_bytes))(self._decode_chunk)

    def gather(self, places: Places) -> Array:
        """See `Column.gather`."""
        self.prepare(places.shard)
        if self._decoded is not None:
            taken = self._decoded.take(places.rows)
        else:
            taken = np.empty(places.rows.size, self._row_dtype)
            chunks = places.rows - places.within
            for first_row in np.unique(chunks).tolist():
                chosen = chunks == first_row
                taken[chosen] = self._chunk(first_row // self.layout.chunk_rows)[places.within[chosen]]
        return taken.view(self.layout.dtype).reshape(places.rows.size, *self.layout.row_shape)

    def read(self, start: int, stop: int) -> Array:
        """See `Column.read`."""
        layout = self.layout
        self.prepare(np.arange(start // layout.shard_rows, -(-stop // layout.shard_rows)))
        if self._decoded is not None:
            taken = self._decoded[start:stop].copy()
        else:
            taken = np.empty(stop - start, self._row_dtype)
            for chunk in range(start // layout.chunk_rows, -(-stop // layout.chunk_rows)):
                first_row = chunk * layout.chunk_rows
                first, last = max(start, first_row), min(stop, first_row + layout.chunk_rows)
                taken[first - start : last - start] = self._chunk(chunk)[first - first_row : last - first_row]
        return taken.view(layout.dtype).reshape(stop - start, *layout.row_shape)

    def _open_shard(self, shard: int) -> None:
        layout, name = self.layout, self.layout.shard_name(shard)
        descriptor, status = self.ledger.open(name)
        with os.fdopen(descriptor, "rb") as file:
            contents = file.read()
        self.ledger.admit(name, contents, status)
        index = self._checked_index(np.frombuffer(contents, np.uint8), shard)
        if self._decoded is None:
            self._compressed[shard] = contents, index
            return
        for number in range(len(index)):
            first_row = shard * layout.shard_rows + number * layout.chunk_rows
            self._decode(shard, number, contents, index, self._decoded[first_row : first_row + layout.chunk_rows])

    def _decode_chunk(self, chunk: int) -> Array:
        """A decoded chunk, counted from the array's first."""
        shard, number = divmod(chunk, self.layout.chunks_per_shard)
        decoded = np.empty(self.layout.chunk_rows, self._row_dtype)
        self._decode(shard, number, *self._compressed[shard], decoded)
        return decoded

    def _decode(self, shard: int, number: int, contents: bytes, index: Integers, out: Array) -> None:
        """Check one chunk of a shard against its checksum and decode it into `out`."""
        import google_crc32c
        from numcodecs import Blosc

        layout, name = self.layout, self.layout.shard_name(shard)
        start, size = index[number].tolist()
        payload = contents[start : start + size - layout.checksum_bytes]
        if layout.checksum_bytes:
            checksum = int.from_bytes(contents[start + size - CHECKSUM_BYTES : start + size], "little")
            if google_crc32c.value(payload) != checksum:
                raise self.ledger.corrupt(name, f"chunk {number} does not match its CRC-32C")
        # Blosc's own header says, in bytes 4 to 7, how much it would write into `out`.
        if len(payload) < BLOSC_HEADER_BYTES or int.from_bytes(payload[4:8], "little") != layout.chunk_bytes:
            raise self.ledger.corrupt(name, f"chunk {number} does not decode to {layout.chunk_bytes} bytes")
        try:
            Blosc().decode(payload, out=out.view(np.uint8))
        except (RuntimeError, ValueError) as error:
            raise self.ledger.corrupt(name, f"chunk {number} can't be decoded ({error})") from error


class ZarrColumn(Column):
    """An array with a layout we do not know: zarr-python reads it, correctly and slowly."""

    def __init__(self, layout: ArrayLayout, ledger: Ledger):
        """Open the array with zarr-python.

        Args:
            layout: Its shape, dtype and number of rows per stored object.
            ledger: What the files must be.
        """
        super().__init__(layout, ledger)
        import zarr

        self._array: Any = zarr.open_array(ledger.root / layout.name, mode="r", zarr_format=3)

    def gather(self, places: Places) -> Array:
        """See `Column.gather`."""
        self.prepare(places.rows // self.layout.shard_rows)
        rows, inverse = np.unique(places.rows, return_inverse=True)
        if rows.size == 0:
            return np.empty(self._out_shape(0), self.layout.dtype)
        return np.asarray(self._array.oindex[rows])[inverse]

    def read(self, start: int, stop: int) -> Array:
        """See `Column.read`."""
        self.prepare(np.arange(start // self.layout.shard_rows, -(-stop // self.layout.shard_rows)))
        return np.array(self._array[start:stop]).reshape(self._out_shape(stop - start))

    def _out_shape(self, rows: int) -> tuple[int, ...]:
        return (rows, *self.layout.row_shape)

    def _open_shard(self, shard: int) -> None:
        """Check the files that start with the shard's number; the other axes may be cut too."""
        prefix = f"{self.layout.name}/c/{shard}"
        for name in self.ledger.names():
            if name == prefix or name.startswith(prefix + "/"):
                descriptor, status = self.ledger.open(name)
                with os.fdopen(descriptor, "rb") as file:
                    self.ledger.admit(name, file.read() if self.ledger.verify == "sha256" else b"", status)


def _overlapping_rows(contents: NDArray[np.uint8], row_dtype: np.dtype[Any], unit: int) -> Array:
    """See bytes as one row starting at every `unit` bytes, so that one index finds a row wherever it is."""
    count = (contents.size - row_dtype.itemsize) // unit + 1
    return np.ndarray((max(0, count),), row_dtype, contents, 0, (unit,))


def _run_parallel(function: Callable[[int], None], items: list[int]) -> None:
    """Call a function for each item, in threads: hashing and decoding release Python's lock."""
    workers = min(len(items), os.cpu_count() or 1, 8)
    if workers == 1:
        for item in items:
            function(item)
        return
    with ThreadPoolExecutor(workers) as executor:
        for _ in executor.map(function, items):
            pass
