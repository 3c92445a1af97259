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

__all__ = ["Array", "Column", "Integers", "RowLocations"]

Array = NDArray[Any]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class RowLocations:
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
        chunks = rows // chunk_rows
        shard = rows // shard_rows
        return RowLocations(rows, shard, chunks - shard * (shard_rows // chunk_rows), rows - chunks * chunk_rows)


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

    def prepare(self, shards: Integers) -> None:
        """Open shards and check them, if this is their first use.

        Args:
            shards: Their numbers, each once, int64, shape (shards,).

        Raises:
            CorruptStoreError: One is not what was written.
        """
        if self._all_ready:
            return
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
