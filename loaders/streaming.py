"""Reading a published store shard by shard, without keeping it: prefetch, shuffle buffer, a state to resume from."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.hub.leftovers import owned_folder, release
from dynamic_sparsity.loaders.hub.local_copy import LocalCopy
from dynamic_sparsity.loaders.hub.publication import PublishedStore
from dynamic_sparsity.loaders.hub.repository import Repository
from dynamic_sparsity.loaders.hub.shard_window import Receiver, Shards, ShardWindow
from dynamic_sparsity.loaders.row_reader import RowReader
from dynamic_sparsity.loaders.row_source import Batch, check_choice
from dynamic_sparsity.loaders.sampling import check_batch_settings

__all__ = ["BatchStream", "StreamingDataset"]

BLOCK_ROWS: Final = 2048  # rows read at a time
BUFFER_SHARDS: Final = 2
BUFFER_BYTES: Final = 128 * 2**20  # with larger shards, the buffer has fewer, so that memory stays small

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class StreamSettings:
    """In which order rows come, and in which batches.

    Attributes:
        batch_size: Rows per batch.
        seed: Of the order; the epoch's number is mixed in.
        shuffle: Whether shards come in random order, and rows are mixed within the buffer.
        buffer_shards: Shards in the buffer.
        drop_last: Leave out an epoch's last batch if it is not full.
        epochs: Passes over the rows; None for no end.
        part: Index and number of equal parts of the shards, of which this stream is one.
    """

    batch_size: int
    seed: int
    shuffle: bool
    buffer_shards: int
    drop_last: bool
    epochs: int | None
    part: tuple[int, int]


class StreamingDataset:
    """Rows of a published store, read over the network as needed; made by `load_dataset(..., streaming=True)`.

    Shards are fetched into memory, one buffer ahead of the one in use, checked, and released after use: memory holds
    the shards of two buffers.
    """

    def __init__(
        self,
        repository: Repository,
        published: PublishedStore,
        *,
        split: str | None = None,
        columns: Sequence[str] | None = None,
        coordinates: str = "tangent",
        exclude_flags: Sequence[str] = (),
    ):
        """Fetch the store's index; `load_dataset` explains the arguments.

        Args:
            repository: Where the store is published.
            published: The store.
            split: "train", "validation" or "test"; None for all rows.
            columns: Names of columns; None for all.
            coordinates: "tangent" or "ambient".
            exclude_flags: Leave out rows with any of these flags.

        Raises:
            UnknownNameError: A split, column or flag that does not exist.
            HubError: The Hub can't be reached, or refuses.
        """
        folder = owned_folder()
        self._cleanup = weakref.finalize(self, release, folder)
        self._copy = LocalCopy(repository, published, split, folder)
        self.split = split
        self.coordinates = coordinates
        bits = self.metadata["flag_bits"]
        self.exclude_flags = tuple(check_choice("flag", flag, bits) for flag in exclude_flags)
        self.columns = tuple(self._copy.arrays if columns is None else dict.fromkeys(columns))
        self._arrays = self._copy.arrays_for(self.columns, coordinates, self.exclude_flags)
        self._receiver = Receiver(self._copy)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the store says about itself; docs/format.md lists the keys."""
        return self._copy.store.metadata

    @cached_property
    def shards(self) -> list[int]:
        """The shards that hold rows of the split, in order."""
        return sorted({shard for _, shard in self._copy.ledger.wanted_files.values()})

    def __len__(self) -> int:
        """Rows of the split, those left out by `exclude_flags` included."""
        ranges = self._copy.ledger.ranges
        return int((ranges[:, 1] - ranges[:, 0]).sum()) if self.split else sum(self._copy.published.splits.values())

    def __repr__(self) -> str:
        store = self._copy.published
        return (
            f"StreamingDataset({store.task}, {store.policy} policy, {store.dynamics} dynamics, "
            f"{self.split or 'all splits'}, {self._copy.repository.name}: {len(self):,} rows; "
            f"{', '.join(self.columns)})"
        )

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches(BLOCK_ROWS // 2, shuffle=False):
            for number in range(len(next(iter(batch.values())))):
                yield {name: values[number, ...].copy() for name, values in batch.items()}

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        buffer_shards: int | None = None,
        drop_last: bool = False,
        epochs: int | None = 1,
        part: tuple[int, int] = (0, 1),
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
            part: (i, n): the i-th of n disjoint parts of the shards, for n parallel processes.

        Returns:
            An iterator of dictionaries of arrays, with `state_dict` and `load_state_dict`.

        Raises:
            InvalidSettingError: A setting is out of range.
        """
        check_batch_settings(batch_size, seed, "blocks" if shuffle else False, epochs)
        if buffer_shards is None:
            # Of all columns, so that the order does not depend on which are read.
            published = self._copy.published
            shard_bytes = published.bytes * self.metadata["shard_rows"] / max(1, published.rows)
            buffer_shards = int(np.clip(BUFFER_BYTES / shard_bytes, 1, BUFFER_SHARDS))
        if buffer_shards < 1:
            raise InvalidSettingError(f"buffer_shards is {buffer_shards}; it must be at least 1")
        if not 0 <= part[0] < part[1]:
            raise InvalidSettingError(f"part is {part}; it is (index, number of parts), the index from 0")
        settings = StreamSettings(batch_size, seed, bool(shuffle), buffer_shards, drop_last, epochs, (part[0], part[1]))
        return BatchStream(self, settings)

    def fetch(self, shards: Sequence[int]) -> Shards:
        """Bring shards into memory.

        Args:
            shards: Their numbers.

        Raises:
            CorruptStoreError: The Hub's bytes are not those that were published.
            HubError: The Hub can't be reached, or refuses.
        """
        return self._receiver.receive(self._arrays, shards)

    def rows_of(self, shards: Sequence[int], row_reader: RowReader) -> Integers:
        """Return the rows of the split in some shards, without flagged ones.

        Args:
            shards: Their numbers.
            row_reader: Reads them.

        Returns:
            Numbers of rows in the store, int64, shape (n,).
        """
        ledger, store = self._copy.ledger, self._copy.store
        parts = []
        for shard in shards:
            first = shard * store.metadata["shard_rows"]
            parts += [np.arange(start, stop) + first for start, stop in ledger.shard_ranges(shard).tolist()]
        rows = np.concatenate(parts)
        table = store.episodes
        episode = np.searchsorted(table["start"], rows, side="right") - 1
        rows = rows[rows < table["start"][episode] + table["length"][episode]]
        if self.exclude_flags:
            bits = sum(1 << self.metadata["flag_bits"][flag] for flag in self.exclude_flags)
            rows = rows[row_reader.fetch(rows, ["flags"])["flags"] & bits == 0]
        return rows

    def window(self) -> ShardWindow:
        """Return a reader of shards that come from `fetch`."""
        return ShardWindow(self._receiver, self.coordinates)

    def close(self) -> None:
        """Delete the temporary folder; it is also deleted when the data set is garbage-collected."""
        self._cleanup()


class BatchStream:
    """Batches of a `StreamingDataset`: an iterator whose state can be saved and restored."""

    def __init__(self, dataset: StreamingDataset, settings: StreamSettings):
        """Begin before the first row; made by `StreamingDataset.batches`.

        Args:
            dataset: Where the rows are.
            settings: Order and batches.
        """
        self.dataset = dataset
        self.settings = settings
        self._epoch = self._group = self._batch = self._carried = 0
        self._batches: Iterator[Batch] | None = None

    def __iter__(self) -> BatchStream:
        return self

    def __next__(self) -> Batch:
        if self._batches is None:
            self._batches = self._run()
        return next(self._batches)

    def state_dict(self) -> dict[str, Any]:
        """Return the stream's position, JSON data; an equal stream with `load_state_dict` continues from there."""
        place = {"epoch": self._epoch, "group": self._group, "batch": self._batch, "carried": self._carried}
        return {**place, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another stream stopped.

        Args:
            state: Of its `state_dict`.

        Raises:
            InvalidSettingError: It is the state of a stream of other rows or settings.
        """
        identity = self._identity()
        wrong = [key for key in identity if state.get(key) != identity[key]]
        if wrong:
            key = wrong[0]
            raise InvalidSettingError(
                f"the state is that of another stream: its {key} is {state.get(key)!r}, this one's is {identity[key]!r}"
            )
        self.close()
        places = (int(state[key]) for key in ("epoch", "group", "batch", "carried"))
        self._epoch, self._group, self._batch, self._carried = places

    def close(self) -> None:
        """Stop fetching; the next batch would be fetched again."""
        if self._batches is not None:
            self._batches.close()  # type: ignore[attr-defined]  # it is a generator
            self._batches = None

    def _identity(self) -> dict[str, Any]:
        """Return what two streams must have in common to give the same batches."""
        dataset = self.dataset
        rows = {"manifest_sha256": dataset._copy.published.manifest_sha256, "split": dataset.split}
        order = {key: list(value) if key == "part" else value for key, value in asdict(self.settings).items()}
        return {**rows, "exclude_flags": list(dataset.exclude_flags), **order}

    def _groups(self, epoch: int) -> list[list[int]]:
        """Return the shards of each buffer of an epoch, in the order of their use."""
        index, parts = self.settings.part
        shards = np.asarray(self.dataset.shards)
        if self.settings.shuffle:
            shards = np.random.default_rng([self.settings.seed, epoch]).permutation(shards)
        own: list[int] = shards[index::parts].tolist()
        size = self.settings.buffer_shards
        return [own[start : start + size] for start in range(0, len(own), size)]

    def _order(self, epoch: int, group: int, shards: list[int], row_reader: RowReader) -> Integers:
        """Return the rows of one buffer in the order of their use."""
        rows = self.dataset.rows_of(shards, row_reader)
        if self.settings.shuffle:
            rows = np.random.default_rng([self.settings.seed, epoch, group + 1]).permutation(rows)
        return rows

    def _run(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
            while self.settings.epochs is None or self._epoch < self.settings.epochs:
                groups = self._groups(self._epoch)
                if not groups:
                    return
                yield from self._run_epoch(groups, pool)
                self._epoch, self._group, self._batch, self._carried = self._epoch + 1, 0, 0, 0

    def _run_epoch(self, groups: list[list[int]], pool: ThreadPoolExecutor) -> Iterator[Batch]:
        dataset, size = self.dataset, self.settings.batch_size
        window = dataset.window()
        row_reader = window.row_reader
        carried = self._restore(groups, window)
        pending: Future[Shards] | None = None
        try:
            for group in range(self._group, len(groups)):
                contents = dataset.fetch(groups[group]) if pending is None else pending.result()
                pending = pool.submit(dataset.fetch, groups[group + 1]) if group + 1 < len(groups) else None
                window.show(contents)
                order = self._order(self._epoch, group, groups[group], row_reader)
                # The rows left over come first; there are fewer of them than a batch has.
                before = _rows(carried)
                full = (before + order.size) // size
                # Many batches at a time: long copies leave Python's lock to the threads that receive.
                together = max(1, BLOCK_ROWS // size)
                for first in range(self._batch, full, together):
                    last = min(full, first + together)
                    block = row_reader.fetch(
                        order[max(0, first * size - before) : last * size - before], dataset.columns
                    )
                    block = _joined(carried, block) if first == 0 else block
                    for number in range(first, last):
                        self._batch = number + 1
                        start = (number - first) * size
                        yield {name: values[start : start + size] for name, values in block.items()}
                left = row_reader.fetch(order[max(0, full * size - before) :], dataset.columns)
                carried = left if full else _joined(carried, left)
                self._group, self._batch, self._carried = group + 1, 0, _rows(carried)
                window.show({})
            if _rows(carried) and not self.settings.drop_last:
                rest, self._carried = carried, 0
                yield rest
        finally:
            if pending is not None:
                pending.cancel()

    def _restore(self, groups: list[list[int]], window: ShardWindow) -> Batch:
        """Read the rows that earlier buffers of the epoch left over: always the last ones, in their order."""
        needed, found, row_reader = self._carried, list[Batch](), window.row_reader
        group = self._group
        while needed:
            group -= 1
            window.show(self.dataset.fetch(groups[group]))
            rows = self._order(self._epoch, group, groups[group], row_reader)[-needed:]
            found.insert(0, row_reader.fetch(rows, self.dataset.columns))
            needed -= rows.size
            window.show({})
        carried: Batch = {}
        for batch in found:
            carried = _joined(carried, batch)
        return carried


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values()))) if batch else 0


def _joined(first: Batch, second: Batch) -> Batch:
    """Join two batches."""
    if not _rows(first):
        return second
    return {name: np.concatenate([first[name], values]) for name, values in second.items()}
