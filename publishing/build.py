"""What is made from the stores before anything is uploaded: checked stores, their index and their Parquet view.

All of it is kept beside the stores, in `ROOT/.publish`, by the digest of the store's manifest: a second run makes
nothing anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from dynamic_sparsity.errors import CorruptStoreError, IncompleteStoreError, InvalidSettingError, StoreNotFoundError
from dynamic_sparsity.loaders.progress import Progress
from dynamic_sparsity.loaders.publication import PublishedFile, PublishedStore, index_path
from dynamic_sparsity.loaders.store import Store, StoreLocation, find_stores, open_store
from dynamic_sparsity.publishing.index import write_index
from dynamic_sparsity.publishing.parquet import ParquetFile, plan_parquet, write_parquet
from dynamic_sparsity.schemas.splits import SPLITS
from dynamic_sparsity.storage.atomic import publish as write_file
from dynamic_sparsity.storage.manifests import read_document, record_of
from dynamic_sparsity.storage.verify import verify_store

STAGING_FOLDER: Final = ".publish"
VIEW_VERSION: Final = 3
"""Changes whenever an index or a Parquet file would be written differently."""

PROBLEMS_SHOWN: Final = 5


@dataclass(frozen=True)
class BuiltStore:
    """A store that is ready to be published.

    Attributes:
        location: Which store, and where it is.
        store: The store, opened.
        published: What the publication says of it.
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


def build_stores(root: Path, progress: Progress) -> list[BuiltStore]:
    """Check every store below a folder, and make its index and Parquet view.

    Args:
        root: Folder of all stores.
        progress: Told how it goes on.

    Returns:
        The stores, sorted by task, policy and dynamics.

    Raises:
        StoreNotFoundError: There is none.
        IncompleteStoreError: One was not finished.
        CorruptStoreError: One is damaged.
        InvalidSettingError: One is not what its path says.
        MissingDependencyError: pyarrow is not installed.
    """
    locations = find_stores(root)
    if not locations:
        raise StoreNotFoundError(f"there are no stores below {root}; make some with `dynamic-sparsity generate`")
    unfinished = [str(location.path) for location in locations if not (location.path / "manifest.json").exists()]
    if unfinished:
        raise IncompleteStoreError(
            f"not finished: {', '.join(unfinished)}; finish them with the `dynamic-sparsity generate` command that "
            "began "
            "them, or move them away"
        )
    staging = root / STAGING_FOLDER
    progress.started("Checking and converting", sum(_weight(location.path) for location in locations))
    built, used = [], set()
    for location in locations:
        digest = record_of(location.path / "manifest.json").sha256
        folder = staging / f"{digest[:16]}-{VIEW_VERSION}"
        used.add(folder)
        built.append(_build(location, digest, folder))
        progress.advanced(_weight(location.path))
    for folder in staging.iterdir():
        if folder.is_dir() and folder not in used:
            shutil.rmtree(folder)
    progress.finished()
    return built


def _weight(path: Path) -> int:
    return int(sum(entry["bytes"] for entry in read_document(path / "manifest.json")["files"].values()))


def _build(location: StoreLocation, digest: str, folder: Path) -> BuiltStore:
    path = location.path
    store = open_store(path)
    says = store.task, store.policy, store.dynamics
    if says != (location.task, location.policy, location.dynamics):
        raise InvalidSettingError(
            f"{path} says that it holds {' '.join(says)}; move it to where its name says so, or generate it anew"
        )
    _verify(path, folder / "verified.json")
    index = folder / "index.tar.xz"
    if not index.exists():
        write_index(path, index)
    parquet = plan_parquet(path)
    views: dict[str, list[PublishedFile]] = {}
    sources: dict[PublishedFile, Path] = {}
    for planned in parquet:
        target = folder / Path(planned.path).name
        if not target.exists():
            write_parquet(path, planned, target)
        file = _published(planned.path, target)
        views.setdefault(planned.split, []).append(file)
        sources[file] = target
    index_file = _published(index_path(location.task, path.name), index)
    sources[index_file] = index
    inside = f"{location.task}/{path.name}"
    manifest = read_document(path / "manifest.json")["files"]
    for name, entry in manifest.items():
        sources[PublishedFile(f"{inside}/{name}", entry["sha256"], entry["bytes"])] = path / name
    sources[_published(f"{inside}/manifest.json", path / "manifest.json")] = path / "manifest.json"
    published = PublishedStore(
        task=location.task,
        policy=location.policy,
        dynamics=location.dynamics,
        path=inside,
        rows=store.rows,
        bytes=_weight(path),
        manifest_sha256=digest,
        index=index_file,
        splits=split_rows(store),
        parquet={split: tuple(files) for split, files in views.items()},
    )
    return BuiltStore(location, store, published, sources, parquet)


def split_rows(store: Store) -> dict[str, int]:
    """Rows with data, by split.

    Args:
        store: The store.
    """
    lengths, codes = store.episodes["length"], store.episodes["split"]
    return {split: int(np.sum(lengths[codes == code])) for code, split in enumerate(SPLITS)}


def _published(path: str, source: Path) -> PublishedFile:
    record = record_of(source)
    return PublishedFile(path, record.sha256, record.bytes)


def _verify(path: Path, stamp: Path) -> None:
    """Verify a store, unless that was done and no file has been touched since."""
    names = sorted(read_document(path / "manifest.json")["files"])
    statuses = [(name, (path / name).stat()) for name in names if (path / name).exists()]
    seen = [(name, status.st_size, status.st_mtime_ns) for name, status in statuses]
    listing = hashlib.sha256(json.dumps(seen).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == listing:
        return
    problems: Sequence[object] = verify_store(path)
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:PROBLEMS_SHOWN])
        more = f"\n  and {len(problems) - PROBLEMS_SHOWN} more" if len(problems) > PROBLEMS_SHOWN else ""
        raise CorruptStoreError(
            f"{path} is not published, because it is damaged:\n{shown}{more}\nRun `dynamic-sparsity verify {path}` "
            "for all."
        )
    write_file(stamp, [listing.encode()])
