"""How an array lies in its shard files, read from its `zarr.json`.

Source: zarr v3 core specification, and its `sharding_indexed`, `bytes`, `blosc` and `crc32c` codecs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["ArrayLayout", "UnexpectedLayoutError", "parse_layout", "parse_shard_index"]

CHECKSUM_BYTES = 4  # crc32c, little-endian, behind what it covers
INDEX_ENTRY_BYTES = 16  # offset and size of a chunk, each uint64
MISSING = 2**64 - 1  # offset of a chunk that was not written


class UnexpectedLayoutError(Exception):
    """A shard is valid zarr but not laid out as this reader needs; zarr-python has to read the array."""


@dataclass(frozen=True)
class ArrayLayout:
    """Where the rows of one array are.

    Attributes:
        name: Path of the array inside the store.
        shape: Its shape, rows first.
        dtype: Its dtype, little-endian.
        chunk_rows: Rows per chunk.
        shard_rows: Rows per shard.
        storage: "raw" (uncompressed), "packed" (blosc), or "other" (only zarr-python can read it).
        checksum_bytes: Bytes of checksum behind every chunk, 0 or 4.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk_rows: int
    shard_rows: int
    storage: Literal["raw", "packed", "other"]
    checksum_bytes: int

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
        return self.chunk_bytes + self.checksum_bytes

    @property
    def chunks_per_shard(self) -> int:
        """Number of chunks of a full shard."""
        return self.shard_rows // self.chunk_rows

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.shape[0] // self.shard_rows)

    @property
    def decoded_bytes(self) -> int:
        """Size of all shards once decoded, bytes; the last one counts as full."""
        return self.shards * self.shard_rows * self.row_bytes

    def shard_name(self, shard: int) -> str:
        """Path of a shard inside the store.

        Args:
            shard: Its number, from 0.
        """
        return f"{self.name}/c/{shard}" + "/0" * len(self.row_shape)

    def chunks_needed(self, shard: int) -> int:
        """Number of a shard's chunks that hold rows of the array.

        Args:
            shard: Its number, from 0.
        """
        rows = min(self.shard_rows, self.shape[0] - shard * self.shard_rows)
        return -(-rows // self.chunk_rows)


def parse_layout(name: str, metadata: Mapping[str, Any]) -> ArrayLayout:
    """Read an array's layout.

    Args:
        name: Path of the array inside the store.
        metadata: Its parsed `zarr.json`.

    Returns:
        The layout; its `storage` is "other" where the array is not sharded along its rows alone, or has other codecs
        than "raw" and "packed" arrays have.
    """
    shape = tuple(int(length) for length in metadata["shape"])
    dtype = np.dtype(metadata["data_type"]).newbyteorder("<")
    shard_shape = tuple(int(length) for length in metadata["chunk_grid"]["configuration"]["chunk_shape"])
    other = ArrayLayout(name, shape, dtype, shard_shape[0] if shard_shape else 1, (shard_shape or (1,))[0], "other", 0)
    codecs = metadata["codecs"]
    if not shape or _names(codecs) != ["sharding_indexed"] or metadata.get("storage_transformers"):
        return other
    if metadata["chunk_key_encoding"] not in (
        {"name": "default"},
        {"name": "default", "configuration": {"separator": "/"}},
    ):
        return other
    sharding = codecs[0]["configuration"]
    chunk_shape = tuple(int(length) for length in sharding["chunk_shape"])
    inner = _names(sharding["codecs"])
    checksum_bytes = CHECKSUM_BYTES if inner[-1] == "crc32c" else 0
    storage = {("bytes",): "raw", ("bytes", "blosc"): "packed"}.get(tuple(inner[:-1] if checksum_bytes else inner))
    if (
        storage is None
        or not all(_is_little_endian(part) for part in (sharding["codecs"], sharding["index_codecs"]))
        or _names(sharding["index_codecs"]) != ["bytes", "crc32c"]
        or sharding.get("index_location", "end") != "end"
        or chunk_shape[1:] != shape[1:]
        or shard_shape[1:] != shape[1:]
        or shard_shape[0] % chunk_shape[0]
        or 0 in shape[1:]
    ):
        return other
    kind: Literal["raw", "packed"] = "raw" if storage == "raw" else "packed"
    return ArrayLayout(name, shape, dtype, chunk_shape[0], shard_shape[0], kind, checksum_bytes)


def parse_shard_index(layout: ArrayLayout, contents: NDArray[np.uint8], shard: int) -> NDArray[np.int64]:
    """Read and check the index at the end of a shard.

    Args:
        layout: The array's layout.
        contents: All bytes of the shard.
        shard: Its number, from 0.

    Returns:
        Offset and size in bytes of each chunk that holds rows, int64, shape (chunks, 2).

    Raises:
        ValueError: The index does not match its checksum, or points outside the file.
        UnexpectedLayoutError: A chunk was not written.
    """
    import google_crc32c

    size = layout.chunks_per_shard * INDEX_ENTRY_BYTES
    if contents.size < size + CHECKSUM_BYTES:
        raise ValueError(f"has {contents.size} bytes, too few for its index")
    body = contents[-size - CHECKSUM_BYTES : -CHECKSUM_BYTES].tobytes()
    if google_crc32c.value(body) != int.from_bytes(contents[-CHECKSUM_BYTES:].tobytes(), "little"):
        raise ValueError("its index does not match the index's CRC-32C")
    entries = np.frombuffer(body, "<u8").reshape(-1, 2)[: layout.chunks_needed(shard)]
    if (entries == MISSING).any():
        raise UnexpectedLayoutError(f"{layout.shard_name(shard)}: a chunk was not written")
    room = contents.size - size - CHECKSUM_BYTES
    if (entries > room).any() or (entries.sum(axis=1) > room).any():
        raise ValueError("its index points outside the file")
    return entries.astype(np.int64)


def _names(codecs: list[dict[str, Any]]) -> list[str]:
    return [str(codec["name"]) for codec in codecs]


def _is_little_endian(codecs: list[dict[str, Any]]) -> bool:
    return all(codec.get("configuration", {}).get("endian", "little") == "little" for codec in codecs)
