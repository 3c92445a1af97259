"""Arrays as the bytes zarr v3 stores: chunks with their checksum, and shards with their index; and back.

The bytes are made here and not by zarr-python so that the digest in a manifest is of the very bytes written, and so
that a file can be synced before it gets its name. The tests hold them against zarr-python's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs.blosc import BITSHUFFLE, Blosc

from dynamic_sparsity.schemas import ArraySpec

CHECKSUM_BYTES: Final = 4
# What a shard's index says of a chunk that is not there.
ABSENT: Final = np.iinfo(np.uint64).max


def with_checksum(data: bytes) -> bytes:
    """The bytes followed by their crc32c.

    Args:
        data: Any bytes.
    """
    return data + int(google_crc32c.value(data)).to_bytes(CHECKSUM_BYTES, "little")


def encode_chunk(spec: ArraySpec, values: npt.NDArray[Any]) -> bytes:
    """One chunk, or one plain array, as stored.

    Call it for packed arrays from a thread other than the main one, where blosc compresses with one thread only: with
    several, the order of the compressed blocks varies from run to run.

    Args:
        spec: The array.
        values: Its values, any shape, of the specification's dtype.
    """
    little_endian = np.ascontiguousarray(values, dtype=np.dtype(spec.dtype).newbyteorder("<"))
    if spec.storage == "packed":
        blosc = Blosc(cname="zstd", clevel=5, shuffle=BITSHUFFLE, blocksize=0)
        return with_checksum(bytes(blosc.encode(little_endian)))
    return with_checksum(little_endian.tobytes())


def shard_pieces(spec: ArraySpec, values: npt.NDArray[Any], chunk_rows: int, shard_rows: int) -> Iterator[bytes]:
    """One shard of a row array as stored, piece by piece: chunks in order of their rows, then the index.

    Args:
        spec: The array.
        values: (rows, ...) the shard's rows; fewer than `shard_rows` in the store's last shard.
        chunk_rows: Rows per chunk. A chunk with fewer is filled up with the fill value.
        shard_rows: Rows per shard. A chunk wholly beyond the last row is absent.

    Yields:
        Pieces of the file.
    """
    index = np.full((shard_rows // chunk_rows, 2), ABSENT, dtype="<u8")
    offset = 0
    for number, start in enumerate(range(0, len(values), chunk_rows)):
        chunk = values[start : start + chunk_rows]
        if len(chunk) < chunk_rows:
            missing = np.full((chunk_rows - len(chunk), *chunk.shape[1:]), spec.fill_value, dtype=chunk.dtype)
            chunk = np.concatenate([chunk, missing])
        piece = encode_chunk(spec, chunk)
        index[number] = offset, len(piece)
        offset += len(piece)
        yield piece
    yield with_checksum(index.tobytes())


def shard_values(
    spec: ArraySpec, shard: bytes, shape: tuple[int, ...], chunk_rows: int, shard_rows: int
) -> npt.NDArray[Any]:
    """The values of one shard, of bytes that are known to be what `shard_pieces` made.

    Zarr-python reads the same, chunk by chunk, at many times the cost for small rows.

    Args:
        spec: The array.
        shard: The shard's bytes.
        shape: (rows, ...) of the shard's rows; fewer than `shard_rows` in the store's last shard.
        chunk_rows: Rows per chunk.
        shard_rows: Rows per shard.

    Returns:
        The values, of shape `shape` and the specification's dtype.
    """
    chunks = shard_rows // chunk_rows
    index = np.frombuffer(shard, "<u8", 2 * chunks, len(shard) - 16 * chunks - CHECKSUM_BYTES).reshape(chunks, 2)
    values = np.empty(shape, np.dtype(spec.dtype).newbyteorder("<"))
    for number, start in enumerate(range(0, len(values), chunk_rows)):
        offset, size = (int(entry) for entry in index[number])
        piece = memoryview(shard)[offset : offset + size - CHECKSUM_BYTES]
        content = Blosc().decode(piece) if spec.storage == "packed" else piece
        part = values[start : start + chunk_rows]
        part[...] = np.frombuffer(content, values.dtype).reshape(-1, *shape[1:])[: len(part)]
    return values
