"""Are a store's files the ones that were written? Digests, sizes, names, documents; no values are decoded."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import google_crc32c
import numpy as np

from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.schemas import validate
from dynamic_sparsity.schemas.advice import how_to_resume
from dynamic_sparsity.schemas.documents import group_document, member_documents
from dynamic_sparsity.schemas.files import (
    COMPARED_MAX,
    expected_files,
    file_count,
    listing_problem,
    shard_count,
    shard_files,
)
from dynamic_sparsity.schemas.layout import CHECKSUM_BYTES, array_layouts, parse_shard_index
from dynamic_sparsity.schemas.naming import location_problem
from dynamic_sparsity.storage.manifests import finished_shards, read_document, records_of, shard_range
from dynamic_sparsity.storage.problems import FIX_EXTRA, FIX_FILE, FIX_LOCATION, Problem, fix_shard
from dynamic_sparsity.untrusted.blosc import frame_problem
from dynamic_sparsity.untrusted.files import read_regular

SHARD_FILE_BYTES_MAX: Final = 640 * 2**20
"""How large a shard's file may be: that of the largest shard that metadata may declare, and its checksums."""


def check_listing(path: Path, attributes: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that the manifest lists what the store must have, and that no other file is there.

    Args:
        path: The store.
        attributes: The root group's attributes.
        manifest: `manifest.json`, valid by its schema.

    Yields:
        What is wrong.
    """
    if problem := location_problem(path, attributes):
        yield Problem("zarr.json", problem, FIX_LOCATION)
    listed = set(manifest["files"])
    if abs(file_count(attributes) - len(listed)) > COMPARED_MAX:
        yield Problem("manifest.json", str(listing_problem(attributes, listed)), FIX_FILE)
        return
    expected = expected_files(attributes)
    for name in sorted(expected - listed):
        yield Problem("manifest.json", f"does not list {name}, which a store of these sizes must have", FIX_FILE)
    for name in sorted(listed - expected):
        yield Problem("manifest.json", f"lists {name}, which a store of these sizes does not have", FIX_FILE)
    for key in ("rows", "episodes"):
        if manifest[key] != attributes[key]:
            yield Problem("manifest.json", f"{key} is {manifest[key]}, but {attributes[key]} in zarr.json", FIX_FILE)
    for name in sorted(_files_below(path) - listed - {"manifest.json"}):
        what = "is what an interrupted write left behind" if name.endswith(".partial") else "is not part of the store"
        yield Problem(name, what, FIX_EXTRA)


def _files_below(path: Path) -> set[str]:
    """Return everything in a folder but folders, by its path inside; links to folders are not followed."""
    return {
        (Path(folder) / name).relative_to(path).as_posix()
        for folder, folders, names in os.walk(path, followlinks=False)
        for name in [*names, *(name for name in folders if Path(folder, name).is_symlink())]
    }


def check_digests(path: Path, attributes: Mapping[str, Any], files: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that every file has the bytes that its manifest records; find out how a damaged one is damaged.

    Args:
        path: The store.
        attributes: The root group's attributes.
        files: The manifest's `files`.

    Yields:
        What is wrong, `where` being the file's path inside the store.
    """
    owners = {record["sha256"]: name for name, record in files.items()}
    shards = shard_files(attributes)
    on_disk = records_of(path, files)
    for name, record in files.items():
        fix = fix_shard(shards[name][1]) if name in shards else FIX_FILE
        found = on_disk.get(name)
        if found is None:
            yield Problem(name, "is missing", fix)
            continue
        if found.sha256 == record["sha256"]:
            continue
        if not found.bytes:
            what = f"is empty; expected {record['bytes']} bytes"
        elif found.sha256 in owners:
            what = f"holds the bytes of {owners[found.sha256]}: files were swapped or copied over each other"
        elif found.bytes < record["bytes"]:
            what = f"is truncated: {found.bytes} of {record['bytes']} bytes"
        elif found.bytes > record["bytes"]:
            what = f"has {found.bytes} bytes, {found.bytes - record['bytes']} more than were written"
        elif not any(read_regular(path / name, SHARD_FILE_BYTES_MAX)):
            what = "has its right size, but every byte is zero"
        else:
            what = "has its right size, but other bytes than were written"
            what += _damaged_rows(path / name, attributes, *shards[name]) if name in shards else ""
        yield Problem(name, what, fix)


def check_documents(path: Path, attributes: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that the `zarr.json` files describe every array and group as the schema does.

    Args:
        path: The store.
        attributes: The root group's attributes.

    Yields:
        What is wrong, `where` being the document's path inside the store.
    """
    members = member_documents(attributes)
    expected = {f"{name}/zarr.json": document for name, document in members.items()}
    expected["zarr.json"] = group_document(attributes, members)
    for name, document in expected.items():
        if (path / name).is_file():
            try:
                found = read_document(path / name)
            except CorruptStoreError as error:
                yield Problem(name, str(error), FIX_FILE)
                continue
            for difference in _differences("", found, document):
                yield Problem(name, difference, FIX_FILE)


def check_shard_manifests(path: Path, attributes: Mapping[str, Any], files: Mapping[str, Any]) -> Iterator[Problem]:
    """Check that the shard manifests agree with the store's manifest and with the metadata.

    Args:
        path: The store.
        attributes: The root group's attributes.
        files: The manifest's `files`.

    Yields:
        What is wrong, `where` being the shard manifest's path inside the store.
    """
    by_shard: dict[int, set[str]] = {}
    for name, (_, shard) in shard_files(attributes).items():
        by_shard.setdefault(shard, set()).add(name)
    for shard, names in by_shard.items():
        where = f"shards/{shard:05d}.json"
        if not (path / where).is_file():
            continue  # `check_digests` reports it.
        try:
            manifest = read_document(path / where)
            validate(manifest, "shard_manifest", where)
        except CorruptStoreError as error:
            yield Problem(where, str(error), FIX_FILE)
            continue
        found = (manifest["shard"], manifest["row_start"], manifest["row_stop"])
        expected = (shard, *shard_range(attributes, shard))
        if found != expected:
            yield Problem(where, f"shard, row_start and row_stop are {found}; expected {expected}", FIX_FILE)
        for name in sorted(names ^ set(manifest["files"])):
            yield Problem(where, f"{'does not list' if name in names else 'lists'} {name}", FIX_FILE)
        for name in sorted(names & set(manifest["files"]) & set(files)):
            if manifest["files"][name] != files[name]:
                yield Problem(where, f"records another digest or size of {name} than manifest.json", FIX_FILE)


def unfinished(path: Path, attributes: Mapping[str, Any]) -> Problem:
    """Return the problem of a store without `manifest.json`.

    Args:
        path: The store.
        attributes: The root group's attributes.
    """
    total = shard_count(attributes)
    missing = total - len(finished_shards(path))
    what = f"is missing: the store was never sealed; {missing} of its {total} shards are missing"
    return Problem("manifest.json", what, how_to_resume(path, attributes))


def check_chunks(path: Path, attributes: Mapping[str, Any], damaged: Collection[str]) -> Iterator[Problem]:
    """Check that every chunk can be given to a decoder: its place, its checksum, and what its frame's header claims.

    Args:
        path: The store.
        attributes: The root group's attributes.
        damaged: Files that are not checked.

    Yields:
        What is wrong, `where` being the shard file's path inside the store.
    """
    layouts = array_layouts(attributes)
    for name, (array, shard) in shard_files(attributes).items():
        if name in damaged:
            continue
        layout = layouts[array]
        try:
            contents = read_regular(path / name, SHARD_FILE_BYTES_MAX)
            expected = layout.shard_bytes(shard)
            if expected is not None and len(contents) != expected:
                raise ValueError(f"has {len(contents)} bytes; its rows make {expected}")
            index = parse_shard_index(layout, np.frombuffer(contents, np.uint8), shard)
        except ValueError as error:  # CorruptStoreError too
            yield Problem(name, str(error), fix_shard(shard))
            continue
        for number, (offset, size) in enumerate(index.tolist()):
            what: str | None = None
            if not _checksum_holds(contents[offset : offset + size]):
                what = "does not match its CRC-32C"
            elif layout.storage != "raw":
                payload = contents[offset : offset + size - CHECKSUM_BYTES]
                what = frame_problem(payload, layout.chunk_bytes, layout.dtype.itemsize, layout.storage)
            if what:
                first = shard_range(attributes, shard)[0] + number * layout.chunk_rows
                rows = f"rows {first} to {min(first + layout.chunk_rows, attributes['rows']) - 1}"
                yield Problem(name, f"can't be decoded: chunk {number}, {rows}, {what}", fix_shard(shard))
                break


def _damaged_rows(file: Path, attributes: Mapping[str, Any], array: str, shard: int) -> str:
    """Return which chunks of a shard fail their checksum, in words, from the shard's index."""
    layout = array_layouts(attributes)[array]
    data = read_regular(file, SHARD_FILE_BYTES_MAX)
    try:
        index = parse_shard_index(layout, np.frombuffer(data, np.uint8), shard)
    except ValueError:
        return ", in the shard's index"
    start, stop = shard_range(attributes, shard)
    spans = []
    for number, (offset, size) in enumerate(index.tolist()):
        if not _checksum_holds(data[offset : offset + size]):
            first = start + number * layout.chunk_rows
            spans.append(f"{first} to {min(first + layout.chunk_rows, stop) - 1}")
    return f", in rows {', '.join(spans)}" if spans else ", though every chunk's checksum holds"


def _checksum_holds(data: bytes) -> bool:
    return int(google_crc32c.value(data[:-CHECKSUM_BYTES])) == int.from_bytes(data[-CHECKSUM_BYTES:], "little")


def _differences(key: str, found: object, expected: object) -> Iterator[str]:
    """Yield where two JSON documents differ, by the deepest keys that show it."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for name in sorted(found.keys() | expected.keys()):
            inner = f"{key}.{name}" if key else str(name)
            if name not in found:
                yield f"{inner} is missing; expected {expected[name]!r:.200}"
            elif name not in expected:
                yield f"{inner} is {found[name]!r:.200}; it should not be there"
            else:
                yield from _differences(inner, found[name], expected[name])
    elif found != expected:
        yield f"{key} is {found!r:.200}; expected {expected!r:.200}"
