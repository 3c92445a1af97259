"""Reading an array whose shards are in memory, where they come and go."""

from __future__ import annotations

import math

import numpy as np

from dynamic_sparsity.loaders.shards.column import Array, Column, RowLocations, position_steps
from dynamic_sparsity.loaders.shards.compressed_column import decode_shard
from dynamic_sparsity.loaders.shards.mapped_column import overlapping_rows
from dynamic_sparsity.loaders.store.checksums import Ledger
from dynamic_sparsity.schemas.layout import ArrayLayout

__all__ = ["InMemoryColumn"]


class InMemoryColumn(Column):
    """An uncompressed or compressed array, of which the ledger has some shards in memory."""

    def __init__(self, layout: ArrayLayout, ledger: Ledger):
        """Look at no shard yet.

        Args:
            layout: Where the rows are; in which files.
            ledger: Has the shards.
        """
        super().__init__(layout, ledger)
        self._row_dtype = np.dtype((np.void, layout.row_bytes))
        self._rows: dict[int, Array] = {}
        self._spare: list[Array] = []
        self._unit = math.gcd(layout.chunk_stride, layout.row_bytes)
        raw = layout.storage == "raw"
        distances = layout.chunk_stride // self._unit, layout.row_bytes // self._unit
        self._in_shard = position_steps(layout, *(distances if raw else (layout.chunk_rows, 1)))

    def gather(self, locations: RowLocations) -> Array:
        """See `Column.gather`."""
        layout, shards = self.layout, locations.shards
        self.prepare(locations)
        at = self._in_shard @ locations.places
        if shards.size == 1:
            taken: Array = self._rows[int(shards[0])][at]
        else:
            taken = np.empty(at.size, self._row_dtype)
            for shard in shards.tolist():
                chosen = locations.shard == shard
                taken[chosen] = self._rows[shard][at[chosen]]
        return taken.view(layout.dtype).reshape(at.size, *layout.row_shape)

    def read(self, start: int, stop: int) -> Array:
        """See `Column.read`."""
        return self.gather(RowLocations.of(np.arange(start, stop), self.layout.chunk_rows, self.layout.shard_rows))

    def forget(self, shard: int) -> None:
        """See `Column.forget`."""
        super().forget(shard)
        rows = self._rows.pop(shard, None)
        if rows is not None and self.layout.storage != "raw":
            self._spare.append(rows)

    def _open_shard(self, shard: int) -> None:
        layout, name = self.layout, self.layout.shard_name(shard)
        contents = self.ledger.in_memory(name)
        if contents is None:
            raise self.ledger.corrupt(name, "was not fetched")
        index = self._checked_index(contents, shard)
        if layout.storage == "raw":
            self._rows[shard] = overlapping_rows(contents, self._row_dtype, self._unit)
        else:
            out = self._spare.pop() if self._spare else np.empty(layout.shard_rows, self._row_dtype)
            decode_shard(layout, self.ledger, shard, contents.tobytes(), index, out)
            self._rows[shard] = out
