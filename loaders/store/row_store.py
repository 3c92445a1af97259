"""Where rows come from: a store's folder, or a file that was exported from one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.schemas.truncation import TRUNCATED

__all__ = ["ArrayReader", "RowStore"]

Array = NDArray[Any]


class ArrayReader(Protocol):
    """Reads rows of several arrays."""

    def gather(self, names: Iterable[str], rows: NDArray[np.int64]) -> dict[str, Array]:
        """Copy rows in any order.

        Args:
            names: Names of arrays.
            rows: Numbers of rows, int64, shape (n,).

        Returns:
            Arrays by name, shape (n, …).
        """

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Array]:
        """Copy consecutive rows.

        Args:
            names: Names of arrays.
            start: First row.
            stop: The row after the last.

        Returns:
            Arrays by name, shape (stop - start, …).
        """

    def will_need(self, names: Iterable[str], start: int, stop: int) -> None:
        """Take a hint that consecutive rows will be read soon.

        Args:
            names: Names of arrays.
            start: First row.
            stop: The row after the last.
        """


class RowStore(ABC):
    """A store, or a file exported from one, opened for reading.

    Attributes:
        path: Its folder or file, absolute.
        metadata: The validated attributes of the store's root group.
        arrays: Names of its row arrays, in the order of the schema.
        absent: Row arrays that the complete store has and this copy of it lacks.
        reader: Reads rows of its arrays.
        coordinates: "tangent"; only an exported file may hold Jacobians in "ambient" ones.
        selection: The rows of the store that an exported file holds, int64, shape (n,), in its order; None for a store.
        split: The split that an exported file was written from; None for all rows.
    """

    path: Path
    metadata: dict[str, Any]
    arrays: tuple[str, ...]
    absent: tuple[str, ...]
    reader: ArrayReader
    coordinates: str = "tangent"
    selection: NDArray[np.int64] | None = None
    split: str | None = None

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.metadata["task"])

    @property
    def policy(self) -> str:
        """Name of the policy."""
        return str(self.metadata["policy"])

    @property
    def dynamics(self) -> str:
        """Either "converged" or "stock"."""
        return str(self.metadata["dynamics"])

    @property
    def rows(self) -> int:
        """Number of rows of the store, padding included."""
        return int(self.metadata["rows"])

    @property
    def readable(self) -> tuple[str, ...]:
        """Names of the columns that rows can be asked for: the arrays, and what follows from the episode table."""
        return tuple(dict.fromkeys((*self.arrays, TRUNCATED.name)))

    @property
    @abstractmethod
    def episodes(self) -> dict[str, Array]:
        """The episode table: arrays of shape (E,) by column name."""

    @property
    @abstractmethod
    def statistics(self) -> dict[str, Array]:
        """The arrays of group `statistics`, by name."""

    @property
    def verified(self) -> Mapping[str, tuple[int, int]]:
        """Size (bytes) and time of change (ns) of the files that have been checked, by path inside the store."""
        return {}
