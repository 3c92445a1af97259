"""Hostile shard files: their index, their blosc frames and their sizes, each under right checksums."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import google_crc32c
import numpy as np
from numcodecs.blosc import Blosc
from stores import Make, Template, given

BLOSC_HEADER = struct.Struct("<BBBBIII")
FIELDS = ("version", "versionlz", "flags", "typesize", "nbytes", "blocksize", "cbytes")
MISSING = 2**64 - 1
EXTREMES = (0, 1, 2, 15, 16, 17, 127, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
OFFSETS = (0, 1, 4, 2**31, 2**40, 2**63 - 1, 2**63, 2**64 - 5, MISSING - 1, MISSING)


@dataclass
class Shard:
    """A shard file in its parts: bytes of each chunk without checksum, or None where none was written."""

    chunks: list[bytes | None]

    @staticmethod
    def parse(contents: bytes, chunks: int) -> Shard:
        index = np.frombuffer(contents[-16 * chunks - 4 : -4], "<u8").reshape(-1, 2).tolist()
        parts = [None if start == MISSING else contents[start : start + size - 4] for start, size in index]
        return Shard(parts)

    def encode(self, index: Callable[[list[list[int]]], None] | None = None, checksum: bool = True) -> bytes:
        """The file's bytes; `index` may change offsets and sizes before their checksum is taken."""
        body, entries = b"", []
        for chunk in self.chunks:
            if chunk is None:
                entries.append([MISSING, MISSING])
                continue
            part = chunk + _crc(chunk)
            entries.append([len(body), len(part)])
            body += part
        if index is not None:
            index(entries)
        tail = np.asarray(entries, "<u8").tobytes()
        return body + tail + (_crc(tail) if checksum else b"\0\0\0\0")


def shard_mutations(template: Template, seed: int, count: int) -> Iterator[tuple[str, Make]]:
    """Stores with one shard file changed, and all seals right."""
    random = Random(seed)
    attributes = template.documents["zarr.json"]["attributes"]
    chunks = attributes["shard_rows"] // attributes["chunk_rows"]
    names = [name for name in template.names if "/c/" in name and not name.startswith(("episodes/", "statistics/"))]
    packed = [name for name in names if _is_packed(template, name)]
    changes: tuple[tuple[str, Callable[[Random, Shard], bytes], list[str]], ...] = (
        ("shard index", _index, names),
        ("shard index", _index, names),
        ("blosc header", _header, packed),
        ("blosc header", _header, packed),
        ("blosc block starts", _starts, packed),
        ("blosc payload", _payload, packed),
        ("another frame", _frame, packed),
        ("chunk's length", _length, names),
        ("shard's length", _file, names),
    )
    for _ in range(count):
        kind, change, among = random.choice(changes)
        name = random.choice(among)
        contents = change(random, Shard.parse(template.read(name), chunks))
        yield f"{kind} of {name.partition('/')[0]}", given(template, lambda n=name, c=contents: {n: c})


def table_mutations(template: Template, seed: int, count: int) -> Iterator[tuple[str, Make]]:
    """Stores with a chunk of the episode table or of the statistics changed in its length."""
    random = Random(seed)
    names = [name for name in template.names if name.startswith(("episodes/", "statistics/")) and "/c" in name]
    for _ in range(count):
        name = random.choice(names)
        contents = _file(random, None, template.read(name))
        yield f"length of {name.partition('/')[0]}", given(template, lambda n=name, c=contents: {n: c})


def _is_packed(template: Template, name: str) -> bool:
    document = template.documents[f"{name.partition('/')[0]}/zarr.json"]
    return len(document["codecs"][0]["configuration"]["codecs"]) == 3


def _crc(contents: bytes) -> bytes:
    return int(google_crc32c.value(contents)).to_bytes(4, "little")


def _place(random: Random, shard: Shard) -> int:
    return random.choice([i for i, chunk in enumerate(shard.chunks) if chunk is not None])


