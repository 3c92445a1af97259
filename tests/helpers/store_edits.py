"""Changes of synthetic stores after which every checksum is right again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from dynamic_sparsity.schemas.consistency import settings_digest
from dynamic_sparsity.schemas.documents import group_document, member_documents

Mutation = Callable[[Path], None]


def record(path: Path) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}


def write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document))


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    write_json(path, document)


def reseal(store: Path, but: Path | None = None) -> None:
    """Make every digest and size in the manifests, but one, that of the file it is of."""
    for file in sorted((store / "shards").glob("*.json")):
        if file != but:
            change_json(file, lambda document: _records(store, document))
    change_json(store / "manifest.json", lambda document: _records(store, document))


def _records(store: Path, document: Any) -> None:
    if isinstance(document, dict) and isinstance(document.get("files"), dict):
        for name, entry in document["files"].items():
            if isinstance(entry, dict) and len(name) < 200 and "\0" not in name and (store / name).is_file():
                entry |= record(store / name)


def change_attributes(store: Path, change: Callable[[dict[str, Any]], None], *, documents: bool = True) -> None:
    """Change the root group's attributes; with `documents`, those of the arrays follow where they can."""

    def apply(document: dict[str, Any]) -> None:
        change(document["attributes"])

    change_json(store / "zarr.json", apply)
    attributes = json.loads((store / "zarr.json").read_bytes())["attributes"]
    if documents:
        try:
            attributes["settings_sha256"] = settings_digest(attributes["settings"])
            members = member_documents(attributes)
        except Exception:  # the metadata make no sense, and so no documents
            reseal(store)
            return
        write_json(store / "zarr.json", group_document(attributes, members))
        for name, document in members.items():
            if (store / name).is_dir():
                write_json(store / name / "zarr.json", document)
    reseal(store)


def set_attribute(store: Path, keys: tuple[str | int, ...], value: Any) -> None:
    def change(attributes: dict[str, Any]) -> None:
        target: Any = attributes
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value

    change_attributes(store, change)


def set_rows(store: Path, rows: int, shard_rows: int | None = None, chunk_rows: int | None = None) -> None:
    def change(attributes: dict[str, Any]) -> None:
        attributes["rows"] = rows
        attributes["episodes"] = rows // attributes["episode_length"]
        attributes["shard_rows"] = shard_rows or attributes["shard_rows"]
        attributes["chunk_rows"] = chunk_rows or attributes["chunk_rows"]

    change_attributes(store, change)
    change_json(store / "manifest.json", lambda document: document.update(rows=rows, episodes=rows // 20))


def change_array_document(store: Path, array: str, change: Callable[[dict[str, Any]], None]) -> None:
    change_json(store / array / "zarr.json", change)
    reseal(store)


def rename_in_manifest(store: Path, old: str, new: str) -> None:
    change_json(store / "manifest.json", lambda document: document["files"].update({new: document["files"].pop(old)}))


def add_to_manifest(store: Path, name: str) -> None:
    entry = {"sha256": "0" * 64, "bytes": 10}
    change_json(store / "manifest.json", lambda document: document["files"].update({name: entry}))


def change_shard(store: Path, name: str, change: Callable[[list[bytes]], list[bytes]], chunks: int = 5) -> None:
    """Change the chunks of a shard, without their checksums; index and checksums are made to fit."""
    contents = (store / name).read_bytes()
    index = np.frombuffer(contents[-4 - 16 * chunks : -4], "<u8").reshape(-1, 2)
    there = [(int(start), int(size)) for start, size in index if start != 2**64 - 1]
    pieces = change([contents[start : start + size - 4] for start, size in there])
    write_shard(store, name, pieces, len(index))


def write_shard(store: Path, name: str, pieces: list[bytes], chunks: int) -> None:
    index = np.full((chunks, 2), 2**64 - 1, "<u8")
    body = b""
    for number, piece in enumerate(pieces):
        if number < chunks:
            index[number] = len(body), len(piece) + 4
        body += piece + crc(piece)
    (store / name).write_bytes(body + index.tobytes() + crc(index.tobytes()))
    reseal(store)


def change_index(store: Path, name: str, place: tuple[int, int], value: int, chunks: int = 5) -> None:
    contents = (store / name).read_bytes()
    index = np.frombuffer(contents[-4 - 16 * chunks : -4], "<u8").reshape(-1, 2).copy()
    index[place] = value
    (store / name).write_bytes(contents[: -4 - 16 * chunks] + index.tobytes() + crc(index.tobytes()))
    reseal(store)


def crc(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(4, "little")


def patched(frame: bytes, offset: int, value: bytes) -> bytes:
    return frame[:offset] + value + frame[offset + len(value) :]


def set_frame_field(store: Path, name: str, offset: int, value: int, size: int) -> None:
    """Write a number into the blosc frame of a shard's first chunk."""
    field = (value % 2 ** (8 * size)).to_bytes(size, "little")
    change_shard(store, name, lambda pieces: [patched(pieces[0], offset, field), *pieces[1:]])


def replace_file(store: Path, name: str, kind: str) -> None:
    """Put something else where a file was."""
    path = store / name
    contents = path.read_bytes()
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(2**40)
    elif kind == "nested":
        path.write_bytes(b'{"a":' * 200_000 + b"1" + b"}" * 200_000)
    elif kind == "wide":
        path.write_bytes(b"[" + b"{}," * 1_000_000 + b"{}]")
    elif kind == "array":
        path.write_bytes(b"[1]")
    elif kind == "latin":
        path.write_bytes(b"\xff\xfe" + contents)
    elif kind == "huge number":
        path.write_bytes(b'{"rows": 1e999, "a": ' + b"9" * 5000 + b"}")


def several(store: Path, *steps: Mutation) -> None:
    for step in steps:
        step(store)
