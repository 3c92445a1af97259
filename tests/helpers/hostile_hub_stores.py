"""Lies of a published store: of its manifest, attributes, pieces and files, which all else agrees with."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from hub_files import (
    BAD_VALUES,
    GROUP,
    HUGE,
    MANIFEST,
    PIECES,
    SECRET,
    Files,
    Json,
    Mutation,
    change_members,
    digest,
    edit_attributes,
    edit_entry,
    edit_manifest,
    edit_members,
    edit_pieces,
    edit_small_file,
    encode,
    entry_of,
    members_of,
    put_members,
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
        yield f"pieces: {name}", partial(change_members, lambda members, text=text: members.update({PIECES: text}))


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
