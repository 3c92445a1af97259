"""Where episodes were cut off: a column that no store has, as it follows from the table of episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dynamic_sparsity.schemas import ArraySpec

__all__ = ["TRUNCATED", "is_truncated", "truncated_rows"]

TRUNCATED: Final = ArraySpec(
    name="truncated",
    dims=("N",),
    dimension_names=("row",),
    dtype="uint8",
    storage="packed",
    fill_value=255,
    unit="1",
    description="1 in the last row of an episode that was cut off by its length, not ended by the task; else 0",
)
"""Not among the columns that are read unless others are named: it is read by its name."""


def truncated_rows(episodes: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """Return the last rows of the episodes that did not terminate.

    Args:
        episodes: The columns of the table of episodes, each of shape (episodes,).

    Returns:
        Numbers of rows in the store, ascending, int64, shape (n,).
    """
    cut = (episodes["terminated"] == 0) & (episodes["length"] > 0)
    return np.sort(episodes["start"][cut].astype(np.int64) + episodes["length"][cut] - 1)


def is_truncated(last: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return the column `truncated` of some rows.

    Args:
        last: Of `truncated_rows`.
        rows: Numbers of rows, int64, shape (n,).

    Returns:
        0 or 1, uint8, shape (n,).
    """
    if not last.size:
        return np.zeros(rows.shape, np.uint8)
    places = np.searchsorted(last, rows)
    return np.asarray(last[np.minimum(places, last.size - 1)] == rows, np.uint8)
