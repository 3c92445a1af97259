"""The data set: rows of one store as dictionaries of NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError, UnknownNameError
from dynamic_sparsity.loaders.export.conversions import Conversions
from dynamic_sparsity.loaders.normalization import Normaliser
from dynamic_sparsity.loaders.row_reader import Batch, Fetcher
from dynamic_sparsity.loaders.sampling import Shuffle, check_batch_settings, in_background, positions_of_batches
from dynamic_sparsity.loaders.store.checksums import VerifyMode
from dynamic_sparsity.loaders.store.store import Store, open_store
from dynamic_sparsity.loaders.windows import Windows, window_starts

__all__ = ["COORDINATES", "Coordinates", "JacobianDataset", "known"]

COORDINATES = ("tangent", "ambient")
BLOCK_ROWS = 1024  # rows read at a time where all rows are gone through

Array = NDArray[Any]
Coordinates = Literal["tangent", "ambient"]


class JacobianDataset(Conversions):
    """Rows of one store: a NumPy-like sequence, a map-style data set for torch, and a data source for grain.

    `dataset[key]` takes what NumPy takes to index an axis (an integer, a slice, integers of any shape, a boolean
    mask), raises what NumPy raises, and returns a dictionary of new, writable arrays: for an integer without, else
    with the key's dimensions in front. Dtypes are the store's: state, action, next_state, J_s, J_a, reward float32;
    masks, done uint8; episode, step int32; flags uint16. Rows of padding are left out.

    With torch, `DataLoader(dataset, batch_size=256)` works; faster is to let the data set make whole batches:
    `DataLoader(dataset, sampler=BatchSampler(RandomSampler(dataset), 256, False), batch_size=None)`.

    It may be pickled and used after a fork: the pickle has the path, the options and which files are checked, and
    files are opened where they are read.
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
        self._path = Path(path).absolute()
        self._verify = verify
        self._verified: dict[str, tuple[int, int]] = {}
        self._selection: NDArray[np.int64] | None = None
        metadata = self.store.metadata
        self.split = split if split is None else known("split", split, metadata["splits"])
        self.coordinates = known("coordinates", coordinates, COORDINATES)
        if self.coordinates == "tangent" != self.store.coordinates:
            raise InvalidSettingError(f"{self._path} holds ambient coordinates; they can't be turned into tangent ones")
        if self.store.selection is not None:
            if self.split not in (None, self.store.split):
                raise InvalidSettingError(f"{self._path} holds the split {self.store.split!r}, not {self.split!r}")
            self.split = self.store.split
        flags = (exclude_flags,) if isinstance(exclude_flags, str) else exclude_flags
        self.exclude_flags = tuple(known("flag", flag, metadata["flag_bits"]) for flag in flags)
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
        return str(known("column", name, self.store.arrays))

    @cached_property
    def store(self) -> Store:
        """The opened store."""
        if self._path.is_file():
            from dynamic_sparsity.loaders.hdf5.reader import Hdf5Store

            return Hdf5Store(self._path)
        return open_store(self._path, verify=self._verify, verified=self._verified)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the store says about itself; docs/format.md lists the keys."""
        return self.store.metadata

    @property
    def state_names(self) -> list[str]:
        """Names of the state's components, ds."""
        return list(self.metadata["state_names"])

    @property
    def tangent_names(self) -> list[str]:
        """Names of the tangent state's components, dx: of the rows, and of J_s also the columns, as stored."""
        return list(self.metadata["tangent_names"])

    @property
    def action_names(self) -> list[str]:
        """Names of the actions, da."""
        return list(self.metadata["action_names"])

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
        """Those of some rows of the store that were asked for."""
        if self.exclude_flags:
            bits = sum(1 << self.metadata["flag_bits"][flag] for flag in self.exclude_flags)
            rows = rows[self.store.reader.gather(["flags"], rows)["flags"] & bits == 0]
        return rows if self._selection is None else np.asarray(rows[self._selection])

    def __len__(self) -> int:
        return self.rows.size

    def __getitem__(self, key: Any) -> Batch:
        rows = np.asarray(self.rows[key])  # NumPy decides what the key means, or which error it deserves.
        return _shaped(self._fetch(rows.reshape(-1)), rows.shape)

    def __getitems__(self, keys: list[int]) -> list[Batch]:
        """Several rows as a list, for torch's DataLoader."""
        batch = self[np.asarray(keys, np.int64)]
        return [{name: values[number, ...] for name, values in batch.items()} for number in range(len(keys))]

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self), BLOCK_ROWS):
            batch = self[start : start + BLOCK_ROWS]
            for number in range(min(BLOCK_ROWS, len(self) - start)):
                yield {name: values[number, ...].copy() for name, values in batch.items()}

    def __repr__(self) -> str:
        store, selected = self.store, "" if self._selection is None else ", selected"
        excluded = f", without {' '.join(self.exclude_flags)}" if self.exclude_flags else ""
        return (
            f"JacobianDataset({store.task}, {store.policy} policy, {store.dynamics} dynamics, "
            f"{self.split or 'all splits'}{excluded}{selected}: {len(self):,} rows; "
            f"{', '.join(self.columns)}; {self.coordinates} coordinates; {str(self._path)!r})"
        )

    def __getstate__(self) -> dict[str, Any]:
        opened = ("store", "rows", "episodes", "statistics", "_fetcher", "_normaliser")
        state = {name: value for name, value in self.__dict__.items() if name not in opened}
        if "store" in self.__dict__:
            state["_verified"] = dict(self.store.ledger.verified)
        return state

    @cached_property
    def episodes(self) -> dict[str, Array]:
        """The episodes that have rows here: the columns of the episode table, each of shape (episodes,), and `index`.

        `index` is the episode's number in the store; `start` and `length` count rows of the store.
        """
        numbers = np.unique(self._episode_numbers())
        return {"index": numbers, **{name: column[numbers] for name, column in self.store.episodes.items()}}

    def episode(self, number: int) -> Batch:
        """The rows of one episode, in the order of time.

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

    def select(self, key: Any) -> JacobianDataset:
        """A data set of some of the rows, in the order given; nothing is copied.

        Args:
            key: A boolean mask of shape (len(self),), integers of shape (n,), or a slice.

        Raises:
            IndexError: The key does not fit.
        """
        chosen = np.arange(len(self))[key]
        if chosen.ndim != 1:
            raise IndexError(f"a selection has one dimension; this key gives {chosen.ndim}")
        view = object.__new__(JacobianDataset)
        view.__dict__.update(self.__dict__)
        for cached in ("episodes", "rows"):
            view.__dict__.pop(cached, None)
        view._selection = chosen if self._selection is None else self._selection[chosen]
        view.rows = self.rows[chosen]
        return view

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: Shuffle = "rows",
        drop_last: bool = False,
        epochs: int | None = 1,
        prefetch: bool = False,
    ) -> Iterator[Batch]:
        """Go through all rows in batches; the order depends on the arguments only.

        Args:
            batch_size: Rows per batch, ≥ 1.
            seed: Of the order, ≥ 0; each epoch has another order.
            shuffle: "rows": any row may be next, best when the store fits into memory. "blocks": chunks in random
                order, mixed 32 at a time, which reads a disk in long pieces. False: in order.
            drop_last: Leave out an epoch's last batch if it is not full.
            epochs: Passes over the rows; None for no end.
            prefetch: Make the next batch in a thread while one is in use.

        Returns:
            An iterator of dictionaries of arrays.

        Raises:
            InvalidSettingError: A setting is out of range.
        """
        check_batch_settings(batch_size, seed, shuffle, epochs)

        def read_ahead(blocks: list[NDArray[np.int64]]) -> None:
            for block in blocks:
                self._fetcher.will_need(self.rows[block], self.columns)

        order = positions_of_batches(
            self.rows,
            self.metadata["chunk_rows"],
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            drop_last=drop_last,
            epochs=epochs,
            before_blocks=read_ahead,
        )
        batches = (self._fetch(self.rows[positions]) for positions in order)
        return in_background(batches) if prefetch else batches

    def windows(self, length: int, stride: int = 1) -> Windows:
        """Windows of consecutive rows that never cross the end of an episode, nor a row that is left out.

        Args:
            length: Rows per window, ≥ 1.
            stride: Distance of the starts of two windows, ≥ 1.

        Raises:
            InvalidSettingError: One of them is less than 1.
        """
        return Windows(self, window_starts(self.rows, self._episode_numbers(), length, stride), length)

    def mask(self, threshold: float = 1e-9, indices: Any = None, *, relative: bool = False) -> Batch:
        """Masks for another threshold, from the stored Jacobians.

        Those are float32: a derivative within 6e-8 of the threshold, relative to it, may fall on the other side than
        in float64, from which the stored masks were made. What is NaN gives 1.

        Args:
            threshold: An entry of the mask is 1 where abs(J) ≥ threshold, > 0.
            indices: Which rows, as in `dataset[indices]`; None for all.
            relative: Multiply the threshold by the largest abs(J) of the same row's J_s (of its J_a for mask_a).

        Returns:
            `mask_s` and `mask_a`, uint8, in this data set's coordinates.

        Raises:
            InvalidSettingError: The threshold is not positive.
        """
        rows = np.asarray(self.rows[slice(None) if indices is None else indices])
        return _shaped(self._fetcher.masks(rows.reshape(-1), threshold, relative=relative), rows.shape)

    @cached_property
    def statistics(self) -> dict[str, dict[str, Array]]:
        """`mean`, `std`, `min`, `max` (float64) and `count` (int64) of each column, fitted on the train split."""
        return self._normaliser.statistics

    def normalize(self, batch: Batch) -> Batch:
        """Subtract the means and divide by the standard deviations, by 1 where these are 0.

        Args:
            batch: Arrays by column; those with statistics (state, action, next_state, delta, reward) are changed.

        Returns:
            A new dictionary; the arrays keep their dtypes.
        """
        return self._normaliser.normalize(batch)

    def denormalize(self, batch: Batch) -> Batch:
        """Undo `normalize`.

        Args:
            batch: Arrays by column.
        """
        return self._normaliser.denormalize(batch)

    def sparsity(self) -> dict[str, Any]:
        """How often each derivative is zero, over all splits of the store, in tangent coordinates.

        Returns:
            `rows_all`, `rows_contact`, `rows_free` (int), and `zero_share_s` (dx, dx), `zero_share_a` (dx, da), also
            with suffix `_contact` and `_free` (float64; NaN where there are no such rows); and for each of these
            `mean_…`, its mean over all entries (float).
        """
        found = self.store.statistics
        summary: dict[str, Any] = {name: int(value) for name, value in found.items() if name.startswith("rows_")}
        for name, value in found.items():
            if name.startswith("zero_share_"):
                summary[name] = value.copy()
                summary[f"mean_{name}"] = float(value.mean())
        return summary

    @cached_property
    def _fetcher(self) -> Fetcher:
        return Fetcher(self.store, self.coordinates)

    def _fetch(self, rows: NDArray[np.int64]) -> Batch:
        return self._fetcher.fetch(rows, self.columns)

    @cached_property
    def _normaliser(self) -> Normaliser:
        return Normaliser(self.store.statistics)

    def _episode_numbers(self) -> NDArray[np.int64]:
        """The episode of each row, int64, shape (len(self),)."""
        starts = self.store.episodes["start"]
        order = np.argsort(starts, kind="stable")
        return order[np.searchsorted(starts[order], self.rows, side="right") - 1]


def known(what: str, name: Any, legal: Any) -> Any:
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


def _shaped(batch: Batch, shape: tuple[int, ...]) -> Batch:
    """Give the rows of a batch the dimensions of the key that asked for them."""
    if len(shape) == 1:
        return batch
    return {name: values.reshape((*shape, *values.shape[1:])) for name, values in batch.items()}