def _index(random: Random, shard: Shard) -> bytes:
    place = _place(random, shard)

    def change(entries: list[list[int]]) -> None:
        column = random.randrange(2)
        near = (entries[place][column] + 1, max(0, entries[place][column] - 1), entries[place][column] * 2)
        entries[place][column] = random.choice((*OFFSETS, *near))
        if random.random() < 0.3:
            entries[place] = [MISSING, MISSING]
        if random.random() < 0.2:
            entries[place] = list(random.choice(entries))

    return shard.encode(change, checksum=random.random() < 0.9)


def _header(random: Random, shard: Shard) -> bytes:
    place = _place(random, shard)
    chunk = shard.chunks[place] or b""
    values = dict(zip(FIELDS, BLOSC_HEADER.unpack_from(chunk), strict=True))
    for field in random.sample(FIELDS, random.choice((1, 1, 1, 2))):
        most = 255 if FIELDS.index(field) < 4 else 2**32 - 1
        near = (values[field] + 1, values[field] - 1, values[field] * 2, values[field] ^ 1 << random.randrange(8))
        values[field] = max(0, min(most, random.choice((*EXTREMES, *near))))
    shard.chunks[place] = BLOSC_HEADER.pack(*values.values()) + chunk[BLOSC_HEADER.size :]
    return shard.encode()


def _starts(random: Random, shard: Shard) -> bytes:
    place = _place(random, shard)
    chunk = bytearray(shard.chunks[place] or b"")
    if len(chunk) > BLOSC_HEADER.size + 4:
        at = BLOSC_HEADER.size + 4 * random.choice((0, 0, 1))
        (old,) = struct.unpack_from("<i", chunk, min(at, len(chunk) - 4))
        new = random.choice((*EXTREMES, old + 1, old - 1, len(chunk), len(chunk) - 1, -1, -(2**31), 2**31 - 5))
        struct.pack_into("<I", chunk, min(at, len(chunk) - 4), new % 2**32)
    shard.chunks[place] = bytes(chunk)
    return shard.encode()


def _payload(random: Random, shard: Shard) -> bytes:
    place = _place(random, shard)
    chunk = bytearray(shard.chunks[place] or b"")
    for _ in range(random.choice((1, 1, 4))):
        chunk[random.randrange(min(BLOSC_HEADER.size, len(chunk) - 1), len(chunk))] ^= 1 << random.randrange(8)
    shard.chunks[place] = bytes(chunk)
    return shard.encode()


def _frame(random: Random, shard: Shard) -> bytes:
    """A right frame, but by another codec, of another size, or of much more than a chunk."""
    place = _place(random, shard)
    raw = Blosc().decode(shard.chunks[place])
    sized = random.choice((raw, raw[:-1], raw + b"\0", b"", raw * 2, bytes(random.choice((2**20, 2**26)))))
    names = ("zstd", "lz4", "lz4hc", "blosclz", "zlib")
    blosc = Blosc(random.choice(names), 5, random.choice((0, 1, 2)), random.choice((0, 16)))
    shard.chunks[place] = blosc.encode(sized)
    return shard.encode()


def _length(random: Random, shard: Shard) -> bytes:
    place = _place(random, shard)
    chunk = shard.chunks[place] or b""
    cut = random.randrange(len(chunk) + 1)
    shard.chunks[place] = random.choice((chunk[:cut], chunk + b"\0", chunk[1:], b"", chunk * 3, chunk + bytes(2**16)))
    return shard.encode()


def _file(random: Random, shard: Shard | None, contents: bytes | None = None) -> bytes:
    whole = contents if shard is None else shard.encode()
    assert whole is not None
    cut = random.randrange(len(whole) + 1)
    return random.choice((whole[:cut], whole[cut:], whole + b"\0", b"\0" + whole, b"", b"\0" * 4, whole * 2, whole[:3]))
