"""Normalising batches with the statistics of the train split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Normalizer"]

COLUMNS = ("state", "action", "next_state", "delta", "reward")
MEASURES = ("mean", "std", "min", "max", "count")

Array = NDArray[Any]


class Normalizer:
    """Means and standard deviations by column.

    Attributes:
        statistics: `mean`, `std`, `min`, `max` and `count` by column.
    """

    def __init__(self, arrays: Mapping[str, Array]):
        """Sort the store's statistics by column.

        Args:
            arrays: The arrays of the store's group `statistics`: `state_mean` and so on.
        """
        self.statistics: dict[str, dict[str, Array]] = {
            column: {measure: arrays[f"{column}_{measure}"] for measure in MEASURES}
            for column in COLUMNS
            if f"{column}_mean" in arrays
        }

    def normalize(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Subtract the means and divide by the standard deviations, by 1 where these are 0.

        Args:
            batch: Arrays of NumPy or JAX, or tensors of torch, by column, the column's dimension last.

        Returns:
            A new dictionary; arrays without statistics are the ones given, the others keep their kind and dtype, and
            gradients go through them.
        """
        return {
            name: self._scaled(name, values, forward=True) if name in self.statistics else values
            for name, values in batch.items()
        }

    def denormalize(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Undo `normalize`.

        Args:
            batch: Arrays of NumPy or JAX, or tensors of torch, by column, the column's dimension last.

        Returns:
            A new dictionary; arrays without statistics are the ones given, the others keep their kind and dtype, and
            gradients go through them.
        """
        return {
            name: self._scaled(name, values, forward=False) if name in self.statistics else values
            for name, values in batch.items()
        }

    def _scaled(self, name: str, values: Any, *, forward: bool) -> Any:
        mean, std = self.statistics[name]["mean"], self.statistics[name]["std"]
        std = np.where(std == 0, 1.0, std)
        alike: Callable[[Any], Any] = np.asarray
        if hasattr(values, "new_tensor"):  # of torch, which must not meet NumPy's arrays
            alike = values.new_tensor
        elif hasattr(values, "aval"):  # of JAX
            alike = partial(np.asarray, dtype=values.dtype)
        scaled = (values - alike(mean)) / alike(std) if forward else values * alike(std) + alike(mean)
        return np.asarray(scaled, np.asarray(values).dtype) if alike is np.asarray else scaled
