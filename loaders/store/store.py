"""Finding a store and opening it: its metadata, and whether it is complete."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import (
    CorruptStoreError,
    IncompleteStoreError,
    StoreNotFoundError,
    UnknownNameError,
)
from dynamic_sparsity.loaders.shards.reader import DECODED_BYTES, ShardReader
from dynamic_sparsity.loaders.store.checksums import Ledger, VerifyMode
from dynamic_sparsity.loaders.store.partial import open_ledger
from dynamic_sparsity.loaders.store.row_store import RowStore
from dynamic_sparsity.schemas import READABLE_VERSIONS, ArraySpec, episode_columns, statistics_arrays, validate
from dynamic_sparsity.schemas.advice import how_to_make, how_to_make_at, how_to_resume
from dynamic_sparsity.schemas.documents import array_document, plain_file, store_arrays
from dynamic_sparsity.schemas.files import MANIFEST_FILE, listing_problem
from dynamic_sparsity.schemas.joining import ORIGIN, origins_of
from dynamic_sparsity.schemas.layout import CHECKSUM_BYTES, array_layouts
from dynamic_sparsity.schemas.naming import StoreLocation, location_problem, parse_store_path, store_path
from dynamic_sparsity.storage.problems import verify_command
from dynamic_sparsity.untrusted.documents import parse_json, read_json

__all__ = [
    "Store",
    "StoreLocation",
    "find_stores",
    "open_store",
    "parse_store_path",
    "store_path",
]

SHA256_DIGITS = 64

Array = NDArray[Any]


def find_stores(root: str | Path = "data") -> list[StoreLocation]:
    """Find all stores below a folder, complete or not, sorted by task, policy and dynamics.

    Args:
        root: Folder of all stores; it needn't exist.
    """

    def locations() -> Iterator[StoreLocation]:
        for path in Path(root).glob("*/*.zarr"):
            if path.is_dir():
                try:
                    yield parse_store_path(path)
                except UnknownNameError:
                    continue

    return sorted(locations())


class Store(RowStore):
    """A complete store, opened for reading; made by `open_store`. See `RowStore` for the other attributes.

    Attributes:
        ledger: Its files, and what has been checked of them.
    """

    reader: ShardReader

    def __init__(self, path: Path, ledger: Ledger, metadata: dict[str, Any], decoded_bytes: int = DECODED_BYTES):
        """Open no array yet; made by `open_store`.

        Args:
            path: Its folder, absolute.
            ledger: Its files.
            metadata: The validated attributes of its root group.
            decoded_bytes: How much memory decoded arrays may take, bytes.
        """
        self.path = path
        self.ledger = ledger
        self.metadata = metadata
        self.absent = ledger.absent(layouts := array_layouts(metadata))
        self.arrays = tuple(name for name in layouts if name not in self.absent)
        if origins_of(metadata):
            self.arrays += (ORIGIN.name,)
        self.reader = ShardReader(
            ledger, layouts, self.rows, before_opening=self._check_document, decoded_bytes=decoded_bytes
        )

    @property
    def verified(self) -> Mapping[str, tuple[int, int]]:
        """See `RowStore.verified`."""
        return self.ledger.verified

    @cached_property
    def episodes(self) -> dict[str, Array]:
        """The episode table: arrays of shape (E,) by column name.

        Raises:
            CorruptStoreError: It is damaged, or its columns have different lengths.
        """
        table = {spec.name: self._plain_array(f"episodes/{spec.name}", spec) for spec in episode_columns()}
        stops = table["start"] + table["length"]
        if (table["start"] < 0).any() or (table["length"] < 0).any() or (stops > self.rows).any():
            raise self.ledger.corrupt("episodes/start", f"some episodes are outside the {self.rows} rows")
        return table

    @cached_property
    def statistics(self) -> dict[str, Array]:
        """The arrays of group `statistics`, by name.

        Raises:
            CorruptStoreError: One is damaged.
        """
        specs = statistics_arrays(self.metadata["sizes"])
        return {spec.name: self._plain_array(f"statistics/{spec.name}", spec) for spec in specs}

    def __repr__(self) -> str:
        return (
            f"Store({str(self.path)!r}: {self.task}, {self.policy} policy, {self.dynamics} dynamics, "
            f"{self.rows:,} rows, {self.metadata['episodes']:,} episodes)"
        )

    def _check_document(self, path: str) -> None:
        """Refuse an array whose `zarr.json` is not the schema's."""
        spec, shape = self._all_arrays[path]
        cut = self.metadata["chunk_rows"], self.metadata["shard_rows"]
        self.ledger.check_document(path, array_document(spec, shape, *cut))

    @cached_property
    def _all_arrays(self) -> dict[str, tuple[ArraySpec, tuple[int, ...]]]:
        """Specification and shape of every array of the whole store, by its path inside."""
        return store_arrays(self.metadata)

    def _plain_array(self, path: str, spec: ArraySpec) -> Array:
        """Read an array of one unsharded chunk, `bytes` + `crc32c`; its file's hash is checked."""
        shape, dtype = spec.shape(self.metadata["sizes"], self.metadata["episodes"]), np.dtype(spec.dtype)
        chunk = plain_file(path, spec)
        self._check_document(path)
        contents = self.ledger.read(chunk)
        if len(contents) != math.prod(shape) * dtype.itemsize + CHECKSUM_BYTES:
            raise self.ledger.corrupt(chunk, f"has {len(contents)} bytes, which is not shape {shape} of {dtype.name}")
        return np.frombuffer(contents[:-CHECKSUM_BYTES], dtype.newbyteorder("<")).reshape(shape).copy()


