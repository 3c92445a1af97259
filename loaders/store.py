"""Finding a store, and opening it: what it says about itself, and whether it is whole."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from dynamic_sparsity.loaders.integrity import Ledger, VerifyMode
from dynamic_sparsity.loaders.layout import CHECKSUM_BYTES
from dynamic_sparsity.loaders.partial import open_ledger
from dynamic_sparsity.loaders.shards import DECODED_BYTES, ShardReader
from dynamic_sparsity.schemas import READABLE_VERSIONS, episode_columns, row_arrays, validate

__all__ = ["Store", "StoreLocation", "find_stores", "generate_command", "open_store", "parse_store_path", "store_path"]

DYNAMICS = ("converged", "stock")
STOCK_SUFFIX = "-stock"
TASK_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9]*")
POLICY_PATTERN = re.compile(r"[a-z0-9][a-z0-9_.-]*")

Array = NDArray[Any]


@dataclass(frozen=True, order=True)
class StoreLocation:
    """Which transitions a store holds, and where it is.

    Attributes:
        task: Name of the task, as in MuJoCo Playground.
        policy: Name of the policy.
        dynamics: "converged" or "stock".
        path: Folder of the store.
    """

    task: str
    policy: str
    dynamics: str
    path: Path


def store_path(root: str | Path, task: str, policy: str, dynamics: str = "converged") -> Path:
    """Where a store lies: `ROOT/<Task>/<policy>[-stock].zarr`.

    Args:
        root: Folder of all stores.
        task: Name of the task.
        policy: Name of the policy.
        dynamics: "converged" or "stock".

    Raises:
        UnknownNameError: One of the names can't be that of a store.
    """
    if not TASK_PATTERN.fullmatch(task):
        raise UnknownNameError(f"task is {task!r}; a task's name has letters and digits only, as in 'CheetahRun'")
    if not POLICY_PATTERN.fullmatch(policy) or policy.endswith(STOCK_SUFFIX):
        raise UnknownNameError(
            f"policy is {policy!r}; a policy's name has lower-case letters, digits, '_', '.' and '-' and does not end "
            f"in '{STOCK_SUFFIX}': for the stock dynamics pass dynamics='stock'"
        )
    if dynamics not in DYNAMICS:
        raise UnknownNameError(f"dynamics is {dynamics!r}; it can be {' or '.join(map(repr, DYNAMICS))}")
    return Path(root) / task / f"{policy}{STOCK_SUFFIX if dynamics == 'stock' else ''}.zarr"


def parse_store_path(path: str | Path) -> StoreLocation:
    """The inverse of `store_path`.

    Args:
        path: `…/<Task>/<policy>[-stock].zarr`.

    Raises:
        UnknownNameError: The path does not have that form.
    """
    path = Path(path)
    stem = path.name.removesuffix(".zarr")
    policy = stem.removesuffix(STOCK_SUFFIX)
    location = StoreLocation(path.parent.name, policy, "converged" if policy == stem else "stock", path)
    if stem == path.name or store_path(path.parent.parent, location.task, policy, location.dynamics) != path:
        raise UnknownNameError(f"{path} is no store's path; those are ROOT/<Task>/<policy>[{STOCK_SUFFIX}].zarr")
    return location


def find_stores(root: str | Path = "data") -> list[StoreLocation]:
    """All stores below a folder, complete or not, sorted by task, policy and dynamics.

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


def generate_command(location: StoreLocation, metadata: Mapping[str, Any] | None = None) -> str:
    """The command that makes a store, and resumes where it stopped.

    Args:
        location: Which store.
        metadata: Its metadata, as far as they are known, for the settings to repeat.
    """
    words = ["dynamic-sparsity", "generate", location.task, "--policy", location.policy]
    if location.dynamics == "stock":
        words += ["--dynamics", "stock"]
    metadata = metadata or {}
    options = {"--episodes": metadata.get("episodes"), "--episode-length": metadata.get("episode_length")}
    settings = metadata.get("settings")
    options["--seed"] = settings.get("seed") if isinstance(settings, dict) else None
    for option, value in options.items():
        if isinstance(value, int):
            words += [option, str(value)]
    return shlex.join([*words, "--out", str(location.path.parent.parent)])


