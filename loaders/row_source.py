"""What conversions and windows need of a data set, so that they need not know which one it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import UnknownNameError
from dynamic_sparsity.loaders.store.row_store import RowStore

__all__ = ["BLOCK_ROWS", "COORDINATES", "Batch", "Coordinates", "RowSource", "blocks", "check_choice"]

COORDINATES = ("tangent", "ambient")
BLOCK_ROWS = 1024
"""Rows that are read at a time where all rows are gone through."""

Batch = dict[str, NDArray[Any]]
Coordinates = Literal["tangent", "ambient"]


class RowSource(Protocol):
    """Rows by their index, with the names and the coordinates of their columns."""

    columns: tuple[str, ...]
    coordinates: Coordinates
    split: str | None

    @property
    def store(self) -> RowStore:
        """The store that the rows are in."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What the store says about itself."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row in the store of each row here, int64, shape (n,)."""

    def with_columns(self, columns: Sequence[str] | str, *, coordinates: Coordinates | None = None) -> Self:
        """Return the same rows with other columns.

        Args:
            columns: Names of columns.
            coordinates: "tangent" or "ambient"; None for the present ones.
        """

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any) -> Batch: ...


def blocks(source: RowSource, rows: int = BLOCK_ROWS) -> Iterator[Batch]:
    """Yield all rows of a source in order, some at a time.

    Args:
        source: Where the rows are.
        rows: Rows per block, ≥ 1; the last block may have fewer.
    """
    for start in range(0, len(source), rows):
        yield source[start : start + rows]


def check_choice(what: str, name: Any, legal: Any) -> Any:
    """Return a name if it is one of those that exist.

    Args:
        what: What kind of thing it names, for the message.
        name: The name.
        legal: Those that exist.

    Raises:
        UnknownNameError: It does not.
    """
    if name not in legal:
        raise UnknownNameError(f"there is no {what} {name!r}; there is {', '.join(map(repr, legal))}")
    return name
