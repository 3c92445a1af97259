"""Hostile publications: a good one on the local server of the Hub, changed in its documents, index, or shards."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import lzma
import posixpath
import struct
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from json_mutations import PATHS, TEXTS, encoded, mutated
from stores import INSIDE, Template, record
from trials import Arguments, Hostile

from dynamic_sparsity.testing import HubServer, Repository

PUBLICATION, INDEX, REPOSITORY = "publication.json", "index/Pendulums/noise.tar.xz", "org/good"
DOWNLOAD = ("download", "Pendulums", "--repo")
READERS = ("load_from_hub", "stream", "download")
SPLITS = (None, "train", "validation")
BOMB_BYTES = 2**28

Files = dict[str, bytes]
Changes = Mapping[str, bytes | None]


@dataclass(frozen=True, eq=False)
class Published:
    """A good publication: the server that has it, and what its readers shall find, by reader and split."""

    server: HubServer
    template: Template
    expected: Mapping[tuple[str, str | None], Mapping[str, str]]

    @staticmethod
    def make(server: HubServer, template: Template, expected: Mapping[Any, Mapping[str, str]]) -> Published:
        from dynamic_sparsity.publishing.publish import plan, publish

        publish(plan(template.path.parent.parent, REPOSITORY))
        return Published(server, template, expected)

    def read(self, path: str) -> bytes:
        return self.server.content(REPOSITORY, path)

    def put(self, repository: str, changes: Changes) -> None:
        """Publish the good files with changes under another name."""
        files = dict(self.server.files(REPOSITORY))
        for path, contents in changes.items():
            if contents is None:
                files.pop(path, None)
            else:
                files[path] = self.server.store(contents, lfs=False)
        made = Repository()
        self.server.commit(made, files)
        self.server.repositories[repository] = made

    def with_index(self, contents: bytes, manifest: bytes | None = None) -> dict[str, bytes | None]:
        """Another index, and a publication that has its digest."""
        document = json.loads(self.read(PUBLICATION))
        store = document["stores"][0]
        store["index"] |= record(contents)
        if manifest is not None:
            store["manifest_sha256"] = record(manifest)["sha256"]
        return {INDEX: contents, PUBLICATION: encoded(document)}


def to_reader(published: Published, kind: str, changes: Callable[[], Changes], random: Random) -> Hostile:
    """A hostile publication for one of the readers, drawn by lot."""
    reader, split = random.choice(READERS), random.choice(SPLITS)

    def make(box: Path) -> Arguments:
        repository = f"org/{box.parent.name}"
        published.put(repository, changes())
        return {"repo": repository, "split": split, "words": [*DOWNLOAD, repository]}

    expect = published.expected.get((reader, split), {})
    return Hostile(f"{kind} ({reader})", "command" if reader == "download" else reader, make, expect)


def hub_mutations(published: Published, seed: int, count: int) -> Iterator[Hostile]:
    """As many as wanted."""
    random = Random(seed)
    groups = (_publications, _publications, _documents, _documents, _archives, _compressed, _remote_files)
    for _ in range(count):
        kind, changes = random.choice(groups)(published, random)
        yield to_reader(published, kind, lambda changes=changes: changes, random)


def crafted_publications(published: Published, seed: int = 0) -> Iterator[Hostile]:
    """Names that lead outside, members that are no files, bombs; always the same."""
    random = Random(seed)
    good = json.loads(published.read(PUBLICATION))
    for name in (*PATHS, *TEXTS):
        for field in ("path", "task", "policy"):
            document = copy.deepcopy(good)
            document["stores"][0][field] = name if field != "path" else f"Pendulums/{name}"
            changes = {PUBLICATION: encoded(document)}
            yield to_reader(published, f"publication's {field}", lambda c=changes: c, random)
        document = copy.deepcopy(good)
        document["stores"][0]["index"]["path"] = name
        changes = {PUBLICATION: encoded(document)}
        yield to_reader(published, "path of the index", lambda c=changes: c, random)
    members = unpacked(published.read(INDEX))
    for name in PATHS:
        for kind, added in _members(name).items():

            def changes(added: tuple[tarfile.TarInfo, bytes] = added) -> Changes:
                return published.with_index(packed(members, added))

            yield to_reader(published, f"a member that is {kind}", changes, random)
    yield from _holes(published, members, random)
    for kind, make in _bombs(members).items():
        yield to_reader(published, kind, lambda make=make: published.with_index(make()), random)


def _bombs(members: Files) -> dict[str, Callable[[], bytes]]:
    """Indices of some kilobytes that become gigabytes."""
    return {
        "a bomb": lambda: lzma.compress(bytes(BOMB_BYTES), preset=0),
        "a bomb of many streams": lambda: lzma.compress(bytes(2**24), preset=0) * 250,
        "many indices behind each other": lambda: packed(members) * 50,
        "a manifest that is a bomb": lambda: packed(members | {"manifest.json": b" " * BOMB_BYTES + b"{}"}),
    }


def unpacked(contents: bytes) -> Files:
    with tarfile.open(fileobj=io.BytesIO(contents), mode="r:xz") as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}  # type: ignore[union-attr]


def packed_tar(members: Files, added: tuple[tarfile.TarInfo, bytes] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        for name, contents in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(contents)
            archive.addfile(entry, io.BytesIO(contents))
        if added is not None:
            archive.addfile(added[0], io.BytesIO(added[1]))
    return stream.getvalue()


def packed(members: Files, added: tuple[tarfile.TarInfo, bytes] | None = None) -> bytes:
    return lzma.compress(packed_tar(members, added), preset=0)


def _members(name: str) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """Members with a hostile name, of every type."""
    made = {}
    types = {
        "a file": tarfile.REGTYPE,
        "a symbolic link": tarfile.SYMTYPE,
        "a hard link": tarfile.LNKTYPE,
        "a FIFO": tarfile.FIFOTYPE,
        "a device": tarfile.CHRTYPE,
        "a folder": tarfile.DIRTYPE,
        "an unknown type": b"Z",
    }
    for kind, code in types.items():
        entry = tarfile.TarInfo(name.replace("\0", "") or "x")
        entry.type, entry.linkname, entry.mode = code, "../../../../outside/.bashrc", 0o4777
        contents = b"planted" if kind == "a file" else b""
        entry.size = len(contents)
        made[kind] = entry, contents
    return made


def _holes(published: Published, members: Files, random: Random) -> Iterator[Hostile]:
    """The chain that overwrites files: an array's file outside, in the manifest and in the pieces, with a hole."""
    contents, starts = b"planted" * 30_000, [*range(0, 198_000, 33_000), 205_000]
    ends = [*starts[1:], len(contents)]
    hashes = b"".join(hashlib.sha256(contents[a:b]).digest() for a, b in zip(starts, ends, strict=True))
    cut = {"rows": 8, "offsets": starts, "sha256": base64.b64encode(hashes).decode()}
    for levels in range(2, 10):
        name = f"state/c/0/{'../' * levels}outside/.bashrc"
        manifest, pieces = json.loads(members["manifest.json"]), json.loads(members["pieces.json"])
        manifest["files"][name], pieces["files"][name] = record(contents), cut
        changed = members | {"manifest.json": encoded(manifest), "pieces.json": encoded(pieces)}
        changes = published.with_index(packed(changed), changed["manifest.json"])
        # Clients of HTTP fold what leads upwards: so the server is asked for another path.
        for path in (f"{INSIDE}/{name}", posixpath.normpath(f"{INSIDE}/{name}"), "outside/.bashrc"):
            changes[path.lstrip("./")] = contents
        for _ in range(3):
            yield to_reader(published, "a file in manifest and pieces", lambda c=changes: c, random)


