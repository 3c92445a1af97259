"""What a published repository says that it holds: `publication.json`, its paths, and the index of each store.

Nothing in it is believed that does not follow from a store's task, policy and dynamics: they alone say where in the
repository its files are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from dynamic_sparsity.errors import CorruptStoreError, HubNotFoundError, UnknownNameError
from dynamic_sparsity.schemas.naming import DYNAMICS, store_path
from dynamic_sparsity.schemas.splits import SPLITS
from dynamic_sparsity.untrusted.documents import parse_json
from dynamic_sparsity.untrusted.files import read_regular
from dynamic_sparsity.untrusted.names import check_name, check_relative_path, shown
from dynamic_sparsity.untrusted.values import COUNT_MAX, check_count, check_list, check_object, check_sha256

__all__ = [
    "PUBLICATION_BYTES_MAX",
    "PUBLICATION_FILE",
    "Publication",
    "PublishedFile",
    "PublishedStore",
    "config_name",
    "index_path",
    "parquet_path",
]

PUBLICATION_FILE: Final = "publication.json"
PUBLICATION_FORMAT: Final = "dynamic-sparsity-publication"
PUBLICATION_VERSION: Final = 1

PUBLICATION_BYTES_MAX: Final = 16 * 2**20
"""How large `publication.json` may be: that of a hundred stores has some hundred kilobytes."""

INDEX_BYTES_MAX: Final = 64 * 2**20
"""How large an index may be: that of a store of a million rows has about one megabyte."""

DATA_VERSION_PATTERN: Final = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){2}")


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

    @classmethod
    def parse(cls, document: object, path: str, what: str, bytes_max: int = COUNT_MAX) -> PublishedFile:
        """Check a file's entry.

        Args:
            document: The entry.
            path: The only path that it may have.
            what: What it is; begins the message.
            bytes_max: How large it may be, bytes.

        Raises:
            CorruptStoreError: It is not such an entry.
        """
        entry = check_object(document, [field.name for field in fields(cls)], what)
        if entry["path"] != path:
            raise CorruptStoreError(f"{what}.path is {shown(entry['path'])}; expected {path!r}")
        return cls(
            check_relative_path(path, f"{what}.path"),
            check_sha256(entry["sha256"], f"{what}.sha256"),
            check_count(entry["bytes"], f"{what}.bytes", 1, bytes_max),
        )


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

    @classmethod
    def parse(cls, document: object, what: str) -> PublishedStore:
        """Check a store's entry.

        Args:
            document: The entry.
            what: What it is; begins the message.

        Raises:
            CorruptStoreError: It is not such an entry.
        """
        entry = check_object(document, [field.name for field in fields(cls)], what)
        task, policy = (check_name(entry[key], f"{what}.{key}") for key in ("task", "policy"))
        if entry["dynamics"] not in DYNAMICS:
            raise CorruptStoreError(
                f"{what}.dynamics is {shown(entry['dynamics'])}; expected {' or '.join(map(repr, DYNAMICS))}"
            )
        try:
            path = store_path("", task, policy, entry["dynamics"]).as_posix()
        except UnknownNameError as error:
            raise CorruptStoreError(f"{what}: {error}") from error
        if entry["path"] != path:
            raise CorruptStoreError(f"{what}.path is {shown(entry['path'])}; expected {path!r}")
        name = path.split("/")[1]
        rows = check_count(entry["rows"], f"{what}.rows", 1)
        splits = check_object(entry["splits"], SPLITS, f"{what}.splits")
        for split in SPLITS:
            check_count(splits[split], f"{what}.splits.{split}", 0, rows)
        if sum(splits.values()) > rows:
            raise CorruptStoreError(f"{what}.splits have {sum(splits.values())} rows, the store has {rows}")
        return cls(
            task,
            policy,
            entry["dynamics"],
            path,
            rows,
            check_count(entry["bytes"], f"{what}.bytes", 1),
            check_sha256(entry["manifest_sha256"], f"{what}.manifest_sha256"),
            PublishedFile.parse(entry["index"], index_path(task, name), f"{what}.index", INDEX_BYTES_MAX),
            splits,
            _parse_parquet(entry["parquet"], task, name, f"{what}.parquet"),
        )


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
        """Return one of the stores.

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
        """Return the bytes of `publication.json`.

        Raises:
            CorruptStoreError: No reader would take them.
        """
        document = {"format": PUBLICATION_FORMAT, "version": PUBLICATION_VERSION, **asdict(self)}
        contents = (json.dumps(document, indent=1) + "\n").encode()
        Publication.parse(contents, PUBLICATION_FILE)
        return contents

    @classmethod
    def read(cls, path: Path, where: str) -> Publication:
        """Read `publication.json`.

        Args:
            path: The file.
            where: What to call the repository in the message.

        Raises:
            CorruptStoreError: It is not what this package can read.
        """
        return cls.parse(read_regular(path, PUBLICATION_BYTES_MAX), f"{where}: {PUBLICATION_FILE}")

    @classmethod
    def parse(cls, contents: bytes, where: str) -> Publication:
        """Check the bytes of `publication.json`; the one way to make a publication of what others wrote.

        Args:
            contents: The bytes.
            where: What to call them in the message.

        Raises:
            CorruptStoreError: They are not what this package can read.
        """
        document = parse_json(contents, where)
        found = document.get("format"), document.get("version")
        if found != (PUBLICATION_FORMAT, PUBLICATION_VERSION) or type(found[1]) is not int:
            raise CorruptStoreError(
                f"{where} has format {shown(found[0])} and version {shown(found[1])}; this package reads "
                f"{PUBLICATION_FORMAT!r} and {PUBLICATION_VERSION}: install a newer dynamic-sparsity"
            )
        check_object(document, ["format", "version", *(field.name for field in fields(cls))], where)
        version = document["data_version"]
        if version is not None and not (isinstance(version, str) and DATA_VERSION_PATTERN.fullmatch(version)):
            raise CorruptStoreError(
                f"{where}: data_version is {shown(version)}; a version has three numbers, as in '1.0.0'"
            )
        entries = check_list(document["stores"], f"{where}: stores")
        stores = tuple(PublishedStore.parse(entry, f"{where}: stores[{n}]") for n, entry in enumerate(entries))
        paths = [store.path for store in stores]
        if len(set(paths)) != len(paths):
            twice = next(path for path in paths if paths.count(path) > 1)
            raise CorruptStoreError(f"{where}: has the store {twice} twice")
        return cls(version, stores)


