"""Hostile publications: every way in which a repository on the Hub may lie, as changes of a good one.

    for name, mutate in mutations():
        files = dict(good)          # path in the repository to bytes, of `files_of`
        mutate(files)
        install(server, "org/hostile", files)

Whatever a change of an inner document needs outside of it (digests, sizes) is made right again, so that the lie itself
is what a reader has to find. `hub_files` takes publications apart.
"""

from __future__ import annotations

import lzma
import tarfile
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

from hostile_hub_stores import attribute_mutations, manifest_mutations, pieces_mutations, shard_mutations
from hub_files import (
    BAD_VALUES,
    GROUP,
    HUGE,
    MANIFEST,
    PIECES,
    PUBLICATION,
    SECRET,
    Files,
    Json,
    Mutation,
    change_members,
    edit_entry,
    edit_publication,
    members_of,
    pack,
    put_index,
)


def mutations() -> Iterator[Mutation]:
    """All of them: a name, and a function that changes the files of a good repository with one store."""
    yield from publication_mutations()
    yield from archive_mutations()
    yield from manifest_mutations()
    yield from attribute_mutations()
    yield from pieces_mutations()
    yield from shard_mutations()


def publication_mutations() -> Iterator[Mutation]:
    """Lies of `publication.json`."""
    texts = {
        "nested": b"[" * 200_000,
        "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "no JSON": b"nonsense",
        "empty": b"",
        "a list": b"[]",
        "null": b"null",
        "no text": b"\xff\xfe\x00",
        "long number": b'{"format": ' + b"1" * 10_000 + b"}",
        "many objects": b'{"format": [' + b"{}," * 8_000_000 + b"{}]}",
    }
    for name, text in texts.items():
        yield f"publication: {name}", partial(_put, PUBLICATION, text)
    for key in ("format", "version", "data_version", "stores"):
        for kind, value in BAD_VALUES.items():
            if (key, kind) != ("data_version", "null"):
                yield f"publication: {key} is {kind}", partial(_set_key, key, value)
    for value in ("v1.0.0", "1.0", "1.0.0\n", "٣.0.0", "01.0.0", "1.0.0-rc1", "9" * 400 + ".0.0"):
        yield f"publication: data_version {value[:20]!a}", partial(_set_key, "data_version", value)
    fields = ("task", "policy", "dynamics", "path", "rows", "bytes", "manifest_sha256", "index", "splits", "parquet")
    for key in fields:
        yield f"publication: no {key}", partial(_change_entry, lambda entry, key=key: entry.pop(key))
        for kind, value in BAD_VALUES.items():
            yield (
                f"publication: {key} is {kind}",
                partial(_change_entry, lambda entry, key=key, value=value: entry.update({key: value})),
            )
    for key in ("path", "sha256", "bytes"):
        for kind, value in BAD_VALUES.items():
            yield (
                f"publication: index.{key} is {kind}",
                partial(_change_entry, lambda entry, key=key, value=value: entry["index"].update({key: value})),
            )
            yield (
                f"publication: parquet {key} is {kind}",
                partial(
                    _change_entry,
                    lambda entry, key=key, value=value: entry["parquet"]["train"][0].update({key: value}),
                ),
            )
    changes: dict[str, Callable[[Json], Any]] = {
        "more keys": lambda entry: entry.update(more=1),
        "path of another store": lambda entry: entry.update(path=f"{entry['task']}/other.zarr"),
        "path with more folders": lambda entry: entry.update(path=f"{entry['task']}/deep/noise.zarr"),
        "path that ends upwards": lambda entry: entry.update(path=f"{entry['task']}/.."),
        "path of other dynamics": lambda entry: entry.update(path=f"{entry['task']}/noise-stock.zarr"),
        "other dynamics": lambda entry: entry.update(dynamics="stock"),
        "index elsewhere": lambda entry: entry["index"].update(path="index/Other/noise.tar.xz"),
        "index is the manifest": lambda entry: entry["index"].update(path=f"{entry['path']}/manifest.json"),
        "index too large": lambda entry: entry["index"].update(bytes=10**12),
        "index one byte larger": lambda entry: entry["index"].update(bytes=entry["index"]["bytes"] + 1),
        "index one byte smaller": lambda entry: entry["index"].update(bytes=entry["index"]["bytes"] - 1),
        "index of no bytes": lambda entry: entry["index"].update(bytes=0),
        "another digest of the index": lambda entry: entry["index"].update(sha256="0" * 64),
        "digest in capitals": lambda entry: entry.update(manifest_sha256=entry["manifest_sha256"].upper()),
        "digest with a line feed": lambda entry: entry.update(manifest_sha256=entry["manifest_sha256"] + "\n"),
        "another digest of the manifest": lambda entry: entry.update(manifest_sha256="0" * 64),
        "more rows": lambda entry: entry.update(rows=entry["rows"] + 1),
        "absurd rows": lambda entry: entry.update(rows=HUGE),
        "more bytes": lambda entry: entry.update(bytes=entry["bytes"] + 1),
        "no bytes": lambda entry: entry.update(bytes=0),
        "one byte": lambda entry: entry.update(bytes=1),
        "negative split": lambda entry: entry["splits"].update(test=-1),
        "split of a fraction": lambda entry: entry["splits"].update(test=2.0),
        "split of true": lambda entry: entry["splits"].update(test=True),
        "larger split": lambda entry: entry["splits"].update(test=entry["splits"]["test"] + 1),
        "unknown split": lambda entry: entry["splits"].update(dev=1),
        "split is missing": lambda entry: entry["splits"].pop("test"),
        "parquet of an unknown split": lambda entry: entry["parquet"].update(dev=[]),
        "parquet of another store": lambda entry: entry["parquet"]["train"][0].update(path="parquet/Other/a.parquet"),
        "parquet twice": lambda entry: entry["parquet"]["train"].append(entry["parquet"]["train"][0]),
        "parquet with more keys": lambda entry: entry["parquet"]["train"][0].update(more=1),
    }
    for name, change in changes.items():
        yield f"publication: {name}", partial(_change_entry, change)
    yield (
        "publication: a store twice",
        partial(_change, lambda document: document["stores"].append(document["stores"][0])),
    )
    yield "publication: more keys", partial(_change, lambda document: document.update(more=1))
    yield (
        "publication: many stores",
        partial(_change, lambda document: document.update(stores=document["stores"] * 20_000)),
    )


