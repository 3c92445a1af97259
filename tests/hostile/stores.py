"""Hostile stores: a good one, changed in its documents, files or bytes, and sealed again with right checksums."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from json_mutations import encoded, mutated
from trials import Arguments, Hostile

from dynamic_sparsity.testing import stores as synthetic

Change = bytes | None | Callable[[Path], None]
"""New bytes of a file, None for no such file, or what makes something else of it at its path."""

Make = Callable[[Path], Path]
"""Writes a store below a folder; returns its path."""

SIZES = {"episodes": 12, "episode_length": 8, "hinges": 2, "chunk_rows": 16, "shard_rows": 48, "early": {3: 5}}
INSIDE = "Pendulums/noise.zarr"
COMMANDS: Mapping[str, Callable[[Path, Path], list[str]]] = {
    "verify": lambda store, out: ["verify", str(store)],
    "info": lambda store, out: ["info", str(store)],
    "list": lambda store, out: ["list", "--root", str(store.parent.parent)],
    "status": lambda store, out: ["status", str(store), "--json"],
    "analyze": lambda store, out: [
        *("analyze", str(store), "--out", str(out / "results")),
        *("--map-rows", "0", "--no-frames", "--format", "svg"),
    ],
    "report": lambda store, out: [
        *("report", str(store.parent.parent), "--out", str(out / "page"), "--map-rows", "0", "--frames", "0"),
    ],
    "train-learner": lambda store, out: [
        *("train-learner", "Pendulums", "--learner", "ridge", "--protocol", "smoke", "--seeds", "0"),
        *("--root", str(store.parent.parent), "--out", str(out / "results"), "--models", str(out / "models")),
    ],
}


@dataclass(frozen=True, eq=False)
class Template:
    """A good store that hostile ones are made from, by hard links; nobody may change its files.

    Attributes:
        path: The store.
        digests: Of its values, by `readers.digests`.
        documents: Its JSON files, parsed.
    """

    path: Path
    digests: Mapping[str, str]
    documents: Mapping[str, Any]

    @staticmethod
    def make(folder: Path, **options: Any) -> Template:
        from readers import digests

        from dynamic_sparsity.loaders import open_dataset

        path = synthetic.make_store(folder / INSIDE, **(SIZES | options))
        documents = {
            file.relative_to(path).as_posix(): json.loads(file.read_bytes()) for file in sorted(path.rglob("*.json"))
        }
        return Template(path, digests(open_dataset(path)), documents)

    @property
    def content(self) -> dict[str, str]:
        """Digests of the data alone."""
        return {name: value for name, value in self.digests.items() if not name.startswith("metadata.")}

    @property
    def names(self) -> list[str]:
        """Its files but the manifest."""
        return list(self.documents["manifest.json"]["files"])

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, target: Path, changes: Mapping[str, Change], *, sealed: bool = True) -> Path:
        """Write the store with changes.

        Args:
            target: The new store.
            changes: By file; "manifest.json" is taken as it is.
            sealed: Whether manifests get the digests of changed bytes.
        """
        self._lay_out(target, changes)
        changes = dict(changes)
        if sealed and "manifest.json" not in changes:
            changes |= self._seals(changes)
        _CHANGED[str(target)] = self, tuple(changes)
        for name, change in changes.items():
            (target / name).unlink(missing_ok=True)
            if isinstance(change, bytes):
                (target / name).write_bytes(change)
            elif change is not None:
                change(target / name)
        return target

    def _lay_out(self, target: Path, changes: Mapping[str, Change]) -> None:
        """Link all files to where the store shall be; where the last one was left, only mend what was changed."""
        last, names = _CHANGED.get(str(target), (None, ()))
        everything = [*self.names, "manifest.json"]
        if last is not self or not target.is_dir() or not set(names) <= set(everything):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            names = everything
        for folder in {(target / name).parent for name in (*names, *changes)}:
            folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            path = target / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            os.link(self.path / name, path)

    def _seals(self, changes: Mapping[str, Change]) -> dict[str, bytes]:
        """The manifests of shards, and then of the store, with the digests of what was changed."""
        made: dict[str, bytes] = {}
        records = {name: record(change) for name, change in changes.items() if isinstance(change, bytes)}
        for name, document in self.documents.items():
            if name.startswith("shards/") and name not in changes and records.keys() & document["files"].keys():
                files = {file: records.get(file, entry) for file, entry in document["files"].items()}
                made[name] = encoded(document | {"files": files})
                records[name] = record(made[name])
        manifest = self.documents["manifest.json"]
        gone = {name for name, change in changes.items() if change is None}
        files = {name: entry for name, entry in (manifest["files"] | records).items() if name not in gone}
        return made | {"manifest.json": encoded(manifest | {"files": files})}


_CHANGED: dict[str, tuple[Template, tuple[str, ...]]] = {}
"""Of a folder the template that was written there last, and the names of the files that were changed."""


def record(contents: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(contents).hexdigest(), "bytes": len(contents)}


def given(template: Template, changes: Callable[[], Mapping[str, Change]], *, sealed: bool = True) -> Make:
    """What writes a hostile store into a box's folder `in`, with the changes made there and then."""

    def make(folder: Path) -> Path:
        return template.write(folder / INSIDE, changes(), sealed=sealed)

    return make


def to_reader(kind: str, reader: str, make: Make, expect: Mapping[str, str] | None) -> Hostile:
    """A hostile store for a reader: a function of `readers`, or one of `COMMANDS`."""

    def arguments(box: Path) -> Arguments:
        store = make(box / "in")
        if reader in COMMANDS:
            return {"words": COMMANDS[reader](store, box / "out")}
        return {"path": str(store), "root": str(store.parent.parent)}

    return Hostile(f"{kind} ({reader})", "command" if reader in COMMANDS else reader, arguments, expect, stays=True)


def document_mutations(template: Template, seed: int, count: int) -> Iterator[tuple[str, Make]]:
    """Stores with one document changed: attributes, metadata of arrays and groups, manifests."""
    random = Random(seed)
    groups = {
        "attributes": ["zarr.json"],
        "manifest": ["manifest.json"],
        "shard manifest": [name for name in template.documents if name.startswith("shards/")],
        "array metadata": [name for name in template.documents if name.count("/") == 1 and name.endswith("zarr.json")],
        "table metadata": [name for name in template.documents if name.count("/") == 2],
    }
    for _ in range(count):
        group = random.choice(("attributes", "attributes", *groups))
        name = random.choice(groups[group])
        document = template.documents[name]
        if group == "attributes":
            # Of the root's document the attributes matter most; the rest is a copy of the arrays' documents.
            part = "attributes" if random.random() < 0.85 else "consolidated_metadata"
            kind, text = mutated(random, document[part])
            head, tail = encoded({**document, part: "HERE"}).split(b'"HERE"')
            contents = head + text + tail
        else:
            kind, contents = mutated(random, document)
        yield f"{group}: {kind}", given(template, lambda name=name, contents=contents: {name: contents})