def config_name(task: str, policy: str, dynamics: str) -> str:
    """Return the name of a store's configuration for `datasets.load_dataset`: "CheetahRun-expert".

    Args:
        task: Name of the task.
        policy: Name of the policy.
        dynamics: "converged" or "stock".
    """
    return f"{task}-{policy}{'-stock' if dynamics == 'stock' else ''}"


def index_path(task: str, store_name: str) -> str:
    """Return where a store's index is in the repository.

    Args:
        task: Name of the task.
        store_name: Name of the store's folder.
    """
    return f"index/{task}/{store_name.removesuffix('.zarr')}.tar.xz"


def parquet_path(task: str, store_name: str, split: str, number: int, count: int) -> str:
    """Return where a file of a store's Parquet view is in the repository.

    Args:
        task: Name of the task.
        store_name: Name of the store's folder.
        split: Which split's rows.
        number: Which of the split's files, from 0.
        count: How many files the split has.
    """
    return f"parquet/{task}/{store_name.removesuffix('.zarr')}/{split}-{number:05d}-of-{count:05d}.parquet"


def _parse_parquet(document: object, task: str, name: str, what: str) -> dict[str, tuple[PublishedFile, ...]]:
    """Check the entries of a store's Parquet view; a split without rows has none."""
    if not isinstance(document, dict) or not set(document) <= set(SPLITS):
        raise CorruptStoreError(f"{what} is {shown(document)}; expected an object of {', '.join(SPLITS)}")
    found = {}
    for split, value in document.items():
        entries = check_list(value, f"{what}.{split}")
        found[split] = tuple(
            PublishedFile.parse(entry, parquet_path(task, name, split, n, len(entries)), f"{what}.{split}[{n}]")
            for n, entry in enumerate(entries)
        )
    return found
