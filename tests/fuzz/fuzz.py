"""Coverage-guided fuzzing of what reads bytes from outside: `python tests/fuzz/fuzz.py TARGET [CORPUS…] [-libfuzzer]`.

A target takes bytes and must end with right data or one of our errors; everything else is a finding, and ends the run.
Checksums that stand in the way are made right first: an attacker does that, too. It needs `atheris`
(`pip install 'dynamic-sparsity[fuzz]'`).
"""

from __future__ import annotations

import hashlib
import json
import lzma
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import atheris
import google_crc32c
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "hostile"))
from json_mutations import mutated

with atheris.instrument_imports(include=["dynamic_sparsity"]):
    from dynamic_sparsity.errors import DynamicSparsityError
    from dynamic_sparsity.loaders import JacobianDataset
    from dynamic_sparsity.loaders.hdf5 import index as hdf5_index
    from dynamic_sparsity.loaders.hub.publication import Publication
    from dynamic_sparsity.loaders.shards import compressed_column
    from dynamic_sparsity.loaders.store.pieces import parse_pieces
    from dynamic_sparsity.policies import files as policy_files
    from dynamic_sparsity.schemas import validate
    from dynamic_sparsity.schemas.files import file_count, listing_problem
    from dynamic_sparsity.schemas.layout import ArrayLayout, array_layouts, parse_shard_index
    from dynamic_sparsity.untrusted.archives import read_npz, read_tar_xz
    from dynamic_sparsity.untrusted.documents import parse_json
    from dynamic_sparsity.untrusted.names import check_relative_path

