"""Policies, results, models and leaderboards that strangers may have made, for tests: each a name and what makes it."""

from __future__ import annotations

import copy
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Make = Callable[[Path], Any]
Case = tuple[str, Make]

OUTSIDE = ("../../outside", "/outside", "a/b", "..", ".", "", ".hidden", "a\\b", "a\0b", "a\nb", "x" * 300, "con")
"""What is no name."""

NAMES = (("learner",), ("loss",), ("protocol", "name"), ("result", "data", "task"), ("result", "data", "policy"))
"""Where a result has the names that its path is made of."""


def nested(levels: int = 100_000) -> bytes:
    """JSON that overflows a recursive parser's stack."""
    return b'{"a":' + b"[" * levels + b"]" * levels + b"}"


def documents() -> Iterator[Case]:
    """What is no JSON document of ours, whatever kind was expected."""
    texts = (b"", b"{", b"[]", b"null", b"1", b'"x"', b"{}", b"\xff\xfe\0", b'{"a": NaN}', b"1" * 5000, nested())
    for text in (*texts, b'{"a":' * 5000 + b"1" + b"}" * 5000, b" " * 10_000):
        yield f"text {text[:12]!r}", writer(text)
    yield "fifo", os.mkfifo
    yield "folder", Path.mkdir
    yield "link to a device", lambda path: path.symlink_to("/dev/zero")
    yield "link to itself", lambda path: path.symlink_to(path)
    yield "sparse", sparse


def hostile_results(good: dict[str, Any]) -> Iterator[Case]:
    """Result files: incomplete, of other types, with names that lead elsewhere.

    Args:
        good: The document of a good result.
    """
    yield from documents()
    for keys in places_of(good):
        title = ".".join(keys)
        yield f"without {title}", writer(json.dumps(changed(good, keys, None, delete=True)).encode())
        for value in (None, "x", -1, 1.5, True, [], {}, 10**400, "x" * 10**6):
            yield f"{title} {value!r:.20}", writer(json.dumps(changed(good, keys, value)).encode())
    for keys in NAMES:
        for name in OUTSIDE:
            yield f"{'.'.join(keys)} {name!r:.20}", writer(json.dumps(changed(good, keys, name)).encode())
    for version in ("dynamic-sparsity result 2", "dynamic-sparsity result ", None):
        yield f"format {version}", writer(json.dumps(good | {"format": version}).encode())


