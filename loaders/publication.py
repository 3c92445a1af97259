"""What a published repository says that it holds: `publication.json`, its paths, and the index of each store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity.errors import CorruptStoreError, HubNotFoundError

__all__ = ["PUBLICATION_FILE", "Publication", "PublishedFile", "PublishedStore", "config_name", "index_path"]

PUBLICATION_FILE: Final = "publication.json"
PUBLICATION_FORMAT: Final = "dynamic-sparsity-publication"
PUBLICATION_VERSION: Final = 1


@dataclass(frozen=True)
class PublishedFile:
    """One file of a repository.

    Attributes:
        path: Its path in the repository.
        sha256: Digest of its bytes, hexadecimal.
        bytes: Its size.
    """

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class PublishedStore:
    """One store of a repository.

    Attributes:
        task: Name of the task.
        policy: Name of the policy.
        dynamics: "converged" or "stock".
        path: The store's folder in the repository.
        rows: Number of rows, padding included.
        bytes: Size of all its files.
        manifest_sha256: Digest of its manifest, and so of all its bytes.
        index: An archive of its small files and the digests of its pieces.
        splits: Rows with data, by split.
        parquet: Its Parquet view, by split.
    """

    task: str
    policy: str
    dynamics: str
    path: str
    rows: int
    bytes: int
    manifest_sha256: str
    index: PublishedFile
    splits: Mapping[str, int]
    parquet: Mapping[str, tuple[PublishedFile, ...]]


@dataclass(frozen=True)
class Publication:
    """All that a repository holds.

    Attributes:
        data_version: Version of the data, "1.0.0"; None where it was published without one.
        stores: Its stores, sorted by task, policy and dynamics.
    """

    data_version: str | None
    stores: tuple[PublishedStore, ...]

    def find(self, task: str, policy: str, dynamics: str, where: str) -> PublishedStore:
        """One of the stores.

        Args:
            task: Name of the task.
            policy: Name of the policy.
            dynamics: "converged" or "stock".
            where: What to call the repository in the message.

        Raises:
            HubNotFoundError: It does not hold that.
        """
        for store in self.stores:
            if (store.task, store.policy, store.dynamics) == (task, policy, dynamics):
                return store
        tasks = sorted({store.task for store in self.stores})
        if task not in tasks:
            raise HubNotFoundError(f"{where} has no task {task!r}; it has {', '.join(tasks) or 'none'}")
        there = [f"{s.policy} ({s.dynamics})" for s in self.stores if s.task == task]
        raise HubNotFoundError(f"{where} has no {policy} policy with {dynamics} dynamics of {task}: {', '.join(there)}")

    def encode(self) -> bytes:
        """The bytes of `publication.json`."""
        document = {"format": PUBLICATION_FORMAT, "version": PUBLICATION_VERSION, **asdict(self)}
        return (json.dumps(document, indent=1) + "\n").encode()

    @classmethod
    def read(cls, path: Path, where: str) -> Publication:
        """Parse `publication.json`.

        Args:
            path: The file.
            where: What to call the repository in the message.

        Raises:
            CorruptStoreError: It is not what this package can read.
        """
        try:
            document = json.loads(path.read_bytes())
            found = document["format"], document["version"]
            if found != (PUBLICATION_FORMAT, PUBLICATION_VERSION):
                raise CorruptStoreError(
                    f"{where}: {PUBLICATION_FILE} has format and version {found}; this package reads "
                    f"{(PUBLICATION_FORMAT, PUBLICATION_VERSION)}: install a newer dynamic-sparsity"
                )
            return cls(document["data_version"], tuple(_parse_store(entry) for entry in document["stores"]))
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, CorruptStoreError):
                raise
            raise CorruptStoreError(f"{where}: {PUBLICATION_FILE} can't be read ({error!r})") from error


def config_name(task: str, policy: str, dynamics: str) -> str:
    """The name of a store's configuration for `datasets.load_dataset`: "CheetahRun-expert".

    Args:
        task: Name of the task.
        policy: Name of the policy.
        dynamics: "converged" or "stock".
    """
    return f"{task}-{policy}{'-stock' if dynamics == 'stock' else ''}"


def index_path(task: str, store_name: str) -> str:
    """Where a store's index is in the repository.

    Args:
        task: Name of the task.
        store_name: Name of the store's folder.
    """
    return f"index/{task}/{store_name.removesuffix('.zarr')}.tar.xz"


def _parse_store(entry: Mapping[str, Any]) -> PublishedStore:
    parquet = {split: tuple(PublishedFile(**file) for file in files) for split, files in dict(entry["parquet"]).items()}
    return PublishedStore(**{**entry, "index": PublishedFile(**entry["index"]), "parquet": parquet})