class Store:
    """A complete store, opened for reading; made by `open_store`.

    Attributes:
        path: Its folder, absolute.
        metadata: The attributes of its root group.
        arrays: Names of its row arrays, in the order of the schema.
        absent: Row arrays that this copy of the store lacks, because they were not downloaded.
        ledger: Its files, and what has been checked of them.
        reader: Reads rows of its arrays.
        coordinates: "tangent"; only an exported file may hold Jacobians in other ones.
        selection: The rows that an exported file holds, int64, shape (n,), in its order; None for a store.
        split: The split that an exported file was written from; None for all rows.
    """

    coordinates: str = "tangent"
    selection: NDArray[np.int64] | None = None
    split: str | None = None

    def __init__(self, path: Path, ledger: Ledger, metadata: dict[str, Any], decoded_bytes: int = DECODED_BYTES):
        """For `open_store`.

        Args:
            path: Its folder, absolute.
            ledger: Its files.
            metadata: The validated attributes of its root group.
            decoded_bytes: How much memory decoded arrays may take, bytes.

        Raises:
            CorruptStoreError: An array that the schema asks for is not in the manifest.
        """
        self.path = path
        self.ledger = ledger
        self.metadata = metadata
        specs = row_arrays(metadata["sizes"], metadata["dynamics"])
        expected = {spec.name: (spec.shape(metadata["sizes"], self.rows), spec.dtype) for spec in specs}
        self.absent = ledger.absent(expected)
        self.arrays = tuple(name for name in expected if name not in self.absent)
        for name in self.arrays:
            if f"{name}/zarr.json" not in ledger:
                raise ledger.corrupt(f"{name}/zarr.json", "the schema asks for this array, the manifest lacks it")
        self.reader = ShardReader(ledger, self.rows, expected=expected, decoded_bytes=decoded_bytes)

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.metadata["task"])

    @property
    def policy(self) -> str:
        """Name of the policy."""
        return str(self.metadata["policy"])

    @property
    def dynamics(self) -> str:
        """Either "converged" or "stock"."""
        return str(self.metadata["dynamics"])

    @property
    def rows(self) -> int:
        """Number of rows, padding included."""
        return int(self.metadata["rows"])

    @cached_property
    def episodes(self) -> dict[str, Array]:
        """The episode table: arrays of shape (E,) by column name.

        Raises:
            CorruptStoreError: It is damaged, or its columns have different lengths.
        """
        table = {spec.name: self._small_array(f"episodes/{spec.name}") for spec in episode_columns()}
        wrong = [name for name, column in table.items() if column.shape != (self.metadata["episodes"],)]
        if wrong:
            raise self.ledger.corrupt(f"episodes/{wrong[0]}", f"does not have {self.metadata['episodes']} episodes")
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
        prefix, suffix = "statistics/", "/zarr.json"
        names = [name.removesuffix(suffix) for name in self.ledger.names() if name.endswith(suffix)]
        return {name.removeprefix(prefix): self._small_array(name) for name in names if name.startswith(prefix)}

    def __repr__(self) -> str:
        return (
            f"Store({str(self.path)!r}: {self.task}, {self.policy} policy, {self.dynamics} dynamics, "
            f"{self.rows:,} rows, {self.metadata['episodes']:,} episodes)"
        )

    def _small_array(self, name: str) -> Array:
        """Read an array of one unsharded chunk, `bytes` + `crc32c`; its files' hashes are checked."""
        document = f"{name}/zarr.json"
        try:
            metadata = json.loads(self.ledger.read(document))
            shape = tuple(int(length) for length in metadata["shape"])
            dtype = np.dtype(metadata["data_type"]).newbyteorder("<")
            codecs = [codec["name"] for codec in metadata["codecs"]]
            plain = codecs == ["bytes", "crc32c"] and 0 not in shape
            plain = plain and tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"]) == shape
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, CorruptStoreError):
                raise
            raise self.ledger.corrupt(document, f"is not the metadata of a zarr v3 array ({error!r})") from error
        if not plain:
            import zarr

            for file in self.ledger.names():
                if file.startswith(f"{name}/"):
                    self.ledger.read(file)
            array: Any = zarr.open_array(self.path / name, mode="r", zarr_format=3)
            return np.asarray(array[...])
        chunk = f"{name}/c" + "/0" * len(shape)
        contents = self.ledger.read(chunk)
        if len(contents) != math.prod(shape) * dtype.itemsize + CHECKSUM_BYTES:
            raise self.ledger.corrupt(chunk, f"has {len(contents)} bytes, which is not shape {shape} of {dtype.name}")
        return np.frombuffer(contents[:-CHECKSUM_BYTES], dtype).reshape(shape).copy()


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
    files = {name: (str(entry["sha256"]), int(entry["bytes"])) for name, entry in manifest["files"].items()}
    ledger = open_ledger(path, files, verify, verified)
    ledger.check_sizes()
    metadata = _read_attributes(path, ledger.read("zarr.json"))
    if not metadata["complete"]:
        _raise_incomplete(path)
    if (manifest["rows"], manifest["episodes"]) != (metadata["rows"], metadata["episodes"]):
        raise ledger.corrupt("manifest.json", "its numbers of rows and episodes are not those of the metadata")
    return Store(path, ledger, metadata, decoded_bytes)


