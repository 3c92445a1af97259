"""The data set: rows of one store as dictionaries of NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.loaders.export.libraries import Exportable
from dynamic_sparsity.loaders.hdf5.reader import Hdf5Store
from dynamic_sparsity.loaders.row_source import Batch, Coordinates
from dynamic_sparsity.loaders.sampling import Shuffle, check_batch_settings, in_background, positions_of_batches
from dynamic_sparsity.loaders.stored_rows import StoredRows, shaped
from dynamic_sparsity.loaders.windows import Windows, window_starts

__all__ = ["Coordinates", "JacobianDataset"]

Array = NDArray[Any]


class JacobianDataset(StoredRows, Exportable):
    """Rows of one store: a NumPy-like sequence, a map-style data set for torch, and a data source for grain.

    `dataset[key]` takes what NumPy takes to index an axis (an integer, a slice, integers of any shape, a boolean
    mask), raises what NumPy raises, and returns a dictionary of new, writable arrays: for an integer without, else
    with the key's dimensions in front. Dtypes are the store's: state, action, next_state, J_s, J_a, reward float32;
    masks, done uint8; episode, step int32; flags uint16. Rows of padding are left out.

    With torch, `DataLoader(dataset, batch_size=256)` works; faster is to let the data set make whole batches:
    `DataLoader(dataset, sampler=BatchSampler(RandomSampler(dataset), 256, False), batch_size=None)`.

    It may be pickled and used after a fork: the pickle has the path, the options and which files are checked, and
    files are opened where they are read.
    """

    @classmethod
    def from_hdf5(cls, path: str | Path) -> JacobianDataset:
        """Return the rows of an HDF5 file that `to_hdf5` wrote, in their order.

        Args:
            path: The file.

        Raises:
            StoreNotFoundError: There is no file.
            CorruptStoreError: It is not such a file.
            MissingDependencyError: It was written by a version before 1.1, and the extra `hub` is not installed.
        """
        store = Hdf5Store(Path(path).expanduser().absolute())
        coordinates: Coordinates = "ambient" if store.coordinates == "ambient" else "tangent"
        return JacobianDataset(path, split=store.split, columns=store.columns, coordinates=coordinates)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: Shuffle = "rows",
        drop_last: bool = False,
        epochs: int | None = 1,
        prefetch: bool = False,
    ) -> Iterator[Batch]:
        """Go through all rows in batches; the order depends on the arguments only.

        Args:
            batch_size: Rows per batch, ≥ 1.
            seed: Of the order, ≥ 0; each epoch has another order.
            shuffle: "rows": any row may be next, best when the store fits into memory. "blocks": chunks in random
                order, mixed 32 at a time, which reads a disk in long pieces. False: in order.
            drop_last: Leave out an epoch's last batch if it is not full.
            epochs: Passes over the rows; None for no end.
            prefetch: Make the next batch in a thread while one is in use.

        Returns:
            An iterator of dictionaries of arrays.

        Raises:
            InvalidSettingError: A setting is out of range.
        """
        check_batch_settings(batch_size, seed, shuffle, epochs)

        def read_ahead(blocks: list[NDArray[np.int64]]) -> None:
            for block in blocks:
                self._row_reader.will_need(self.rows[block], self.columns)

        order = positions_of_batches(
            self.rows,
            self.metadata["chunk_rows"],
            batch_size=batch_size,
            seed=seed,
            shuffle=shuffle,
            drop_last=drop_last,
            epochs=epochs,
            before_blocks=read_ahead,
        )
        batches = (self._fetch(self.rows[positions]) for positions in order)
        return in_background(batches) if prefetch else batches

    def windows(self, length: int, stride: int = 1) -> Windows:
        """Cut the rows into windows of consecutive rows; none crosses the end of an episode or a row that is left out.

        Args:
            length: Rows per window, ≥ 1.
            stride: Distance of the starts of two windows, ≥ 1.

        Raises:
            InvalidSettingError: One of them is less than 1.
        """
        return Windows(self, window_starts(self.rows, self._episode_numbers(), length, stride), length)

    def mask(self, threshold: float = 1e-9, indices: Any = None, *, relative: bool = False) -> Batch:
        """Compute masks for another threshold, from the stored Jacobians.

        Those are float32: a derivative within 6e-8 of the threshold, relative to it, may fall on the other side than
        in float64, from which the stored masks were made. What is NaN gives 1.

        Args:
            threshold: An entry of the mask is 1 where abs(J) ≥ threshold, > 0.
            indices: Which rows, as in `dataset[indices]`; None for all.
            relative: Multiply the threshold by the largest abs(J) of the same row's J_s (of its J_a for mask_a).

        Returns:
            `mask_s` and `mask_a`, uint8, in this data set's coordinates.

        Raises:
            InvalidSettingError: The threshold is not positive.
        """
        rows = np.asarray(self.rows[slice(None) if indices is None else indices])
        return shaped(self._row_reader.masks(rows.reshape(-1), threshold, relative=relative), rows.shape)
