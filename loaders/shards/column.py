"""What every way to read one array of a store has in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.loaders.store.checksums import Ledger
from dynamic_sparsity.schemas.layout import ArrayLayout, parse_shard_index

__all__ = ["Array", "Column", "Integers", "RowLocations", "position_steps"]

Array = NDArray[Any]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class RowLocations:
    """Where rows are; the same for every array of a store, so it is worked out once per minibatch.

    Attributes:
        places: The row, its chunk and its shard, each counted from the store's first, int64, shape (3, n). Where a row
            lies in a file is linear in them.
        chunk_rows: Rows per chunk.
    """

    places: Integers
    chunk_rows: int

    @property
    def rows(self) -> Integers:
        """Rows of the store, int64, shape (n,)."""
        rows: Integers = self.places[0]
        return rows

    @property
    def shard(self) -> Integers:
        """The shard of each, int64, shape (n,)."""
        shard: Integers = self.places[2]
        return shard

    @property
    def within(self) -> Integers:
        """The position of each inside its chunk, int64, shape (n,)."""
        within: Integers = self.places[0] - self.places[1] * self.chunk_rows
        return within

    @cached_property
    def shards(self) -> Integers:
        """The shards that are touched, each once, int64, shape (shards,)."""
        return np.unique(self.shard)

    @staticmethod
    def of(rows: Integers, chunk_rows: int, shard_rows: int) -> RowLocations:
        """Find the locations of rows.

        Args:
            rows: Rows of the store, int64, shape (n,), none negative.
            chunk_rows: Rows per chunk.
            shard_rows: Rows per shard.
        """
        places = np.empty((3, rows.size), np.int64)
        places[0] = rows
        np.floor_divide(rows, chunk_rows, out=places[1])
        np.floor_divide(places[1], shard_rows // chunk_rows, out=places[2])
        return RowLocations(places, chunk_rows)


def position_steps(layout: ArrayLayout, chunk: int, row: int, shard: int = 0) -> Integers:
    """Return by what `RowLocations.places` are multiplied to find rows: int64, shape (3,).

    Args:
        layout: Where the rows are.
        chunk: Distance of two chunks of a shard, in any unit.
        row: Distance of two rows of a chunk.
        shard: Distance of two shards; 0 to find a row inside its shard.
    """
    chunks = layout.chunks_per_shard
    return np.array([row, chunk - layout.chunk_rows * row, shard - chunks * chunk], np.int64)


class Column(ABC):
    """One array of the store, opened shard by shard as rows are needed.

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
    def gather(self, locations: RowLocations) -> Array:
        """Copy out rows in any order.

        Args:
            locations: n locations of existing rows.

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
            stop: The row after the last; both within the array.

        Returns:
            A new array, shape (stop − start, *row_shape).

        Raises:
            CorruptStoreError: A shard that is touched is not what was written.
        """

    def will_need(self, start: int, stop: int) -> None:  # noqa: B027 - a hint, and most kinds have no use for it
        """Hint that rows start…stop will be read soon; they are within one chunk.

        Args:
            start: First row.
            stop: The row after the last.
        """

    def forget(self, shard: int) -> None:
        """Release a shard's rows; it is opened again if they are needed again.

        Args:
            shard: Its number.
        """
        self._ready[shard] = self._all_ready = False

    def prepare(self, locations: RowLocations) -> None:
        """Open the shards of rows and check them, if this is their first use.

        Args:
            locations: Where the rows are.

        Raises:
            CorruptStoreError: A shard is not what was written.
        """
        # Which shards the rows are in is not worked out for every minibatch.
        if not self._all_ready:
            self._prepare(locations.shards)

    def prepare_range(self, start: int, stop: int) -> None:
        """Do as `prepare` for consecutive rows.

        Args:
            start: First row.
            stop: The row after the last.
        """
        if not self._all_ready:
            self._prepare(np.arange(start // self.layout.shard_rows, -(-stop // self.layout.shard_rows)))

    def _prepare(self, shards: Integers) -> None:
        missing: list[int] = shards[~self._ready[shards]].tolist()
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
