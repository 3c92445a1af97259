"""Reading an uncompressed array: its shards are mapped into memory."""

from __future__ import annotations

import math
import mmap
import os
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.loaders.shards.column import Array, Column, RowLocations, position_steps
from dynamic_sparsity.loaders.shards.memory_map import AddressRange
from dynamic_sparsity.loaders.store.checksums import Ledger
from dynamic_sparsity.schemas.layout import ArrayLayout

__all__ = ["MappedColumn", "overlapping_rows"]


class MappedColumn(Column):
    """An uncompressed array, mapped into memory; a row is copied once, straight from the page cache."""

    def __init__(self, layout: ArrayLayout, ledger: Ledger):
        """Reserve addresses for all shards, where the platform lets us.

        Args:
            layout: Where the rows are.
            ledger: What the files must be.

        Raises:
            CorruptStoreError: The manifest doesn't list all shards, or not with the sizes that their rows make.
        """
        super().__init__(layout, ledger)
        self._row_dtype = np.dtype((np.void, layout.row_bytes))
        self._shard_bytes: dict[int, NDArray[np.uint8]] = {}
        self._range: AddressRange | None = None
        self._flat: Array | None = None
        unit = math.gcd(layout.chunk_stride, layout.row_bytes)
        largest = 0
        for shard in range(layout.shards):
            name, expected = layout.shard_name(shard), layout.shard_bytes(shard)
            if ledger.size(name) != expected:
                raise ledger.corrupt(name, f"has {ledger.size(name)} bytes in the manifest; its rows make {expected}")
            largest = max(largest, ledger.size(name))
        with suppress(OSError):
            self._range = AddressRange(max(1, layout.shards), largest)
            unit = math.gcd(unit, self._range.slot_bytes)
            self._flat = overlapping_rows(self._range.array, self._row_dtype, unit)
        self._unit = unit
        distances = layout.chunk_stride // unit, layout.row_bytes // unit
        self._in_shard = position_steps(layout, *distances)
        self._in_range = position_steps(layout, *distances, self._range.slot_bytes // unit if self._range else 0)

    def gather(self, locations: RowLocations) -> Array:
        """See `Column.gather`."""
        self.prepare(locations)
        if self._flat is not None:
            taken: Array = self._flat[self._in_range @ locations.places]
        else:
            units = self._in_shard @ locations.places
            taken = np.empty(units.size, self._row_dtype)
            for shard in locations.shards.tolist():
                chosen = locations.shard == shard
                flat = overlapping_rows(self._shard_bytes[shard], self._row_dtype, self._unit)
                taken[chosen] = flat[units[chosen]]
        return taken.view(self.layout.dtype).reshape(taken.size, *self.layout.row_shape)

    def read(self, start: int, stop: int) -> Array:
        """See `Column.read`."""
        layout = self.layout
        self.prepare_range(start, stop)
        out = np.empty((stop - start) * layout.row_bytes, np.uint8)
        for shard in range(start // layout.shard_rows, -(-stop // layout.shard_rows)):
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

    def _bytes_of(self, shard: int, descriptor: int, size: int) -> NDArray[np.uint8]:
        """Return the bytes of an open shard: mapped, or where that can't be done, copied."""
        # Refused are too many mappings in this process, and files of a file system that has none.
        with suppress(OSError):
            if self._range is None:
                return np.frombuffer(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ), np.uint8)
            self._range.map_file(shard, descriptor, size)
            start = shard * self._range.slot_bytes
            return self._range.array[start : start + size]
        self._flat = None  # one index no longer finds all shards
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return np.frombuffer(file.read(), np.uint8)

    def _open_shard(self, shard: int) -> None:
        name = self.layout.shard_name(shard)
        descriptor, status = self.ledger.open(name)
        try:
            contents = self._bytes_of(shard, descriptor, status.st_size)
        finally:
            os.close(descriptor)
        # The bytes that are hashed are the mapped ones: replacing the file later changes neither.
        self.ledger.verify(name, contents.data, status)
        self._checked_index(contents, shard)
        self._shard_bytes[shard] = contents


def overlapping_rows(contents: NDArray[np.uint8], row_dtype: np.dtype[Any], unit: int) -> Array:
    """See bytes as one row starting at every `unit` bytes, so that one index finds a row wherever it is.

    Args:
        contents: The bytes, shape (n,).
        row_dtype: Of one row, as opaque bytes.
        unit: Divides the distance of any two rows, bytes.
    """
    count = (contents.size - row_dtype.itemsize) // unit + 1
    return np.ndarray((max(0, count),), row_dtype, contents, 0, (unit,))
