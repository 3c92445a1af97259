"""One published store of a stream: its index here, its shards in memory when they are needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.loaders.hub.local_copy import LocalCopy
from dynamic_sparsity.loaders.hub.publication import PublishedStore
from dynamic_sparsity.loaders.hub.repository import Repository
from dynamic_sparsity.loaders.hub.shard_window import Receiver, Shards, ShardWindow
from dynamic_sparsity.loaders.hub.transfer_plan import ShardRows
from dynamic_sparsity.loaders.row_reader import RowReader
from dynamic_sparsity.loaders.store.joined_store import JoinedStore
from dynamic_sparsity.loaders.streaming.parts import Chunks, chunks_with_rows

__all__ = ["StreamSource", "StreamWindow"]

Integers = NDArray[np.int64]


class StreamSource:
    """A published store of which rows are streamed.

    Attributes:
        copy: Its small files, in a temporary folder.
        receiver: Brings its shards into memory.
        arrays: Names of the arrays that are fetched; none before they are set.
    """

    def __init__(self, repository: Repository, published: PublishedStore, split: str | None, folder: Path):
        """Fetch the store's index.

        Args:
            repository: Where the store is published.
            published: The store.
            split: "train", "validation" or "test"; None for all rows.
            folder: Folder of the copy.

        Raises:
            UnknownNameError: There is no such split.
            HubError: The Hub can't be reached, or refuses.
        """
        self.copy = LocalCopy(repository, published, split, folder)
        self.receiver = Receiver(self.copy)
        self.arrays: list[str] = []

    @cached_property
    def chunks(self) -> Chunks:
        """The chunks that hold rows of the split."""
        metadata, table = self.copy.store.metadata, self.copy.store.episodes
        chosen = np.ones(table["start"].size, bool)
        if self.copy.split is not None:
            chosen = table["split"] == metadata["splits"].index(self.copy.split)
        numbers = chunks_with_rows(table["start"][chosen], table["length"][chosen], metadata["chunk_rows"])
        return Chunks.of_store(numbers, metadata["chunk_rows"], metadata["shard_rows"])

    @property
    def shards(self) -> int:
        """Shards of the whole store."""
        metadata = self.copy.store.metadata
        return -(-int(metadata["rows"]) // int(metadata["shard_rows"]))

    @property
    def wanted_shards(self) -> list[int]:
        """The shards that hold rows of the split, in order."""
        return sorted({shard for _, shard in self.copy.ledger.wanted_files.values()})

    @property
    def shard_bytes(self) -> float:
        """Bytes of a shard on average, of all arrays."""
        published = self.copy.published
        return published.bytes * int(self.copy.store.metadata["shard_rows"]) / max(1, published.rows)

    def __len__(self) -> int:
        """Rows of the split, flagged ones included."""
        ranges = self.copy.ledger.ranges
        return int((ranges[:, 1] - ranges[:, 0]).sum()) if self.copy.split else sum(self.copy.published.splits.values())

    def rows_of(self, wanted: ShardRows) -> Integers:
        """Return the rows of the split among some, without padding.

        Args:
            wanted: Rows of a shard.

        Returns:
            Numbers of rows in the store, int64, shape (n,).
        """
        ledger, store = self.copy.ledger, self.copy.store
        first = wanted.shard * store.metadata["shard_rows"]
        ranges = wanted.among(ledger.shard_ranges(wanted.shard)).tolist()
        rows = np.concatenate([np.empty(0, np.int64), *(np.arange(start, stop) + first for start, stop in ranges)])
        table = store.episodes
        episode = np.searchsorted(table["start"], rows, side="right") - 1
        return np.asarray(rows[rows < table["start"][episode] + table["length"][episode]])


class StreamWindow:
    """The shards of all stores of a stream that are in memory, and a reader of their rows; one thread may use it.

    Attributes:
        row_reader: The reader. Where stores are joined, rows have their numbers in the joined stores.
    """

    def __init__(self, sources: Sequence[StreamSource], coordinates: str, *, joined: bool):
        """Hold no shard yet.

        Args:
            sources: The stores.
            coordinates: "tangent" or "ambient".
            joined: Whether they are read as joined ones; else there is one.
        """
        self._windows = [ShardWindow(source.receiver) for source in sources]
        stores = [window.store for window in self._windows]
        self.row_reader = RowReader(JoinedStore(stores) if joined else stores[0], coordinates)

    def show(self, contents: Mapping[int, Shards]) -> None:
        """Let go of the shards that were there, and read others.

        Args:
            contents: Of `StreamingDataset.fetch`: by number of the store; empty for none.
        """
        for number, window in enumerate(self._windows):
            window.show(contents.get(number, {}))