def _publications(published: Published, random: Random) -> tuple[str, dict[str, bytes | None]]:
    kind, contents = mutated(random, json.loads(published.read(PUBLICATION)))
    return f"publication: {kind}", {PUBLICATION: contents}


def _documents(published: Published, random: Random) -> tuple[str, dict[str, bytes | None]]:
    """One JSON document of the index, where wanted with the digests of what was changed in the manifest."""
    members = unpacked(published.read(INDEX))
    name = random.choice(("pieces.json", "pieces.json", "manifest.json", "zarr.json", *members))
    if not name.endswith(".json"):
        contents = members[name]
        cut = random.randrange(len(contents) + 1)
        kind, members[name] = "another length", random.choice((contents[:cut], contents + b"\0", b""))
    elif name == "zarr.json":
        root = json.loads(members[name])
        kind, text = mutated(random, root["attributes"])
        head, tail = encoded(root | {"attributes": "HERE"}).split(b'"HERE"')
        members[name] = head + text + tail
    else:
        kind, members[name] = mutated(random, json.loads(members[name]))
    if name not in ("manifest.json", "pieces.json") and random.random() < 0.8:
        manifest = json.loads(members["manifest.json"])
        manifest["files"][name] = record(members[name])
        members["manifest.json"] = encoded(manifest)
    what = name if name.count("/") == 0 else "a member"
    return f"{what} in the index: {kind}", published.with_index(packed(members), members["manifest.json"])