def open_store(
    path: str | Path,
    *,
    verify: VerifyMode = "sha256",
    verified: Mapping[str, tuple[int, int]] | None = None,
    decoded_bytes: int = DECODED_BYTES,
) -> Store:
    """Open a store, after checking that it is complete and that every file is there with the right size.

    Args:
        path: Its folder.
        verify: "sha256": compare each shard's hash at its first use. "size": only the sizes, for very large stores.
        verified: `Ledger.verified` of the same store in another process.
        decoded_bytes: How much memory the decoded arrays (masks, flags, …) may take, bytes.

    Raises:
        StoreNotFoundError: There is no store.
        IncompleteStoreError: It was not finished.
        CorruptStoreError: A file is missing, has the wrong size or contents; or the schema's version is not known.
        InvalidSettingError: `verify` is neither of the two.
    """
    path = Path(path).absolute()
    if not (path / "zarr.json").is_file() and not (path / "manifest.json").is_file():
        _raise_not_found(path)
    manifest = _read_manifest(path)
    ledger = open_ledger(path, _records(path, manifest["files"]), verify, verified)
    metadata = _read_attributes(path, ledger.read("zarr.json"))
    if not metadata["complete"]:
        _raise_incomplete(path)
    ledger.check_metadata(metadata)
    if problem := listing_problem(metadata, manifest["files"]):
        raise ledger.corrupt("manifest.json", problem)
    ledger.check_sizes()
    if (manifest["rows"], manifest["episodes"]) != (metadata["rows"], metadata["episodes"]):
        raise ledger.corrupt("manifest.json", "its numbers of rows and episodes are not those of the metadata")
    return Store(path, ledger, metadata, decoded_bytes)


def _read_manifest(path: Path) -> dict[str, Any]:
    """Parse manifest.json. Only what is used is checked here: a schema check takes seconds for 100,000 files."""
    file = path / MANIFEST_FILE
    if not file.exists():
        _raise_incomplete(path)
    try:
        manifest = read_json(file)
        complete, version = manifest["complete"], manifest["schema_version"]
        malformed = not isinstance(manifest["files"], dict) or not {"rows", "episodes"} <= manifest.keys()
    except CorruptStoreError as error:
        raise CorruptStoreError(f"{error}; {_verify_hint(path)}") from error
    except KeyError as error:
        raise CorruptStoreError(f"{file}: is not a manifest (it has no {error}); {_verify_hint(path)}") from error
    _check_version(file, version)
    if malformed:
        raise CorruptStoreError(f"{file}: is not a manifest; {_verify_hint(path)}")
    if complete is not True:
        _raise_incomplete(path)
    return manifest


def _records(path: Path, files: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Return SHA-256 and size of every file that a manifest lists."""
    records = {}
    for name, entry in files.items():
        sha256, size = (entry.get("sha256"), entry.get("bytes")) if type(entry) is dict else (None, None)
        if type(sha256) is not str or len(sha256) != SHA256_DIGITS or type(size) is not int or size < 0:
            raise CorruptStoreError(
                f"{path / MANIFEST_FILE}: the entry of {ascii(name)[:80]} has no sha256 and bytes; {_verify_hint(path)}"
            )
        records[name] = (sha256, size)
    return records


def _read_attributes(path: Path, document: bytes) -> dict[str, Any]:
    where = path / "zarr.json"
    try:
        attributes = parse_json(document, str(where))["attributes"]
        version = attributes["schema_version"]
    except (TypeError, KeyError) as error:
        raise CorruptStoreError(f"{where}: has no metadata ({error!r}); {_verify_hint(path)}") from error
    _check_version(where, version)
    validate(attributes, "store", str(where))
    if problem := location_problem(path, attributes):
        raise CorruptStoreError(f"{path}: {problem}")
    return dict(attributes)


def _check_version(file: Path, version: object) -> None:
    if version not in READABLE_VERSIONS:
        raise CorruptStoreError(
            f"{file}: its schema_version is {version!r}, this package reads {', '.join(READABLE_VERSIONS)}; install "
            "the version of dynamic-sparsity that made the store, or generate the store again"
        )


def _verify_hint(path: Path) -> str:
    return f"run `{verify_command(path)}` to list what is damaged"


def _raise_not_found(path: Path) -> NoReturn:
    try:
        location = parse_store_path(path)
    except UnknownNameError:
        raise StoreNotFoundError(f"{path}: there is no store here. {how_to_make_at(path)}") from None
    root = path.parent.parent
    found = find_stores(root)
    there = [f"{store.task}/{store.path.name}" for store in found]
    listed = ", ".join(there[:20]) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
    raise StoreNotFoundError(
        f"{path}: there is no store here; {root} has {listed or 'none'}. {how_to_make(location, found)}"
    )


def _raise_incomplete(path: Path) -> NoReturn:
    """Raise an error that says how far the generation got, as far as the unfinished files show."""
    attributes: dict[str, Any] = {}
    with suppress(CorruptStoreError):
        found = read_json(path / "zarr.json").get("attributes")
        attributes = found if isinstance(found, dict) else {}
    shards = sum(1 for _ in (path / "shards").glob("*.json"))
    total, shard_rows = attributes.get("rows"), attributes.get("shard_rows")
    of_rows = f" of {total}" if isinstance(total, int) else ""
    rows, of_shards = shards, ""
    if type(total) is int and type(shard_rows) is int and shard_rows > 0:
        rows, of_shards = min(total, shards * shard_rows), f" of {-(-total // shard_rows)}"
    raise IncompleteStoreError(
        f"{path}: the store was not finished: {rows}{of_rows} rows in {shards}{of_shards} shards are done. "
        f"To resume, {how_to_resume(path, attributes)}"
    )
