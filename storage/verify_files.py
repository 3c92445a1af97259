"""Are a store's files the ones that were written? Digests, sizes, names, documents; no values are decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import google_crc32c
import numpy as np

from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.schemas import row_arrays, validate
from dynamic_sparsity.schemas.documents import group_document, member_documents, plain_file, shard_file, store_arrays
from dynamic_sparsity.storage.manifests import read_document, records_of, shard_count, shard_range
from dynamic_sparsity.storage.problems import MEND_EXTRA, MEND_FILE, MEND_INCOMPLETE, Problem, mend_shard

CHECKSUM_BYTES: Final = 4
INDEX_ENTRY_BYTES: Final = 16


def shard_files(attributes: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Every shard file a store must have: path inside the store to (array, shard).

    Args:
        attributes: The root group's attributes.
    """
    specs = row_arrays(attributes["sizes"], attributes["dynamics"])
    return {shard_file(spec, shard): (spec.name, shard) for shard in range(shard_count(attributes)) for spec in specs}


def expected_files(attributes: Mapping[str, Any]) -> set[str]:
    """Every file a finished store must have but `manifest.json`.

    Args:
        attributes: The root group's attributes.
    """
    documents = {f"{name}/zarr.json" for name in member_documents(attributes)}
    plain = {plain_file(name, spec) for name, (spec, _) in store_arrays(attributes).items() if spec.storage == "plain"}
    manifests = {f"shards/{shard:05d}.json" for shard in range(shard_count(attributes))}
    return {"zarr.json", *documents, *plain, *manifests, *shard_files(attributes)}


def check_listing(path: Path, attributes: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[Problem]:
    """Does the manifest list what the store must have, and nothing lie beside it?

    Args:
        path: The store.
        attributes: The root group's attributes.
        manifest: `manifest.json`, valid by its schema.

    Yields:
        What is wrong.
    """
    expected, listed = expected_files(attributes), set(manifest["files"])
    for name in sorted(expected - listed):
        yield Problem("manifest.json", f"does not list {name}, which a store of these sizes must have", MEND_FILE)
    for name in sorted(listed - expected):
        yield Problem("manifest.json", f"lists {name}, which a store of these sizes does not have", MEND_FILE)
    for key in ("rows", "episodes"):
        if manifest[key] != attributes[key]:
            yield Problem("manifest.json", f"{key} is {manifest[key]}, but {attributes[key]} in zarr.json", MEND_FILE)
    on_disk = {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()}
    for name in sorted(on_disk - listed - {"manifest.json"}):
        what = "is what an interrupted write left behind" if name.endswith(".partial") else "is not part of the store"
        yield Problem(name, what, MEND_EXTRA)


def check_digests(path: Path, attributes: Mapping[str, Any], files: Mapping[str, Any]) -> Iterator[Problem]:
    """Has every file the bytes its manifest records? Says how a file is damaged, as far as can be told.

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
        mend = mend_shard(shards[name][1]) if name in shards else MEND_FILE
        found = on_disk.get(name)
        if found is None:
            yield Problem(name, "is missing", mend)
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
        elif not any((path / name).read_bytes()):
            what = "has its right size, but every byte is zero"
        else:
            what = "has its right size, but other bytes than were written"
            what += _damaged_rows(path / name, attributes, shards[name][1]) if name in shards else ""
        yield Problem(name, what, mend)


def check_documents(path: Path, attributes: Mapping[str, Any]) -> Iterator[Problem]:
    """Do the `zarr.json` files say of every array and group what the schema says?

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
                yield Problem(name, str(error), MEND_FILE)
                continue
            for difference in _differences("", found, document):
                yield Problem(name, difference, MEND_FILE)


def check_shard_manifests(path: Path, attributes: Mapping[str, Any], files: Mapping[str, Any]) -> Iterator[Problem]:
    """Do the shard manifests agree with the manifest of the whole and with the metadata?

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
            continue  # `check_digests` says so.
        try:
            manifest = read_document(path / where)
            validate(manifest, "shard_manifest", where)
        except CorruptStoreError as error:
            yield Problem(where, str(error), MEND_FILE)
            continue
        found = (manifest["shard"], manifest["row_start"], manifest["row_stop"])
        expected = (shard, *shard_range(attributes, shard))
        if found != expected:
            yield Problem(where, f"shard, row_start and row_stop are {found}; expected {expected}", MEND_FILE)
        for name in sorted(names ^ set(manifest["files"])):
            yield Problem(where, f"{'does not list' if name in names else 'lists'} {name}", MEND_FILE)
        for name in sorted(names & set(manifest["files"]) & set(files)):
            if manifest["files"][name] != files[name]:
                yield Problem(where, f"records another digest or size of {name} than manifest.json", MEND_FILE)


def unfinished(path: Path, attributes: Mapping[str, Any]) -> Problem:
    """The problem of a store without `manifest.json`.

    Args:
        path: The store.
        attributes: The root group's attributes.
    """
    total = shard_count(attributes)
    missing = [shard for shard in range(total) if not (path / f"shards/{shard:05d}.json").is_file()]
    what = f"is missing: the store was never sealed; {len(missing)} of its {total} shards are missing"
    return Problem("manifest.json", what, MEND_INCOMPLETE)


def _damaged_rows(file: Path, attributes: Mapping[str, Any], shard: int) -> str:
    """Say which chunks of a shard fail their checksum, from the shard's index."""
    data = file.read_bytes()
    chunk_rows = attributes["chunk_rows"]
    chunks = attributes["shard_rows"] // chunk_rows
    index_bytes = chunks * INDEX_ENTRY_BYTES
    index_data = data[-index_bytes - CHECKSUM_BYTES :]
    if len(index_data) < index_bytes + CHECKSUM_BYTES or not _checksum_holds(index_data):
        return ", in the shard's index"
    index = np.frombuffer(index_data[:index_bytes], dtype="<u8").reshape(chunks, 2)
    start, stop = shard_range(attributes, shard)
    spans = []
    for number, (offset, size) in enumerate(index.tolist()):
        if offset + size <= len(data) and not _checksum_holds(data[offset : offset + size]):
            first = start + number * chunk_rows
            spans.append(f"{first} to {min(first + chunk_rows, stop) - 1}")
    return f", in rows {', '.join(spans)}" if spans else ", though every chunk's checksum holds"


def _checksum_holds(data: bytes) -> bool:
    return int(google_crc32c.value(data[:-CHECKSUM_BYTES])) == int.from_bytes(data[-CHECKSUM_BYTES:], "little")


def _differences(key: str, found: object, expected: object) -> Iterator[str]:
    """Where two JSON documents differ, the deepest keys that tell it."""
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
