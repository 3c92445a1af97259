"""Hostile input that the tests of single readers have lists of, brought to the campaign's readers."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import hostile_hdf5
import hostile_hdf5_v1
import hostile_hub
import hostile_results
import hostile_stores
import hub_files
import hubs
import readers
import stores
from hubs import Published
from trials import Arguments, Hostile

from dynamic_sparsity.loaders import open_dataset

Case = tuple[str, Callable[[Path], Any]]


def of_stores(good: Path) -> Iterator[Hostile]:
    """Of `hostile_stores`, whose mutations change a copy of a store in its place."""
    found = readers.digests(open_dataset(good))
    expect = {name: one for name, one in found.items() if not name.startswith("metadata.")}
    for name, mutate in hostile_stores.mutations():

        def make(box: Path, mutate: Callable[[Path], None] = mutate) -> Arguments:
            store = box / "in" / stores.INSIDE
            shutil.rmtree(box / "in", ignore_errors=True)  # what stayed of the input before
            shutil.copytree(good, store)
            mutate(store)
            return {"path": str(store)}

        # A compressed chunk whose checksums fit is data, whatever is in it: if it can be read, then always to the same.
        yield Hostile(f"stores: {name}", "load", make, None if "frame" in name else expect)


def of_publications(published: Published, seed: int = 5) -> Iterator[Hostile]:
    """Of `hostile_hub`, whose mutations change a dictionary of a repository's files."""
    random = Random(seed)
    good = hub_files.files_of(published.server, hubs.REPOSITORY)
    for name, mutate in hostile_hub.mutations():

        def changes(mutate: Callable[[dict[str, bytes]], None] = mutate) -> dict[str, bytes | None]:
            files = dict(good)
            mutate(files)
            changed: dict[str, bytes | None] = {path: one for path, one in files.items() if good.get(path) != one}
            return changed | dict.fromkeys(good.keys() - files.keys())

        yield hubs.to_reader(published, f"hub: {name}", changes, random)


def of_hdf5(path: Path, expect: Mapping[str, str], count: int) -> Iterator[Hostile]:
    """Of `hostile_hdf5`: damaged and forged files of the present version, and what is no file."""
    content = path.read_bytes()
    cases = itertools.chain(hostile_hdf5.damaged(content, count), hostile_hdf5.forged(content), hostile_hdf5.no_files())
    for kind, make in cases:
        yield _one("hdf5: " + kind.split(" ")[0], "hdf5", "rows.h5", make, expect)


def of_old_hdf5(store: Path, secret: Path) -> Iterator[Hostile]:
    """Of `hostile_hdf5`: files of the first version, which libhdf5 has to read, in a process of its own."""
    dataset = open_dataset(store)
    found = readers.digests(dataset)
    expect = {name: one for name, one in found.items() if name.startswith("rows.")}
    for kind, make in hostile_hdf5_v1.hostile_version_1(dataset, secret):
        yield _one(f"old hdf5: {kind}", "hdf5", "rows.h5", make, expect)


def of_results(document: dict[str, Any], table: bytes) -> Iterator[Hostile]:
    """Of `hostile_results`: results and leaderboards for `leaderboard`."""
    for kind, make in hostile_results.hostile_results(document):
        yield _leaderboard(f"results: {kind}", "results/x.json", make)
    for kind, make in hostile_results.hostile_leaderboards(table.decode()):
        yield _leaderboard(f"leaderboards: {kind}", "board.csv", make)


def of_policies(path: Path, expect: Mapping[str, str]) -> Iterator[Hostile]:
    """Of `hostile_results`: policies, whose task may be any where no record is beside them."""
    record = json.loads(path.with_suffix(".json").read_bytes())
    only = {name: one for name, one in expect.items() if name.startswith("rows.")}
    for kind, make in hostile_results.hostile_policies(path.read_bytes(), record):
        yield _one(f"policies: {kind}", "policy", "x.safetensors", make, only)


def of_models(path: Path, words: Callable[[Path, Path], list[str]]) -> Iterator[Hostile]:
    """Of `hostile_results`: saved networks for `evaluate`."""
    for kind, make in hostile_results.hostile_models(path.read_bytes()):

        def arguments(box: Path, make: Callable[[Path], Any] = make) -> Arguments:
            make(box / "in/x.npz")
            return {"words": words(box / "in/x.npz", box / "out")}

        yield Hostile(f"models: {kind}", "command", arguments, {})


def spread(inputs: Iterable[Hostile], step: int) -> Iterator[Hostile]:
    """Every so many of them."""
    return itertools.islice(inputs, 0, None, step)


def _one(kind: str, reader: str, name: str, make: Callable[[Path], Any], expect: Mapping[str, str]) -> Hostile:
    def arguments(box: Path) -> Arguments:
        make(box / "in" / name)
        return {"path": str(box / "in" / name)}

    return Hostile(kind, reader, arguments, expect)


def _leaderboard(kind: str, name: str, make: Callable[[Path], Any]) -> Hostile:
    def arguments(box: Path) -> Arguments:
        path = box / "in" / name
        path.parent.mkdir(exist_ok=True)
        make(path)
        source = path if path.suffix == ".csv" else path.parent
        page, csv = box / "out/board.md", box / "out/board.csv"
        return {"words": ["leaderboard", str(source), "--out", str(page), "--csv", str(csv)]}

    return Hostile(kind, "command", arguments, {})
