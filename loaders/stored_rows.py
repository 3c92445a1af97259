"""Rows of one store as dictionaries of NumPy arrays: opening, indexing, and selecting rows and columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError, RowKeyError, UnknownNameError
from dynamic_sparsity.loaders.hdf5.reader import Hdf5Store
from dynamic_sparsity.loaders.row_reader import RowReader
from dynamic_sparsity.loaders.row_source import BLOCK_ROWS, COORDINATES, Batch, Coordinates, check_choice
from dynamic_sparsity.loaders.store.checksums import VerifyMode
from dynamic_sparsity.loaders.store.row_store import RowStore
from dynamic_sparsity.loaders.store.store import open_store
from dynamic_sparsity.loaders.store_facts import StoreFacts

__all__ = ["StoredRows", "shaped"]

Array = NDArray[Any]


class StoredRows(StoreFacts):
    """A NumPy-like sequence of rows of one store; see `JacobianDataset`, which adds the rest.

    Attributes:
        split: The split of the rows; None for all.
        columns: Names of the columns.
        coordinates: "tangent" or "ambient".
        exclude_flags: Rows with any of these flags are left out.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        split: str | None = None,
        columns: Sequence[str] | str | None = None,
        coordinates: Coordinates = "tangent",
        verify: VerifyMode = "sha256",
        exclude_flags: Sequence[str] = (),
    ):
        """Open the store at a path; `load_dataset` finds it by name and explains the other arguments.

        Args:
            path: Folder of the store, or an HDF5 file of `to_hdf5`.
            split: See `load_dataset`, as for all that follow.
            columns: Which arrays to read.
            coordinates: "tangent" or "ambient".
            verify: "sha256" or "size".
            exclude_flags: Leave out rows with any of these flags.

        Raises:
            DynamicSparsityError: See `load_dataset`.
        """
        self._path = Path(path).expanduser().absolute()
        self._verify = verify
        self._verified: dict[str, tuple[int, int]] = {}
        self._selection: NDArray[np.int64] | None = None
        metadata = self.store.metadata
        self.split = split if split is None else check_choice("split", split, metadata["splits"])
        self.coordinates = self._known_coordinates(coordinates)
        if self.store.selection is not None:
            if self.split not in (None, self.store.split):
                raise InvalidSettingError(f"{self._path} holds the split {self.store.split!r}, not {self.split!r}")
            self.split = self.store.split
        flags = (exclude_flags,) if isinstance(exclude_flags, str) else exclude_flags
        self.exclude_flags = tuple(check_choice("flag", flag, metadata["flag_bits"]) for flag in flags)
        if self.exclude_flags:
            self._known_column("flags")
        names = (columns,) if isinstance(columns, str) else self.store.arrays if columns is None else columns
        self.columns = tuple(dict.fromkeys(self._known_column(name) for name in names))

    def _known_column(self, name: str) -> str:
        if name in self.store.absent:
            raise UnknownNameError(
                f"{self._path}: {name} was not downloaded, only {', '.join(self.store.arrays)}; name it in the "
                "`columns` of "
                "load_dataset"
            )
        return str(check_choice("column", name, self.store.readable))

    def _known_coordinates(self, name: str) -> Coordinates:
        coordinates: Coordinates = check_choice("coordinates", name, COORDINATES)
        if coordinates == "tangent" != self.store.coordinates:
            raise InvalidSettingError(f"{self._path} holds ambient coordinates; they can't be turned into tangent ones")
        return coordinates

    @cached_property
    def store(self) -> RowStore:
        """The opened store."""
        if self._path.is_file():
            return Hdf5Store(self._path)
        return open_store(self._path, verify=self._verify, verified=self._verified)

    @property
    def _described(self) -> RowStore:
        return self.store

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The row in the store of each row here, int64, shape (len(self),); not to be changed."""
        if self.store.selection is not None:
            return self._selected(self.store.selection)
        table = self.store.episodes
        chosen = np.ones(table["start"].size, bool)
        if self.split is not None:
            chosen = table["split"] == self.metadata["splits"].index(self.split)
        starts, lengths = table["start"][chosen], table["length"][chosen].astype(np.int64)
        rows = np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        return self._selected(rows)

    def _selected(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some rows of the store that are part of this selection."""
        if self.exclude_flags:
            bits = sum(1 << self.metadata["flag_bits"][flag] for flag in self.exclude_flags)
            rows = rows[self.store.reader.gather(["flags"], rows)["flags"] & bits == 0]
        return rows if self._selection is None else np.asarray(rows[self._selection])

    def __len__(self) -> int:
        return self.rows.size

    def __getitem__(self, key: Any) -> Batch:
        if isinstance(key, str):
            raise RowKeyError(
                f"a data set is indexed by rows, and {key!r} is a name: dataset[:][{key!r}] reads a column, "
                f"and dataset.with_columns({key!r}) no other column"
            )
        rows = np.asarray(self.rows[key])  # NumPy decides what the key means, or which error it deserves.
        return shaped(self._fetch(rows.reshape(-1)), rows.shape)

    def __getitems__(self, keys: list[int]) -> list[Batch]:
        """Return several rows as a list, for torch's DataLoader."""
        batch = self[np.asarray(keys, np.int64)]
        return [{name: values[number, ...] for name, values in batch.items()} for number in range(len(keys))]

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self), BLOCK_ROWS):
            batch = self[start : start + BLOCK_ROWS]
            for number in range(min(BLOCK_ROWS, len(self) - start)):
                yield {name: values[number, ...].copy() for name, values in batch.items()}

    def __repr__(self) -> str:
        store, selected = self.store, "" if self._selection is None else ", selected"
        joined = f", {len(self.origins)} data sets joined" if self.origins else ""
        sample = ", a sample" if self.metadata.get("sample") else ""
        excluded = f", without {' '.join(self.exclude_flags)}" if self.exclude_flags else ""
        return (
            f"{type(self).__name__}({store.task}, {store.policy} policy, {store.dynamics} dynamics, "
            f"{self.split or 'all splits'}{excluded}{selected}{joined}{sample}: {len(self):,} rows; "
            f"{', '.join(self.columns)}; {self.coordinates} coordinates; {str(self._path)!r})"
        )

    def __getstate__(self) -> dict[str, Any]:
        opened = ("store", "rows", "episodes", "statistics", "_row_reader", "_normalizer")
        state = {name: value for name, value in self.__dict__.items() if name not in opened}
        if "store" in self.__dict__:
            state["_verified"] = dict(self.store.verified)
        return state

    @cached_property
    def episodes(self) -> dict[str, Array]:
        """The episodes that have rows here: the columns of the episode table, each of shape (episodes,), and `index`.

        `index` is the episode's number in the store; `start` and `length` count rows of the store.
        """
        numbers = np.unique(self._episode_numbers())
        return {"index": numbers, **{name: column[numbers] for name, column in self.store.episodes.items()}}

    def episode(self, number: int) -> Batch:
        """Return the rows of one episode, in the order of time.

        Args:
            number: Which one of `episodes`, of this split, that is; negative ones count from the end.

        Returns:
            A dictionary of arrays like that of a slice.

        Raises:
            IndexError: There is no such episode.
        """
        start, length = self.episodes["start"][number], self.episodes["length"][number]
        inside = (self.rows >= start) & (self.rows < start + length)
        return self._fetch(np.sort(self.rows[inside]))

    def select(self, key: Any) -> Self:
        """Return a data set of some of the rows, in the order given; nothing is copied.

        Args:
            key: A boolean mask of shape (len(self),), integers of shape (n,), or a slice.

        Raises:
            IndexError: The key does not fit.
        """
        chosen = np.arange(len(self))[key]
        if chosen.ndim != 1:
            raise IndexError(f"a selection has one dimension; this key gives {chosen.ndim}")
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view.__dict__.pop("episodes", None)
        view._selection = chosen if self._selection is None else self._selection[chosen]
        view.__dict__["rows"] = self.rows[chosen]
        return view

    def with_columns(self, columns: Sequence[str] | str, *, coordinates: Coordinates | None = None) -> Self:
        """Return the same rows, in the same order, with other columns; nothing is copied.

        Args:
            columns: Which arrays to read.
            coordinates: "tangent" or "ambient"; None for those of this data set.

        Raises:
            UnknownNameError: A column does not exist, or was not downloaded.
            InvalidSettingError: An exported file holds ambient coordinates and tangent ones are requested.
        """
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        names = (columns,) if isinstance(columns, str) else columns
        view.columns = tuple(dict.fromkeys(self._known_column(name) for name in names))
        if coordinates is not None and coordinates != self.coordinates:
            view.coordinates = self._known_coordinates(coordinates)
            view.__dict__.pop("_row_reader", None)
        return view

    @cached_property
    def _row_reader(self) -> RowReader:
        return RowReader(self.store, self.coordinates)

    def _fetch(self, rows: NDArray[np.int64]) -> Batch:
        return self._row_reader.fetch(rows, self.columns)

    def _episode_numbers(self) -> NDArray[np.int64]:
        """Return the episode of each row, int64, shape (len(self),)."""
        starts = self.store.episodes["start"]
        order = np.argsort(starts, kind="stable")
        return order[np.searchsorted(starts[order], self.rows, side="right") - 1]


def shaped(batch: Batch, shape: tuple[int, ...]) -> Batch:
    """Give the rows of a batch the dimensions of the key that selected them.

    Args:
        batch: Arrays of shape (n, …).
        shape: The key's; n entries.
    """
    if len(shape) == 1:
        return batch
    return {name: values.reshape((*shape, *values.shape[1:])) for name, values in batch.items()}