def hostile_models(content: bytes) -> Iterator[Case]:
    """npz files of networks: other arrays, settings that ask for any memory, names that lead elsewhere.

    Args:
        content: Of a good file.
    """
    yield from documents()
    yield from damaged(content, 60)
    with np.load(io.BytesIO(content)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    about = json.loads(arrays["about"].tobytes())

    def made(**others: Any) -> Make:
        stream = io.BytesIO()
        kept = {name: value for name, value in (arrays | others).items() if value is not None}
        np.savez_compressed(stream, **kept)
        return writer(stream.getvalue())

    def says(document: Any) -> Make:
        text = document if isinstance(document, bytes) else json.dumps(document).encode()
        return made(about=np.frombuffer(text, np.uint8))

    for text in (b"{", b"[]", nested(50_000), b"\xff"):
        yield f"about {text[:5]!r}", says(text)
    for keys in places_of(about):
        for value in (None, "x", -1, 1.5, True, [], {}, 10**9, 10**30, 1e300):
            yield f"about {'.'.join(keys)} {value!r:.20}", says(changed(about, keys, value))
        yield f"about without {'.'.join(keys)}", says(changed(about, keys, None, delete=True))
    for name in OUTSIDE:
        yield f"protocol {name!r:.20}", says(changed(about, ("budget", "name"), name))
    yield "seed that leads elsewhere", says(about | {"seed": "/../../../outside"})
    yield "sizes of 2^40", says(about | {"sizes": [2**40, 2**40]})
    for name, value in arrays.items():
        yield f"without {name}", made(**{name: None})
        yield f"{name} of objects", _pickled(arrays, name)
        if name != "about":
            for dtype in ("f8", "i4", "f2", "c8", "U3"):
                yield f"{name} {dtype}", made(**{name: value.astype(dtype)})
            yield f"{name} one more", made(**{name: value[None]})
            yield f"{name} empty", made(**{name: value[:0] if value.ndim else value[None][:0]})
            yield f"{name} NaN", made(**{name: np.full_like(value, np.nan)})
    yield "another array", made(leaf_99=np.zeros(3, np.float32))
    yield "a name that leads elsewhere", _zipped({"../../outside.npy": content})
    yield "bomb", _bomb
    yield "many members", _zipped({f"a{number}.npy": b"" for number in range(5000)})


def hostile_policies(content: bytes, record: dict[str, Any]) -> Iterator[Case]:
    """safetensors files and the records beside them: `path` is that of the former.

    Args:
        content: Of a good file.
        record: What belongs beside it.
    """
    yield from documents()
    for title, make in damaged(content, 60):
        yield title, _with_record(make, record)
    size = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]

    def made(edit: Callable[[dict[str, Any]], Any], data: bytes = body) -> Make:
        other = copy.deepcopy(header)
        text = json.dumps(edit(other) or other).encode()
        return writer(len(text).to_bytes(8, "little") + text + data)

    for length in (0, 7, size - 1, size + 1, len(content), 2**40, 2**63, 2**64 - 1):
        yield f"header of {length} bytes", writer(length.to_bytes(8, "little") + content[8:])
    deep = nested(50_000)
    yield "nested header", writer(len(deep).to_bytes(8, "little") + deep + body)
    for name in header:
        yield f"without {name}", made(lambda other, key=name: other.pop(key) and None)
        for value in (None, [], {}, "x", 1):
            yield f"{name} {value!r}", made(lambda other, key=name, new=value: other.update({key: new}))
    for dtype in ("I32", "F16", "BF16", "F64", "U8", "X", 7, None):
        yield f"dtype {dtype}", made(lambda other, new=dtype: other["mean"].update(dtype=new))
    for dtype in ("I32", "U32"):  # as many bytes as float32, and well-formed otherwise
        yield (
            f"all weights {dtype}",
            made(
                lambda other, new=dtype: (
                    [entry.update(dtype=new) for key, entry in other.items() if key[0] != "_"] and None
                )
            ),
        )
    length = header["mean"]["shape"][0]
    shapes = [1, length], [length, 1], [], [0], [-1], [2**40], [2**62, 4], [1.0], ["5"], [1] * 40 + [length], None
    for shape in shapes:
        yield f"mean {shape!r:.30}", made(lambda other, new=shape: other["mean"].update(shape=new))
    behind = [len(body), len(body) + 4 * length]
    for offsets in ([0, 0], [0, 2**60], [-4, 16], [8, 4], [0], [0, 1, 2], ["0", "4"], None, behind):
        yield f"offsets {offsets}", made(lambda other, new=offsets: other["mean"].update(data_offsets=new))
    yield "overlap", made(lambda other: other["mean"].update(data_offsets=other["std"]["data_offsets"]))
    yield "bytes behind the end", made(lambda other: None, body + bytes(4))
    yield "bytes missing", made(lambda other: None, body[:-4])
    for value in (np.nan, np.inf):
        yield f"all {value}", made(lambda other: None, np.full(len(body) // 4, value, np.float32).tobytes())
    for key in ("format", "task", "activation"):
        for value in ("x/../y", "", "print", "../../outside", "a\nb", "X" * 10**5, None, 3, []):
            yield f"{key} {value!r:.20}", made(lambda other, k=key, new=value: other["__metadata__"].update({k: new}))
    for title, make in documents():
        yield f"record {title}", _beside(content, make)
    for name, value in (("task", "CheetahRun"), ("task", "../x"), ("sha256", "0" * 64), ("steps", 1.0), ("stages", [])):
        yield f"record {name} {value!r}", _beside(content, writer(json.dumps(record | {name: value}).encode()))


def hostile_leaderboards(text: str) -> Iterator[Case]:
    """Tables of results.

    Args:
        text: Of a good `leaderboard.csv` with at least one entry.
    """
    for case in documents():
        if case[0] != "text b''":
            yield case
    head, first, *_ = text.splitlines()
    columns = head.split(",")
    for number, column in enumerate(columns):
        for value in ("", "x", "-1", "1.5", "nan", "1e999", "٣", "1_0", "9" * 5000, "../../x", "<script>", "\x1b[2J"):
            fields = first.split(",")
            fields[number] = value
            yield f"{column} {value[:12]!r}", writer(f"{head}\n{','.join(fields)}\n".encode())
    yield "too few columns", writer(f"{head}\n{first.rpartition(',')[0]}\n".encode())
    yield "too many columns", writer(f"{head}\n{first},x\n".encode())
    yield "open quote", writer(f'{head}\n"{first}\n'.encode())
    yield "noughts", writer(f"{head}\n{first}\0\n".encode())
    yield "a field of 10^6", writer(f"{head}\n{'x' * 10**6}{first}\n".encode())
    yield "no UTF-8", writer(head.encode() + b"\n\xff\xfe\n")


def damaged(content: bytes, count: int, seed: int = 0) -> Iterator[Case]:
    """Flipped bits, holes and cuts.

    Args:
        content: Of a good file.
        count: How many.
        seed: Of the places.
    """
    random = np.random.default_rng(seed)
    for number in range(count):
        found, place = bytearray(content), int(random.integers(0, len(content)))
        if number % 3 == 0:
            found[place] ^= 1 << int(random.integers(8))
        elif number % 3 == 1:
            stop = min(place + 50, len(found))
            found[place:stop] = bytes(stop - place)
        else:
            del found[place:]
        yield f"damage {number} at {place}", writer(bytes(found))


def places_of(document: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys under which something lies in a document, those of inner objects too."""
    for key, value in document.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from places_of(value, (*before, key))


def changed(document: dict[str, Any], keys: tuple[str, ...], value: Any, *, delete: bool = False) -> dict[str, Any]:
    """A copy of a document with another value under some keys, or none."""
    other = copy.deepcopy(document)
    inner = other
    for key in keys[:-1]:
        inner = inner[key]
    if delete:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return other


def writer(content: bytes) -> Make:
    """What writes these bytes."""
    return lambda path: path.write_bytes(content)


def sparse(path: Path) -> None:
    """A file of a terabyte without any byte on disk."""
    with path.open("wb") as stream:
        stream.truncate(2**40)


def _beside(content: bytes, make: Make) -> Make:
    def both(path: Path) -> None:
        path.write_bytes(content)
        make(path.with_suffix(".json"))

    return both


def _with_record(make: Make, record: dict[str, Any]) -> Make:
    def both(path: Path) -> None:
        make(path)
        path.with_suffix(".json").write_text(json.dumps(record))

    return both


def _bomb(path: Path) -> None:
    """A gigabyte of noughts in a megabyte."""
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
    with archive, archive.open("about.npy", "w") as member:
        for _ in range(2**6):
            member.write(bytes(2**24))


def _zipped(members: dict[str, bytes]) -> Make:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, contents in members.items():
                archive.writestr(name, contents)

    return make


def _pickled(arrays: dict[str, Any], name: str) -> Make:
    def make(path: Path) -> None:
        np.savez(path.with_suffix(".npz"), **(arrays | {name: np.array([{}], dtype=object)}))

    return make
