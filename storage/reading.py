"""Read a store's values through zarr-python: slowly, by code that this package's own reader does not share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from dynamic_sparsity.errors import CorruptStoreError


class Reader:
    """A store opened through zarr-python.

    A chunk whose file is missing reads as the fill value: check that all files are there first.
    """

    def __init__(self, path: Path) -> None:
        """Open a store.

        Args:
            path: The store.
        """
        self._path = path
        self._group = zarr.open_group(path, mode="r", use_consolidated=False)

    def values(self, name: str, start: int | None = None, stop: int | None = None) -> npt.NDArray[Any]:
        """Decode an array, or some of its rows.

        Args:
            name: Path of the array inside the store.
            start: First row; None for the first there is.
            stop: The row after the last; None for all.

        Returns:
            The values, of the array's dtype.

        Raises:
            CorruptStoreError: The array can't be decoded.
        """
        rows = "" if start is None or stop is None else f", rows {start} to {stop - 1},"
        # What a codec raises on bytes that are not its own is anybody's guess: ValueError, RuntimeError, and others.
        try:
            array = self._group[name]
            if not isinstance(array, zarr.Array):
                raise TypeError("it is a group; expected an array")
            return np.asarray(array[start:stop] if array.ndim else array[()])
        except Exception as error:
            raise CorruptStoreError(f"{self._path}: {name}{rows} can't be decoded: {error}") from error
