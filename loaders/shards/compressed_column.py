"""Reading a compressed array: its shards are decoded into memory."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Final

import numpy as np

from dynamic_sparsity.loaders.shards.column import Array, Column, Integers, RowLocations
from dynamic_sparsity.loaders.store.checksums import Ledger
from dynamic_sparsity.schemas.layout import CHECKSUM_BYTES, ArrayLayout
from dynamic_sparsity.untrusted.blosc import frame_problem

__all__ = ["CompressedColumn", "decode_shard"]


ENTRIES_TOGETHER: Final = 12
"""So many entries are put into all rows of a chunk at once: with all of them, each write is to another cache line."""


class CompressedColumn(Column):
    """A compressed array, decoded into memory: shard by shard for good, or if it is too big, chunk by chunk."""

    def __init__(self, layout: ArrayLayout, ledger: Ledger, *, keep_decoded: bool, cache_bytes: int):
        """Decode nothing yet.

        Args:
            layout: Where the rows are.
            ledger: What the files must be.
            keep_decoded: Keep every shard decoded, from its first use on; takes `layout.decoded_bytes`.
            cache_bytes: Otherwise, how much to keep of the chunks used last, bytes.
        """
        super().__init__(layout, ledger)
        self._row_dtype = np.dtype((np.void, layout.row_bytes))
        self._compressed: dict[int, tuple[bytes, Integers]] = {}
        # The system gives out memory page by page as shards are decoded, not here.
        self._decoded = np.empty(layout.shards * layout.shard_rows, self._row_dtype) if keep_decoded else None
        self._chunk = lru_cache(maxsize=max(1, cache_bytes // layout.chunk_bytes))(self._decode_chunk)

    def gather(self, locations: RowLocations) -> Array:
        """See `Column.gather`."""
        self.prepare(locations)
        if self._decoded is not None:
            taken = self._decoded.take(locations.rows)
        else:
            taken = np.empty(locations.rows.size, self._row_dtype)
            chunks, within = locations.places[1], locations.within
            for chunk in np.unique(chunks).tolist():
                chosen = chunks == chunk
                taken[chosen] = self._chunk(chunk)[within[chosen]]
        return taken.view(self.layout.dtype).reshape(locations.rows.size, *self.layout.row_shape)

    def read(self, start: int, stop: int) -> Array:
        """See `Column.read`."""
        layout = self.layout
        self.prepare_range(start, stop)
        if self._decoded is not None:
            taken = self._decoded[start:stop].copy()
        else:
            taken = np.empty(stop - start, self._row_dtype)
            for chunk in range(start // layout.chunk_rows, -(-stop // layout.chunk_rows)):
                first_row = chunk * layout.chunk_rows
                first, last = max(start, first_row), min(stop, first_row + layout.chunk_rows)
                taken[first - start : last - start] = self._chunk(chunk)[first - first_row : last - first_row]
        return taken.view(layout.dtype).reshape(stop - start, *layout.row_shape)

    def _open_shard(self, shard: int) -> None:
        layout, name = self.layout, self.layout.shard_name(shard)
        descriptor, status = self.ledger.open(name)
        with os.fdopen(descriptor, "rb") as file:
            contents = file.read()
        self.ledger.verify(name, contents, status)
        index = self._checked_index(np.frombuffer(contents, np.uint8), shard)
        if self._decoded is None:
            self._compressed[shard] = contents, index
            return
        start = shard * layout.shard_rows
        decode_shard(layout, self.ledger, shard, contents, index, self._decoded[start : start + layout.shard_rows])

    def _decode_chunk(self, chunk: int) -> Array:
        """Return a decoded chunk, counted from the array's first."""
        shard, number = divmod(chunk, self.layout.chunks_per_shard)
        contents, index = self._compressed[shard]
        decoded = np.empty(self.layout.chunk_rows, self._row_dtype)
        start, size = index[number].tolist()
        payload = _checked_payload(self.layout, self.ledger, shard, number, contents[start : start + size])
        _decode(self.layout, self.ledger, shard, number, payload, decoded)
        return decoded


def decode_shard(layout: ArrayLayout, ledger: Ledger, shard: int, contents: bytes, index: Integers, out: Array) -> None:
    """Check and decode the chunks of a shard that hold rows of this copy of the store.

    Args:
        layout: The array's layout.
        ledger: What its files must be.
        shard: Number of the shard.
        contents: All of its bytes.
        index: Offset and size of each chunk, bytes, int64, shape (chunks, 2).
        out: Where to put the rows, as opaque bytes, shape (shard_rows,).

    Raises:
        CorruptStoreError: A chunk is damaged.
    """
    before, there = None, slice(0, 0)
    for number, (start, size) in enumerate(index.tolist()):
        rows = slice(number * layout.chunk_rows, (number + 1) * layout.chunk_rows)
        first_row = shard * layout.shard_rows
        if not ledger.holds(first_row + rows.start, first_row + rows.stop):
            continue
        chunk = contents[start : start + size]
        # Flags and the like are often the same in all rows, and then so are their chunks.
        if chunk == before:
            out[rows] = out[there]
        else:
            _decode(layout, ledger, shard, number, _checked_payload(layout, ledger, shard, number, chunk), out[rows])
            before, there = chunk, rows


def _checked_payload(layout: ArrayLayout, ledger: Ledger, shard: int, number: int, chunk: bytes) -> bytes:
    """Return one compressed chunk of a shard without its checksum, after checking that and the header of its frame."""
    import google_crc32c

    payload = chunk[:-CHECKSUM_BYTES]
    if google_crc32c.value(payload) != int.from_bytes(chunk[-CHECKSUM_BYTES:], "little"):
        raise ledger.corrupt(layout.shard_name(shard), f"chunk {number} does not match its CRC-32C")
    if problem := frame_problem(payload, layout.chunk_bytes, layout.dtype.itemsize, layout.storage):
        raise ledger.corrupt(layout.shard_name(shard), f"chunk {number} {problem}")
    return payload


def _decode(layout: ArrayLayout, ledger: Ledger, shard: int, number: int, payload: bytes, out: Array) -> None:
    """Decode one chunk into `out`, its rows as opaque bytes."""
    from numcodecs import blosc

    transposed = layout.storage == "compact" and len(layout.row_shape) > 0
    decoded = np.empty(layout.chunk_bytes, np.uint8) if transposed else out.view(np.uint8)
    try:
        blosc.decompress(payload, decoded)
    except (RuntimeError, ValueError) as error:
        raise ledger.corrupt(layout.shard_name(shard), f"chunk {number} can't be decoded ({error})") from error
    if transposed:
        rows = out.view(layout.dtype).reshape(layout.chunk_rows, -1)
        entries = decoded.view(layout.dtype).reshape(-1, layout.chunk_rows)
        for first in range(0, len(entries), ENTRIES_TOGETHER):
            some = slice(first, first + ENTRIES_TOGETHER)
            rows[:, some] = entries[some].T