def _archives(published: Published, random: Random) -> tuple[str, dict[str, bytes | None]]:
    """The tar file's own structure: headers, order, members twice, missing, cut off."""
    members = unpacked(published.read(INDEX))
    names = list(members)
    kind = random.choice(("header", "header", "missing", "renamed", "twice", "cut", "sizes"))
    if kind == "missing":
        del members[random.choice(names)]
    elif kind == "renamed":
        members[random.choice((*PATHS[:-3], *names)).replace("\0", "") or "x"] = members.pop(random.choice(names))
    elif kind == "twice":
        entry = tarfile.TarInfo(random.choice(names))
        return "a member twice", published.with_index(packed(members, (entry, b"")))
    plain = bytearray(packed_tar(members))
    if kind == "cut":
        plain = plain[: random.randrange(len(plain))]
    elif kind in ("header", "sizes"):
        starts = [at for at in range(0, len(plain), 512) if plain[at + 257 : at + 262] == b"ustar"]
        at = random.choice(starts)
        if kind == "sizes":
            binary = b"\x80" + bytes(3) + struct.pack(">Q", 2**50)
            plain[at + 124 : at + 136] = random.choice((b"77777777777\0", b"00000000000\0", b"-0000000001\0", binary))
        else:
            plain[at + random.randrange(512)] ^= 1 << random.randrange(8)
        head = plain[at : at + 512]
        head[148:156] = b" " * 8
        plain[at + 148 : at + 156] = b"%06o\0 " % sum(head)
    return f"tar: {kind}", published.with_index(lzma.compress(bytes(plain), preset=0))


def _compressed(published: Published, random: Random) -> tuple[str, dict[str, bytes | None]]:
    contents = bytearray(published.read(INDEX))
    kind = random.choice(("flip", "cut", "behind", "other"))
    if kind == "flip":
        contents[random.randrange(len(contents))] ^= 1 << random.randrange(8)
    elif kind == "cut":
        contents = contents[: random.randrange(len(contents))]
    elif kind == "behind":
        contents += random.choice((bytes(4), b"garbage", bytes(contents)))
    else:
        alone = lzma.compress(b"", format=lzma.FORMAT_ALONE)
        contents = bytearray(random.choice((b"", b"BZh91AY", b"\x1f\x8b\x08", alone)))
    return f"xz: {kind}", published.with_index(bytes(contents))


def _remote_files(published: Published, random: Random) -> tuple[str, dict[str, bytes | None]]:
    """A file of the store that is not the one of the manifest."""
    path = f"{INSIDE}/{random.choice(published.template.names)}"
    contents = bytearray(published.read(path))
    kind = random.choice(("flip", "cut", "longer", "missing", "empty"))
    if kind == "missing":
        return "a file: missing", {path: None}
    if kind == "flip":
        contents[random.randrange(len(contents))] ^= 1 << random.randrange(8)
    changed = {"cut": contents[: len(contents) // 2], "longer": contents + bytes(9), "empty": b""}.get(kind, contents)
    return f"a file: {kind}", {path: bytes(changed)}
