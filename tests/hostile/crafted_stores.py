"""Hostile stores made on purpose: names that lead outside, sizes beyond reason, files that are none."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from json_mutations import PATHS, TEXTS, encoded
from stores import Change, Make, Template, given, record


def crafted(template: Template) -> Iterator[tuple[str, Make]]:
    """All of them, always the same."""
    yield from _named(template)
    yield from _sized(template)
    yield from _listed(template)
    yield from _no_files(template)
    yield from _replaced(template)


def attributes_changed(template: Template, **values: Any) -> dict[str, Change]:
    root = copy.deepcopy(template.documents["zarr.json"])
    root["attributes"] |= values
    return {"zarr.json": encoded(root)}


def _named(template: Template) -> Iterator[tuple[str, Make]]:
    absolute = "/tmp/planted"
    for field in ("task", "policy"):
        for name in (*PATHS, *TEXTS, absolute, "Another", "noise2", "noise-stock"):
            yield f"its {field}", given(template, lambda f=field, n=name: attributes_changed(template, **{f: n}))
    for field in ("state_names", "tangent_names", "action_names"):
        for name in (*PATHS[:3], *TEXTS):
            names = [name, *template.documents["zarr.json"]["attributes"][field][1:]]
            yield f"a name in {field}", given(template, lambda f=field, n=names: attributes_changed(template, **{f: n}))
    for text in TEXTS:
        pairs = [{"name": text, "geom1": text, "geom2": text}] * 2
        yield "names of contacts", given(template, lambda p=pairs: attributes_changed(template, contact_pairs=p))
        yield "provenance", given(template, lambda t=text: attributes_changed(template, provenance={t: {t: t}}))
        yield "its policies", given(template, lambda t=text: attributes_changed(template, policies=[t]))


def _sized(template: Template) -> Iterator[tuple[str, Make]]:
    """Numbers of rows that agree with each other, the arrays' documents included."""
    from dynamic_sparsity.schemas.documents import member_documents

    attributes = template.documents["zarr.json"]["attributes"]
    length = attributes["episode_length"]
    for episodes in (attributes["episodes"] + 1, 10**6, 20 * 2**36, 2**62 // length, 2**64):
        for more in ({}, {"shard_rows": 16 * 2**40}, {"chunk_rows": 2**40, "shard_rows": 2**40}):
            changed = {"rows": episodes * length, "episodes": episodes, **more}

            def changes(changed: dict[str, Any] = changed) -> dict[str, Change]:
                now = attributes | changed
                members = member_documents(now)
                root = template.documents["zarr.json"] | {"attributes": now}
                made: dict[str, Change] = {f"{path}/zarr.json": encoded(one) for path, one in members.items()}
                made["zarr.json"] = encoded(root)
                manifest = copy.deepcopy(template.documents["manifest.json"])
                manifest |= {"rows": now["rows"], "episodes": now["episodes"]}
                for name, contents in made.items():
                    assert isinstance(contents, bytes)
                    manifest["files"][name] = record(contents)
                return made | {"manifest.json": encoded(manifest)}

            yield "rows without end", given(template, changes)
    for sizes in ({"nq": 10**5, "ds": 10**5 + 2}, {"nc": 2**40}, {"nv": 2**31, "dx": 2**32}):
        changed = attributes["sizes"] | sizes
        yield "sizes of a state", given(template, lambda c=changed: attributes_changed(template, sizes=c))


def _listed(template: Template) -> Iterator[tuple[str, Make]]:
    """Manifests that list more, less or other files than there are."""
    good = template.documents["manifest.json"]
    entry = record(b"planted")
    outside = "state/c/0/../../../../../outside/planted"
    for name in (*PATHS, outside, "state/c/1/0", "state//c/0/0", "x/c/0", "x/zarr.json"):
        files = good["files"] | {name: entry}
        yield "a file that is listed", given(template, lambda f=files: {"manifest.json": encoded(good | {"files": f})})
    for size in (0, 1, -1, 2**40, 2**63, 1.5, True, "12", None):
        files = good["files"] | {"state/c/0/0": good["files"]["state/c/0/0"] | {"bytes": size}}
        yield "a size that is listed", given(template, lambda f=files: {"manifest.json": encoded(good | {"files": f})})
    many = good["files"] | {f"state/c/{number}/0": entry for number in range(200_000)}
    yield "many files listed", given(template, lambda: {"manifest.json": encoded(good | {"files": many})})
    for name in template.names:
        if name.endswith("zarr.json") or "/c/0" in name:
            less = {one: entry for one, entry in good["files"].items() if one != name}
            changes: dict[str, Change] = {"manifest.json": encoded(good | {"files": less}), name: None}
            yield "a file that is missing", given(template, lambda c=changes: c)


def _no_files(template: Template) -> Iterator[tuple[str, Make]]:
    """FIFOs, folders, links, devices and holes in the place of files."""

    def secret(path: Path) -> Path:
        return path.parents[len(path.relative_to(_box(path)).parts)] / "outside/folder/secret.bin"

    kinds: dict[str, Callable[[Path], Any]] = {
        "a FIFO": os.mkfifo,
        "a folder": os.mkdir,
        "a link to nothing": lambda path: path.symlink_to("nothing"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to a secret": lambda path: path.symlink_to(secret(path)),
        "a link to an endless file": lambda path: path.symlink_to("/dev/zero"),
        "a link to a terminal": lambda path: path.symlink_to("/dev/tty"),
        "a hole of a terabyte": lambda path: (path.touch(), os.truncate(path, 2**40)),
        "an unreadable file": lambda path: (path.touch(), path.chmod(0)),
    }
    documents = ("zarr.json", "manifest.json", "shards/00000.json", "state/zarr.json", "episodes/zarr.json")
    arrays = (
        "state/c/0/0",
        "mask_s/c/1/0/0",
        "episodes/start/zarr.json",
        "episodes/start/c/0",
        "statistics/rows_all/c",
    )
    for name in (*documents, *arrays):
        for kind, make in kinds.items():
            yield f"{kind} for {name}", given(template, lambda n=name, m=make: {n: m}, sealed=False)
    for name in ("state", "shards", "episodes", "statistics/rows_all"):
        kind = f"a link for the folder {name}"
        yield kind, _linked_folder(template, name)


def _box(path: Path) -> Path:
    """The folder `in` that a path is below."""
    return next(parent for parent in path.parents if parent.name == "in").parent


def _linked_folder(template: Template, name: str) -> Make:
    def make(folder: Path) -> Path:
        store = template.write(folder / "Pendulums/noise.zarr", {})
        moved = folder / "elsewhere"
        (store / name).rename(moved)
        (store / name).symlink_to(moved)
        return store

    return make


def _replaced(template: Template) -> Iterator[tuple[str, Make]]:
    """Arrays whose metadata promise other values than the bytes are."""
    for name in ("state", "mask_s", "episodes/start", "statistics/state_mean", "statistics/rows_all"):
        good = template.documents[f"{name}/zarr.json"]
        plain: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        for field, values in {
            "data_type": ("float64", "int32", "uint64", "complex128", "bool", "string", "r8", "variable_length_bytes"),
            "shape": ([], [0], [3 * 10**9], [-1], [96, 2**40], [96.0, 4], [True]),
            "fill_value": (7, "Infinity", [], None, "0x00"),
            "codecs": ([], plain, [*plain, {"name": "gzip"}], [{"name": "numcodecs.pickle"}], [{"name": "vlen-utf8"}]),
            "chunk_key_encoding": ({"name": "v2"}, {"name": "default", "configuration": {"separator": "."}}),
            "chunk_grid": ({"name": "regular", "configuration": {"chunk_shape": [1]}}, {"name": "other"}),
            "storage_transformers": ([{"name": "x"}],),
            "attributes": ({"a": [0] * 10**6},),
            "must_understand_me": ({"must_understand": True},),
        }.items():
            for value in values:
                text = encoded(good | {field: value})
                yield f"{field} of {name}", given(template, lambda n=name, t=text: {f"{n}/zarr.json": t})
