"""Copies of a store that hold only some of its rows and arrays, as downloads make them.

Such a copy is the store's folder with all small files, `partial.json`, which says which rows are there, and
`pieces.json`. A shard file of it may have holes. `pieces.json` lists the SHA-256 of every piece of every shard file,
so that downloaded pieces can be checked without the rest.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError, IncompleteStoreError
from dynamic_sparsity.loaders.store.checksums import Ledger, VerifyMode
from dynamic_sparsity.loaders.store.pieces import PIECES_FILE, Pieces, parse_pieces, row_file
from dynamic_sparsity.schemas.layout import ArrayLayout, array_layouts
from dynamic_sparsity.schemas.splits import SPLITS
from dynamic_sparsity.untrusted.documents import read_json
from dynamic_sparsity.untrusted.names import shown
from dynamic_sparsity.untrusted.values import check_count, check_list, check_object

__all__ = ["PARTIAL_FILE", "PartialLedger", "copy_corrupt", "open_ledger"]

PARTIAL_FILE: Final = "partial.json"

ROWS_MARKED_MAX: Final = 2**24
"""Up to how many rows each is marked: looking that up is quicker than looking for its run of rows."""

Integers = NDArray[np.int64]


class PartialLedger(Ledger):
    """The files of a copy that lacks rows or arrays.

    Attributes:
        ranges: First row, and the row after the last, of each run of rows that was downloaded; int64, shape (runs, 2).
    """

    def __init__(
        self,
        root: Path,
        files: Mapping[str, tuple[str, int]],
        verify: VerifyMode = "sha256",
        verified: Mapping[str, tuple[int, int]] | None = None,
    ):
        """Read `partial.json`; the arguments are those of `Ledger`.

        Args:
            root: Folder of the copy.
            files: SHA-256 (hexadecimal) and size (bytes) of all files of the whole store.
            verify: How to check shards.
            verified: What another process has checked already.

        Raises:
            CorruptStoreError: `partial.json` is damaged.
            InvalidSettingError: `verify` is neither "sha256" nor "size".
        """
        super().__init__(root, files, verify, verified)
        try:
            self._read()
        except CorruptStoreError as error:
            raise self.corrupt(PARTIAL_FILE, f"is damaged ({error})") from error
        self._layouts: Mapping[str, ArrayLayout] = {}

    def _read(self) -> None:
        """Read `partial.json`."""
        keys = ("split", "rows", "shard_rows", "ranges")
        document = check_object(read_json(self.root / PARTIAL_FILE), keys, "the document")
        self.split: str | None = document["split"]
        if self.split is not None and self.split not in SPLITS:
            raise CorruptStoreError(f"split is {shown(self.split)}; expected one of {', '.join(SPLITS)}, or null")
        self._rows = check_count(document["rows"], "rows", 1)
        self._shard_rows = check_count(document["shard_rows"], "shard_rows", 1)
        self.ranges = _parse_ranges(document["ranges"], self._rows, "ranges")

    def check_metadata(self, metadata: Mapping[str, Any]) -> None:
        """See `Ledger.check_metadata`."""
        found, expected = (self._rows, self._shard_rows), (metadata["rows"], metadata["shard_rows"])
        if found != expected:
            raise self.corrupt(PARTIAL_FILE, f"is of {found} rows and rows per shard, the store has {expected}")
        self._layouts = array_layouts(metadata)

    @cached_property
    def pieces(self) -> dict[str, Pieces]:
        """The pieces of the shard files, by path inside the store.

        Raises:
            CorruptStoreError: `pieces.json` is damaged.
        """
        path = self.root / PIECES_FILE
        try:
            return parse_pieces(read_json(path), self._layouts, {n: self.size(n) for n in self.names()}, PIECES_FILE)
        except CorruptStoreError as error:
            raise self.corrupt(PIECES_FILE, f"is damaged ({error})") from error

    def shard_ranges(self, shard: int) -> Integers:
        """Return the downloaded runs of rows of a shard, counted from the shard's first row; int64, shape (runs, 2).

        Args:
            shard: Its number.
        """
        first, last = shard * self._shard_rows, (shard + 1) * self._shard_rows
        # Of the merged runs: there may be as many as episodes, and this is called for every shard.
        starts, stops = self._merged[:, 0], self._merged[:, 1]
        touched = self._merged[np.searchsorted(stops, first, "right") : np.searchsorted(starts, last, "left")]
        return np.clip(touched - first, 0, self._shard_rows)

    @cached_property
    def wanted_files(self) -> dict[str, tuple[str, int]]:
        """The shard files that hold rows of this copy: path inside the store to array and shard."""
        found = {name: place for name in self.names() if (place := row_file(name)) is not None}
        wanted = {shard for shard in {place[1] for place in found.values()} if len(self.shard_ranges(shard))}
        return {name: place for name, place in found.items() if place[1] in wanted}

    def is_there(self, name: str) -> bool:
        """Return whether a file is in this copy, with the right size.

        Args:
            name: Its path inside the store.
        """
        try:
            return (self.root / name).stat().st_size == self.size(name)
        except OSError:
            return False

    def holds(self, start: int, stop: int) -> bool:
        """See `Ledger.holds`."""
        # Asked for every chunk: a NumPy call would take longer than the rest of what is done for a small one.
        starts, stops = self._bounds
        after = bisect_right(stops, start)
        return after < len(starts) and starts[after] < stop

    def require(self, rows: Integers | slice) -> None:
        """See `Ledger.require`."""
        if not self._are_there(rows):
            what = f"the split {self.split!r}" if self.split else "some rows"
            raise IncompleteStoreError(
                f"{self.root}: only {what} of this store was downloaded, and other rows were requested; call "
                "load_dataset with the split you need, or without one for all rows"
            )

    def absent(self, arrays: Iterable[str]) -> tuple[str, ...]:
        """See `Ledger.absent`; an array of which a shard is missing is absent."""
        lacking = {array for name, (array, _) in self.wanted_files.items() if not self.is_there(name)}
        return tuple(name for name in arrays if name in lacking)

    def check_sizes(self) -> None:
        """Check the files that are no shards; arrays whose shards are missing are `absent`."""
        for name in self.names():
            if row_file(name) is None and not self.is_there(name):
                raise self.corrupt(name, "is missing or has the wrong size")

    def verify(self, name: str, contents: bytes | memoryview, status: Any) -> None:
        """See `Ledger.verify`; of a file with pieces those are checked that hold rows of this copy."""
        pieces, place = self.pieces.get(name), row_file(name)
        if pieces is None or place is None:
            super().verify(name, contents, status)
            return
        stamp = (status.st_size, status.st_mtime_ns)
        if self.mode == "size" or self.verified.get(name) == stamp:
            return
        view = memoryview(contents)
        for piece in pieces.needed(self.shard_ranges(place[1])):
            start, stop = pieces.bounds(piece)
            if not pieces.is_right(piece, view[start:stop]):
                raise self.corrupt(name, f"its bytes {start} to {stop} are not the ones that were written")
        self.verified[name] = stamp

    def corrupt(self, name: str, problem: str) -> CorruptStoreError:
        """See `Ledger.corrupt`."""
        return copy_corrupt(self.root, name, problem)

    @cached_property
    def _merged(self) -> Integers:
        """The downloaded runs of rows, in order, those that touch each other as one; int64, shape (runs, 2)."""
        starts, stops = np.sort(self.ranges[:, 0]), np.sort(self.ranges[:, 1])
        if not starts.size:
            return self.ranges
        apart = starts[1:] > stops[:-1]
        return np.stack([starts[np.append(True, apart)], stops[np.append(apart, True)]], axis=1)

    @cached_property
    def _bounds(self) -> tuple[list[int], list[int]]:
        """The first row of each downloaded run of rows, and the row after its last."""
        return self._merged[:, 0].tolist(), self._merged[:, 1].tolist()

    @cached_property
    def _there(self) -> NDArray[np.bool_] | None:
        """Whether each row of the store is in this copy, bool, shape (rows,); None for more rows than that is good."""
        if self._rows > ROWS_MARKED_MAX:
            return None
        there = np.zeros(self._rows, bool)
        for start, stop in self._merged.tolist():
            there[start:stop] = True
        return there

    def _are_there(self, rows: Integers | slice) -> bool:
        """Return whether rows are in this copy."""
        if self._there is not None:
            return bool(self._there[rows].all())
        if isinstance(rows, slice) and rows.start >= rows.stop:
            return True
        starts, stops = self._merged[:, 0], self._merged[:, 1]
        first = np.asarray([rows.start]) if isinstance(rows, slice) else rows
        last = np.asarray([rows.stop - 1]) if isinstance(rows, slice) else rows
        run = np.searchsorted(stops, first, "right")
        inside = run < len(starts)
        return bool(inside.all() and (starts[run] <= first).all() and (last < stops[run]).all())


def _parse_ranges(value: object, rows: int, what: str) -> Integers:
    """Parse runs of rows: pairs of integers, none empty, none overlapping."""
    pairs = check_list(value, what)
    for pair in pairs:
        if type(pair) is not list or len(pair) != 2 or not all(type(row) is int and 0 <= row <= rows for row in pair):
            raise CorruptStoreError(f"{what}: {shown(str(pair)[:100])} is not a first row and the row after the last")
    ranges = np.asarray(pairs, np.int64).reshape(-1, 2)
    starts, stops = np.sort(ranges[:, 0]), np.sort(ranges[:, 1])
    if (ranges[:, 0] >= ranges[:, 1]).any() or (starts[1:] < stops[:-1]).any():
        raise CorruptStoreError(f"{what}: a run of rows is empty, or overlaps another one")
    return ranges


def copy_corrupt(root: Path, name: str, problem: str) -> CorruptStoreError:
    """Return the error for a damaged file of a copy.

    Args:
        root: Folder of the copy.
        name: Path of the file inside it.
        problem: What is wrong with it.
    """
    return CorruptStoreError(
        f"{root / name}: {problem}. Delete {root} and load the data set again, or download it again with --force: "
        "`dynamic-sparsity download --help` says how."
    )


def open_ledger(
    path: Path,
    files: Mapping[str, tuple[str, int]],
    verify: VerifyMode,
    verified: Mapping[str, tuple[int, int]] | None,
) -> Ledger:
    """Open the ledger of a complete store or a partial copy; the arguments are those of `Ledger`.

    Args:
        path: Folder of the store.
        files: SHA-256 (hexadecimal) and size (bytes) by path inside the store.
        verify: How to check shards.
        verified: What another process has checked already.
    """
    kind = PartialLedger if (path / PARTIAL_FILE).exists() else Ledger
    return kind(path, files, verify, verified)
