"""Windows: pieces of consecutive rows of one episode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.row_source import RowSource

__all__ = ["Windows", "window_starts"]

Integers = NDArray[np.int64]


def window_starts(rows: Integers, episodes: Integers, length: int, stride: int) -> Integers:
    """Return where windows start.

    Args:
        rows: Rows of the store, int64, shape (n,).
        episodes: The episode of each, int64, shape (n,).
        length: Rows per window.
        stride: Distance of the starts of two windows.

    Returns:
        Positions in `rows`, int64, shape (windows,). The windows of each run of consecutive rows of one episode start
        at the run's first row, and none leaves its run.

    Raises:
        InvalidSettingError: `length` or `stride` is less than 1.
    """
    if length < 1 or stride < 1:
        raise InvalidSettingError(f"length is {length} and stride is {stride}; both must be at least 1")
    if rows.size == 0:
        return np.empty(0, np.int64)
    cuts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(episodes) != 0)) + 1
    starts = np.concatenate([[0], cuts])
    sizes = np.diff(np.concatenate([starts, [rows.size]]))
    counts = np.maximum(0, (sizes - length) // stride + 1)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    found: Integers = np.repeat(starts, counts) + within * stride
    return found


class Windows:
    """A sequence of windows of a data set; made by `JacobianDataset.windows`.

    Indexing works as with `JacobianDataset`, and every array has the window's rows as one more dimension:
    `windows[3]["state"]` has shape (length, ds), `windows[[3, 4]]["state"]` has shape (2, length, ds).
    """

    def __init__(self, dataset: RowSource, starts: Integers, length: int):
        """Keep what the windows need; made by `JacobianDataset.windows`.

        Args:
            dataset: Where the rows are.
            starts: Position in it of each window's first row, int64, shape (windows,).
            length: Rows per window.
        """
        self.dataset = dataset
        self.length = length
        self._starts = starts

    def __len__(self) -> int:
        return self._starts.size

    def __getitem__(self, key: Any) -> dict[str, NDArray[Any]]:
        return self.dataset[self._starts[key][..., None] + np.arange(self.length)]

    def __getitems__(self, keys: list[int]) -> list[dict[str, NDArray[Any]]]:
        """Return several windows as a list, for torch's DataLoader."""
        batch = self[np.asarray(keys, np.int64)]
        return [{name: values[number] for name, values in batch.items()} for number in range(len(keys))]

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        for number in range(len(self)):
            yield self[number]

    def __repr__(self) -> str:
        return f"<{len(self):,} windows of {self.length} rows of {self.dataset!r}>"