FILES_MAX = 10**6
SCHEMAS = ("store", "manifest", "shard_manifest", "episodes", "policy")
ROWS, CHUNK_ROWS, SHARD_ROWS = 40, 8, 16
LAYOUTS = (
    ArrayLayout("mask_s", (ROWS, 4, 4), np.dtype("u1"), CHUNK_ROWS, SHARD_ROWS, "packed"),
    ArrayLayout("flags", (ROWS,), np.dtype("<u2"), CHUNK_ROWS, SHARD_ROWS, "packed"),
    ArrayLayout("contact_force", (ROWS, 2), np.dtype("<f4"), CHUNK_ROWS, SHARD_ROWS, "packed"),
    ArrayLayout("state", (ROWS, 3), np.dtype("<f4"), CHUNK_ROWS, SHARD_ROWS, "raw"),
)
PIECE_SIZES = {"flags/c/0": 96, "state/c/0/0": 236, "state/c/1/0": 236}
SCRATCH = Path(tempfile.mkdtemp(prefix="fuzz", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


class Ledger:
    """What `decode_shard` asks of a store's ledger: all rows are there."""

    def holds(self, start: int, stop: int) -> bool:
        return True

    def corrupt(self, name: str, problem: str) -> DynamicSparsityError:
        return DynamicSparsityError(f"{name}: {problem}")


def index(data: bytes) -> None:
    """The index of a published store: a tar file, compressed here, and the pieces in it."""
    sizes: dict[str, int] = {}

    def accept(name: str, size: int) -> bool:
        sizes[name] = size
        return size <= 2**20

    contents = data if data[:1] == b"\xfd" else lzma.compress(_with_checksums(data), preset=0)
    members = read_tar_xz(contents, "index", accept)
    assert {name: len(found) for name, found in members.items()} == sizes
    for name, found in members.items():
        if name.endswith(".json"):
            document(found)


def _with_checksums(contents: bytes) -> bytes:
    """A tar file in which every block that could be a header has a right checksum."""
    blocks = bytearray(contents)
    for start in range(0, len(blocks) - 511, 512):
        if blocks[start + 257 : start + 262] == b"ustar":
            blocks[start + 148 : start + 156] = b" " * 8
            blocks[start + 148 : start + 156] = b"%06o\0 " % sum(blocks[start : start + 512])
    return bytes(blocks)


def pieces(data: bytes) -> None:
    """`pieces.json`, and which bytes it has us ask for."""
    layouts = {layout.name: layout for layout in LAYOUTS}
    for found in parse_pieces(parse_json(data, "pieces.json"), layouts, PIECE_SIZES, "pieces.json").values():
        for piece in found.needed(np.asarray([[0, 5], [9, 16]])):
            start, stop = found.bounds(piece)
            assert 0 <= start < stop <= found.size


def publication(data: bytes) -> None:
    """`publication.json`."""
    for store in Publication.parse(data, "org/name").stores:
        for name in (store.path, store.index.path, *(file.path for files in store.parquet.values() for file in files)):
            assert check_relative_path(name, "a path") == name


def document(data: bytes) -> None:
    """A JSON document: parsed, compared with every schema, and what follows from a store's attributes."""
    parsed = parse_json(data, "document")
    parsed = parsed.get("attributes", parsed) if isinstance(parsed.get("attributes"), dict) else parsed
    for schema in SCHEMAS:
        with suppress(DynamicSparsityError):
            validate(parsed, schema, "document")
            if schema == "store":
                layouts = array_layouts(parsed)
                assert all(layout.row_bytes > 0 and layout.shards > 0 for layout in layouts.values())
                assert file_count(parsed) > 0
                assert listing_problem(parsed, ["zarr.json"]) is not None


def shard(data: bytes) -> None:
    """A shard file: its index, its checksums, the blosc frames and what they decode to."""
    if len(data) < 2:
        return
    layout, number = LAYOUTS[data[0] % len(LAYOUTS)], data[1] % 3
    contents = _sealed(layout, number, bytearray(data[2:]))
    try:
        found = parse_shard_index(layout, np.frombuffer(contents, np.uint8), number)
    except ValueError:
        return  # what the caller translates
    if layout.storage == "raw":
        assert (found.sum(axis=1) <= len(contents)).all()
        return
    # What is not decoded keeps what was there before.
    decoded = []
    for garbage in (0x00, 0xA5):
        out = np.full(SHARD_ROWS * layout.row_bytes, garbage, np.uint8).view((np.void, layout.row_bytes))
        compressed_column.decode_shard(layout, Ledger(), number, contents, found, out)  # type: ignore[arg-type]
        decoded.append(out[: len(found) * layout.chunk_rows].tobytes())
    assert decoded[0] == decoded[1], "memory that was not written was returned"


def _sealed(layout: ArrayLayout, number: int, contents: bytearray) -> bytes:
    """The bytes with right checksums wherever the index points inside them."""
    room = len(contents) - layout.index_bytes
    if room < 0:
        return bytes(contents)
    entries = np.frombuffer(bytes(contents[room:-4]), "<u8").reshape(-1, 2)
    for start, size in entries[: layout.chunks_needed(number)].tolist():
        if size >= 4 and start + size <= room:
            crc = google_crc32c.value(bytes(contents[start : start + size - 4]))
            contents[start + size - 4 : start + size] = crc.to_bytes(4, "little")
    contents[-4:] = google_crc32c.value(bytes(contents[room:-4])).to_bytes(4, "little")
    return bytes(contents)


def hdf5(data: bytes) -> None:
    """An HDF5 file with an index, whose digest is right, and all of its rows."""
    found = _index_of(data)
    if found is None:
        return  # version 1: read by libhdf5 in a process of its own
    blocks, text = found
    footer = hdf5_index.FOOTER.pack(len(blocks), len(text), hdf5_index.MAGIC, hashlib.sha256(blocks + text).digest())
    path = SCRATCH / "rows.h5"
    path.write_bytes(data[: -len(footer)] + footer)
    dataset = JacobianDataset.from_hdf5(path)
    rows = dataset[:]
    assert all(len(values) == len(dataset) and values.dtype.kind in "fiu" for values in rows.values())
    assert all(values.dtype.kind in "fiu" for values in dataset.store.episodes.values())
    assert dataset.store.statistics is not None


def _index_of(data: bytes) -> tuple[bytes, bytes] | None:
    """Tables and document of the index of an HDF5 file, if it has one."""
    size = hdf5_index.FOOTER.size
    if len(data) < size:
        return None
    blocks, text, magic, _ = hdf5_index.FOOTER.unpack(data[-size:])
    if magic != hdf5_index.MAGIC or blocks + text > len(data) - size:
        return None
    start = len(data) - size - text
    return data[start - blocks : start], data[start : len(data) - size]


def policy(data: bytes) -> None:
    """A policy's safetensors file."""
    path = SCRATCH / "policy.safetensors"
    path.write_bytes(data)
    found = policy_files.load_policy(path)
    assert found.mean.dtype == np.float32 and found.mean.ndim == 1


def npz(data: bytes) -> None:
    """An archive of arrays: the bytes of one, or of an array in it, whose checksum is right then."""
    path = SCRATCH / "model.npz"
    if data[:2] == b"PK":
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", data)
    assert all(values.dtype.kind in "biufc" for values in read_npz(path).values())


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (index, pieces, publication, document, shard, hdf5, policy, npz)
}


def guarded(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def one_input(data: bytes) -> None:
        with suppress(DynamicSparsityError):
            target(data)

    return one_input


LONGEST_CHANGED = 4096
"""Bytes of a JSON document up to which its structure is changed."""


def mutator(data: bytes, max_size: int, seed: int) -> bytes:
    """Change JSON, wherever it is, in its structure as often as in its bytes."""
    random = Random(seed)
    text, join = _document_of(data)
    # Some changes repeat a part a thousand times: of a long document, that would take more memory than a run may.
    if random.random() < 0.5 and len(text) < LONGEST_CHANGED:
        with suppress(ValueError, RecursionError):
            parsed = json.loads(text)
            if isinstance(parsed, dict):
                return join(mutated(random, parsed)[1])[:max_size]
    return bytes(atheris.Mutate(data, max_size))


def _document_of(data: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    """The JSON document in an input, and what puts another one into its place."""
    if (found := _index_of(data)) is not None:
        blocks, text = found
        head, size = data[: -hdf5_index.FOOTER.size - len(text)], len(blocks)
        return text, lambda new: head + new + hdf5_index.FOOTER.pack(size, len(new), hdf5_index.MAGIC, bytes(32))
    if data[8:9] == b"{" and data[:1] != b"{":  # safetensors
        size = int.from_bytes(data[:8], "little")
        return data[8 : 8 + size], lambda new: len(new).to_bytes(8, "little") + new + data[8 + size :]
    return data, lambda new: new


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: fuzz.py {'|'.join(TARGETS)} [CORPUS…] [-max_total_time=60 …]")
    target = TARGETS[sys.argv[1]]
    words: list[Any] = [sys.argv[0], "-rss_limit_mb=1024", "-timeout=20", "-max_len=65536", *sys.argv[2:]]
    if target in (document, pieces, publication, policy, hdf5):
        atheris.Setup(words, guarded(target), custom_mutator=mutator)
    else:
        atheris.Setup(words, guarded(target))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
