"""How the row arrays of a store are laid out in their files; it follows from the store's attributes alone.

Source: zarr v3 core specification, and its `sharding_indexed`, `bytes`, `blosc` and `crc32c` codecs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.schemas import ArraySpec, Storage, row_arrays_of

__all__ = ["CHECKSUM_BYTES", "INDEX_ENTRY_BYTES", "ArrayLayout", "array_layouts", "parse_shard_index"]

CHECKSUM_BYTES: Final = 4
"""Size of a CRC-32C, little-endian, after what it covers."""

INDEX_ENTRY_BYTES: Final = 16
"""Size of a chunk's entry in the index of a shard: offset and size, each uint64."""

MISSING: Final = 2**64 - 1
"""Offset and size, in the index, of a chunk that was not written."""


@dataclass(frozen=True)
class ArrayLayout:
    """Where the rows of one array are.

    Attributes:
        name: Path of the array inside the store.
        shape: Its shape, rows first.
        dtype: Its dtype, little-endian.
        chunk_rows: Rows per chunk.
        shard_rows: Rows per shard.
        storage: "raw" (uncompressed), "packed" (blosc) or "compact" (entry by entry, blosc).
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk_rows: int
    shard_rows: int
    storage: Storage

    @classmethod
    def of(cls, spec: ArraySpec, shape: tuple[int, ...], chunk_rows: int, shard_rows: int) -> ArrayLayout:
        """Return the layout of a row array.

        Args:
            spec: The array.
            shape: Its shape, rows first.
            chunk_rows: Rows per chunk.
            shard_rows: Rows per shard.
        """
        return cls(spec.name, shape, np.dtype(spec.dtype).newbyteorder("<"), chunk_rows, shard_rows, spec.storage)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.shape[1:]

    @property
    def row_bytes(self) -> int:
        """Size of one decoded row, bytes."""
        return math.prod(self.row_shape) * self.dtype.itemsize

    @property
    def chunk_bytes(self) -> int:
        """Size of one decoded chunk, bytes."""
        return self.chunk_rows * self.row_bytes

    @property
    def chunk_stride(self) -> int:
        """Distance of two neighbouring chunks of a raw shard, bytes."""
        return self.chunk_bytes + CHECKSUM_BYTES

    @property
    def chunks_per_shard(self) -> int:
        """Number of chunks of a full shard."""
        return self.shard_rows // self.chunk_rows

    @property
    def index_bytes(self) -> int:
        """Size of the index at the end of every shard, with its checksum, bytes."""
        return self.chunks_per_shard * INDEX_ENTRY_BYTES + CHECKSUM_BYTES

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.shape[0] // self.shard_rows)

    @property
    def decoded_bytes(self) -> int:
        """Size of all shards once decoded, bytes; the last one counts as full."""
        return self.shards * self.shard_rows * self.row_bytes

    def rows_of(self, decoded: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the rows in the decoded bytes of one chunk, as a view.

        Args:
            decoded: uint8, shape (chunk_bytes,).

        Returns:
            Shape (chunk_rows, *row_shape); not contiguous where the storage is "compact".
        """
        values = decoded.view(self.dtype)
        if self.storage != "compact":
            return values.reshape(self.chunk_rows, *self.row_shape)
        return np.moveaxis(values.reshape(*self.row_shape, self.chunk_rows), -1, 0)

    def shard_name(self, shard: int) -> str:
        """Return the path of a shard inside the store.

        Args:
            shard: Its number, from 0.
        """
        return f"{self.name}/c/{shard}" + "/0" * len(self.row_shape)

    def chunks_needed(self, shard: int) -> int:
        """Return the number of a shard's chunks that hold rows of the array.

        Args:
            shard: Its number, from 0.
        """
        rows = min(self.shard_rows, self.shape[0] - shard * self.shard_rows)
        return -(-rows // self.chunk_rows)

    def shard_bytes(self, shard: int) -> int | None:
        """Size that a shard's file must have, bytes; None for a compressed one, whose size nobody can foretell.

        Args:
            shard: Its number, from 0.
        """
        if self.storage != "raw":
            return None
        return self.chunks_needed(shard) * self.chunk_stride + self.index_bytes


def array_layouts(attributes: Mapping[str, Any]) -> dict[str, ArrayLayout]:
    """Return the layout of every row array of a store, by name, in the schema's order.

    Args:
        attributes: The root group's attributes, valid by their schema.
    """
    sizes, rows = attributes["sizes"], attributes["rows"]
    chunk_rows, shard_rows = attributes["chunk_rows"], attributes["shard_rows"]
    return {
        spec.name: ArrayLayout.of(spec, spec.shape(sizes, rows), chunk_rows, shard_rows)
        for spec in row_arrays_of(attributes)
    }


def parse_shard_index(layout: ArrayLayout, contents: NDArray[np.uint8], shard: int) -> NDArray[np.int64]:
    """Read and check the index at the end of a shard.

    Args:
        layout: The array's layout.
        contents: All bytes of the shard.
        shard: Its number, from 0.

    Returns:
        Offset and size in bytes of each chunk that holds rows, int64, shape (chunks, 2): the chunks follow each other
        from the start of the file to its index, in the order of their rows.

    Raises:
        ValueError: The index does not match its checksum, or is not such an index.
    """
    import google_crc32c

    room = contents.size - layout.index_bytes
    if room < 0:
        raise ValueError(f"has {contents.size} bytes, too few for its index")
    body = contents[room:-CHECKSUM_BYTES].tobytes()
    if google_crc32c.value(body) != int.from_bytes(contents[-CHECKSUM_BYTES:].tobytes(), "little"):
        raise ValueError("its index does not match the index's CRC-32C")
    entries = np.frombuffer(body, "<u8").reshape(-1, 2)
    chunks = layout.chunks_needed(shard)
    if (entries[:chunks] == MISSING).any():
        raise ValueError("a chunk was not written")
    if (entries[:chunks] > room).any():
        raise ValueError("its index points outside the file")
    index = entries[:chunks].astype(np.int64)
    starts, sizes = index[:, 0], index[:, 1]
    least = CHECKSUM_BYTES + 1 if layout.storage != "raw" else layout.chunk_stride
    if (entries[chunks:] != MISSING).any() or (sizes < least).any() or starts[0] != 0:
        raise ValueError("its index is not that of its rows")
    if (starts[1:] != starts[:-1] + sizes[:-1]).any() or starts[-1] + sizes[-1] != room:
        raise ValueError("its chunks do not follow each other")
    if layout.storage == "raw" and (sizes != layout.chunk_stride).any():
        raise ValueError(f"a chunk does not have the {layout.chunk_stride} bytes of its rows")
    return index
