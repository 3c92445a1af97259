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
from numcodecs import blosc

from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.schemas import ArraySpec
from dynamic_sparsity.schemas.layout import CHECKSUM_BYTES, ArrayLayout, parse_shard_index
from dynamic_sparsity.untrusted.archives import translated
from dynamic_sparsity.untrusted.blosc import frame_problem

_SHUFFLES: Final = {"packed": blosc.BITSHUFFLE, "compact": blosc.SHUFFLE}

# What a shard's index has for a chunk that is not there.
ABSENT: Final = np.iinfo(np.uint64).max


def with_checksum(data: bytes) -> bytes:
    """Return bytes followed by their CRC-32C.

    Args:
        data: Any bytes.
    """
    return data + int(google_crc32c.value(data)).to_bytes(CHECKSUM_BYTES, "little")


def encode_chunk(spec: ArraySpec, values: npt.NDArray[Any]) -> bytes:
    """Return one chunk, or one plain array, as stored.

    Call it for compressed arrays from a thread other than the main one, where blosc compresses with one thread: with
    several, the order of the compressed blocks varies from run to run.

    Args:
        spec: The array.
        values: Its values, any shape, of the specification's dtype.
    """
    if spec.storage == "compact":
        values = np.moveaxis(values, 0, -1)
    little_endian = np.ascontiguousarray(values, dtype=np.dtype(spec.dtype).newbyteorder("<"))
    if spec.storage in _SHUFFLES:
        codec = blosc.Blosc(cname="zstd", clevel=5, shuffle=_SHUFFLES[spec.storage], blocksize=0)
        return with_checksum(bytes(codec.encode(little_endian)))
    return with_checksum(little_endian.tobytes())


def same_bytes(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    """Whether two arrays of one shape and dtype have the same bytes: NaN equals itself, and -0.0 is not 0.0.

    Args:
        first: Any array.
        second: Another one.
    """
    one, other = (np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in (first, second))
    return bool(np.array_equal(one, other))


def shard_pieces(spec: ArraySpec, values: npt.NDArray[Any], chunk_rows: int, shard_rows: int) -> Iterator[bytes]:
    """Yield one shard of a row array as stored, piece by piece: chunks in order of their rows, then the index.

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
    # Masks, flags and counts are often the same for thousands of rows; to compare costs far less than to compress.
    last: npt.NDArray[Any] | None = None
    piece = b""
    for number, start in enumerate(range(0, len(values), chunk_rows)):
        chunk = values[start : start + chunk_rows]
        if len(chunk) < chunk_rows:
            missing = np.full((chunk_rows - len(chunk), *chunk.shape[1:]), spec.fill_value, dtype=chunk.dtype)
            chunk = np.concatenate([chunk, missing])
        if spec.storage not in _SHUFFLES:
            piece = encode_chunk(spec, chunk)
        elif last is None or not same_bytes(chunk, last):
            piece, last = encode_chunk(spec, chunk), chunk
        index[number] = offset, len(piece)
        offset += len(piece)
        yield piece
    yield with_checksum(index.tobytes())


def shard_values(layout: ArrayLayout, shard: int, contents: bytes) -> npt.NDArray[Any]:
    """Decode the values of one shard from bytes that `shard_pieces` made.

    Zarr-python reads the same, chunk by chunk, at many times the cost for small rows.

    Args:
        layout: How the array is laid out in its files.
        shard: Number of the shard.
        contents: All bytes of the shard.

    Returns:
        The values of the rows that the shard holds, shape (rows, ...).

    Raises:
        CorruptStoreError: The bytes are not those of such a shard.
    """
    where = layout.shard_name(shard)
    rows = min(layout.shard_rows, layout.shape[0] - shard * layout.shard_rows)
    values = np.empty((rows, *layout.row_shape), layout.dtype)
    with translated(where):
        index = parse_shard_index(layout, np.frombuffer(contents, np.uint8), shard)
        last, rows_of_last = b"", np.empty((0, *layout.row_shape), layout.dtype)
        for number, (offset, size) in enumerate(index.tolist()):
            piece = contents[offset : offset + size - CHECKSUM_BYTES]
            start = number * layout.chunk_rows
            part = values[start : start + layout.chunk_rows]
            if layout.storage != "raw":
                if piece == last:
                    part[...] = rows_of_last[: len(part)]
                    continue
                last = piece
                if problem := frame_problem(piece, layout.chunk_bytes, layout.dtype.itemsize, layout.storage):
                    raise CorruptStoreError(f"{where}: chunk {number} {problem}")
                piece = blosc.decompress(piece)
            rows_of_last = layout.rows_of(np.frombuffer(piece, np.uint8))
            part[...] = rows_of_last[: len(part)]
    return values
