"""The data set that is streamed: its rows' chunks, its batches, and the shards in memory."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.export.optional import imported
from dynamic_sparsity.loaders.hub.leftovers import owned_folder, release
from dynamic_sparsity.loaders.hub.publication import PublishedStore
from dynamic_sparsity.loaders.hub.repository import Repository
from dynamic_sparsity.loaders.hub.shard_window import Shards
from dynamic_sparsity.loaders.hub.transfer_plan import ShardRows
from dynamic_sparsity.loaders.row_reader import RowReader
from dynamic_sparsity.loaders.row_source import check_choice
from dynamic_sparsity.loaders.sampling import check_batch_settings
from dynamic_sparsity.loaders.store.joined_store import JoinedStore
from dynamic_sparsity.loaders.store.row_store import RowStore
from dynamic_sparsity.loaders.store_facts import StoreFacts
from dynamic_sparsity.loaders.streaming.batch_stream import BLOCK_ROWS, BatchStream, StreamSettings
from dynamic_sparsity.loaders.streaming.epochs import Epochs
from dynamic_sparsity.loaders.streaming.parts import Chunks, check_part
from dynamic_sparsity.loaders.streaming.processes import Ranks, found_ranks, given_ranks, part_of_process, register
from dynamic_sparsity.loaders.streaming.row_stream import RowStream
from dynamic_sparsity.loaders.streaming.source import StreamSource, StreamWindow
from dynamic_sparsity.schemas.joining import ORIGIN, readable_arrays

__all__ = ["StreamingDataset"]

BUFFER_SHARDS: Final = 2
BUFFER_BYTES: Final = 128 * 2**20  # with larger shards, the buffer has fewer, so that memory stays small

Integers = NDArray[np.int64]


class StreamingDataset(Epochs, StoreFacts):
    """Rows of published stores, read over the network as needed; made by `load_dataset(..., streaming=True)`.

    Several stores (`policy=["noise", "expert"]`) are one stream, as `concatenate` makes one data set of them: in order
    one store after the other, or shuffled together; with the column `origin`, and joint statistics.

    Shards are fetched into memory, one buffer ahead of the one in use, checked, and released after use: memory holds
    the shards of two buffers.

    Iterating gives rows in order, of an epoch: this process's part of them, where torch or JAX say that there are
    several. So `DataLoader(stream, num_workers=2)` works, for which a stream counts as a torch `IterableDataset`;
    `to_torch` gives shuffled batches. A stream may be pickled: the other process reads the index from the Hub's cache.
    """

    def __init__(
        self,
        repository: Repository,
        published: PublishedStore | Sequence[PublishedStore],
        *,
        split: str | None = None,
        columns: Sequence[str] | None = None,
        coordinates: str = "tangent",
        exclude_flags: Sequence[str] = (),
    ):
        """Fetch the stores' indices; `load_dataset` explains the arguments.

        Args:
            repository: Where the stores are published.
            published: The store; or several, which are joined.
            split: "train", "validation" or "test"; None for all rows.
            columns: Names of columns; None for all.
            coordinates: "tangent" or "ambient".
            exclude_flags: Leave out rows with any of these flags.

        Raises:
            UnknownNameError: A split, column or flag that does not exist.
            InvalidSettingError: The stores can't be joined.
            HubError: The Hub can't be reached, or refuses.
        """
        super().__init__()
        register(type(self))
        folder = owned_folder()
        self._cleanup = weakref.finalize(self, release, folder)
        self._repository, self._published = repository, published
        self._joined = not isinstance(published, PublishedStore)
        stores = [published] if isinstance(published, PublishedStore) else published
        self._sources = tuple(StreamSource(repository, store, split, folder) for store in stores)
        self._first_shards = np.cumsum([0, *(source.shards for source in self._sources)])
        self.split = split
        self.coordinates = coordinates
        bits = self.metadata["flag_bits"]
        self.exclude_flags = tuple(check_choice("flag", flag, bits) for flag in exclude_flags)
        self.columns = self._chosen(columns)
        for source in self._sources:
            own = [name for name in self.columns if not (self._joined and name == ORIGIN.name)]
            source.arrays = source.copy.arrays_for(own, coordinates, self.exclude_flags)
        self._ranks = found_ranks()

    def _chosen(self, columns: Sequence[str] | None) -> tuple[str, ...]:
        """Return the names of the columns that are given; by default all that all stores have."""
        if columns is None:
            every = [source.copy.arrays for source in self._sources]
            known = [spec.name for spec in readable_arrays(self.metadata)]
            columns = [name for name in known if all(name in arrays for arrays in every)]
        return tuple(dict.fromkeys([*columns, *([ORIGIN.name] if self._joined else [])]))

    def __getstate__(self) -> dict[str, Any]:
        names = ("split", "columns", "coordinates", "exclude_flags")
        options = {name: getattr(self, name) for name in names}
        source = {"repository": self._repository, "published": self._published, "ranks": found_ranks() or self._ranks}
        return {**source, "options": options, "progress": self._picklable()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["repository"], state["published"], **state["options"])  # type: ignore[misc]  # as if new
        self.__dict__.update(state["progress"], _ranks=state["ranks"])

    @cached_property
    def _described(self) -> RowStore:
        stores = [source.copy.store for source in self._sources]
        return JoinedStore(stores) if self._joined else stores[0]

    @property
    def manifest_sha256(self) -> str:
        """SHA-256 of the store's manifest, hexadecimal: that of all of its data. Of several stores: of all of these."""
        digests = [source.copy.published.manifest_sha256 for source in self._sources]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest() if self._joined else digests[0]

    @cached_property
    def chunks(self) -> Chunks:
        """The chunks that hold rows of the split, of all stores."""
        parts = [source.chunks for source in self._sources]
        return Chunks.of_several(parts, self._first_shards[:-1].tolist())

    @cached_property
    def shards(self) -> list[int]:
        """The shards that hold rows of the split, in order; those of a second store are counted on."""
        starts = self._first_shards.tolist()
        return [
            first + shard
            for first, source in zip(starts, self._sources, strict=False)
            for shard in source.wanted_shards
        ]

    def __len__(self) -> int:
        """Rows of the split, those left out by `exclude_flags` included."""
        return sum(map(len, self._sources))

    def __repr__(self) -> str:
        store = self._described
        return (
            f"StreamingDataset({store.task}, {store.policy} policy, {store.dynamics} dynamics, "
            f"{self.split or 'all splits'}, {self._repository.name}: {len(self):,} rows; "
            f"{', '.join(self.columns)})"
        )

    def __getitem__(self, key: Any) -> Any:
        raise InvalidSettingError(
            f"a stream has no row number {key!r}, only a next one: iterate over it, or load without streaming. For "
            "torch's DataLoader, import torch before load_dataset, or use stream.to_torch()"
        )

    def _one_epoch(self, epoch: int) -> RowStream:
        settings = self._settings(BLOCK_ROWS // 2, 0, False, None, False, None, None, None)
        return RowStream(BatchStream(self, settings, epoch, single=True))

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        buffer_shards: int | None = None,
        drop_last: bool = False,
        epochs: int | None = 1,
        part: tuple[int, int] | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> BatchStream:
        """Go through all rows in batches; the order depends on the arguments only.

        Args:
            batch_size: Rows per batch, ≥ 1.
            seed: Of the order, ≥ 0; each epoch has another order.
            shuffle: Shards in random order, their rows mixed within the buffer. False: in order.
            buffer_shards: Shards whose rows are mixed, ≥ 1. Memory grows with it: the next buffer is fetched
                meanwhile. None: two, or one if two would be more than 128 MiB.
            drop_last: Leave out an epoch's last batch if it is not full.
            epochs: Passes over the rows; None for no end.
            part: (i, n): the i-th of n disjoint parts of the rows, for n parallel processes. They differ by at most
                one chunk. None: the rank's part, and of that the part of this worker of a torch DataLoader.
            rank: Number of this process among those that train together; None for what torch.distributed or
                jax.distributed say.
            world_size: The number of these processes.

        Returns:
            An iterator of dictionaries of arrays, with `state_dict` and `load_state_dict`. It has at least one batch
            per epoch.

        Raises:
            InvalidSettingError: A setting is out of range, or there are more parts than chunks.
        """
        given = given_ranks(rank, world_size)
        if part is not None and given is not None:
            raise InvalidSettingError("part, and rank and world_size, do not go together; give one of them")
        return BatchStream(
            self, self._settings(batch_size, seed, shuffle, buffer_shards, drop_last, epochs, part, given)
        )

    def to_torch(
        self,
        batch_size: int | None = None,
        *,
        seed: int = 0,
        shuffle: bool = True,
        buffer_shards: int | None = None,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> Any:
        """Return a `torch.utils.data.IterableDataset` of dictionaries of tensors, for a DataLoader with any workers.

        It is gone through once per epoch, each worker of each rank through its own part, and has `set_epoch`,
        `state_dict` and `load_state_dict`. `DataLoader(stream.to_torch(256), batch_size=None, num_workers=2)` is the
        fastest.

        Args:
            batch_size: Rows per batch; None for single rows, of which the DataLoader makes batches.
            seed: See `batches`, as for all that follow.
            shuffle: Shards in random order, their rows mixed within the buffer. False: in order.
            buffer_shards: Shards whose rows are mixed.
            drop_last: Leave out a part's last batch if it is not full.
            rank: Number of this process.
            world_size: The number of processes.

        Raises:
            InvalidSettingError: A setting is out of range.
            MissingDependencyError: torch is not installed.
        """
        imported("torch", "torch")
        from dynamic_sparsity.loaders.streaming.torch_stream import TorchStream

        size = BLOCK_ROWS // 2 if batch_size is None else batch_size
        given = given_ranks(rank, world_size)
        # All but the part is checked at once; that is each worker's own.
        settings = self._settings(size, seed, shuffle, buffer_shards, drop_last, None, (0, 1), given)
        return TorchStream(self, settings, given, by_rows=batch_size is None)

    def part(self, given: Ranks | None) -> tuple[int, int]:
        """Return which part of the rows this process reads: index and number of parts.

        Args:
            given: What the caller said of the rank; None to find out.

        Raises:
            InvalidSettingError: There are more parts than chunks.
        """
        part = part_of_process(given, self._ranks)
        check_part(part, len(self.chunks), repr(self))
        return part

    def _settings(
        self,
        batch_size: int,
        seed: int,
        shuffle: bool,
        buffer_shards: int | None,
        drop_last: bool,
        epochs: int | None,
        part: tuple[int, int] | None,
        ranks: Ranks | None,
    ) -> StreamSettings:
        """Check settings of `batches`, and fill in those that are None."""
        check_batch_settings(batch_size, seed, "blocks" if shuffle else False, epochs)
        if buffer_shards is None:
            # Of all columns, so that the order does not depend on which are read.
            largest = max(source.shard_bytes for source in self._sources)
            buffer_shards = int(np.clip(BUFFER_BYTES / largest, 1, BUFFER_SHARDS))
        if buffer_shards < 1:
            raise InvalidSettingError(f"buffer_shards is {buffer_shards}; it must be at least 1")
        if part is None:
            part = self.part(ranks)
        check_part(part, len(self.chunks), repr(self))
        return StreamSettings(batch_size, seed, bool(shuffle), buffer_shards, drop_last, epochs, (part[0], part[1]))

    def fetch(self, wanted: Sequence[ShardRows | int]) -> dict[int, Shards]:
        """Bring shards into memory.

        Args:
            wanted: Rows of shards, of which others need not be there; or numbers of shards, for all their rows.

        Returns:
            The shards' bytes, by number of the store.

        Raises:
            CorruptStoreError: The Hub's bytes are not those that were published.
            HubError: The Hub can't be reached, or refuses.
        """
        own: dict[int, list[ShardRows]] = {}
        for part in wanted:
            number, rows = self._located(part)
            own.setdefault(number, []).append(rows)
        sources = self._sources
        return {number: sources[number].receiver.receive(sources[number].arrays, own[number]) for number in own}

    def _located(self, wanted: ShardRows | int) -> tuple[int, ShardRows]:
        """Return the number of a shard's store, and the rows with the shard's number in it."""
        shard = wanted if isinstance(wanted, int) else wanted.shard
        number = int(np.searchsorted(self._first_shards, shard, side="right")) - 1
        local = shard - int(self._first_shards[number])
        if isinstance(wanted, int):
            return number, ShardRows(local, 0, int(self._sources[number].copy.store.metadata["shard_rows"]))
        return number, replace(wanted, shard=local)

    def rows_of(self, wanted: Sequence[ShardRows], row_reader: RowReader) -> Integers:
        """Return the rows of the split among some, without flagged ones.

        Args:
            wanted: Rows of shards.
            row_reader: Reads them.

        Returns:
            Numbers of rows in the store, or in the joined stores, int64, shape (n,).
        """
        parts = []
        for part in wanted:
            number, own = self._located(part)
            rows = self._sources[number].rows_of(own)
            if isinstance(row_reader.store, JoinedStore):
                rows = row_reader.store.number(np.full(rows.size, number), rows)
            parts.append(rows)
        rows = np.concatenate(parts)
        if self.exclude_flags:
            bits = sum(1 << self.metadata["flag_bits"][flag] for flag in self.exclude_flags)
            rows = rows[row_reader.fetch(rows, ["flags"])["flags"] & bits == 0]
        return rows

    def window(self) -> StreamWindow:
        """Return a reader of shards that come from `fetch`."""
        return StreamWindow(self._sources, self.coordinates, joined=self._joined)

    def close(self) -> None:
        """Delete the temporary folder; it is also deleted when the data set is garbage-collected."""
        self._cleanup()
