"""What a data set tells of its store: names of components, origins, statistics, and normalising with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from dynamic_sparsity.loaders.normalization import Normalizer
from dynamic_sparsity.loaders.row_source import Batch
from dynamic_sparsity.loaders.store.row_store import RowStore
from dynamic_sparsity.schemas.joining import origins_of

__all__ = ["StoreFacts"]

Array = NDArray[Any]


class StoreFacts(ABC):
    """A data set's metadata, whether its rows are here or come over the network."""

    @property
    @abstractmethod
    def _described(self) -> RowStore:
        """The store, of which no rows are read."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What the store says about itself; docs/format.md lists the keys."""
        return self._described.metadata

    @property
    def origins(self) -> list[dict[str, Any]]:
        """Which stores the rows are from: task, policy, dynamics, seed, episodes; empty unless data sets were joined.

        The column `origin` has each row's number in this list.
        """
        return origins_of(self.metadata)

    @property
    def state_names(self) -> list[str]:
        """Names of the state's components, ds."""
        return list(self.metadata["state_names"])

    @property
    def tangent_names(self) -> list[str]:
        """Names of the tangent state's components, dx: of the rows, and of J_s also the columns, as stored."""
        return list(self.metadata["tangent_names"])

    @property
    def action_names(self) -> list[str]:
        """Names of the actions, da."""
        return list(self.metadata["action_names"])

    @cached_property
    def statistics(self) -> dict[str, dict[str, Array]]:
        """`mean`, `std`, `min`, `max` (float64) and `count` (int64) of each column, fitted on the train split."""
        return self._normalizer.statistics

    def normalize(self, batch: Batch) -> Batch:
        """Subtract the means and divide by the standard deviations, by 1 where these are 0.

        Args:
            batch: Arrays by column; those with statistics (state, action, next_state, delta, reward) are changed.

        Returns:
            A new dictionary; the arrays keep their dtypes.
        """
        return self._normalizer.normalize(batch)

    def denormalize(self, batch: Batch) -> Batch:
        """Undo `normalize`.

        Args:
            batch: Arrays by column.
        """
        return self._normalizer.denormalize(batch)

    def sparsity(self) -> dict[str, Any]:
        """Return how often each derivative is zero, over all splits of the store, in tangent coordinates.

        Returns:
            `rows_all`, `rows_contact`, `rows_free` (int), and `zero_share_s` (dx, dx), `zero_share_a` (dx, da), also
            with suffix `_contact` and `_free` (float64; NaN where there are no such rows); and for each of these
            `mean_…`, its mean over all entries (float).
        """
        found = self._described.statistics
        summary: dict[str, Any] = {name: int(value) for name, value in found.items() if name.startswith("rows_")}
        for name, value in found.items():
            if name.startswith("zero_share_"):
                summary[name] = value.copy()
                summary[f"mean_{name}"] = float(value.mean())
        return summary

    @cached_property
    def _normalizer(self) -> Normalizer:
        return Normalizer(self._described.statistics)
