"""Shard files cut into pieces, each with its own SHA-256, so that few rows can be fetched and checked alone."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.schemas.layout import ArrayLayout
from dynamic_sparsity.untrusted.names import shown
from dynamic_sparsity.untrusted.values import COUNT_MAX, check_count, check_list, check_object

__all__ = ["PIECES_FILE", "Pieces", "parse_pieces", "row_file"]

PIECES_FILE: Final = "pieces.json"
DIGEST_BYTES: Final = 32
ROW_FILE_PATTERN: Final = re.compile(r"([A-Za-z0-9_]+)/c/(0|[1-9][0-9]{0,8})(?:/0)*")

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
    def of(cls, document: object, size: int, layout: ArrayLayout, shard: int, what: str) -> Pieces:
        """Check an entry of `pieces.json`: where the pieces are follows from the shard.

        Args:
            document: The entry.
            size: Size of the file, bytes.
            layout: How the array is stored in its files.
            shard: Number of the shard.
            what: What it is; begins the message.

        Raises:
            CorruptStoreError: The pieces are not those of the file.
        """
        entry = check_object(document, ("rows", "offsets", "sha256"), what)
        rows = check_count(entry["rows"], f"{what}: rows", 1, layout.chunk_rows)
        found = check_list(entry["offsets"], f"{what}: offsets")
        chunks = layout.chunks_needed(shard)
        fits = layout.chunk_rows % rows == 0 and (layout.storage == "raw" or rows == layout.chunk_rows)
        if not fits or len(found) != chunks * (layout.chunk_rows // rows) + 1:
            raise CorruptStoreError(f"{what}: {len(found)} pieces of {rows} rows are not those of {chunks} chunks")
        if not all(type(offset) is int and 0 <= offset <= COUNT_MAX for offset in found):
            raise CorruptStoreError(f"{what}: an offset is not an integer from 0 to {COUNT_MAX}")
        offsets = np.asarray(found, np.int64)
        right = offsets[0] == 0 and offsets[-1] == size - layout.index_bytes and bool((np.diff(offsets) > 0).all())
        if right and layout.storage == "raw":
            starts = np.arange(chunks)[:, None] * layout.chunk_stride
            within = np.arange(layout.chunk_rows // rows) * (rows * layout.row_bytes)
            right = np.array_equal(offsets[:-1], (starts + within).reshape(-1))
        if not right:
            raise CorruptStoreError(f"{what}: the pieces do not follow each other from the first chunk to the index")
        return cls(rows, offsets, size, _parse_digests(entry["sha256"], len(found), f"{what}: sha256"))

    def as_json(self) -> dict[str, Any]:
        """Return the entry of `pieces.json`; the inverse of `of`."""
        joined = base64.b64encode(b"".join(self.digests)).decode()
        return {"rows": self.rows, "offsets": self.offsets.tolist(), "sha256": joined}

    def needed(self, ranges: Integers) -> list[int]:
        """Return the pieces that hold rows, and the index.

        Args:
            ranges: First row, and the row after the last, of each run of rows, counted from the shard's first;
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
        """Return the first byte of a piece, and the byte after its last.

        Args:
            piece: Its number.
        """
        stop = self.size if piece + 1 == len(self.offsets) else int(self.offsets[piece + 1])
        return int(self.offsets[piece]), stop

    def is_right(self, piece: int, contents: bytes | memoryview) -> bool:
        """Return whether bytes are those of a piece.

        Args:
            piece: Its number.
            contents: The bytes.
        """
        return hashlib.sha256(contents).digest() == self.digests[piece]


def row_file(name: str) -> tuple[str, int] | None:
    """Return the row array and the number of the shard that a file holds.

    Args:
        name: Path of the file inside the store.

    Returns:
        Name of the array and number of the shard; None for a file that is no shard.
    """
    found = ROW_FILE_PATTERN.fullmatch(name)
    return None if found is None else (found[1], int(found[2]))


def parse_pieces(
    document: Mapping[str, Any], layouts: Mapping[str, ArrayLayout], sizes: Mapping[str, int], what: str
) -> dict[str, Pieces]:
    """Parse the pieces of shard files, by path inside the store; files that are only fetched whole have none.

    Args:
        document: What `pieces.json` holds.
        layouts: How each row array is stored in its files, by name.
        sizes: Size of every file of the store, bytes.
        what: What it is; begins the message.

    Raises:
        CorruptStoreError: It is not that of this store.
    """
    entries = check_object(document, ("files",), what)["files"]
    if not isinstance(entries, dict):
        raise CorruptStoreError(f"{what}: files is {shown(entries)}; expected an object")
    found = {}
    for name, entry in entries.items():
        place = row_file(name)
        if place is None or place[0] not in layouts or name not in sizes:
            raise CorruptStoreError(f"{what}: has pieces of {shown(name)}, which is no shard of the store")
        found[name] = Pieces.of(entry, sizes[name], layouts[place[0]], place[1], f"{what}: {name}")
    return found


def _parse_digests(value: object, count: int, what: str) -> tuple[bytes, ...]:
    """Parse digests of pieces: joined, in base 64."""
    try:
        joined = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        joined = b""
    if len(joined) != DIGEST_BYTES * count:
        raise CorruptStoreError(f"{what} is not that of {count} digests of {DIGEST_BYTES} bytes in base 64")
    return tuple(joined[start : start + DIGEST_BYTES] for start in range(0, len(joined), DIGEST_BYTES))
