"""What several stores have in common that are read as one: the arrays, and the column that says where a row is from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dynamic_sparsity.schemas import ArraySpec, row_arrays_of
from dynamic_sparsity.schemas.truncation import TRUNCATED

__all__ = ["DERIVED", "ORIGIN", "ORIGINS", "origin_of_rows", "origins_of", "readable_arrays"]

ORIGINS: Final = "origins"
"""The key of `settings` under which the metadata of joined stores list them, in the order of their episodes."""

ORIGIN: Final = ArraySpec(
    name="origin",
    dims=("N",),
    dimension_names=("row",),
    dtype="int32",
    storage="packed",
    fill_value=-1,
    unit="1",
    description="which of the joined stores the row is from; the settings' origins list them",
)
"""No store has it: it follows from the row's number. Joined stores can be asked for it."""


DERIVED: Final = frozenset({ORIGIN.name, TRUNCATED.name})
"""Columns that follow from a row's number, so that nothing is read for them."""


def origins_of(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return which stores the episodes are from.

    Args:
        metadata: The validated attributes of a store, or of joined ones.

    Returns:
        In the order of the episodes; each has its number of `episodes`. Empty for a store that is not made of several,
        and where what it says does not fit its episodes.
    """
    found = metadata["settings"].get(ORIGINS)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        return []
    counts = [one.get("episodes") for one in found]
    fits = all(type(count) is int and count >= 0 for count in counts) and sum(counts) == metadata["episodes"]
    return [dict(one) for one in found] if fits else []


def origin_of_rows(metadata: Mapping[str, Any], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Return which of the joined stores rows are from.

    Args:
        metadata: The attributes of the joined stores.
        rows: Numbers of rows, int64, shape (n,).

    Returns:
        Positions in `origins_of`, shape (n,).
    """
    ends = np.cumsum([one["episodes"] for one in origins_of(metadata)])
    return np.asarray(np.searchsorted(ends, rows // metadata["episode_length"], side="right"), np.int32)


def readable_arrays(metadata: Mapping[str, Any]) -> tuple[ArraySpec, ...]:
    """Return the arrays with one entry per row that can be read of a store, or of joined ones.

    Args:
        metadata: Its validated attributes, or those of the joined stores.
    """
    return (*row_arrays_of(metadata), TRUNCATED, *((ORIGIN,) if origins_of(metadata) else ()))
