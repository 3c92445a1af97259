"""Reading rows of a store fast: one reader for all its arrays.

Uncompressed arrays are mapped into memory and gathered with one indexing call, compressed ones are decoded into
memory. How an array is stored in its files follows from the store's metadata; nothing else is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.loaders.shards.column import Column, RowLocations
from dynamic_sparsity.loaders.shards.compressed_column import CompressedColumn
from dynamic_sparsity.loaders.shards.in_memory_column import InMemoryColumn
from dynamic_sparsity.loaders.shards.mapped_column import MappedColumn
from dynamic_sparsity.loaders.store.checksums import Ledger
from dynamic_sparsity.schemas.layout import ArrayLayout

__all__ = ["DECODED_BYTES", "ShardReader"]

DECODED_BYTES = 768 * 1024**2
CACHE_BYTES = 256 * 1024**2  # of decoded chunks, per array that is too big to be kept

Array = NDArray[Any]


class ShardReader:
    """The arrays of a store, opened when they are needed."""

    def __init__(
        self,
        ledger: Ledger,
        layouts: Mapping[str, ArrayLayout],
        rows: int,
        *,
        before_opening: Callable[[str], None] | None = None,
        decoded_bytes: int = DECODED_BYTES,
    ):
        """Open nothing yet.

        Args:
            ledger: What the store's files must be.
            layouts: How each array is stored in its files, by name.
            rows: Rows of every array.
            before_opening: Called with an array's name before its first shard is opened.
            decoded_bytes: How much memory decoded arrays may take in total, bytes; an array that doesn't fit any
                more is decoded chunk by chunk instead.
        """
        self.ledger = ledger
        self.rows = rows
        self._layouts = layouts
        self._before_opening = before_opening
        self._decoded_bytes_left = decoded_bytes
        self._columns: dict[str, Column] = {}

    def layout(self, name: str) -> ArrayLayout:
        """Return how an array is stored.

        Args:
            name: Its path inside the store.
        """
        return self._layouts[name]

    def gather(self, names: Iterable[str], rows: NDArray[np.int64]) -> dict[str, Array]:
        """Copy rows out of several arrays.

        Args:
            names: Paths of the arrays inside the store.
            rows: Rows in any order, int64, shape (n,).

        Returns:
            A new array of shape (n, *row_shape) for each name.

        Raises:
            IndexError: A row is negative or past the end.
            IncompleteStoreError: A row is not in this copy of the store.
            CorruptStoreError: A shard that is touched is not what was written.
        """
        # A negative number is a large one without its sign: one pass instead of two.
        if rows.size and rows.astype(np.uint64).max() >= self.rows:
            raise IndexError(f"rows are {rows.min()} to {rows.max()}; the store has rows 0 to {self.rows - 1}")
        self.ledger.require(rows)
        locations: dict[tuple[int, int], RowLocations] = {}
        result = {}
        for name in names:
            column = self._column(name)
            layout = column.layout
            grid = layout.chunk_rows, layout.shard_rows
            if grid not in locations:
                locations[grid] = RowLocations.of(rows, *grid)
            result[name] = column.gather(locations[grid])
        return result

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Array]:
        """Copy consecutive rows out of several arrays.

        Args:
            names: Paths of the arrays inside the store.
            start: First row.
            stop: The row after the last.

        Returns:
            A new array of shape (stop − start, *row_shape) for each name.

        Raises:
            IndexError: The rows are not all there.
            IncompleteStoreError: A row is not in this copy of the store.
            CorruptStoreError: A shard that is touched is not what was written.
        """
        if not 0 <= start <= stop <= self.rows:
            raise IndexError(f"rows are {start} to {stop}; the store has rows 0 to {self.rows - 1}")
        self.ledger.require(slice(start, stop))
        return {name: self._column(name).read(start, stop) for name in names}

    def will_need(self, names: Iterable[str], start: int, stop: int) -> None:
        """Hint that rows of one chunk will be read soon, so that the disk can be read in order.

        Args:
            names: Paths of the arrays inside the store.
            start: First row.
            stop: The row after the last.
        """
        for name in names:
            self._column(name).will_need(start, stop)

    def forget(self, shards: Iterable[int]) -> None:
        """Release shards whose rows are not needed any more.

        Args:
            shards: Their numbers.
        """
        for shard in shards:
            for column in self._columns.values():
                column.forget(shard)

    def _column(self, name: str) -> Column:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self._open(name)
        return column

    def _open(self, name: str) -> Column:
        layout = self._layouts[name]
        if self._before_opening is not None:
            self._before_opening(name)
        if self.ledger.shards_in_memory:
            return InMemoryColumn(layout, self.ledger)
        if layout.storage == "raw":
            return MappedColumn(layout, self.ledger)
        keep = layout.decoded_bytes <= self._decoded_bytes_left
        if keep:
            self._decoded_bytes_left -= layout.decoded_bytes
        return CompressedColumn(layout, self.ledger, keep_decoded=keep, cache_bytes=CACHE_BYTES)
