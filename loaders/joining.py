"""Several data sets as one: other policies, seeds or dynamics of the same task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.dataset import JacobianDataset
from dynamic_sparsity.loaders.store.joined_store import JoinedStore
from dynamic_sparsity.loaders.store.row_store import RowStore
from dynamic_sparsity.schemas.joining import ORIGIN

__all__ = ["JoinedDataset", "concatenate"]


class JoinedDataset(JacobianDataset):
    """The rows of several data sets, one after the other; made by `concatenate`. See `JacobianDataset` for its use.

    Rows, episodes and statistics are those of all stores together; the column `origin` (int32) says which one a row is
    from, and `origins` lists them. `episode` counts the episodes of all stores.
    """

    def __init__(self, parts: Sequence[JacobianDataset]):
        """Join data sets; `concatenate` explains them.

        Args:
            parts: The data sets.

        Raises:
            InvalidSettingError: They can't be joined.
        """
        self._parts = tuple(parts)
        store = self.store
        self._path, self._verify, self._verified = store.path, "sha256", {}
        self._selection = None
        first = self._parts[0]
        for part in self._parts[1:]:
            if part.coordinates != first.coordinates:
                raise InvalidSettingError(
                    f"data sets with other coordinates can't be joined: {first!r} and {part!r}; load them with the same"
                )
        self.coordinates = first.coordinates
        self.split = first.split if all(part.split == first.split for part in self._parts) else None
        flags = [set(part.exclude_flags) for part in self._parts]
        self.exclude_flags = tuple(flag for flag in first.exclude_flags if all(flag in one for one in flags))
        common = set.intersection(*(set(part.columns) for part in self._parts)) & {*store.readable}
        self.columns = (*(name for name in first.columns if name in common - {ORIGIN.name}), ORIGIN.name)

    @cached_property
    def store(self) -> RowStore:
        """The opened stores, as one."""
        return JoinedStore([member for part in self._parts for member in _members(part)])

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The row in the joined stores of each row here, int64, shape (len(self),); not to be changed."""
        store, found, first = self.store, list[NDArray[np.int64]](), 0
        assert isinstance(store, JoinedStore)
        for part in self._parts:
            members, local = np.zeros(len(part), np.int64), part.rows
            if isinstance(part.store, JoinedStore):
                members, local = part.store.locate(part.rows)
            found.append(store.number(members + first, local))
            first += len(_members(part))
        rows = np.concatenate(found)
        return rows if self._selection is None else np.asarray(rows[self._selection])

    def __getstate__(self) -> dict[str, Any]:
        # The parts know which of their files are checked.
        return super().__getstate__() | {"_verified": {}}


def concatenate(datasets: Sequence[JacobianDataset]) -> JacobianDataset:
    """Join data sets of one task into one, with all their rows, one after the other; nothing is copied.

    Splits are those of each data set. Statistics are those of the train splits of all stores together; no window
    crosses from one data set into another.

    Args:
        datasets: Data sets of the same task, for example with several policies, seeds or dynamics; some of their rows,
            too.

    Returns:
        A data set with the columns that all have, and `origin`, int32: the number of the data set (of those that were
        joined before, each counts). `origins` lists them.

    Raises:
        InvalidSettingError: The data sets are of different tasks, have different coordinates, or none was given.
    """
    for one in datasets:
        if not isinstance(one, JacobianDataset):
            raise InvalidSettingError(f"{one!r:.200} can't be joined; data sets of load_dataset without streaming can")
    return JoinedDataset(datasets)


def _members(part: JacobianDataset) -> tuple[RowStore, ...]:
    store = part.store
    return store.members if isinstance(store, JoinedStore) else (store,)