def _read_manifest(path: Path) -> dict[str, Any]:
    """Parse manifest.json. Only what is used is checked here: a schema check takes seconds for 100,000 files."""
    file = path / "manifest.json"
    if not file.is_file():
        _raise_incomplete(path)
    try:
        manifest: dict[str, Any] = json.loads(file.read_bytes())
        complete, version = manifest["complete"], manifest["schema_version"]
        malformed = not all({"sha256", "bytes"} <= entry.keys() for entry in manifest["files"].values())
        malformed = malformed or not {"rows", "episodes"} <= manifest.keys()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptStoreError(f"{file}: is not a manifest ({error!r}); {_verify_hint(path)}") from error
    _check_version(file, version)
    if malformed:
        raise CorruptStoreError(f"{file}: an entry lacks its sha256 or bytes; {_verify_hint(path)}")
    if complete is not True:
        _raise_incomplete(path)
    return manifest


def _read_attributes(path: Path, document: bytes) -> dict[str, Any]:
    try:
        attributes: dict[str, Any] = json.loads(document)["attributes"]
        version = attributes["schema_version"]
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptStoreError(f"{path / 'zarr.json'}: has no metadata ({error!r}); {_verify_hint(path)}") from error
    _check_version(path / "zarr.json", version)
    validate(attributes, "store", str(path / "zarr.json"))
    return attributes


def _check_version(file: Path, version: object) -> None:
    if version not in READABLE_VERSIONS:
        raise CorruptStoreError(
            f"{file}: its schema_version is {version!r}, this package reads {', '.join(READABLE_VERSIONS)}; install "
            "the version of dynamic-sparsity that made the store, or generate the store again"
        )


def _verify_hint(path: Path) -> str:
    return f"run `dynamic-sparsity verify {path}` to list what is damaged"


def _raise_not_found(path: Path) -> NoReturn:
    try:
        location = parse_store_path(path)
    except UnknownNameError:
        raise StoreNotFoundError(
            f"{path}: there is no store here; make one with `dynamic-sparsity generate …`"
        ) from None
    root = path.parent.parent
    there = [f"{store.task}/{store.path.name}" for store in find_stores(root)]
    listed = ", ".join(there[:20]) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
    raise StoreNotFoundError(
        f"{path}: there is no store here; {root} has {listed or 'none'}. To make it, run `{generate_command(location)}`"
    )


def _raise_incomplete(path: Path) -> NoReturn:
    """Say how far the generation got, as well as the unfinished files tell."""
    attributes: dict[str, Any] = {}
    rows = shards = 0
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        attributes = {}
    for file in (path / "shards").glob("*.json"):
        try:
            shard = json.loads(file.read_bytes())
            rows, shards = rows + int(shard["row_stop"]) - int(shard["row_start"]), shards + 1
        except (OSError, ValueError, KeyError, TypeError):
            continue
    total, shard_rows = attributes.get("rows"), attributes.get("shard_rows")
    of_rows = f" of {total}" if isinstance(total, int) else ""
    of_shards = f" of {-(-total // shard_rows)}" if isinstance(total, int) and isinstance(shard_rows, int) else ""
    try:
        command = generate_command(parse_store_path(path), attributes)
    except UnknownNameError:
        command = "dynamic-sparsity generate …"
    raise IncompleteStoreError(
        f"{path}: the store was not finished: {rows}{of_rows} rows in {shards}{of_shards} shards are done. To resume, "
        f"repeat the command that began it: `{command}` and what other options it had"
    )
