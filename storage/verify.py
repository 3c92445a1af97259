"""Verify a store without a simulator: are its bytes those that were written, and do its values obey the format?

Everything is read through zarr-python, not through this package's own fast reader, so that neither hides the other's
mistakes. Memory is bounded by one shard of every array.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dynamic_sparsity.errors import CorruptStoreError, StoreNotFoundError
from dynamic_sparsity.schemas import episode_columns, row_arrays_of, statistics_arrays, validate
from dynamic_sparsity.schemas.advice import how_to_make_at
from dynamic_sparsity.schemas.files import file_count, shard_count, shard_files
from dynamic_sparsity.schemas.joining import origins_of
from dynamic_sparsity.schemas.splits import splits_of
from dynamic_sparsity.storage.manifests import read_attributes, read_document, shard_range
from dynamic_sparsity.storage.problems import FIX_EXTRA, FIX_FILE, FIX_VALUES, Problem, fix_shard
from dynamic_sparsity.storage.reading import Reader
from dynamic_sparsity.storage.statistics import Accumulator
from dynamic_sparsity.storage.verify_files import (
    check_chunks,
    check_digests,
    check_documents,
    check_listing,
    check_shard_manifests,
    unfinished,
)
from dynamic_sparsity.storage.verify_rows import ShardRows, check_rows

__all__ = ["Problem", "verify_store"]

# A return may have been summed in float32 or float64, in any order.
RETURN_TOLERANCE: Final = 1e-5
# Another machine may sum the statistics in another order.
STATISTICS_TOLERANCE: Final = 1e-9

Table = Mapping[str, npt.NDArray[Any]]


def verify_store(path: Path) -> list[Problem]:
    """Check a finished store: every file's bytes, every document, every rule about values.

    Values in damaged files are not checked.

    Args:
        path: The store.

    Returns:
        What is wrong; empty if nothing is.

    Raises:
        StoreNotFoundError: There is no store at `path`.
    """
    if not path.is_dir() or not any((path / name).exists() for name in ("zarr.json", "manifest.json", "shards")):
        raise StoreNotFoundError(f"there is no store at {path}. {how_to_make_at(path)}")
    try:
        attributes = read_attributes(path)
        if not (path / "manifest.json").exists():
            return [unfinished(path, attributes)]
        manifest = read_document(path / "manifest.json")
        validate(manifest, "manifest", "manifest.json")
    except (CorruptStoreError, StoreNotFoundError) as error:
        return [Problem("zarr.json or manifest.json", str(error), FIX_FILE)]
    structure = list(check_listing(path, attributes, manifest))
    if len(manifest["files"]) != file_count(attributes) and any(p.fix == FIX_FILE for p in structure):
        return structure  # What the store should be is in doubt.
    structure += check_documents(path, attributes)
    if not attributes["complete"]:
        structure.append(Problem("zarr.json", "says the store is not complete, but manifest.json is there", FIX_FILE))
    damaged = [
        *check_digests(path, attributes, manifest["files"]),
        *check_shard_manifests(path, attributes, manifest["files"]),
    ]
    problems = [*structure, *damaged]
    if any(problem.fix != FIX_EXTRA for problem in structure):
        return problems  # What the arrays are is in doubt, so their values mean nothing.
    names = {problem.where for problem in damaged}
    chunks = list(check_chunks(path, attributes, names))
    return [*problems, *chunks, *_check_values(path, attributes, names | {problem.where for problem in chunks})]


def _check_values(path: Path, attributes: Mapping[str, Any], damaged: set[str]) -> Iterator[Problem]:
    """Decode what is not damaged and check it against the rules."""
    if any(name.startswith("episodes/") for name in damaged):
        return
    reader = Reader(path)
    try:
        table = {spec.name: reader.values(f"episodes/{spec.name}") for spec in episode_columns()}
    except CorruptStoreError as error:
        yield Problem("episodes", str(error), FIX_FILE)
        return
    table_problems = list(_check_table(path, attributes, table, damaged))
    yield from table_problems
    if any(problem.where in ("episodes/start", "episodes/length") for problem in table_problems):
        return  # Where the episodes are is in doubt, so their rows mean nothing.
    statistics = Accumulator(attributes["sizes"], [constraint["kind"] for constraint in attributes["constraints"]])
    sums = np.zeros((2, attributes["episodes"]))
    complete = yield from _check_shards(reader, attributes, table, damaged, statistics, sums)
    if complete:
        yield from _check_returns(table, sums)
        if not any(name.startswith("statistics/") for name in damaged):
            yield from _check_statistics(reader, attributes, statistics)


def _check_shards(
    reader: Reader,
    attributes: Mapping[str, Any],
    table: Table,
    damaged: set[str],
    statistics: Accumulator,
    sums: npt.NDArray[np.float64],
) -> Generator[Problem, None, bool]:
    """Check the rows of every undamaged shard, and add them to the statistics and the returns.

    Returns:
        Whether every shard was read.
    """
    specs = row_arrays_of(attributes)
    unreadable = {shard for name, (_, shard) in shard_files(attributes).items() if name in damaged}
    previous: dict[str, npt.NDArray[Any]] | None = None
    for shard in range(shard_count(attributes)):
        start, stop = shard_range(attributes, shard)
        before, previous = previous, None
        if shard in unreadable:
            continue
        try:
            columns = {spec.name: reader.values(spec.name, start, stop) for spec in specs}
        except CorruptStoreError as error:
            unreadable.add(shard)
            yield Problem(f"shard {shard}", str(error), fix_shard(shard))
            continue
        rows = ShardRows(start, columns, attributes, table["length"], before)
        yield from check_rows(rows)
        previous = {"next_state": columns["next_state"][-1:].copy()}
        episode = rows.indices // attributes["episode_length"]
        reward = np.where(rows.data, columns["reward"], 0).astype(np.float64)
        sums += [np.bincount(episode, part, attributes["episodes"]) for part in (reward, np.abs(reward))]
        statistics.add({**columns, "train": (table["split"] == 0)[episode]})
    return not unreadable


def _check_table(path: Path, attributes: Mapping[str, Any], table: Table, damaged: set[str]) -> Iterator[Problem]:
    """Check the episode table against the metadata, the split rule and the shard manifests."""
    episodes, length = attributes["episodes"], attributes["episode_length"]
    broken = {
        "start": (table["start"] != np.arange(episodes) * length, "is not the episode's index times episode_length"),
        "length": ((table["length"] < 1) | (table["length"] > length), f"is not in 1 to {length}"),
        "split": (table["split"] != _expected_splits(attributes), "contradicts the split rule"),
        "policy": (table["policy"] >= len(attributes["policies"]), "names no policy of the metadata"),
        "seed": (table["seed"] < 0, "is negative"),
        "terminated": (
            (table["terminated"] > 1) | ((table["length"] < length) & (table["terminated"] == 0)),
            "is not 1 though the episode ended early, or is neither 0 nor 1",
        ),
    }
    for column, (wrong, what) in broken.items():
        if wrong.any():
            first, count = int(np.argmax(wrong)), int(np.count_nonzero(wrong))
            what = f"{what} in episode {first}, found {table[column][first]} ({count} episodes)"
            yield Problem(f"episodes/{column}", what, FIX_VALUES)
    for shard in range(shard_count(attributes)):
        name = f"shards/{shard:05d}.json"
        if name in damaged:
            continue
        for entry in read_document(path / name)["episodes"]:
            yield from _check_entry(name, entry, table)


def _expected_splits(attributes: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """Return the split of each episode, (E,); episodes that were merged keep theirs."""
    counts = [origin["episodes"] for origin in origins_of(attributes)] or [attributes["episodes"]]
    return np.concatenate([splits_of(count) for count in counts])


def _check_entry(name: str, entry: Mapping[str, Any], table: Table) -> Iterator[Problem]:
    """Check one episode of a shard manifest against the episode table."""
    index = entry["index"]
    if index >= len(table["start"]):
        yield Problem(name, f"has an episode {index}; the store has {len(table['start'])}", FIX_FILE)
        return
    for spec in episode_columns():
        found, expected = float(entry[spec.name]), float(table[spec.name][index])
        if found != expected and not (np.isnan(found) and np.isnan(expected)):
            what = f"says {spec.name} of episode {index} is {found:g}, the episode table {expected:g}"
            yield Problem(name, what, FIX_FILE)


def _check_returns(table: Table, sums: npt.NDArray[np.float64]) -> Iterator[Problem]:
    """Check that each return is the sum of its episode's rewards."""
    total, magnitude = sums
    with np.errstate(invalid="ignore"):
        agrees = np.abs(table["return"] - total) <= RETURN_TOLERANCE * (1 + magnitude)
    agrees |= ~np.isfinite(total) & ~np.isfinite(table["return"])
    for index in np.flatnonzero(~agrees)[:1]:
        what = f"of episode {index} is {table['return'][index]:g}, but its rewards sum to {total[index]:g}"
        yield Problem("episodes/return", f"{what} ({np.count_nonzero(~agrees)} episodes)", FIX_VALUES)


def _check_statistics(reader: Reader, attributes: Mapping[str, Any], statistics: Accumulator) -> Iterator[Problem]:
    """Check that the stored statistics are those of the stored rows."""
    recomputed = statistics.result()
    for spec in statistics_arrays(attributes["sizes"]):
        try:
            found = reader.values(f"statistics/{spec.name}")
        except CorruptStoreError as error:
            yield Problem(f"statistics/{spec.name}", str(error), FIX_FILE)
            continue
        expected = recomputed[spec.name]
        finite = np.abs(expected[np.isfinite(expected)])
        scale = float(finite.max(initial=0))
        if not np.allclose(found, expected, STATISTICS_TOLERANCE, STATISTICS_TOLERANCE * scale, equal_nan=True):
            yield Problem(f"statistics/{spec.name}", "is not what the rows give", FIX_VALUES)
