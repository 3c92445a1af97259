"""Which bytes of a published store's shard files a request needs, and with which requests they come."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.loaders.store.partial import PartialLedger
from dynamic_sparsity.loaders.store.pieces import Pieces

__all__ = ["FilePlan", "ShardRows", "plan_files"]

# A file is fetched in pieces if that saves at least this share of it, and this many bytes: a request costs as much.
LEAST_SHARE_SAVED: Final = 0.35
LEAST_BYTES_SAVED: Final = 16 * 1024
RANGE_BYTES_MAX: Final = 16 * 2**20
# Pieces this near to each other are fetched with one request.
GAP_BYTES_MAX: Final = 4096

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ShardRows:
    """Consecutive rows of one shard.

    Attributes:
        shard: Its number.
        start: The first row, counted from the shard's first.
        stop: The row after the last, counted likewise.
    """

    shard: int
    start: int
    stop: int

    def among(self, ranges: Integers) -> Integers:
        """Return those of some runs of rows that are here.

        Args:
            ranges: First row, and the row after the last, of each run, counted from the shard's first; int64, shape
                (runs, 2).

        Returns:
            The runs, cut where these rows begin and end; int64, shape (n, 2).
        """
        found = np.clip(ranges, self.start, self.stop)
        return found[found[:, 0] < found[:, 1]]


@dataclass(frozen=True)
class FilePlan:
    """How one shard file is to be fetched.

    Attributes:
        name: Its path inside the store.
        size: Its size, bytes.
        sha256: Digest of the whole file, hexadecimal.
        pieces: How it is cut; None where it is fetched whole.
        needed: Which pieces are needed; empty where it is fetched whole.
        run_bytes_max: About how many bytes one request may ask for.
    """

    name: str
    size: int
    sha256: str
    pieces: Pieces | None = None
    needed: tuple[int, ...] = ()
    run_bytes_max: int = RANGE_BYTES_MAX

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """First needed piece, and the piece after the last, of every request; a whole file is one piece."""
        if self.pieces is None:
            return [(0, 1)]
        runs: list[tuple[int, int]] = []
        for piece in self.needed:
            start, stop = self.pieces.bounds(piece)
            if runs:
                first, after = runs[-1]
                near = start - self.pieces.bounds(after - 1)[1] <= GAP_BYTES_MAX
                if near and stop - self.pieces.bounds(first)[0] <= self.run_bytes_max:
                    runs[-1] = first, piece + 1
                    continue
            runs.append((piece, piece + 1))
        return runs

    def bounds(self, run: tuple[int, int]) -> tuple[int, int]:
        """Return the first byte of a request, and the byte after its last.

        Args:
            run: One of `runs`.
        """
        if self.pieces is None:
            return 0, self.size
        return self.pieces.bounds(run[0])[0], self.pieces.bounds(run[1] - 1)[1]

    def is_right(self, run: tuple[int, int], contents: Bytes) -> bool:
        """Return whether bytes are those that were published.

        Args:
            run: One of `runs`.
            contents: Its bytes, shape (n,).
        """
        if self.pieces is None:
            return hashlib.sha256(contents.data).hexdigest() == self.sha256
        pieces, first = self.pieces, self.bounds(run)[0]
        places = ((piece, *pieces.bounds(piece)) for piece in range(*run))
        return all(pieces.is_right(piece, contents.data[start - first : stop - first]) for piece, start, stop in places)

    @property
    def bytes(self) -> int:
        """Bytes that are fetched."""
        return sum(stop - start for start, stop in map(self.bounds, self.runs))

    @property
    def requests(self) -> int:
        """Requests that this takes: a whole file is looked up and then read."""
        return 2 if self.pieces is None else len(self.runs)


def plan_files(
    ledger: PartialLedger, arrays: Sequence[str], parts: Sequence[ShardRows] | None = None, *, force: bool = False
) -> list[FilePlan]:
    """Return the shard files that some arrays of a partial copy still need.

    Args:
        ledger: Of the copy.
        arrays: Names of arrays.
        parts: Only these rows, of each shard one run of them; None for all.
        force: Also those that are there.
    """
    plans = []
    chosen = None if parts is None else {part.shard: part for part in parts}
    for name, (array, shard) in ledger.wanted_files.items():
        if array in arrays and (chosen is None or shard in chosen) and (force or not ledger.is_there(name)):
            sha256, size = ledger.record(name)
            plan = FilePlan(name, size, sha256)
            pieces = ledger.pieces.get(name)
            ranges = ledger.shard_ranges(shard)
            if chosen is not None:
                ranges = chosen[shard].among(ranges)
            needed = tuple(pieces.needed(ranges)) if pieces else ()
            if pieces and len(needed) < len(pieces.offsets):
                cut = FilePlan(name, size, sha256, pieces, needed)
                saved = size - cut.bytes
                if saved >= LEAST_BYTES_SAVED and saved >= LEAST_SHARE_SAVED * size:
                    plan = cut
            plans.append(plan)
    return plans
