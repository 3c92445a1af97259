"""Rows whose masks are decided anew, at a threshold of the reader's, from the stored Jacobians."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.spectrum import tangent_scale
from dynamic_sparsity.analysis.thresholds import SCALES, sizes_of
from dynamic_sparsity.errors import InvalidSettingError, UnknownNameError
from dynamic_sparsity.loaders import open_dataset
from dynamic_sparsity.loaders.dataset import JacobianDataset
from dynamic_sparsity.loaders.store.row_store import ArrayReader, RowStore

__all__ = ["ThresholdedRows", "check_threshold", "open_rows"]

JACOBIANS = {"mask_s": "J_s", "mask_a": "J_a"}
MISSING = 255
"""A mask's value where there is no Jacobian."""

Array = NDArray[Any]


def check_threshold(threshold: float | None, scale: str) -> None:
    """Refuse a threshold that decides nothing, or a unit that does not exist.

    Args:
        threshold: From which size on an entry counts; None for the stored masks.
        scale: One of `SCALES`.

    Raises:
        InvalidSettingError: The threshold is not a number above 0, or a scale is given without one.
        UnknownNameError: There is no such scale.
    """
    if scale not in SCALES:
        raise UnknownNameError(f"there is no scale {scale!r}; there is {', '.join(SCALES)}")
    if threshold is None:
        if scale != "absolute":
            raise InvalidSettingError(f"the scale {scale!r} needs a threshold, for example 0.01: --threshold 0.01")
    elif not (threshold > 0 and math.isfinite(threshold)):
        raise InvalidSettingError(f"threshold is {threshold}; it must be a number greater than 0, for example 0.01")


def open_rows(
    path: str | Path, threshold: float | None = None, scale: str = "absolute", **options: Any
) -> JacobianDataset:
    """Open a store with its own masks, or with those at another threshold.

    Args:
        path: Folder of the store.
        threshold: From which size on an entry counts; None for the stored masks.
        scale: One of `SCALES`: in which unit.
        **options: Of `open_dataset`.

    Raises:
        DynamicSparsityError: As of `open_dataset` and `check_threshold`.
    """
    check_threshold(threshold, scale)
    return open_dataset(path, **options) if threshold is None else ThresholdedRows(path, threshold, scale, **options)


class ThresholdedRows(JacobianDataset):
    """Rows of a store with masks of one threshold; everything else is the store's."""

    def __init__(self, path: str | Path, threshold: float, scale: str = "absolute", **options: Any):
        """Open the store.

        Args:
            path: Folder of the store.
            threshold: From which size on an entry counts, > 0.
            scale: One of `SCALES`.
            **options: Of `JacobianDataset`.

        Raises:
            DynamicSparsityError: See `open_rows`.
        """
        self._threshold, self._scale = threshold, scale
        super().__init__(path, **options)

    @cached_property
    def store(self) -> RowStore:
        """The opened store, with other masks."""
        whole = open_dataset(self._path, verify=self._verify)
        return _ThresholdedStore(whole, self._threshold, self._scale)


class _ThresholdedStore(RowStore):
    """A store that states the threshold, and whose reader makes the masks."""

    def __init__(self, dataset: JacobianDataset, threshold: float, scale: str):
        store = dataset.store
        lacking = [name for mask, name in JACOBIANS.items() if mask in store.arrays and name not in store.arrays]
        if lacking:
            raise InvalidSettingError(
                f"{store.path} has no {' and no '.join(lacking)} here, which a threshold needs; download it too"
            )
        self._store = store
        self.path, self.arrays, self.absent = store.path, store.arrays, store.absent
        self.coordinates, self.selection, self.split = store.coordinates, store.selection, store.split
        self.metadata = store.metadata | {"mask_threshold": threshold, "mask_scale": scale}
        self.reader = _MaskingReader(store.reader, threshold, scale, tangent_scale(dataset))

    @property
    def episodes(self) -> dict[str, Array]:
        return self._store.episodes

    @property
    def statistics(self) -> dict[str, Array]:
        return self._store.statistics

    @property
    def verified(self) -> Mapping[str, tuple[int, int]]:
        return self._store.verified


class _MaskingReader:
    """An `ArrayReader` that reads Jacobians where masks are asked for."""

    def __init__(self, reader: ArrayReader, threshold: float, scale: str, units: NDArray[np.float64]):
        self._reader, self._threshold, self._scale, self._units = reader, threshold, scale, units

    def gather(self, names: Iterable[str], rows: NDArray[np.int64]) -> dict[str, Array]:
        asked = list(names)
        return self._masked(asked, self._reader.gather(self._stored(asked), rows))

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Array]:
        asked = list(names)
        return self._masked(asked, self._reader.read(self._stored(asked), start, stop))

    def will_need(self, names: Iterable[str], start: int, stop: int) -> None:
        self._reader.will_need(self._stored(list(names)), start, stop)

    @staticmethod
    def _stored(names: list[str]) -> list[str]:
        return list(dict.fromkeys(JACOBIANS.get(name, name) for name in names))

    def _masked(self, names: list[str], batch: dict[str, Array]) -> dict[str, Array]:
        for name in JACOBIANS:
            if name in names:
                matrix = JACOBIANS[name]
                size = sizes_of(batch[matrix], matrix, self._scale, self._units)
                batch[name] = np.where(np.isfinite(size), size >= self._threshold, MISSING).astype(np.uint8)
        return {name: batch[name] for name in names}
