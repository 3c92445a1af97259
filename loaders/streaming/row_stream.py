"""Rows of a stream one by one, and the position among them."""

from __future__ import annotations

from copy import copy
from dataclasses import asdict, replace
from typing import Any

from dynamic_sparsity.loaders.row_source import Batch
from dynamic_sparsity.loaders.streaming.batch_stream import BatchStream, Position

__all__ = ["RowStream"]


class RowStream:
    """Rows of a `StreamingDataset`: an iterator whose state can be saved and restored. It may be pickled.

    Attributes:
        position: How far it is.
    """

    def __init__(self, batches: BatchStream):
        """Begin where some batches begin.

        Args:
            batches: They are read as a whole, and handed out by rows; nobody else may use them.
        """
        self._batches = batches
        self.position = replace(batches.position)
        self._batch: Batch = {}
        self._rows = 0

    def __iter__(self) -> RowStream:
        return self

    def __next__(self) -> Batch:
        while self.position.row >= self._rows:
            self._read()
        number = self.position.row
        self.position.row += 1
        return {name: values[number, ...].copy() for name, values in self._batch.items()}

    def _read(self) -> None:
        """Read the next batch. The position is where it begins, and the rows of it that are done."""
        # Nothing in hand: what is done is of the batch to be read, after `load_state_dict`.
        row = 0 if self._rows else self.position.row
        begin = replace(self._batches.position, row=row)
        self._rows = 0
        self._batch = {}
        try:
            batch = next(self._batches)
        except StopIteration:
            self.position.move_to(self._batches.position)
            raise
        self._batch, self._rows = batch, len(next(iter(batch.values())))
        self.position.move_to(begin)

    def __getstate__(self) -> dict[str, Any]:
        batches = copy(self._batches)
        batches.position = replace(self.position, row=0)
        return {**self.__dict__, "_batches": batches, "_batch": {}, "_rows": 0}

    def identity(self) -> dict[str, Any]:
        """Return what two streams must have in common to give the same rows."""
        return self._batches.identity()

    def state_dict(self) -> dict[str, Any]:
        """Return the stream's position, JSON data; an equal stream with `load_state_dict` continues from there."""
        return {**asdict(self.position), **self.identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another stream stopped.

        Args:
            state: Of its `state_dict`.

        Raises:
            InvalidSettingError: It is the state of a stream of other rows or settings.
        """
        position = Position.of(state)
        self._batches.load_state_dict({**state, "row": 0})
        self.position.move_to(position)
        self._batch, self._rows = {}, 0
