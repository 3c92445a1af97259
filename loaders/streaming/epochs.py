"""Streams that are gone through once per epoch, as training loops do it, and can be left and taken up at any row."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.row_source import Batch
from dynamic_sparsity.loaders.streaming.batch_stream import BatchStream, Position
from dynamic_sparsity.loaders.streaming.row_stream import RowStream

__all__ = ["Epochs"]


class Epochs(ABC):
    """What can be iterated over again and again, one epoch at a time."""

    def __init__(self) -> None:
        """Begin with epoch 0."""
        self._epoch = _shared_number()
        self._begun: tuple[Position, dict[str, Any]] | None = None
        self._state: dict[str, Any] | None = None

    @abstractmethod
    def _one_epoch(self, epoch: int) -> BatchStream | RowStream:
        """Return this process's part of an epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is; shuffled rows have another order in each.

        Workers of torch's DataLoader learn of it, too, also persistent ones. Without it every iteration has the same
        order.

        Args:
            epoch: Its number, from 0.

        Raises:
            InvalidSettingError: It is less than 0.
        """
        if epoch < 0:
            raise InvalidSettingError(f"epoch is {epoch}; it must be at least 0")
        self._epoch[...] = int(epoch)

    def __iter__(self) -> Iterator[Batch]:
        stream = self._one_epoch(int(self._epoch))
        if self._state is not None and self._state["epoch"] == int(self._epoch):
            stream.load_state_dict(self._state)
        self._state = None
        self._begun = stream.position, stream.identity()
        return stream

    def state_dict(self) -> dict[str, Any]:
        """Return how far the last iteration in this process is, JSON data.

        A DataLoader with workers iterates in those: torchdata's `StatefulDataLoader` asks each of them.

        Raises:
            InvalidSettingError: Nothing was iterated over here.
        """
        if self._state is not None:
            return dict(self._state)
        if self._begun is None:
            raise InvalidSettingError(
                "there is no position: this process has not iterated over the stream. The workers of a DataLoader have "
                "positions of their own, which torchdata's StatefulDataLoader saves and restores"
            )
        position, identity = self._begun
        return {**position.__dict__, **identity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration begin where another one was; it is of the state's epoch.

        Args:
            state: Of `state_dict`.

        Raises:
            InvalidSettingError: It is the state of a stream of other rows or settings.
        """
        position = Position.of(state)
        self._one_epoch(position.epoch).load_state_dict(state)
        self._epoch[...] = position.epoch
        self._state = dict(state)

    def _picklable(self) -> dict[str, Any]:
        """Return the attributes of this class that another process needs."""
        return {"_epoch": self._epoch, "_begun": None, "_state": self._state}


def _shared_number() -> Any:
    """Return 0 as an array without dimensions; where torch is loaded, its DataLoader's workers see its changes."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "zeros"):
        return np.zeros((), np.int64)
    return torch.zeros((), dtype=torch.int64).share_memory_()
