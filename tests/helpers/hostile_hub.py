"""Hostile publications: every way in which a repository on the Hub may lie, as changes of a good one.

    for name, mutate in mutations():
        files = dict(good)          # path in the repository to bytes, of `files_of`
        mutate(files)
        install(server, "org/hostile", files)

Whatever a change of an inner document needs outside of it (digests, sizes) is made right again, so that the lie itself
is what a reader has to find.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Callable, Iterator
from functools import cache, partial
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


# --- taking a publication apart, and putting it together again


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


# --- the lies


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
            partial(_change_members, lambda m, name=name: m.update({name: SECRET})),
        )
    for name in ("partial.json", "state/c/0/0", "more", "shards/99999.json", "J_s/c/0/0/0"):
        yield f"index: a member {name} too many", partial(_change_members, lambda m, name=name: m.update({name: b"{}"}))
    for name in (MANIFEST, PIECES, GROUP, "episodes/start/zarr.json", "shards/00000.json", "state/zarr.json"):
        yield f"index: no {name}", partial(_change_members, lambda m, name=name: m.pop(name))
        yield f"index: another {name}", partial(_change_members, lambda m, name=name: m.update({name: m[name] + b" "}))
        yield f"index: empty {name}", partial(_change_members, lambda m, name=name: m.update({name: b""}))
    yield (
        "index: many members",
        partial(_change_members, lambda members: members.update({f"more/{number}": b"" for number in range(250_000)})),
    )


def manifest_mutations() -> Iterator[Mutation]:
    """Lies of a store's manifest, which all else agrees with."""
    evil = "datasets/{repository}/resolve/main/evil"
    for name, ups in {"outside the store": 6, "outside the cache": 10}.items():
        down = "/".join(evil.split("/")[10 - ups :]) if ups < 10 else evil
        yield f"manifest: writes {name}", partial(_escape, "state/c/0/" + "../" * ups + down)
    for name in ("/tmp/escaped", "../escaped", "state/c/../c/0/0", ".bashrc", "state/c/0/0\n", "state/c/0/0/../0", ""):
        yield f"manifest: lists {name!a}", partial(_list_file, name)
    for place in (
        "state/c/99",
        "state/c/²",
        "state/c/-1",
        "state/c/00/0",
        "state/c/0",
        f"state/c/{10**9}/0",
        "J_x/c/0/0",
    ):
        yield f"manifest: lists {place!a}", partial(_list_file, place)
    shard = "J_s/c/1/0/0"
    for kind, value in BAD_VALUES.items():
        for key in ("bytes", "sha256"):
            yield f"manifest: {key} of a shard is {kind}", partial(_set_record, shard, key, value)
        for key in ("files", "rows", "episodes", "schema_version", "complete"):
            yield (
                f"manifest: {key} is {kind}",
                partial(_change_manifest, lambda m, key=key, value=value: m.update({key: value})),
            )
    for value in (0, 1, 2**40, 2**62):
        yield f"manifest: a shard of {value} bytes", partial(_set_record, shard, "bytes", value)
        yield f"manifest: a compressed shard of {value} bytes", partial(_set_record, "mask_s/c/1/0/0", "bytes", value)
        yield f"manifest: a small file of {value} bytes", partial(_set_record, "state/zarr.json", "bytes", value)
    yield "manifest: a shard is not listed", partial(_change_manifest, lambda manifest: manifest["files"].pop(shard))
    yield (
        "manifest: an array is not listed",
        partial(
            _change_manifest,
            lambda manifest: [manifest["files"].pop(n) for n in [*manifest["files"]] if n.startswith("J_s/")],
        ),
    )
    yield (
        "manifest: an entry has more keys",
        partial(_change_manifest, lambda manifest: manifest["files"][shard].update(more=1)),
    )
    yield "manifest: more keys", partial(_change_manifest, lambda manifest: manifest.update(more=1))
    yield "manifest: two shards swapped", partial(_change_manifest, partial(_swap, shard, "J_s/c/0/0/0"))
    yield (
        "manifest: many files",
        partial(
            _change_manifest,
            lambda manifest: manifest["files"].update(
                {f"J_s/c/{n}/0/0": manifest["files"][shard] for n in range(5, 300_000)}
            ),
        ),
    )
    nested = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield "manifest: nested", partial(_replace_manifest, nested)
    yield "manifest: many objects", partial(_replace_manifest, b'{"files": [' + b"{}," * 8_000_000 + b"{}]}")
    for name in (GROUP, "state/zarr.json", "shards/00000.json", "episodes/zarr.json", "episodes/start/zarr.json"):
        yield f"{name}: nested", partial(edit_small_file, name=name, change=lambda contents: nested)
        yield f"{name}: no JSON", partial(edit_small_file, name=name, change=lambda contents: b"nonsense")
        yield f"{name}: a list", partial(edit_small_file, name=name, change=lambda contents: b"[]")
    yield (
        "episodes/start: outside",
        partial(edit_small_file, name="episodes/start/c/0", change=lambda old: b"\x7f" * len(old)),
    )
    yield (
        "episodes/length: zero",
        partial(edit_small_file, name="episodes/length/c/0", change=lambda old: bytes(len(old))),
    )
    yield "episodes/split: too long", partial(edit_small_file, name="episodes/split/c/0", change=lambda old: old * 1000)


