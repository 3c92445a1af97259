"""Reading rows in the requested coordinates, and masks for other thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError, UnknownNameError
from dynamic_sparsity.loaders import coordinates as conversion
from dynamic_sparsity.loaders.store.row_store import RowStore
from dynamic_sparsity.schemas.joining import DERIVED, ORIGIN, origin_of_rows
from dynamic_sparsity.schemas.truncation import TRUNCATED, is_truncated, truncated_rows

__all__ = ["Batch", "RowReader", "needed_arrays"]

JACOBIANS, MASKS = ("J_s", "J_a"), ("mask_s", "mask_a")
BLOCK_ROWS = 1024  # rows of Jacobians in memory at a time while they are turned into masks

Array = NDArray[Any]
Batch = dict[str, Array]


def needed_arrays(columns: Sequence[str], *, converts: bool) -> list[str]:
    """Return the arrays that give some columns, each once.

    Args:
        columns: Names of columns.
        converts: Whether Jacobians and masks are turned into ambient coordinates.
    """
    names = list(columns)
    if converts:
        if set(JACOBIANS) & set(columns):
            names += [*JACOBIANS, "state", "next_state"]
        if set(MASKS) & set(columns):
            names += MASKS
    return list(dict.fromkeys(names))


class RowReader:
    """Rows of a store, in tangent or ambient coordinates."""

    def __init__(self, store: RowStore, coordinates: str):
        """Nothing is read yet.

        Args:
            store: Where the rows are.
            coordinates: "tangent" or "ambient".
        """
        self.store = store
        self._joints = store.metadata["joints"]
        self._stored: dict[tuple[str, ...], list[str]] = {}
        self._converts = coordinates != store.coordinates and conversion.has_quaternions(self._joints)

    def stored_names(self, columns: Sequence[str]) -> list[str]:
        """Return the arrays to read for some columns: conversion needs the states, and J_s with J_a.

        Args:
            columns: Names of columns.

        Raises:
            UnknownNameError: One was not downloaded.
        """
        asked = tuple(columns)
        if asked in self._stored:  # for every minibatch
            return self._stored[asked]
        names = needed_arrays(columns, converts=self._converts)
        for name in names:
            if name in self.store.absent:
                raise UnknownNameError(
                    f"{self.store.path}: {name} is needed for {', '.join(columns)}, but was not downloaded; name it in "
                    "the `columns` of load_dataset"
                )
        self._stored[asked] = [name for name in names if name in self.store.arrays and name not in DERIVED]
        return self._stored[asked]

    def fetch(self, rows: NDArray[np.int64], columns: Sequence[str]) -> Batch:
        """Read rows and convert them.

        Args:
            rows: Rows of the store, int64, shape (n,).
            columns: Names of columns.

        Returns:
            New arrays, shape (n, …).

        Raises:
            CorruptStoreError: A shard that is touched is not what was written.
        """
        reader, names = self.store.reader, self.stored_names(columns)
        if rows.size and rows[-1] - rows[0] == rows.size - 1 and (np.diff(rows) == 1).all():
            batch = reader.read(names, int(rows[0]), int(rows[-1]) + 1)
        else:
            batch = reader.gather(names, rows)
        if self._converts:
            self._to_ambient(batch)
        if ORIGIN.name in columns:
            batch[ORIGIN.name] = origin_of_rows(self.store.metadata, rows)
        if TRUNCATED.name in columns:
            batch[TRUNCATED.name] = is_truncated(self._truncated_rows, rows)
        return {name: batch[name] for name in columns}

    @cached_property
    def _truncated_rows(self) -> NDArray[np.int64]:
        return truncated_rows(self.store.episodes)

    def will_need(self, rows: NDArray[np.int64], columns: Sequence[str]) -> None:
        """Hint that rows of one chunk will be read soon.

        Args:
            rows: Rows of the store, int64, shape (n,), n ≥ 1.
            columns: Names of columns.
        """
        self.store.reader.will_need(self.stored_names(columns), int(rows.min()), int(rows.max()) + 1)

    def masks(self, rows: NDArray[np.int64], threshold: float, *, relative: bool) -> Batch:
        """Compute masks of the stored float32 Jacobians; see `JacobianDataset.mask`.

        Args:
            rows: Rows of the store, int64, shape (n,).
            threshold: From which absolute value on an entry counts, > 0.
            relative: Whether it counts in units of the row's largest absolute value.

        Returns:
            mask_s and mask_a, uint8, shape (n, …).

        Raises:
            InvalidSettingError: The threshold is not positive.
        """
        if not threshold > 0:
            raise InvalidSettingError(f"threshold is {threshold}; it must be greater than 0")
        there = (*self.store.arrays, *self.store.absent)
        pairs = [(mask, J) for mask, J in zip(MASKS, JACOBIANS, strict=True) if J in there]
        parts: dict[str, list[Array]] = {mask: [] for mask, _ in pairs}
        for start in range(0, max(1, rows.size), BLOCK_ROWS):
            block = self.fetch(rows[start : start + BLOCK_ROWS], [J for _, J in pairs])
            for mask, J in pairs:
                size = np.abs(block[J])
                scale = size.max(axis=(-2, -1), keepdims=True) if relative else np.float32(1)
                parts[mask].append((~(size < np.float64(threshold) * scale)).astype(np.uint8))
        return {mask: np.concatenate(blocks) for mask, blocks in parts.items()}

    def _to_ambient(self, batch: Batch) -> None:
        """Convert Jacobians and masks in place; an array the store lacks (no actions) is an empty one here."""
        if "J_s" in batch:
            no_actions = np.empty((*batch["J_s"].shape[:-1], 0), np.float32)
            jacobians = batch["J_s"], batch.get("J_a", no_actions)
            converted = conversion.to_ambient(*jacobians, batch["state"], batch["next_state"], self._joints)
            batch.update(zip(JACOBIANS, converted, strict=True))
        if "mask_s" in batch:
            no_actions = np.empty((*batch["mask_s"].shape[:-1], 0), np.uint8)
            masks = conversion.masks_to_ambient(batch["mask_s"], batch.get("mask_a", no_actions), self._joints)
            batch.update(zip(MASKS, masks, strict=True))
