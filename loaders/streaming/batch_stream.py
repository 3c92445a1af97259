"""Batches of a stream in their order, and the position in them, from which another stream can go on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.hub.shard_window import Shards
from dynamic_sparsity.loaders.hub.transfer_plan import ShardRows
from dynamic_sparsity.loaders.row_reader import RowReader
from dynamic_sparsity.loaders.row_source import Batch
from dynamic_sparsity.loaders.streaming.parts import part_of_shards
from dynamic_sparsity.loaders.streaming.source import StreamWindow
from dynamic_sparsity.storage.background import background

if TYPE_CHECKING:
    from dynamic_sparsity.loaders.streaming.dataset import StreamingDataset

__all__ = ["BLOCK_ROWS", "BatchStream", "Position", "StreamSettings"]

BLOCK_ROWS: Final = 2048  # rows read at a time

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
        part: Index and number of equal parts of the chunks, of which this stream is one.
    """

    batch_size: int
    seed: int
    shuffle: bool
    buffer_shards: int
    drop_last: bool
    epochs: int | None
    part: tuple[int, int]


@dataclass
class Position:
    """How far a stream is.

    Attributes:
        epoch: Epochs that are done.
        group: Buffers of this epoch that are done.
        batch: Batches of this buffer that are done.
        carried: Rows that earlier buffers left over.
        row: Rows of the next batch that are done, where rows come one by one.
    """

    epoch: int = 0
    group: int = 0
    batch: int = 0
    carried: int = 0
    row: int = 0

    @classmethod
    def of(cls, state: dict[str, Any]) -> Position:
        """Return the position in a stream's state; "row" may lack.

        Args:
            state: Of `state_dict`.

        Raises:
            InvalidSettingError: It has none.
        """
        values: dict[str, int] = {}
        for field in fields(cls):
            value = state.get(field.name, 0 if field.name == "row" else None)
            if type(value) is not int or value < 0:
                raise InvalidSettingError(f"the state's {field.name} is {value!r}; it must be an integer from 0 on")
            values[field.name] = value
        return cls(**values)

    def move_to(self, other: Position) -> None:
        """Become equal to another position.

        Args:
            other: The position.
        """
        self.__dict__.update(other.__dict__)


