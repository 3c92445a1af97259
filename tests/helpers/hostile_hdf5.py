"""HDF5 files that strangers may have made or a disk may have damaged, for tests: each a name and what makes it."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dynamic_sparsity.loaders.hdf5.contents import TABLE
from dynamic_sparsity.loaders.hdf5.index import FOOTER, MAGIC

Make = Callable[[Path], None]
Case = tuple[str, Make]


def damaged(content: bytes, count: int, seed: int = 0) -> Iterator[Case]:
    """Accidents: flipped bits, other bytes, cuts, holes, doubled and swapped pieces, each somewhere else.

    Args:
        content: Of a good file.
        count: How many.
        seed: Of the places.
    """
    random = np.random.default_rng(seed)
    kinds = ("flip", "flip", "flip", "byte", "cut", "hole", "ones", "double", "swap", "insert")
    for number in range(count):
        kind = kinds[number % len(kinds)]
        place, other = (int(one) for one in random.integers(0, len(content), 2))
        # Half of the damage at both ends, where what describes the file lies.
        if number % 4 == 1:
            place %= min(len(content), 4096)
        if number % 4 == 3:
            place = len(content) - 1 - place % min(len(content), 65536)
        length = int(random.integers(1, 600))
        found = bytearray(content)
        if kind == "flip":
            found[place] ^= 1 << int(random.integers(8))
        elif kind == "byte":
            found[place] = int(random.integers(256))
        elif kind == "cut":
            del found[place:]
        elif kind in ("hole", "ones"):
            stop = min(place + length, len(found))
            found[place:stop] = (b"\0" if kind == "hole" else b"\xff") * (stop - place)
        elif kind == "double":
            found[place:place] = found[place : place + length]
        elif kind == "swap":
            stop = min(len(found), max(place, other) + length)
            one, two = found[place : place + length], found[other : other + length]
            found[place : place + len(two)] = two
            found[other : other + len(one)] = one
            del found[max(stop, len(content)) :]
        else:
            found[place:place] = bytes(random.integers(0, 256, length, np.uint8))
        yield f"{kind} {number} at {place}", _writer(bytes(found))


def forged(content: bytes) -> Iterator[Case]:
    """Files with an index that has the right digest, but says what is not so.

    Args:
        content: Of a good file with some rows, a compressed column "mask_s" and a raw column "state".
    """
    index = _Index(content)
    for name, edit in _HEADERS.items():
        yield f"header {name}", _writer(index.signed(header=edit))
    for field, value in (("offset", 2**64 - 1), ("offset", 2**63), ("offset", len(content)), ("bytes", 2**32 - 1)):
        yield f"table {field} {value}", _writer(index.signed(table=_setting(field, value)))
    for field, value in (("bytes", 0), ("bytes", 5), ("mask", 1), ("mask", 2), ("mask", 2**31), ("sha256", b"x" * 32)):
        yield f"table {field} {value!r}", _writer(index.signed(table=_setting(field, value)))
    yield "table all chunks in one place", _writer(index.signed(table=lambda table: _assign(table, "offset", 800)))
    yield "blocks too short", _writer(index.signed(blocks=lambda blocks: blocks[:-1]))
    yield "blocks too long", _writer(index.signed(blocks=lambda blocks: blocks + bytes(48)))
    yield "blocks of ones", _writer(index.signed(blocks=lambda blocks: b"\xff" * len(blocks)))
    yield "blocks of noughts", _writer(index.signed(blocks=lambda blocks: bytes(len(blocks))))
    for sizes in ((2**64 - 1, 2**64 - 1), (2**63, 10), (0, len(content)), (2**40, 2**40), (0, 0), (len(content), 0)):
        footer = FOOTER.pack(*sizes, MAGIC, bytes(32))
        yield f"footer {sizes}", _writer(content[: -FOOTER.size] + footer)
    yield "only a footer", _writer(FOOTER.pack(0, 0, MAGIC, hashlib.sha256(b"").digest()))
    deep = b'{"format":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    yield "nested index", _writer(index.signed(document=deep))
    for text in (b"", b"[]", b"null", b"{}", b"\xff\xfe", b'{"rows": NaN}', b"1" * 5000):
        yield f"index {text[:8]!r}", _writer(index.signed(document=text))
    for name, contents in _PAYLOADS.items():
        yield f"chunk {name}", _writer(index.with_chunk("mask_s", contents))
    for name, value in (("outside", 10**12), ("negative", -1), ("padding", 2**62)):
        yield f"row {name}", _writer(index.with_chunk("row", lambda raw, v=value: _row(raw, v)))


def no_files() -> Iterator[Case]:
    """What is no file of numbers at all."""
    yield "empty", _writer(b"")
    yield "text", _writer(b"no HDF5")
    yield "signature", _writer(b"\x89HDF\r\n\x1a\n" + bytes(600))
    yield "noughts", _writer(bytes(100_000))
    yield "fifo", os.mkfifo
    yield "folder", Path.mkdir
    yield "link to a device", lambda path: path.symlink_to("/dev/zero")
    yield "link to nothing", lambda path: path.symlink_to(path.with_name("nothing"))
    yield "sparse", _sparse


class _Index:
    """A good file taken apart."""

    def __init__(self, content: bytes):
        block_bytes, document_bytes, _, _ = FOOTER.unpack(content[-FOOTER.size :])
        document_start = len(content) - FOOTER.size - document_bytes
        self.blocks = content[document_start - block_bytes : document_start]
        self.header: dict[str, Any] = json.loads(content[document_start : len(content) - FOOTER.size])
        self.body = content[: document_start - block_bytes]

    def signed(
        self,
        *,
        header: Callable[[dict[str, Any]], Any] | None = None,
        table: Callable[[Any], None] | None = None,
        blocks: Callable[[bytes], bytes] | None = None,
        document: bytes | None = None,
    ) -> bytes:
        """The file with another index and its right digest."""
        changed = json.loads(json.dumps(self.header))
        if header is not None:
            changed = header(changed) or changed
        new = bytearray(self.blocks)
        if table is not None:
            table(np.frombuffer(new, TABLE, self._entries()))
        made = bytes(new) if blocks is None else blocks(bytes(new))
        text = json.dumps(changed).encode() if document is None else document
        return self.body + made + text + FOOTER.pack(len(made), len(text), MAGIC, hashlib.sha256(made + text).digest())

    def with_chunk(self, name: str, change: Callable[[bytes], bytes]) -> bytes:
        """The file with another first chunk of a dataset, put at its end, and all digests right."""
        names = list(self.header["datasets"])
        counts = [-(-self.header["rows"] // one["chunk_rows"]) for one in self.header["datasets"].values()]
        place = sum(counts[: names.index(name)])
        tables = np.frombuffer(self.blocks, TABLE, sum(counts)).copy()
        start = int(tables["offset"][place])
        payload = change(self.body[start : start + int(tables["bytes"][place])])
        tables["offset"][place], tables["bytes"][place] = len(self.body), len(payload)
        tables["sha256"][place] = hashlib.sha256(payload).digest()
        other = _Index.__new__(_Index)
        other.body = self.body + payload
        other.blocks = tables.tobytes() + self.blocks[tables.nbytes :]
        other.header = {**self.header, "rest_sha256": _rest(other.body, tables)}
        return other.signed()

    def _entries(self) -> int:
        return sum(-(-self.header["rows"] // one["chunk_rows"]) for one in self.header["datasets"].values())


def _rest(body: bytes, tables: Any) -> str:
    digest, place = hashlib.sha256(), 0
    for start, size in sorted((int(one["offset"]), int(one["bytes"])) for one in tables):
        digest.update(body[place:start])
        place = start + size
    digest.update(body[place:])
    return digest.hexdigest()


def _writer(content: bytes) -> Make:
    return lambda path: path.write_bytes(content)  # type: ignore[return-value]


def _setting(field: str, value: Any) -> Callable[[Any], None]:
    return lambda table: table[field].__setitem__(-1, value)


def _assign(table: Any, field: str, value: int) -> None:
    table[field] = value


def _row(raw: bytes, value: int) -> bytes:
    rows = np.frombuffer(raw[:-4], "<i8").copy()
    rows[len(rows) // 2] = value
    return rows.tobytes() + raw[-4:]


def _sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(2**40)


def _at(*keys: Any) -> Callable[[Any], Callable[[dict[str, Any]], Any]]:
    """An edit of a header: sets what lies under some keys."""

    def with_value(value: Any) -> Callable[[dict[str, Any]], Any]:
        def edit(header: dict[str, Any]) -> None:
            inner: Any = header
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = value

        return edit

    return with_value


METADATA: dict[str, Any] = {
    "task": "../../../x",
    "task absolute": "/etc",
    "policy": "../x",
    "rows": 20 * 2**36,
    "rows float": 1000.0,
    "episodes": 2**40,
    "sizes": {"nq": 10**9, "nv": 10**9, "na": 0, "nu": 1, "ds": 2 * 10**9, "dx": 2 * 10**9, "da": 1, "nc": 0, "np": 0},
    "sizes negative": {"nq": -1},
    "complete": False,
    "joints": [],
    "flag_bits": {"nonfinite": 1},
    "splits": ["a"],
    "dynamics": "other",
    "state_names": "abc",
    "policies": [],
    "chunk_rows": 0,
}
_HEADERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    **{f"metadata {key}": _at("metadata", key.split()[0])(value) for key, value in METADATA.items()},
    **{f"rows {value!r}": _at("rows")(value) for value in (10**9, 2**63, -1, 0, True, 1.0, "3", None)},
    **{f"split {value!r}": _at("split")(value) for value in ("x", None, [], "test")},
    **{f"coordinates {value!r}": _at("coordinates")(value) for value in ("x", None, "ambient", ["tangent"])},
    **{
        f"columns {value!r}": _at("columns")(value) for value in ([], ["row"], ["x"], None, "state", [[]], {"state": 1})
    },
    **{
        f"chunk_rows {value!r}": _at("datasets", "state", "chunk_rows")(value)
        for value in (0, -1, 1, 2**40, 1.5, True, None, 10**30)
    },
    **{
        f"filters {value!r}": _at("datasets", "state", "filters")(value)
        for value in (["deflate"], ["lzf"], [], None, "fletcher32", ["shuffle", "deflate", "fletcher32"], [[1]] * 9)
    },
    "version": _at("version")(1),
    "format": _at("format")("x"),
    "rest_sha256": _at("rest_sha256")("0" * 64),
    "rest_sha256 number": _at("rest_sha256")(7),
    "datasets": _at("datasets")({}),
    "datasets list": _at("datasets")([]),
    "dataset none": _at("datasets", "state")(None),
    "metadata none": _at("metadata")(None),
    "another key": _at("x")(1),
}
_PAYLOADS: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda raw: bytes(len(raw)),
    "bomb": lambda raw: zlib.compress(bytes(2**28), 9),
    "short": lambda raw: zlib.compress(b"x") + bytes(4),
    "cut": lambda raw: raw[: len(raw) // 2],
    "with something behind": lambda raw: raw[:-4] + b"more" + raw[-4:],
    "raw": lambda raw: zlib.decompress(raw[:-4]) + raw[-4:],
    "dictionary": lambda raw: b"\x78\xbb" + raw[2:],
    "empty": lambda raw: b"",
}
