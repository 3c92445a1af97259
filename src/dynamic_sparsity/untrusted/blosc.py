"""The frame of a blosc chunk, checked before the decoder sees it: C-Blosc believes what the frame says of itself.

Source: c-blosc 1.21, README_CHUNK_FORMAT and `blosc_run_decompression_with_context`: a header of 16 bytes (version,
version of the codec, flags, typesize, then as int32: decoded size, block size, size of the frame), the start of each
block (int32), and the blocks, each a size (int32) and as many bytes.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["frame_problem"]

HEADER: Final = struct.Struct("<BBBBiii")
VERSION: Final = 2
CODEC_VERSION: Final = 1
FLAGS: Final = {"packed": 0x94, "compact": 0x91}
"""zstd, blocks not split, and bitshuffle or shuffle: as all stores are written, by an array's `storage`."""

COPIED: Final = 0x02
"""The flag of a chunk that does not compress."""


def frame_problem(frame: bytes, decoded_bytes: int, typesize: int, storage: str = "packed") -> str | None:
    """Say why a frame must not be decoded.

    Args:
        frame: All of its bytes.
        decoded_bytes: Size that it has to decode to.
        typesize: Size of one number, bytes.
        storage: "packed" or "compact".

    Returns:
        What is wrong with it; None if the decoder stays inside the frame and fills exactly `decoded_bytes`.
    """
    if len(frame) < HEADER.size:
        return f"has {len(frame)} bytes, too few for a header of blosc"
    version, codec_version, flags, found_typesize, size, block, frame_bytes = HEADER.unpack_from(frame)
    if (version, codec_version, flags & ~COPIED, found_typesize) != (VERSION, CODEC_VERSION, FLAGS[storage], typesize):
        return f"has the header {frame[:4].hex()}, which is not that of {storage} arrays of {typesize}-byte numbers"
    if size != decoded_bytes:
        return f"says that it decodes to {size} bytes, not {decoded_bytes}"
    if frame_bytes != len(frame):
        return f"says that it has {frame_bytes} bytes; it has {len(frame)}"
    if flags & COPIED:
        return None if frame_bytes == HEADER.size + size else f"has {frame_bytes} bytes for {size} uncompressed ones"
    if not 0 < block <= size or (block < size and block % typesize):
        return f"says that its blocks have {block} bytes"
    blocks = -(-size // block)
    first = HEADER.size + 4 * blocks
    if first > frame_bytes:
        return f"is too short for its {blocks} blocks"
    for start in struct.unpack_from(f"<{blocks}i", frame, HEADER.size):
        if not first <= start <= frame_bytes - 4:
            return "has a block that starts outside it"
        (length,) = struct.unpack_from("<i", frame, start)
        if not 0 < length <= frame_bytes - 4 - start:
            return "has a block that ends outside it"
    return None
