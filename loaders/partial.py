"""Copies of a store that hold only some of its rows and arrays, as they are downloaded: never taken for the whole.

Such a copy is the store's folder with all small files, `partial.json`, which says which rows are there, and
`pieces.json`. A shard file of it may have holes. `pieces.json` lists the SHA-256 of every piece of every shard file,
so that what is there can be checked without the rest.
"""

from __future__ import annotations

import base64
import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError, IncompleteStoreError
from dynamic_sparsity.loaders.integrity import Ledger, VerifyMode

__all__ = ["PARTIAL_FILE", "PIECES_FILE", "PartialLedger", "Pieces", "open_ledger", "read_pieces", "row_file"]

PARTIAL_FILE: Final = "partial.json"
PIECES_FILE: Final = "pieces.json"
DIGEST_BYTES: Final = 32

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Pieces:
    """How one shard file is cut into pieces that can be checked by themselves. The last one is the shard's index.

    Attributes:
        rows: Rows per piece.
        offsets: First byte of each piece, int64, shape (pieces,).
        size: Size of the file, bytes.
        digests: SHA-256 of each piece, shape (pieces,), 32 bytes each.
    """

    rows: int
    offsets: Integers
    size: int
    digests: tuple[bytes, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any], size: int) -> Pieces:
        """Parse an entry of `pieces.json`.

        Args:
            document: The entry.
            size: Size of the file, bytes.

        Raises:
            ValueError: It contradicts itself.
        """
        offsets = np.asarray(document["offsets"], np.int64)
        joined = base64.b64decode(document["sha256"], validate=True)
        if len(joined) != DIGEST_BYTES * offsets.size or offsets.size < 2 or offsets[0] != 0 or offsets[-1] >= size:
            raise ValueError("the pieces are not those of the file")
        if (np.diff(offsets) <= 0).any() or document["rows"] < 1:
            raise ValueError("the pieces do not follow each other")
        digests = tuple(joined[start : start + DIGEST_BYTES] for start in range(0, len(joined), DIGEST_BYTES))
        return cls(int(document["rows"]), offsets, size, digests)

    def as_json(self) -> dict[str, Any]:
        """The inverse of `of`."""
        joined = base64.b64encode(b"".join(self.digests)).decode()
        return {"rows": self.rows, "offsets": self.offsets.tolist(), "sha256": joined}

    def needed(self, ranges: Integers) -> list[int]:
        """The pieces that hold rows, and the index.

        Args:
            ranges: First row, and the row behind the last, of each run of rows, counted from the shard's first;
                int64, shape (runs, 2).
        """
        last = len(self.offsets) - 1
        chosen = np.zeros(last + 1, bool)
        for start, stop in ranges.tolist():
            chosen[start // self.rows : min(last, -(-stop // self.rows))] = True
        chosen[last] = True
        found: list[int] = np.flatnonzero(chosen).tolist()
        return found

    def bounds(self, piece: int) -> tuple[int, int]:
        """First byte of a piece, and the byte behind its last.

        Args:
            piece: Its number.
        """
        stop = self.size if piece + 1 == len(self.offsets) else int(self.offsets[piece + 1])
        return int(self.offsets[piece]), stop

    def is_right(self, piece: int, contents: bytes | memoryview) -> bool:
        """Whether bytes are those of a piece.

        Args:
            piece: Its number.
            contents: The bytes.
        """
        return hashlib.sha256(contents).digest() == self.digests[piece]


def row_file(name: str) -> tuple[str, int] | None:
    """The row array and the number of the shard that a file holds.

    Args:
        name: Path of the file inside the store.

    Returns:
        Name of the array and number of the shard; None for a file that is no shard.
    """
    array, inside, place = name.partition("/c/")
    if not inside or "/" in array:
        return None
    return array, int(place.split("/")[0])


def read_pieces(path: Path, sizes: Mapping[str, int]) -> dict[str, Pieces]:
    """The pieces of the files of a partial copy, by path inside the store; files that are only fetched whole have none.

    Args:
        path: `pieces.json`.
        sizes: Size of every file of the store, bytes.

    Raises:
        CorruptStoreError: It is damaged.
    """
    try:
        entries = json.loads(path.read_bytes())["files"]
        return {name: Pieces.of(entry, sizes[name]) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(f"{path}: is damaged ({error!r}); delete its folder and download it again") from error


class PartialLedger(Ledger):
    """The files of a copy that lacks rows or arrays.

    Attributes:
        ranges: First row, and the row behind the last, of each run of rows that is there; int64, shape (runs, 2).
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
            document = json.loads((root / PARTIAL_FILE).read_bytes())
            self.split: str | None = document["split"]
            self._rows, self._shard_rows = int(document["rows"]), int(document["shard_rows"])
            self.ranges = np.asarray(document["ranges"], np.int64).reshape(-1, 2)
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptStoreError(
                f"{root / PARTIAL_FILE}: is damaged ({error!r}); delete the folder and download it again"
            ) from error

    @cached_property
    def pieces(self) -> dict[str, Pieces]:
        """The pieces of the shard files, by path inside the store."""
        return read_pieces(self.root / PIECES_FILE, {name: self.size(name) for name in self.names()})

    def shard_ranges(self, shard: int) -> Integers:
        """The runs of rows of a shard that are there, counted from the shard's first row; int64, shape (runs, 2).

        Args:
            shard: Its number.
        """
        first = shard * self._shard_rows
        inside = np.clip(self.ranges - first, 0, self._shard_rows)
        return inside[inside[:, 0] < inside[:, 1]]

    @cached_property
    def wanted_files(self) -> dict[str, tuple[str, int]]:
        """The shard files that hold rows of this copy: path inside the store to array and shard."""
        shards = -(-self._rows // self._shard_rows)
        wanted = {shard for shard in range(shards) if len(self.shard_ranges(shard))}
        found = ((name, row_file(name)) for name in self.names())
        return {name: place for name, place in found if place is not None and place[1] in wanted}

    def is_there(self, name: str) -> bool:
        """Whether a file is in this copy, with the right size.

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
        behind = bisect_right(stops, start)
        return behind < len(starts) and starts[behind] < stop

    def require(self, rows: Integers | slice) -> None:
        """See `Ledger.require`."""
        if not self._there[rows].all():
            what = f"the split {self.split!r}" if self.split else "some rows"
            raise IncompleteStoreError(
                f"{self.root}: only {what} of this store was downloaded, and other rows were asked for; call "
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

    def admit(self, name: str, contents: bytes | memoryview, status: Any) -> None:
        """See `Ledger.admit`; of a file with pieces those are checked that hold rows of this copy."""
        pieces, place = self.pieces.get(name), row_file(name)
        if pieces is None or place is None:
            super().admit(name, contents, status)
            return
        stamp = (status.st_size, status.st_mtime_ns)
        if self.verify == "size" or self.verified.get(name) == stamp:
            return
        view = memoryview(contents)
        for piece in pieces.needed(self.shard_ranges(place[1])):
            start, stop = pieces.bounds(piece)
            if not pieces.is_right(piece, view[start:stop]):
                raise self.corrupt(name, f"its bytes {start} to {stop} are not the ones that were written")
        self.verified[name] = stamp

    def corrupt(self, name: str, problem: str) -> CorruptStoreError:
        """See `Ledger.corrupt`."""
        return CorruptStoreError(
            f"{self.root / name}: {problem}. Download it again: `dynamic-sparsity download --force …`, or delete "
            f"{self.root} and load the data set again."
        )

    @cached_property
    def _bounds(self) -> tuple[list[int], list[int]]:
        """The first row of each run of rows that are there, and the row behind its last."""
        ranges = np.sort(self.ranges, axis=0)
        return ranges[:, 0].tolist(), ranges[:, 1].tolist()

    @cached_property
    def _there(self) -> NDArray[np.bool_]:
        """Whether each row of the store is in this copy, bool, shape (rows,)."""
        there = np.zeros(self._rows, bool)
        for start, stop in self.ranges.tolist():
            there[start:stop] = True
        return there


def open_ledger(
    path: Path,
    files: Mapping[str, tuple[str, int]],
    verify: VerifyMode,
    verified: Mapping[str, tuple[int, int]] | None,
) -> Ledger:
    """The ledger of a store, whole or partial; the arguments are those of `Ledger`.

    Args:
        path: Folder of the store.
        files: SHA-256 (hexadecimal) and size (bytes) by path inside the store.
        verify: How to check shards.
        verified: What another process has checked already.
    """
    kind = PartialLedger if (path / PARTIAL_FILE).exists() else Ledger
    return kind(path, files, verify, verified)
