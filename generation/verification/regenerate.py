"""Making published data again: with another seed, or to see whether the bits agree."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError, InvalidSettingError
from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs.generate import generate, generate_all
from dynamic_sparsity.generation.jobs.unit_size import batch_of
from dynamic_sparsity.generation.jobs.units import Job
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.loaders.hub.publication import PublishedStore
from dynamic_sparsity.loaders.hub.repository import Repository
from dynamic_sparsity.loaders.store.store import Store, open_store
from dynamic_sparsity.loaders.streaming import StreamingDataset
from dynamic_sparsity.schemas.consistency import complete_settings
from dynamic_sparsity.schemas.joining import origins_of
from dynamic_sparsity.schemas.naming import POLICY_PATTERN
from dynamic_sparsity.storage.manifests import read_attributes
from dynamic_sparsity.storage.reading import Reader


@dataclass(frozen=True)
class ArrayDifference:
    """How one array of a shard differs from the published one.

    Attributes:
        rows: Number of rows in which any bit differs.
        error: Largest absolute difference; infinite where one is not finite and the other has another value.
    """

    rows: int
    error: float


@dataclass(frozen=True)
class ShardComparison:
    """A published shard and the same rows made again.

    Attributes:
        rows: Rows compared.
        differences: By array; empty if all bits agree.
        settings: What was set otherwise, such as versions of packages: key to published and present value.
    """

    rows: int
    differences: Mapping[str, ArrayDifference]
    settings: Mapping[str, tuple[Any, Any]]


def published_settings(metadata: Mapping[str, Any], seed: int | None = None) -> Settings:
    """Return the settings with which a store was made.

    Args:
        metadata: The store's.
        seed: Another seed; None for its own.

    Raises:
        CorruptStoreError: Its settings are those of another store, or none.
        InvalidSettingError: This version can't make such data.
    """
    document = metadata["settings"]
    if "source" in document:
        # A function of that name would be a stranger's choice of what to call here.
        raise InvalidSettingError(
            f"{metadata['task']} is a task of the publisher's own, and its model is not published: make it "
            "again from the model's file; `dynamic-sparsity generate --help` says how."
        )
    if origins_of(metadata):
        raise InvalidSettingError("the store was merged from several; make each of them again, and merge those")
    names = {field.name for field in dataclasses.fields(Settings)}
    # How many episodes run side by side decides bits, so that it is taken over too.
    known = {key: value for key, value in document.items() if key in names}
    known |= {"batch": document.get("unit_episodes"), "storage": metadata.get("storage", "raw")}
    kinds = {"noise_beta": (int, float)} | dict.fromkeys(("episodes", "episode_length", "seed", "batch"), (int,))
    wrong = [key for key, legal in kinds.items() if type(known.get(key)) not in legal]
    # A policy's path would be one on this machine.
    named = {**known, "policy": known.get("name", known.get("policy"))}
    wrong += [key for key in ("task", "policy", "dynamics") if named.get(key) != metadata[key]]
    if not (isinstance(known.get("policy"), str) and POLICY_PATTERN.fullmatch(known["policy"])):
        wrong.append("policy")
    if wrong:
        found = ", ".join(f"{key} {known.get(key)!r:.60}" for key in wrong)
        raise CorruptStoreError(f"the published store's settings have {found}, which are not those of the store")
    known |= {"batch": batch_of(metadata)} | ({} if seed is None else {"seed": seed})
    return Settings(**known)


def regenerate(published: Store, root: Path, seed: int | None) -> tuple[Path, dict[str, tuple[Any, Any]]]:
    """Make a store with the settings of a published one.

    Where the root has a store of that name and another seed already, the new one is named after its seed, as
    "noise-seed7".

    Args:
        published: The published one; only its metadata are used.
        root: Folder of all stores.
        seed: Another seed; None for its own.

    Returns:
        The new store, and what was set otherwise: key to published and present value.

    Raises:
        DynamicSparsityError: As `generate`.
    """
    path = generate(_named(published_settings(published.metadata, seed), root), root)
    return path, other_settings(published.metadata["settings"], open_store(path).metadata["settings"])


def _named(settings: Settings, root: Path) -> Settings:
    """Return the settings with a name that no store of another seed has."""
    path = settings.store_path(root)
    if not (path / "zarr.json").exists() or read_attributes(path)["settings"].get("seed") == settings.seed:
        return settings
    return dataclasses.replace(settings, name=f"{settings.acting_policy}-seed{settings.seed}")


def check_shard(repository: Repository, published: PublishedStore, shard: int) -> ShardComparison:
    """Make the rows of one published shard again, and compare them bit by bit.

    Episodes are made in units whose size decides bits; the one unit that the shard belongs to is made whole.

    Args:
        repository: Where the store is published.
        published: The store.
        shard: Number of the shard.

    Raises:
        InvalidSettingError: There is no such shard.
        DynamicSparsityError: As `generate` and `load_dataset`.
    """
    stream = StreamingDataset(repository, published)
    try:
        metadata = stream.metadata
        shards = stream.shards
        if shard not in shards:
            raise InvalidSettingError(f"shard is {shard}; {published.path} has the shards 0 to {shards[-1]}")
        first = shard * metadata["shard_rows"]
        stop = min(first + metadata["shard_rows"], published.rows)
        window = stream.window()
        window.show(stream.fetch([shard]))
        store = window.row_reader.store
        theirs = store.reader.read(store.arrays, first, stop)
    finally:
        stream.close()
    with tempfile.TemporaryDirectory(prefix="dynamic-sparsity-") as folder:
        path = _make_unit(published_settings(metadata), Path(folder), first)
        # The store is not whole, so that it is read by zarr-python; the rows of the unit are all there.
        reader = Reader(path)
        ours = {name: reader.values(name, first, stop) for name in theirs}
        others = other_settings(metadata["settings"], read_attributes(path)["settings"])
    return ShardComparison(stop - first, differences(theirs, ours), others)


def _make_unit(settings: Settings, root: Path, row: int) -> Path:
    """Make the one unit of a store that holds a row; return the store, which has no other."""
    with ThreadExecutor() as executor:
        unit_episodes = executor.describe(settings)["settings"]["unit_episodes"]
        job = Job(row // (unit_episodes * settings.episode_length), -(-settings.episodes // unit_episodes))
        generate_all([settings], root, executor, job=job).check()
    return settings.store_path(root)


def differences(published: Mapping[str, NDArray[Any]], made: Mapping[str, NDArray[Any]]) -> dict[str, ArrayDifference]:
    """Return where arrays differ, bit by bit; an array that one side lacks differs in all rows.

    Args:
        published: Arrays by name, rows first.
        made: The same, made again.
    """
    found = {}
    for name in dict.fromkeys([*published, *made]):
        ours, theirs = made.get(name), published.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            rows = len(next(iter(published.values())))
            found[name] = ArrayDifference(rows, np.inf)
            continue
        wrong = np.any(_bits(ours) != _bits(theirs), axis=1)
        if wrong.any():
            found[name] = ArrayDifference(int(wrong.sum()), _largest(ours[wrong], theirs[wrong]))
    return found


def other_settings(published: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two stores' settings but seed and name: key to published and present value.

    Args:
        published: Of the published store.
        present: Of the one made now.
    """
    flat, now = (
        {key: value for key, value in complete_settings(settings).items() if key != "versions"}
        | dict(settings.get("versions", {}))
        for settings in (published, present)
    )
    keys = sorted({*flat, *now} - {"seed", "name"})
    return {key: (flat.get(key), now.get(key)) for key in keys if flat.get(key) != now.get(key)}


def _bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)


def _largest(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(a - b))
    return float(np.where(np.isnan(error), np.inf, error).max())
