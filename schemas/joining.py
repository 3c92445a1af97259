"""What several stores have in common that are read as one: the arrays, and the column that says where a row is from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dynamic_sparsity.schemas import ArraySpec, row_arrays_of

__all__ = ["ORIGIN", "ORIGINS", "readable_arrays"]

ORIGINS: Final = "origins"
"""The key of `settings` under which the metadata of joined stores list them."""

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
"""No store has it; joined stores have, and files exported from them."""


def readable_arrays(metadata: Mapping[str, Any]) -> tuple[ArraySpec, ...]:
    """Return the arrays with one entry per row that can be read of a store, or of joined ones.

    Args:
        metadata: Its validated attributes, or those of the joined stores.
    """
    return (*row_arrays_of(metadata), *((ORIGIN,) if ORIGINS in metadata["settings"] else ()))
