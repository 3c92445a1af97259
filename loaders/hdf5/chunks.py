"""Chunks of an HDF5 file's datasets, between rows and bytes: the few filters that are used, without libhdf5."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHUNK_BYTES_MAX", "FILTERS", "PIPELINES", "ChunkForm"]

FILTERS: Final = {1: "deflate", 2: "shuffle", 3: "fletcher32"}
"""HDF5's numbers of the filters that are read; all others are refused."""

PIPELINES: Final = (
    (),
    ("fletcher32",),
    ("shuffle", "fletcher32"),
    ("shuffle", "deflate", "fletcher32"),
)
"""The filters that a dataset may have, in the order in which a writer applies them."""

CHUNK_BYTES_MAX: Final = 64 * 2**20
"""How large a decoded chunk may be; ours have 1 MiB, or one row where that is more."""

SUM_BYTES: Final = 4
COMPRESSION_LEVEL: Final = 1
_PIECE: Final = 2**17
_WEIGHTS: Final = np.arange(_PIECE, 0, -1, dtype=np.float64)

Array = NDArray[Any]


@dataclass(frozen=True)
class ChunkForm:
    """How the rows of one dataset become bytes.

    Attributes:
        dtype: Of its values, little-endian.
        row_shape: Shape of one row.
        chunk_rows: Rows per chunk; the last chunk is filled up.
        filters: One of `PIPELINES`.
    """

    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    chunk_rows: int
    filters: tuple[str, ...]

    @property
    def row_bytes(self) -> int:
        """Size of a row, bytes."""
        return math.prod(self.row_shape) * self.dtype.itemsize

    @property
    def chunk_bytes(self) -> int:
        """Size of a decoded chunk, bytes."""
        return self.chunk_rows * self.row_bytes

    @property
    def raw(self) -> bool:
        """Whether a chunk begins with its rows as they are, so that some of them can be read alone."""
        return set(self.filters) <= {"fletcher32"}

    def encode(self, rows: Array) -> bytes:
        """Encode rows as the bytes of a chunk.

        Args:
            rows: At most `chunk_rows` rows.
        """
        contents = np.zeros(self.chunk_bytes, np.uint8)
        values = np.ascontiguousarray(rows, self.dtype).reshape(-1).view(np.uint8)
        contents[: values.size] = values
        if "shuffle" in self.filters and self.dtype.itemsize > 1:
            contents = np.ascontiguousarray(contents.reshape(-1, self.dtype.itemsize).T).reshape(-1)
        encoded = contents.tobytes()
        if "deflate" in self.filters:
            encoded = zlib.compress(encoded, COMPRESSION_LEVEL)
        if "fletcher32" in self.filters:
            encoded += fletcher32(encoded).to_bytes(SUM_BYTES, "little")
        return encoded

    def legal_size(self, size: int) -> bool:
        """Return whether a chunk can have that many bytes.

        Args:
            size: Its size in the file, bytes.
        """
        size -= SUM_BYTES * ("fletcher32" in self.filters)
        if "deflate" in self.filters:
            # Deflate makes nothing larger than this, nor smaller than a 1032nd.
            return self.chunk_bytes / 1032 <= size <= self.chunk_bytes + self.chunk_bytes // 1000 + 64
        return size == self.chunk_bytes

    def decode(self, contents: bytes, *, deflated: bool, check: bool) -> Array:
        """Decode the rows of a chunk, `chunk_rows` of them.

        Args:
            contents: Its bytes.
            deflated: Whether this chunk has gone through deflate, where the dataset's filters have that.
            check: Compare the checksum of the filter fletcher32, where there is one.

        Raises:
            ValueError: They are not what the filters give.
        """
        if "fletcher32" in self.filters:
            contents, sum_ = contents[:-SUM_BYTES], contents[-SUM_BYTES:]
            if check and not _same_sum(fletcher32(contents), int.from_bytes(sum_, "little")):
                raise ValueError("its Fletcher-32 checksum is wrong")
        if "deflate" in self.filters and deflated:
            contents = self._inflate(contents)
        if len(contents) != self.chunk_bytes:
            raise ValueError(f"it decodes to {len(contents)} bytes where {self.chunk_bytes} were written")
        values = np.frombuffer(contents, np.uint8)
        if "shuffle" in self.filters and self.dtype.itemsize > 1:
            values = np.ascontiguousarray(values.reshape(self.dtype.itemsize, -1).T)
        return values.reshape(-1).view(self.dtype).reshape(self.chunk_rows, *self.row_shape)

    def _inflate(self, contents: bytes) -> bytes:
        decoder = zlib.decompressobj()
        try:
            decoded = decoder.decompress(contents, self.chunk_bytes + 1)
        except zlib.error as error:
            raise ValueError(f"it can't be inflated ({error})") from error
        if not decoder.eof or decoder.unused_data:
            raise ValueError(f"it does not inflate to {self.chunk_bytes} bytes")
        return decoded


def fletcher32(contents: bytes) -> int:
    """Return HDF5's variant of Fletcher's checksum, over 16-bit words.

    Args:
        contents: Any bytes, of at most 128 MiB.

    Source: HDF5's `H5_checksum_fletcher32`, which reads words high byte first.
    """
    words = np.frombuffer(contents[: len(contents) // 2 * 2], "<u2")
    if len(contents) % 2:
        words = np.append(words, np.uint16(contents[-1]))
    first, second = 0, 0
    for start in range(0, words.size, _PIECE):
        # All sums are below 2^53, so that floats, which are fastest to add, are exact.
        piece = words[start : start + _PIECE].astype(np.float64)
        second = (second + first * piece.size + int(np.einsum("i,i->", piece, _WEIGHTS[-piece.size :]))) % 65535
        first = (first + int(piece.sum())) % 65535
    # Swapping the two bytes of a word multiplies it by 256, modulo 65535.
    first, second = first * 256 % 65535, second * 256 % 65535
    return (second or 65535) << 16 | (first or 65535) if words.any() else 0


def _same_sum(one: int, other: int) -> bool:
    """Return whether two checksums are equal; 0 and 65535 are the same remainder, and either may be written."""
    return all((one >> shift & 65535) % 65535 == (other >> shift & 65535) % 65535 for shift in (0, 16))
