"""Whole episodes, one after the other, for formats that are made of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.row_source import Batch, RowSource
from dynamic_sparsity.schemas.joining import origins_of
from dynamic_sparsity.schemas.naming import STOCK_SUFFIX

__all__ = ["Episode", "episode_numbers", "export_name", "further_columns", "whole_episodes"]

TRANSITION: Final = ("state", "action", "next_state", "reward")
"""What every format of episodes has."""

IMPLIED: Final = (*TRANSITION, "done", "episode", "step")
"""Columns that such a format has in its own way."""


class Episode(NamedTuple):
    """One episode.

    Attributes:
        number: Its number in the store.
        seed: Its store's seed.
        split: Its split.
        terminated: Whether the task ended it, and not the number of steps.
        columns: `TRANSITION` and the further columns, each of shape (T, …).
    """

    number: int
    seed: int
    split: str
    terminated: bool
    columns: Batch

    def reset(self, source: RowSource) -> dict[str, Any] | None:
        """Return the arguments by which the task's environment begins this episode; None if no one store made it.

        Args:
            source: Where the episode is from.
        """
        if origins_of(source.metadata):
            return None
        return {"seed": self.seed, "options": {"episode": self.number}}


def further_columns(source: RowSource) -> tuple[str, ...]:
    """Return the columns of a source that are no part of every format, and have numbers in a row.

    Args:
        source: The rows.
    """
    columns = [name for name in source.columns if name not in IMPLIED]
    empty = source.with_columns(columns)[:0]
    return tuple(name for name in columns if 0 not in empty[name].shape[1:])


def episode_numbers(source: RowSource) -> NDArray[np.int64]:
    """Return the numbers in the store of the episodes of a source, in their order there.

    Args:
        source: The rows.

    Raises:
        InvalidSettingError: They are not whole episodes, each in the order of time.
    """
    table = source.store.episodes
    starts = table["start"].astype(np.int64)
    order = np.argsort(starts, kind="stable")
    of_rows = order[np.searchsorted(starts[order], source.rows, side="right") - 1]
    first = np.flatnonzero(np.diff(of_rows, prepend=-1))
    numbers = of_rows[first]
    lengths = table["length"][numbers].astype(np.int64)
    whole = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths - starts[numbers], lengths)
    if not np.array_equal(whole, source.rows):
        raise InvalidSettingError(
            f"{len(source):,} rows were given that are no whole episodes, in the order of time; export the rows of a "
            "split or of a store, without `select` and `exclude_flags`"
        )
    return numbers


def whole_episodes(source: RowSource, columns: tuple[str, ...]) -> Iterator[Episode]:
    """Yield the episodes of a source, in their order there.

    Args:
        source: The rows.
        columns: Names of the further columns.

    Raises:
        InvalidSettingError: They are not whole episodes.
        UnknownNameError: A column of `TRANSITION` is not there.
        CorruptStoreError: The store is damaged.
    """
    table, numbers = source.store.episodes, episode_numbers(source)
    rows, start = source.with_columns([*TRANSITION, *columns]), 0
    for number in numbers:
        stop = start + int(table["length"][number])
        split = source.metadata["splits"][table["split"][number]]
        terminated = bool(table["terminated"][number])
        yield Episode(int(number), int(table["seed"][number]), split, terminated, rows[start:stop])
        start = stop


def export_name(source: RowSource) -> str:
    """Return what an export is called unless the user says otherwise: "CheetahRun/expert", "CheetahRun/noise-test".

    Args:
        source: The rows.
    """
    metadata = source.metadata
    stock = STOCK_SUFFIX if metadata["dynamics"] == "stock" else ""
    split = f"-{source.split}" if source.split else ""
    return f"{metadata['task']}/{metadata['policy']}{stock}{split}"