def attribute_mutations() -> Iterator[Mutation]:
    """Lies of a store's own metadata, which manifest and publication agree with."""
    keys = ("task", "policy", "dynamics", "rows", "episodes", "episode_length", "chunk_rows", "shard_rows", "sizes")
    for key in (*keys, "splits", "joints", "settings", "flag_bits", "complete"):
        for kind, value in BAD_VALUES.items():
            yield (
                f"attributes: {key} is {kind}",
                partial(_change_attributes, lambda a, key=key, value=value: a.update({key: value})),
            )
    changes: dict[str, Callable[[Json], Any]] = {
        "of another task": lambda a: a.update(task="Others"),
        "of another policy": lambda a: a.update(policy="expert"),
        "absurd rows": lambda a: a.update(rows=HUGE, episodes=20, episode_length=2**36),
        "absurd shards": lambda a: a.update(shard_rows=2**40),
        "shards of one row": lambda a: a.update(shard_rows=1, chunk_rows=1),
        "one row per episode": lambda a: a.update(episodes=a["rows"], episode_length=1),
        "absurd sizes": lambda a: _set_sizes(a, 10**9),
        "large sizes": lambda a: _set_sizes(a, 2000),
        "not complete": lambda a: a.update(complete=False),
        "deep settings": lambda a: a.update(settings=_deep(200)),
    }
    for name, change in changes.items():
        yield f"attributes: {name}", partial(_change_attributes, change)
    yield "attributes: absurd rows everywhere", _absurd_rows


