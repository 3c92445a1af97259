"""Which files a store has and what their bytes are: shard manifests, and the digests they promise."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity.errors import CorruptStoreError, StoreNotFoundError
from dynamic_sparsity.schemas import validate
from dynamic_sparsity.schemas.advice import how_to_make_at
from dynamic_sparsity.schemas.files import shard_count
from dynamic_sparsity.untrusted.documents import read_json

RESUME: Final = "run the command that generated it again; it makes only what is missing"
SHARD_DIGITS_MAX: Final = 12
HASH_BLOCK_BYTES: Final = 2**20
HASH_THREADS: Final = 4


@dataclass(frozen=True)
class FileRecord:
    """What a manifest records of one file.

    Attributes:
        sha256: Digest of its bytes, hexadecimal.
        bytes: Its size.
    """

    sha256: str
    bytes: int

    def as_json(self) -> dict[str, str | int]:
        """Return the record as it stands in a manifest."""
        return {"sha256": self.sha256, "bytes": self.bytes}


def record_of(path: Path) -> FileRecord:
    """Return digest and size of a file as it is on disk now.

    Args:
        path: The file.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(HASH_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return FileRecord(digest.hexdigest(), size)


def records_of(path: Path, names: Iterable[str]) -> dict[str, FileRecord]:
    """Return digests and sizes of files as they are on disk now.

    Args:
        path: The store.
        names: Paths inside the store.

    Returns:
        Name to record, of those that exist.
    """
    present = [name for name in names if (path / name).is_file()]
    # Hashing releases the interpreter lock, so threads share the work.
    with ThreadPoolExecutor(HASH_THREADS, thread_name_prefix="hash") as pool:
        return dict(zip(present, pool.map(lambda name: record_of(path / name), present), strict=True))


def read_document(path: Path) -> dict[str, Any]:
    """Parse a JSON file of a store.

    Args:
        path: The file.

    Raises:
        CorruptStoreError: It can't be read, or is not JSON.
    """
    try:
        return read_json(path)
    except CorruptStoreError as error:
        raise CorruptStoreError(f"{error}; restore it from another copy, or generate the store again") from error


def read_attributes(path: Path) -> dict[str, Any]:
    """Read the attributes of a store's root group, and check them against their schema.

    Args:
        path: The store.

    Raises:
        StoreNotFoundError: There is no store at `path`.
        CorruptStoreError: The attributes contradict their schema.
    """
    root = path / "zarr.json"
    if not root.exists():
        raise StoreNotFoundError(f"there is no store at {path}. {how_to_make_at(path)}")
    attributes: dict[str, Any] = read_document(root).get("attributes", {})
    validate(attributes, "store", str(root))
    return attributes


def shard_range(attributes: Mapping[str, Any], shard: int) -> tuple[int, int]:
    """Return the first row of a shard, and the row after its last.

    Args:
        attributes: The root group's attributes.
        shard: Index of the shard.
    """
    rows, shard_rows = int(attributes["rows"]), int(attributes["shard_rows"])
    return shard * shard_rows, min((shard + 1) * shard_rows, rows)


def shard_manifest_path(path: Path, shard: int) -> Path:
    """Return where a shard's manifest is.

    Args:
        path: The store.
        shard: Index of the shard.
    """
    return path / "shards" / f"{shard:05d}.json"


def finished_shards(path: Path) -> set[int]:
    """Return the shards whose manifest is published, so that all their files were on disk.

    Args:
        path: The store.
    """
    stems = (file.stem for file in (path / "shards").glob("*.json"))
    return {int(stem) for stem in stems if stem.isascii() and stem.isdigit() and len(stem) <= SHARD_DIGITS_MAX}


def missing_shards(path: Path) -> set[int]:
    """Return the shards that are still to be made.

    Args:
        path: The store.

    Raises:
        StoreNotFoundError: There is no store at `path`.
    """
    return set(range(shard_count(read_attributes(path)))) - finished_shards(path)


def read_shard_manifest(path: Path, shard: int) -> dict[str, Any]:
    """Read one shard's manifest, and check it against its schema.

    Args:
        path: The store.
        shard: Index of the shard.

    Raises:
        CorruptStoreError: It contradicts its schema.
    """
    file = shard_manifest_path(path, shard)
    manifest = read_document(file)
    validate(manifest, "shard_manifest", str(file))
    return dict(manifest)


def wrong_files(path: Path, files: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield which files are not on disk as a manifest promises; all of them are read.

    Args:
        path: The store.
        files: A manifest's `files`.

    Yields:
        One sentence per wrong file.
    """
    on_disk = records_of(path, files)
    for name, expected in files.items():
        found = on_disk.get(name)
        if found is None:
            yield f"{name} is missing"
        elif found.bytes != expected["bytes"]:
            yield f"{name} has {found.bytes} bytes, expected {expected['bytes']}"
        elif found.sha256 != expected["sha256"]:
            yield f"{name} has other bytes than were written"


def encode_return(value: float) -> float | str:
    """Return a sum of rewards as JSON can hold it: infinities and NaN by name.

    Args:
        value: Sum of rewards.
    """
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
