"""What is made from the stores before anything is uploaded: checked stores, their index and their Parquet view.

All of it is kept beside the stores, in `ROOT/.publish`, by the digest of the store's manifest: a second run makes
nothing again whose bytes are still the same. Nothing else of a file is trusted, neither that it exists nor its size or
age.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity.errors import CorruptStoreError, DynamicSparsityWarning, IncompleteStoreError, StoreNotFoundError
from dynamic_sparsity.loaders.hub.local_copy import split_rows
from dynamic_sparsity.loaders.hub.publication import PublishedFile, PublishedStore, index_path
from dynamic_sparsity.loaders.hub.transfer_progress import TransferProgress
from dynamic_sparsity.loaders.store.store import Store, StoreLocation, find_stores, open_store
from dynamic_sparsity.publishing.index import write_index
from dynamic_sparsity.publishing.parquet import ParquetFile, plan_parquet, write_parquet
from dynamic_sparsity.publishing.staging import Staging, clean, staging_folder
from dynamic_sparsity.schemas.advice import example_command, how_to_resume
from dynamic_sparsity.storage.manifests import FileRecord, read_attributes, wrong_files
from dynamic_sparsity.storage.problems import verify_command
from dynamic_sparsity.storage.verify import verify_store
from dynamic_sparsity.untrusted.documents import DOCUMENT_BYTES_MAX, parse_json
from dynamic_sparsity.untrusted.files import read_regular
from dynamic_sparsity.untrusted.names import check_relative_path

MANIFEST: Final = "manifest.json"
PROBLEMS_SHOWN: Final = 5


@dataclass(frozen=True)
class BuiltStore:
    """A store that is ready to be published.

    Attributes:
        location: Which store, and where it is.
        store: The store, opened.
        published: What the publication lists of it.
        sources: Where the bytes of each of its files in the repository are on this machine.
        parquet: The files of its Parquet view.
    """

    location: StoreLocation
    store: Store
    published: PublishedStore
    sources: dict[PublishedFile, Path]
    parquet: list[ParquetFile]

    @property
    def key(self) -> tuple[str, str, str]:
        """Task, policy and dynamics."""
        return self.location.task, self.location.policy, self.location.dynamics


def build_stores(root: Path, progress: TransferProgress, *, skip_incomplete: bool = False) -> list[BuiltStore]:
    """Check every store below a folder, and make its index and Parquet view.

    Args:
        root: Folder of all stores.
        progress: Receives the progress.
        skip_incomplete: Leave out stores that were not finished, with a warning that names them.

    Returns:
        The stores, sorted by task, policy and dynamics.

    Raises:
        StoreNotFoundError: There is none.
        IncompleteStoreError: One was not finished.
        CorruptStoreError: One is damaged, or is not the one that its path names.
        InvalidSettingError: The folder for what is made is a link.
        MissingDependencyError: pyarrow is not installed.
    """
    locations = find_stores(root)
    if not locations:
        raise StoreNotFoundError(f"there are no stores below {root}; make one with `{example_command(root)}`")
    unfinished = [location for location in locations if not (location.path / MANIFEST).exists()]
    names = ", ".join(str(location.path) for location in unfinished)
    if unfinished and (not skip_incomplete or unfinished == locations):
        first = unfinished[0].path
        attributes = read_attributes(first) if (first / "zarr.json").exists() else {}
        others = ", and so for the others" if len(unfinished) > 1 else ""
        instead = "" if unfinished == locations else ". Or give --skip-incomplete to publish the others without them"
        raise IncompleteStoreError(
            f"not finished: {names}. To finish {first}, {how_to_resume(first, attributes)}{others}{instead}"
        )
    if unfinished:
        text = f"left out, as they are not finished: {names}"
        warnings.warn(text, DynamicSparsityWarning, stacklevel=2)
        locations = [location for location in locations if location not in unfinished]
    folder = staging_folder(root)
    manifests = [_Manifest.read(location.path) for location in locations]
    progress.started("Checking and converting", sum(manifest.bytes for manifest in manifests))
    built, used = [], set()
    for location, manifest in zip(locations, manifests, strict=True):
        staging = Staging(folder, manifest.record.sha256)
        used.add(staging.folder)
        built.append(_build(location, manifest, staging))
        progress.advanced(manifest.bytes)
    clean(folder, used)
    progress.finished()
    return built


@dataclass(frozen=True)
class _Manifest:
    """A store's manifest, read once: what is published is what its digest covers.

    Attributes:
        record: Digest and size of the manifest itself.
        files: Its entries, by path inside the store.
        bytes: Size of all of them.
    """

    record: FileRecord
    files: Mapping[str, Mapping[str, Any]]
    bytes: int

    @classmethod
    def read(cls, store: Path) -> _Manifest:
        contents = read_regular(store / MANIFEST, DOCUMENT_BYTES_MAX)
        files = parse_json(contents, str(store / MANIFEST)).get("files")
        if not isinstance(files, dict) or not all(map(_is_entry, files.values())):
            raise CorruptStoreError(f"{store / MANIFEST} has no list of files; generate the store again")
        for name in files:
            check_relative_path(name, f"{store / MANIFEST}: a file's path")
        record = FileRecord(hashlib.sha256(contents).hexdigest(), len(contents))
        return cls(record, files, sum(entry["bytes"] for entry in files.values()))


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and type(entry.get("bytes")) is int


def _build(location: StoreLocation, manifest: _Manifest, staging: Staging) -> BuiltStore:
    path = location.path
    _check_links(path)
    store = open_store(path)
    _verify(path, manifest, staging)
    index, index_record = staging.file("index.tar.xz", partial(write_index, path))
    parquet = plan_parquet(path)
    views: dict[str, list[PublishedFile]] = {}
    sources: dict[PublishedFile, Path] = {}
    for planned in parquet:
        target, record = staging.file(Path(planned.path).name, partial(write_parquet, path, planned))
        file = PublishedFile(planned.path, record.sha256, record.bytes)
        views.setdefault(planned.split, []).append(file)
        sources[file] = target
    index_file = PublishedFile(index_path(location.task, path.name), index_record.sha256, index_record.bytes)
    sources[index_file] = index
    inside = f"{location.task}/{path.name}"
    for name, entry in manifest.files.items():
        sources[PublishedFile(f"{inside}/{name}", entry["sha256"], entry["bytes"])] = path / name
    sources[PublishedFile(f"{inside}/{MANIFEST}", manifest.record.sha256, manifest.record.bytes)] = path / MANIFEST
    published = PublishedStore(
        task=location.task,
        policy=location.policy,
        dynamics=location.dynamics,
        path=inside,
        rows=store.rows,
        bytes=manifest.bytes,
        manifest_sha256=manifest.record.sha256,
        index=index_file,
        splits=split_rows(store),
        parquet={split: tuple(files) for split, files in views.items()},
    )
    return BuiltStore(location, store, published, sources, parquet)


def _check_links(store: Path) -> None:
    """Refuse a store with links that lead out of it: what they lead to is not the store's to publish."""
    root = store.resolve()
    for entry in _links(store):
        try:
            target = entry.resolve(strict=True)
        except (OSError, RuntimeError):
            target = None
        if target is None or not target.is_relative_to(root):
            raise CorruptStoreError(
                f"{entry} is a link that leads out of its store, or nowhere; a store that is published has its own "
                "files: put the file itself there, or generate the store again"
            )


def _links(store: Path) -> Iterator[Path]:
    """Return all links in a store, not followed."""
    for folder, folders, files in os.walk(store):
        for name in (*folders, *files):
            entry = Path(folder, name)
            if entry.is_symlink():
                yield entry


def _verify(path: Path, manifest: _Manifest, staging: Staging) -> None:
    """Verify a store; one with the same manifest that was right is right if its files have the manifest's digests."""
    problems: Sequence[object] = (
        list(wrong_files(path, manifest.files)) if staging.verified else list(verify_store(path))
    )
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:PROBLEMS_SHOWN])
        more = f"\n  and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
        raise CorruptStoreError(
            f"{path} is not published, because it is damaged:\n{shown}{more}\nRun `{verify_command(path)}` for all."
        )
    if not staging.verified:
        staging.set_verified()
