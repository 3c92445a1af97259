"""A stream as torch reads it: an `IterableDataset` of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from dynamic_sparsity.loaders.streaming.batch_stream import BatchStream, StreamSettings
from dynamic_sparsity.loaders.streaming.epochs import Epochs
from dynamic_sparsity.loaders.streaming.processes import Ranks
from dynamic_sparsity.loaders.streaming.row_stream import RowStream

if TYPE_CHECKING:
    from dynamic_sparsity.loaders.streaming.dataset import StreamingDataset

__all__ = ["TorchStream"]

Tensors = dict[str, torch.Tensor]


class TorchStream(Epochs, torch.utils.data.IterableDataset):  # type: ignore[misc]  # torch may not be installed
    """A stream's batches or rows as dictionaries of tensors, one epoch at a time; made by `StreamingDataset.to_torch`.

    Attributes:
        dataset: Where the rows are.
    """

    def __init__(self, dataset: StreamingDataset, settings: StreamSettings, given: Ranks | None, *, by_rows: bool):
        """Wrap a stream.

        Args:
            dataset: Where the rows are.
            settings: Order and batches; the part is found by each process.
            given: What the caller said of the rank; None to find out.
            by_rows: Whether to give rows, not batches.
        """
        super().__init__()
        self.dataset = dataset
        self._settings = settings
        self._given = given
        self._by_rows = by_rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **self._picklable()}

    def __iter__(self) -> Iterator[Any]:
        return TensorStream(super().__iter__())

    def _one_epoch(self, epoch: int) -> BatchStream | RowStream:
        settings = replace(self._settings, part=self.dataset.part(self._given))
        batches = BatchStream(self.dataset, settings, epoch, single=True)
        return RowStream(batches) if self._by_rows else batches


class TensorStream:
    """What a `TorchStream` gives, and the position in it."""

    def __init__(self, stream: Any):
        """Begin where a stream begins.

        Args:
            stream: A `BatchStream` or `RowStream`.
        """
        self._stream = stream

    def __iter__(self) -> TensorStream:
        return self

    def __next__(self) -> Tensors:
        return {name: torch.as_tensor(values) for name, values in next(self._stream).items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the position; see `BatchStream`."""
        state: dict[str, Any] = self._stream.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another stream stopped; see `BatchStream`.

        Args:
            state: Of `state_dict`.
        """
        self._stream.load_state_dict(state)
