"""The index of a store: its small files in one archive, with the digests of the pieces of its shards.

Compressed flags, masks and counters are often no more than some kilobytes per shard, and a request for each would take
longer than their bytes; so those are in the index, too. A reader of the published store needs one request for all of
it, and can then fetch and check the pieces that hold the rows it wants.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.loaders.store.pieces import PIECES_FILE, Pieces, row_file
from dynamic_sparsity.schemas.layout import ArrayLayout, array_layouts, parse_shard_index
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.storage.manifests import read_attributes, read_document

PIECE_ROWS: Final = 256
"""Rows per piece of an uncompressed shard: an episode of the usual 1000 steps touches few rows of others."""

SMALL_SHARD_BYTES: Final = 8192
"""Up to which size a compressed shard file is in the index."""


def write_index(store: Path, target: Path) -> None:
    """Write a store's index.

    Args:
        store: A complete store.
        target: A tar file, compressed as a whole, as the members are alike; it appears complete or not at all.
    """
    layouts = array_layouts(read_attributes(store))
    names = [
        name
        for name, entry in read_document(store / "manifest.json")["files"].items()
        if (place := row_file(name)) is None
        or (layouts[place[0]].storage != "raw" and entry["bytes"] <= SMALL_SHARD_BYTES)
    ]
    members = {name: (store / name).read_bytes() for name in ("manifest.json", *names)}
    pieces = {name: entry.as_json() for name, entry in store_pieces(store).items()}
    members[PIECES_FILE] = json.dumps({"files": pieces}, separators=(",", ":")).encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz", preset=6) as archive:
        for name in sorted(members):
            # No time, no owner: equal stores have equal indices.
            entry = tarfile.TarInfo(name)
            entry.size = len(members[name])
            archive.addfile(entry, io.BytesIO(members[name]))
    publish(target, [stream.getvalue()])


def store_pieces(store: Path) -> dict[str, Pieces]:
    """Return the pieces of every shard file of a store that can be cut: path inside the store to pieces.

    Args:
        store: A complete store.
    """
    found, layouts = {}, array_layouts(read_attributes(store))
    for name in read_document(store / "manifest.json")["files"]:
        place = row_file(name)
        if place is not None:
            found[name] = _cut(store / name, layouts[place[0]], place[1])
    return found


def _cut(path: Path, layout: ArrayLayout, shard: int) -> Pieces:
    """Cut one shard file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as contents:
        view = np.frombuffer(contents, np.uint8)
        try:
            return _cut_bytes(view, layout, shard)
        finally:
            del view


def _cut_bytes(contents: NDArray[np.uint8], layout: ArrayLayout, shard: int) -> Pieces:
    index = parse_shard_index(layout, contents, shard)
    starts = index[:, 0]
    tail = int(index[-1].sum())
    rows = layout.chunk_rows
    if layout.storage == "raw" and rows > PIECE_ROWS and rows % PIECE_ROWS == 0:
        rows = PIECE_ROWS
        starts = (starts[:, None] + np.arange(0, layout.chunk_bytes, rows * layout.row_bytes)).reshape(-1)
    offsets = np.append(starts, tail)
    bounds = np.append(offsets, contents.size)
    return Pieces(rows, offsets, contents.size, tuple(_digests(contents, bounds)))


def _digests(contents: NDArray[np.uint8], bounds: NDArray[Any]) -> Iterable[bytes]:
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield hashlib.sha256(contents[start:stop].data).digest()
