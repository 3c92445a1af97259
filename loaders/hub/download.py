"""`download`: published stores into the Hub's cache, where `load_dataset` finds them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from dynamic_sparsity.errors import InvalidSettingError, UnknownNameError
from dynamic_sparsity.loaders.hub.local_copy import LocalCopy
from dynamic_sparsity.loaders.hub.publication import PublishedStore
from dynamic_sparsity.loaders.hub.repository import Repository
from dynamic_sparsity.loaders.hub.transfer_progress import TransferProgress
from dynamic_sparsity.schemas.naming import store_path
from dynamic_sparsity.schemas.splits import SPLITS

__all__ = ["DownloadedStore", "StoreSelection", "download"]


@dataclass(frozen=True)
class StoreSelection:
    """Which data of a repository are wanted.

    Attributes:
        tasks: Names of tasks.
        every_task: Select all tasks of the repository; then `tasks` is empty.
        policies: Names of policies; None for all.
        dynamics: "converged" or "stock".
        split: "train", "validation" or "test"; None for all rows.
        columns: Names of columns; None for all.
    """

    tasks: Sequence[str] = ()
    every_task: bool = False
    policies: Sequence[str] | None = None
    dynamics: str = "converged"
    split: str | None = None
    columns: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Check the names; raise UnknownNameError."""
        if self.split is not None and self.split not in SPLITS:
            raise UnknownNameError(f"split is {self.split!r}; it can be {', '.join(map(repr, SPLITS))}")
        for task in self.tasks or ["Any"]:
            for policy in self.policies or ["any"]:
                store_path("", task, policy, self.dynamics)  # refuses what can't be a name

    def stores_of(self, repository: Repository) -> list[PublishedStore]:
        """Find the selected stores.

        Args:
            repository: Where to look.

        Raises:
            InvalidSettingError: No task was named, or some and `every_task`.
            HubNotFoundError: A store is not published there.
        """
        stores = repository.publication.stores
        if bool(self.tasks) == self.every_task:
            there = ", ".join(sorted({store.task for store in stores}))
            raise InvalidSettingError(f"Name tasks, or give --all; {shlex.quote(repository.name)} has {there}.")
        found = []
        for task in dict.fromkeys(self.tasks or (store.task for store in stores)):
            policies = [store.policy for store in stores if (store.task, store.dynamics) == (task, self.dynamics)]
            for policy in self.policies or policies or ["noise"]:
                found.append(repository.publication.find(task, policy, self.dynamics, repository.name))
        return found


@dataclass(frozen=True)
class DownloadedStore:
    """What was fetched of one store, or would be.

    Attributes:
        published: The store.
        files: Number of files that had to be fetched, in whole or in part.
        bytes: Bytes of them that had to be fetched.
        requests: Number of requests that this takes.
    """

    published: PublishedStore
    files: int
    bytes: int
    requests: int


def download(
    repository: Repository,
    selection: StoreSelection,
    progress: TransferProgress,
    *,
    force: bool = False,
    dry_run: bool = False,
) -> list[DownloadedStore]:
    """Fetch published stores into the Hub's cache.

    Args:
        repository: Where they are published.
        selection: Which of its data.
        progress: Receives the progress of the transfers.
        force: Fetch again what is there.
        dry_run: Fetch the stores' indices only.

    Returns:
        What was fetched of each store, or would be.

    Raises:
        InvalidSettingError: No task was named, or some and all.
        HubError: A store is not published, or the Hub can't be reached.
        CorruptStoreError: The repository's data are not what was published.
        WriteFailedError: The cache's disk is full, or may not be written to.
    """
    fetched = []
    for published in selection.stores_of(repository):
        copy = LocalCopy(repository, published, selection.split, force=force and not dry_run)
        arrays = copy.arrays_for(selection.columns)
        plans = copy.plan(arrays, force=force)
        fetched.append(
            DownloadedStore(
                published, len(plans), sum(plan.bytes for plan in plans), sum(plan.requests for plan in plans)
            )
        )
        if not dry_run:
            copy.fetch(arrays, progress, force=force)
    return fetched