def archive_mutations() -> Iterator[Mutation]:
    """Lies of the index as an archive."""
    zeros = tarfile.TarInfo("manifest.json")
    zeros.size = 300 * 2**20
    archives: dict[str, Callable[[Files], bytes]] = {
        "empty": lambda members: b"",
        "no archive": lambda members: b"nonsense" * 100,
        "an empty tar": lambda members: pack({}),
        "compressed nonsense": lambda members: lzma.compress(b"nonsense" * 1000),
        "cut off": lambda members: pack(members)[:-40],
        "half of it": lambda members: pack(members)[: len(pack(members)) // 2],
        "more behind its end": lambda members: pack(members) + b"more",
        "two archives": lambda members: pack(members) * 2,
        "3.2 GB of zeros": lambda members: _bomb() * 50,
        "zeros behind the members": lambda members: pack(members) + _bomb() * 50,
        "a large manifest": lambda members: lzma.compress(zeros.tobuf() + b" " * zeros.size, preset=0),
        "other compression": lambda members: lzma.compress(b"", format=lzma.FORMAT_ALONE),
    }
    for name, make in archives.items():
        yield f"index: {name}", partial(_put_archive, make)
    for name, extra in _entries():
        yield f"index: {name}", partial(_add_entries, extra)
    for name in (
        "../escaped",
        "/tmp/escaped",
        "a/../../escaped",
        ".hidden",
        "C:/escaped",
        "a\\b",
        "x" * 300,
        "a/" * 200,
    ):
        yield (
            f"index: a member {name[:20]!a}",
            partial(change_members, lambda m, name=name: m.update({name: SECRET})),
        )
    for name in ("partial.json", "state/c/0/0", "more", "shards/99999.json", "J_s/c/0/0/0"):
        yield f"index: a member {name} too many", partial(change_members, lambda m, name=name: m.update({name: b"{}"}))
    for name in (MANIFEST, PIECES, GROUP, "episodes/start/zarr.json", "shards/00000.json", "state/zarr.json"):
        yield f"index: no {name}", partial(change_members, lambda m, name=name: m.pop(name))
        yield f"index: another {name}", partial(change_members, lambda m, name=name: m.update({name: m[name] + b" "}))
        yield f"index: empty {name}", partial(change_members, lambda m, name=name: m.update({name: b""}))
    yield (
        "index: many members",
        partial(change_members, lambda members: members.update({f"more/{number}": b"" for number in range(250_000)})),
    )


def _put(path: str, contents: bytes, files: Files) -> None:
    files[path] = contents


def _set_key(key: str, value: Any, files: Files) -> None:
    edit_publication(files, lambda document: document.update({key: value}))


def _change(change: Callable[[Json], Any], files: Files) -> None:
    edit_publication(files, change)


def _change_entry(change: Callable[[Json], Any], files: Files) -> None:
    edit_entry(files, change)


@cache
def _bomb() -> bytes:
    """64 MiB of zeros as a small xz stream; streams may follow each other."""
    return lzma.compress(bytes(64 * 2**20), preset=0)


def _put_archive(make: Callable[[Files], bytes], files: Files) -> None:
    put_index(files, make(members_of(files)))


def _add_entries(extra: tuple[tarfile.TarInfo, ...], files: Files) -> None:
    put_index(files, pack(members_of(files), extra))


def _special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def _entries() -> Iterator[tuple[str, tuple[tarfile.TarInfo, ...]]]:
    """Members that are no regular files."""
    link = partial(_special, kind=tarfile.SYMTYPE)
    yield "a link outside", (link("state/c", target="/tmp"),)
    yield "a link upwards", (link("state/c", target="../../../../.."),)
    yield "a link inside", (link("more", target="zarr.json"),)
    yield "a link instead of a member", (link("zarr.json", target="/etc/passwd"),)
    yield "a hard link", (_special("more", tarfile.LNKTYPE, "zarr.json"),)
    yield "a hard link outside", (_special("more", tarfile.LNKTYPE, "/etc/passwd"),)
    yield "a FIFO", (_special("more", tarfile.FIFOTYPE),)
    yield "a device", (_special("more", tarfile.CHRTYPE),)
    yield "a folder", (_special("more", tarfile.DIRTYPE),)
    yield "a member twice", (tarfile.TarInfo("zarr.json"),)
    yield "paths too long to be resolved", _long_links()


def _long_links() -> tuple[tarfile.TarInfo, ...]:
    """Folders and links whose real path is too long to be resolved, so that a check of it stops half-way."""
    folder, letters, path = "d" * 247, "abcdefghijklmnop", ""
    entries = []
    for letter in letters:
        entries.append(_special(f"{path}{folder}", tarfile.DIRTYPE))
        entries.append(_special(f"{path}{letter}", tarfile.SYMTYPE, folder))
        path += f"{folder}/"
    up = "/".join(letters) + "/" + "l" * 254
    entries.append(_special(up, tarfile.SYMTYPE, "../" * len(letters)))
    entries.append(_special("escape", tarfile.SYMTYPE, f"{up}/../../../../../../escaped"))
    entries.append(_special("flag", tarfile.LNKTYPE, "escape"))
    entries.append(tarfile.TarInfo("flag"))
    return tuple(entries)