def pieces_mutations() -> Iterator[Mutation]:
    """Lies about the pieces of shards."""
    shard = "J_s/c/1/0/0"
    for key in ("rows", "offsets", "sha256"):
        yield f"pieces: no {key}", partial(_change_piece, shard, lambda piece, key=key: piece.pop(key))
        for kind, value in BAD_VALUES.items():
            yield (
                f"pieces: {key} is {kind}",
                partial(_change_piece, shard, lambda p, key=key, value=value: p.update({key: value})),
            )
    changes: dict[str, Callable[[Json], Any]] = {
        "fewer rows per piece": lambda piece: piece.update(rows=max(1, piece["rows"] // 2)),
        "more rows per piece": lambda piece: piece.update(rows=piece["rows"] * 1000),
        "no rows per piece": lambda piece: piece.update(rows=0),
        "a hole": lambda piece: _hole(piece),
        "negative offset": lambda piece: piece["offsets"].__setitem__(0, -8),
        "offset behind the end": lambda piece: piece["offsets"].__setitem__(-1, 2**40),
        "offsets in disorder": lambda piece: piece["offsets"].reverse(),
        "nested offsets": lambda piece: piece.update(offsets=[piece["offsets"]]),
        "offsets as text": lambda piece: piece.update(offsets=[str(offset) for offset in piece["offsets"]]),
        "offsets as fractions": lambda piece: piece.update(offsets=[offset + 0.5 for offset in piece["offsets"]]),
        "offset of 2**70": lambda piece: piece["offsets"].__setitem__(1, 2**70),
        "one offset": lambda piece: piece.update(offsets=[0], sha256=_joined(1)),
        "a million offsets": lambda piece: piece.update(offsets=list(range(10**6)), sha256=_joined(10**6)),
        "digests too short": lambda piece: piece.update(sha256=_joined(1)),
        "other digests": lambda piece: piece.update(sha256=_joined(len(piece["offsets"]))),
        "more keys": lambda piece: piece.update(more=1),
    }
    for name, change in changes.items():
        yield f"pieces: {name}", partial(_change_piece, shard, change)
        yield f"pieces of a compressed shard: {name}", partial(_change_piece, "mask_s/c/1/0/0", change)
    for name in ("../x", "state/zarr.json", "J_s/c/99/0/0", "J_x/c/0/0", "/tmp/x"):
        yield (
            f"pieces: of {name}",
            partial(_change_pieces, lambda d, name=name: d["files"].update({name: d["files"][shard]})),
        )
    for kind, value in BAD_VALUES.items():
        yield f"pieces: files is {kind}", partial(_change_pieces, lambda d, value=value: d.update(files=value))
        yield (
            f"pieces: a file is {kind}",
            partial(_change_pieces, lambda d, value=value: d["files"].update({shard: value})),
        )
    yield "pieces: more keys", partial(_change_pieces, lambda document: document.update(more=1))
    texts = {
        "nested": b"[" * 200_000,
        "no JSON": b"nonsense",
        "a list": b"[]",
        "many objects": b'{"files": [' + b"{}," * 8_000_000 + b"{}]}",
    }
    for name, text in texts.items():
        yield f"pieces: {name}", partial(_change_members, lambda members, text=text: members.update({PIECES: text}))


def shard_mutations() -> Iterator[Mutation]:
    """Files that are not what the manifest says."""
    for name in ("J_s/c/1/0/0", "mask_s/c/1/0/0", "state/c/0/0"):
        yield f"{name}: missing", partial(_change_shard, name, lambda old: None)
        yield f"{name}: empty", partial(_change_shard, name, lambda old: b"")
        yield f"{name}: one byte less", partial(_change_shard, name, lambda old: old[:-1])
        yield f"{name}: more", partial(_change_shard, name, lambda old: old + b"more" * 2**20)
        yield f"{name}: zeros", partial(_change_shard, name, lambda old: bytes(len(old)))
        yield f"{name}: published zeros", partial(_publish_shard, name, lambda old: bytes(len(old)))
        yield f"{name}: published shorter", partial(_publish_shard, name, lambda old: old[: len(old) // 2])
        yield f"{name}: published longer", partial(_publish_shard, name, lambda old: old + bytes(1000))


# --- how they are told


def _put(path: str, contents: bytes, files: Files) -> None:
    files[path] = contents


def _set_key(key: str, value: Any, files: Files) -> None:
    edit_publication(files, lambda document: document.update({key: value}))


def _change(change: Callable[[Json], Any], files: Files) -> None:
    edit_publication(files, change)


def _change_entry(change: Callable[[Json], Any], files: Files) -> None:
    edit_entry(files, change)


def _change_members(change: Callable[[Files], Any], files: Files) -> None:
    edit_members(files, change)


def _change_manifest(change: Callable[[Json], Any], files: Files) -> None:
    edit_manifest(files, change, recount=False)


def _change_attributes(change: Callable[[Json], Any], files: Files) -> None:
    edit_attributes(files, change)


def _change_pieces(change: Callable[[Json], Any], files: Files) -> None:
    edit_pieces(files, change)


def _change_piece(shard: str, change: Callable[[Json], Any], files: Files) -> None:
    edit_pieces(files, lambda document: change(document["files"][shard]))


def _set_record(name: str, key: str, value: Any, files: Files) -> None:
    edit_manifest(files, lambda manifest: manifest["files"][name].update({key: value}), recount=False)


def _swap(one: str, other: str, manifest: Json) -> None:
    records = manifest["files"]
    records[one], records[other] = records[other], records[one]


def _list_file(name: str, files: Files) -> None:
    """List a file that the store has no place for; it is there."""
    record = {"sha256": digest(SECRET), "bytes": len(SECRET)}
    edit_manifest(files, lambda manifest: manifest["files"].update({name: record}))
    files[f"{entry_of(files)['path']}/{name}"] = SECRET


def _escape(name: str, files: Files) -> None:
    """List a file that lies outside the store, with pieces that leave a hole, so that it is fetched by ranges."""
    contents = SECRET * 2000
    record = {"sha256": digest(contents), "bytes": len(contents)}
    repository = "org/hostile"
    name = name.format(repository=repository)
    files["evil"] = contents
    edit_manifest(files, lambda manifest: manifest["files"].update({name: record}))
    offsets = [0, 100, len(contents) - 100]
    joined = b"".join(
        hashlib.sha256(contents[start:stop]).digest()
        for start, stop in zip(offsets, [*offsets[1:], len(contents)], strict=True)
    )
    piece = {"rows": 16, "offsets": offsets, "sha256": base64.b64encode(joined).decode()}
    edit_pieces(files, lambda document: document["files"].update({name: piece}))


def _replace_manifest(contents: bytes, files: Files) -> None:
    members = members_of(files)
    members[MANIFEST] = contents
    put_members(files, members, recount=False)


def _change_shard(name: str, change: Callable[[bytes], bytes | None], files: Files) -> None:
    path = f"{entry_of(files)['path']}/{name}"
    changed = change(files[path])
    if changed is None:
        del files[path]
    else:
        files[path] = changed
    if name in members_of(files):
        edit_members(files, lambda members: members.pop(name))


def _publish_shard(name: str, change: Callable[[bytes], bytes], files: Files) -> None:
    """Another shard, with its own digest and size in the manifest, and no pieces."""
    path = f"{entry_of(files)['path']}/{name}"
    contents = files[path] = change(files[path])
    edit_manifest(
        files, lambda manifest: manifest["files"].update({name: {"sha256": digest(contents), "bytes": len(contents)}})
    )

    def changed(members: Files) -> None:
        document = json.loads(members[PIECES])
        document["files"].pop(name, None)
        members[PIECES] = encode(document)
        if name in members:
            members[name] = contents

    edit_members(files, changed)


def _absurd_rows(files: Files) -> None:
    """So many rows, in metadata, manifest and publication alike, that a loop over the shards would not end."""
    edit_attributes(files, lambda a: a.update(rows=HUGE, episodes=20, episode_length=2**36))
    edit_manifest(files, lambda manifest: manifest.update(rows=HUGE, episodes=20))
    edit_entry(files, lambda entry: entry.update(rows=HUGE))


def _set_sizes(attributes: Json, number: int) -> None:
    sizes = attributes["sizes"]
    sizes.update(nq=number, nv=number, ds=2 * number + sizes["na"], dx=2 * number + sizes["na"])
    if number < 10**6:
        attributes.update(
            state_names=[f"s{n}" for n in range(sizes["ds"])], tangent_names=[f"t{n}" for n in range(sizes["dx"])]
        )


def _deep(levels: int) -> Json:
    document: Json = {}
    for _ in range(levels):
        document = {"a": document}
    return document


def _joined(number: int) -> str:
    return base64.b64encode(bytes(32 * number)).decode()


def _hole(piece: Json) -> None:
    """Leave the second piece out, so that its bytes belong to the first."""
    joined = base64.b64decode(piece["sha256"])
    piece["offsets"].pop(1)
    piece["sha256"] = base64.b64encode(joined[:32] + joined[64:]).decode()


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
