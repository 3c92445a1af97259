"""Reading an array whose layout this package does not know."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from dynamic_sparsity.loaders.columns import Array, Column, Places
from dynamic_sparsity.loaders.integrity import Ledger
from dynamic_sparsity.loaders.layout import ArrayLayout

__all__ = ["ZarrColumn"]


class ZarrColumn(Column):
    """An array with a layout we do not know: zarr-python reads it, correctly and slowly."""

    def __init__(self, layout: ArrayLayout, ledger: Ledger):
        """Open the array with zarr-python.

        Args:
            layout: Its shape, dtype and number of rows per stored object.
            ledger: What the files must be.
        """
        super().__init__(layout, ledger)
        import zarr

        self._array: Any = zarr.open_array(ledger.root / layout.name, mode="r", zarr_format=3)

    def gather(self, places: Places) -> Array:
        """See `Column.gather`."""
        self.prepare(np.unique(places.rows // self.layout.shard_rows))
        rows, inverse = np.unique(places.rows, return_inverse=True)
        if rows.size == 0:
            return np.empty(self._out_shape(0), self.layout.dtype)
        return np.asarray(self._array.oindex[rows])[inverse]

    def read(self, start: int, stop: int) -> Array:
        """See `Column.read`."""
        self.prepare(np.arange(start // self.layout.shard_rows, -(-stop // self.layout.shard_rows)))
        return np.array(self._array[start:stop]).reshape(self._out_shape(stop - start))

    def _out_shape(self, rows: int) -> tuple[int, ...]:
        return (rows, *self.layout.row_shape)

    def _open_shard(self, shard: int) -> None:
        """Check the files that start with the shard's number; the other axes may be cut too."""
        prefix = f"{self.layout.name}/c/{shard}"
        for name in self.ledger.names():
            if name == prefix or name.startswith(prefix + "/"):
                descriptor, status = self.ledger.open(name)
                with os.fdopen(descriptor, "rb") as file:
                    self.ledger.admit(name, file.read() if self.ledger.verify == "sha256" else b"", status)
