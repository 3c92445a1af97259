"""A publication on the tests' server taken apart, changed and put together again.

Whatever a change of an inner document needs outside of it (digests, sizes) is made right again, so that the change
itself is what a reader has to find.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

from dynamic_sparsity.testing import HubServer, Repository

Files = dict[str, bytes]
Json = dict[str, Any]
Mutation = tuple[str, Callable[[Files], None]]
PUBLICATION, MANIFEST, PIECES, GROUP = "publication.json", "manifest.json", "pieces.json", "zarr.json"
SECRET = b"what nobody may write elsewhere\n"
HUGE = 20 * 2**36
BAD_VALUES: dict[str, Any] = {
    "null": None,
    "list": [],
    "object": {},
    "empty": "",
    "negative": -1,
    "fraction": 1.5,
    "whole fraction": 1000.0,
    "true": True,
    "2**70": 2**70,
    "upwards": "../../../../../../escaped",
    "absolute": "/tmp/escaped",
    "zero byte": "a\0b",
    "line feed": "a\n",
    "dots": "..",
    "long": "x" * 5000,
    "other digits": "٣",
    "markup": "[b]<script>",
}


def files_of(server: HubServer, repository: str) -> Files:
    """All files of a published repository."""
    return {path: server.content(repository, path) for path in server.files(repository)}


def install(server: HubServer, repository: str, files: Files) -> None:
    """Make a repository that has just these files."""
    made = server.repositories[repository] = Repository()
    server.commit(made, {path: server.store(content, lfs=path != PUBLICATION) for path, content in files.items()})


def encode(document: Any) -> bytes:
    return json.dumps(document).encode()


def digest(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def entry_of(files: Files) -> Json:
    """The publication's entry of its first store."""
    found: Json = json.loads(files[PUBLICATION])["stores"][0]
    return found


def edit_publication(files: Files, change: Callable[[Json], Any]) -> None:
    document = json.loads(files[PUBLICATION])
    change(document)
    files[PUBLICATION] = encode(document)


def edit_entry(files: Files, change: Callable[[Json], Any]) -> None:
    edit_publication(files, lambda document: change(document["stores"][0]))


def members_of(files: Files) -> Files:
    """The members of the first store's index."""
    with tarfile.open(fileobj=io.BytesIO(files[entry_of(files)["index"]["path"]]), mode="r:xz") as archive:
        return {entry.name: (archive.extractfile(entry) or io.BytesIO()).read() for entry in archive}


def pack(members: Files, extra: tuple[tarfile.TarInfo, ...] = (), preset: int = 0) -> bytes:
    """An index of members, and of entries without content, the latter first."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz", preset=preset, format=tarfile.PAX_FORMAT) as archive:
        for entry in extra:
            archive.addfile(entry)
        for name, contents in sorted(members.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(contents)
            archive.addfile(entry, io.BytesIO(contents))
    return stream.getvalue()


def put_index(files: Files, contents: bytes) -> None:
    """Publish other bytes as the first store's index, with their digest and size."""
    path = entry_of(files)["index"]["path"]
    files[path] = contents
    edit_entry(files, lambda entry: entry["index"].update(sha256=digest(contents), bytes=len(contents)))


def edit_members(files: Files, change: Callable[[Files], Any]) -> None:
    members = members_of(files)
    change(members)
    put_index(files, pack(members))


def put_members(files: Files, members: Files, *, recount: bool = True) -> None:
    """Publish other small files: as members of the index, as files of the store, with the manifest's digest."""
    store = entry_of(files)["path"]
    for name, contents in members.items():
        if name != PIECES:
            files[f"{store}/{name}"] = contents
    put_index(files, pack(members))
    manifest = members[MANIFEST]
    edit_entry(files, lambda entry: entry.update(manifest_sha256=digest(manifest)))
    if recount:
        total = sum(record["bytes"] for record in json.loads(manifest)["files"].values())
        edit_entry(files, lambda entry: entry.update(bytes=total))


def edit_manifest(files: Files, change: Callable[[Json], Any], *, recount: bool = True) -> None:
    members = members_of(files)
    manifest = json.loads(members[MANIFEST])
    change(manifest)
    members[MANIFEST] = encode(manifest)
    put_members(files, members, recount=recount)


def edit_small_file(files: Files, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change a small file of the store; the manifest says that it is so."""
    members = members_of(files)
    members[name] = change(members[name])
    manifest = json.loads(members[MANIFEST])
    manifest["files"][name] = {"sha256": digest(members[name]), "bytes": len(members[name])}
    members[MANIFEST] = encode(manifest)
    put_members(files, members)


def edit_attributes(files: Files, change: Callable[[Json], Any]) -> None:
    def changed(contents: bytes) -> bytes:
        document = json.loads(contents)
        change(document["attributes"])
        return encode(document)

    edit_small_file(files, GROUP, changed)


def edit_pieces(files: Files, change: Callable[[Json], Any]) -> None:
    def changed(members: Files) -> None:
        document = json.loads(members[PIECES])
        change(document)
        members[PIECES] = encode(document)

    edit_members(files, changed)


def change_members(change: Callable[[Files], Any], files: Files) -> None:
    edit_members(files, change)