class BatchStream:
    """Batches of a `StreamingDataset`: an iterator whose state can be saved and restored. It may be pickled.

    Attributes:
        dataset: Where the rows are.
        settings: Order and batches.
        position: How far it is.
    """

    def __init__(
        self, dataset: StreamingDataset, settings: StreamSettings, first_epoch: int = 0, *, single: bool = False
    ):
        """Begin before the first row; made by `StreamingDataset.batches`.

        Args:
            dataset: Where the rows are.
            settings: Order and batches.
            first_epoch: With which epoch it begins.
            single: Whether it ends with the epoch in which it began.
        """
        self.dataset = dataset
        self.settings = settings
        self.position = Position(first_epoch)
        self._single = single
        self._batches: Iterator[Batch] | None = None
        self._left: Future[dict[int, Shards]] | None = None

    def __iter__(self) -> BatchStream:
        return self

    def __next__(self) -> Batch:
        if self._batches is None:
            self._batches = self._run()
        return next(self._batches)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_batches": None, "_left": None}

    def state_dict(self) -> dict[str, Any]:
        """Return the stream's position, JSON data; an equal stream with `load_state_dict` continues from there."""
        place = asdict(self.position)
        place.pop("row")
        return {**place, **self.identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another stream stopped.

        Args:
            state: Of its `state_dict`.

        Raises:
            InvalidSettingError: It is the state of a stream of other rows or settings.
        """
        identity = self.identity()
        wrong = [key for key in identity if state.get(key) != identity[key]]
        if wrong:
            key = wrong[0]
            raise InvalidSettingError(
                f"the state is that of another stream: its {key} is {state.get(key)!r}, this one's is {identity[key]!r}"
            )
        position = Position.of(state)
        if position.row:
            raise InvalidSettingError("the state is that of a stream of rows; this one is of batches")
        self.close()
        self.position.move_to(position)

    def close(self) -> None:
        """Stop fetching; the next batch would be fetched again."""
        if self._batches is not None:
            self._batches.close()  # type: ignore[attr-defined]  # it is a generator
            self._batches = None
        if self._left is not None:
            wait([self._left])
            self._left = None

    def identity(self) -> dict[str, Any]:
        """Return what two streams must have in common to give the same batches."""
        dataset = self.dataset
        rows = {"manifest_sha256": dataset.manifest_sha256, "split": dataset.split}
        order = {key: list(value) if key == "part" else value for key, value in asdict(self.settings).items()}
        # Earlier versions shared shards among the parts: their places are others.
        shared = {"shared": "chunks"} if self.settings.part[1] > 1 else {}
        return {**rows, "exclude_flags": list(dataset.exclude_flags), **order, **shared}

    def _groups(self, epoch: int) -> list[list[ShardRows]]:
        """Return what each buffer of an epoch holds, in the order of their use."""
        shards = np.asarray(self.dataset.shards)
        if self.settings.shuffle:
            shards = np.random.default_rng([self.settings.seed, epoch]).permutation(shards)
        own = part_of_shards(self.dataset.chunks, shards, self.settings.part)
        size = self.settings.buffer_shards
        return [own[start : start + size] for start in range(0, len(own), size)]

    def _order(self, epoch: int, group: int, wanted: list[ShardRows], row_reader: RowReader) -> Integers:
        """Return the rows of one buffer in the order of their use."""
        rows = self.dataset.rows_of(wanted, row_reader)
        if self.settings.shuffle:
            rows = np.random.default_rng([self.settings.seed, epoch, group + 1]).permutation(rows)
        return rows

    def _run(self) -> Iterator[Batch]:
        position = self.position
        last = position.epoch + 1 if self._single else self.settings.epochs
        with background(1, "prefetch") as pool:
            while last is None or position.epoch < last:
                begun = (position.group, position.batch, position.carried) != (0, 0, 0)
                for batch in self._run_epoch(self._groups(position.epoch), pool):
                    begun = True
                    yield batch
                if not begun:
                    raise InvalidSettingError(self._no_batch())
                position.move_to(Position(position.epoch + 1))

    def _no_batch(self) -> str:
        """Say why an epoch had no batch: whoever waits for one would wait for ever."""
        index, parts = self.settings.part
        where = f"part {index} of {parts} of {self.dataset!r}" if parts > 1 else repr(self.dataset)
        if self.settings.drop_last and self.settings.batch_size > 1:
            return (
                f"{where} has no full batch of {self.settings.batch_size} rows, and drop_last leaves out others; use a "
                "smaller batch_size or fewer parts"
            )
        flags = ", ".join(self.dataset.exclude_flags)
        return f"{where} has no rows without the flags {flags}; use fewer parts, or exclude fewer flags"

    def _run_epoch(self, groups: list[list[ShardRows]], pool: ThreadPoolExecutor) -> Iterator[Batch]:
        dataset, size, position = self.dataset, self.settings.batch_size, self.position
        window = dataset.window()
        row_reader = window.row_reader
        carried = self._restore(groups, window)
        pending: Future[dict[int, Shards]] | None = None
        try:
            for group in range(position.group, len(groups)):
                contents = dataset.fetch(groups[group]) if pending is None else pending.result()
                pending = pool.submit(dataset.fetch, groups[group + 1]) if group + 1 < len(groups) else None
                window.show(contents)
                order = self._order(position.epoch, group, groups[group], row_reader)
                # The rows left over come first; there are fewer of them than a batch has.
                before = _rows(carried)
                full = (before + order.size) // size
                # Many batches at a time: long copies leave Python's lock to the threads that receive.
                together = max(1, BLOCK_ROWS // size)
                for first in range(position.batch, full, together):
                    last = min(full, first + together)
                    block = row_reader.fetch(
                        order[max(0, first * size - before) : last * size - before], dataset.columns
                    )
                    block = _joined(carried, block) if first == 0 else block
                    for number in range(first, last):
                        position.batch = number + 1
                        start = (number - first) * size
                        yield {name: values[start : start + size] for name, values in block.items()}
                left = row_reader.fetch(order[max(0, full * size - before) :], dataset.columns)
                carried = left if full else _joined(carried, left)
                position.group, position.batch, position.carried = group + 1, 0, _rows(carried)
                window.show({})
            if _rows(carried) and not self.settings.drop_last:
                rest, position.carried = carried, 0
                yield rest
        finally:
            # What is being fetched can't be stopped; `close` waits for it, the garbage collector must not.
            if pending is not None and not pending.cancel():
                self._left = pending

    def _restore(self, groups: list[list[ShardRows]], window: StreamWindow) -> Batch:
        """Read the rows that earlier buffers of the epoch left over: always the last ones, in their order."""
        position = self.position
        needed, found, row_reader = position.carried, list[Batch](), window.row_reader
        group = position.group
        while needed:
            group -= 1
            window.show(self.dataset.fetch(groups[group]))
            rows = self._order(position.epoch, group, groups[group], row_reader)[-needed:]
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
