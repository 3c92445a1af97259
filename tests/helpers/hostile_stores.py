"""Stores whose checksums are right and whose content means harm: each mutation is made, then everything is sealed anew.

`mutations()` lists them by name. Each takes the folder of a synthetic store (`synthetic.make_store` with its defaults)
and changes it in place; what a reader gives afterwards must be the right data or one of our errors.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from store_edits import (
    Mutation,
    add_to_manifest,
    change_array_document,
    change_index,
    change_json,
    change_shard,
    rename_in_manifest,
    replace_file,
    reseal,
    set_attribute,
    set_frame_field,
    set_rows,
)

NAMES = [
    "../../outside",
    "/outside",
    "state/c/0/../../../../outside",
    "a\n",
    "\x1b[31mred",
    "[bold]x[/bold]",
    "<!--<script>",
    "con",
    "x" * 5000,
    "",
    "\u202eevil",
    "v٣",
]
NUMBERS = [-1, 0, 2**31, 2**36, 2**63, 2**64, 10**30, 1.5, 16.0, True, None, "8", [], {}]


def mutations() -> Iterator[tuple[str, Mutation]]:
    """Every mutation, by a name that says what it does."""
    yield from _attribute_mutations()
    yield from _size_mutations()
    yield from _manifest_mutations()
    yield from _document_mutations()
    yield from _shard_mutations()
    yield from _file_mutations()


def _attribute_mutations() -> Iterator[tuple[str, Mutation]]:
    texts: list[tuple[str | int, ...]] = [
        ("task",), ("policy",), ("dynamics",), ("format",), ("schema_version",), ("coordinates",),
        ("state_names", 0), ("tangent_names", 0), ("action_names", 0), ("joints", 0, "name"), ("joints", 0, "type"),
        ("constraints", 0, "name"), ("constraints", 0, "kind"), ("contact_pairs", 0, "name"),
        ("contact_pairs", 0, "geom1"), ("policies", 0), ("splits", 0), ("settings_sha256",),
    ]  # fmt: skip
    for keys in texts:
        for number, name in enumerate([*NAMES, None, 3, ["a"], {"a": 1}]):
            yield f"attribute {keys} is text {number}", partial(set_attribute, keys=keys, value=name)
    numbers: list[tuple[str | int, ...]] = [
        ("rows",), ("episodes",), ("episode_length",), ("chunk_rows",), ("shard_rows",), ("substeps",),
        ("timestep",), ("control_dt",), ("mask_threshold",), ("joints", 0, "qpos_address"), ("flag_bits", "padding"),
        *(("sizes", key) for key in ("nq", "nv", "na", "nu", "ds", "dx", "da", "nc", "np")),
    ]  # fmt: skip
    for keys in numbers:
        for number, value in enumerate(NUMBERS):
            yield f"attribute {keys} is number {number}", partial(set_attribute, keys=keys, value=value)
    for key in ("settings", "provenance", "sizes", "joints", "flag_bits", "state_names", "policies"):
        for number, value in enumerate([None, [], {}, "x", 3, [[]], {"a": {"b": [1] * 100}}, [{}] * 20_000]):
            yield f"attribute {key} is value {number}", partial(set_attribute, keys=(key,), value=value)
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    yield "settings are nested deeply", partial(set_attribute, keys=("settings", "deep"), value=deep)


def _size_mutations() -> Iterator[tuple[str, Mutation]]:
    yield "rows without end", partial(set_rows, rows=20 * 2**36)
    yield "rows without end in one shard", partial(set_rows, rows=20 * 2**36, shard_rows=2**42, chunk_rows=2**42)
    yield "one chunk of many rows", partial(set_rows, rows=240, shard_rows=2**20, chunk_rows=2**20)
    yield "many rows in few shards", partial(set_rows, rows=3 * 2**24, shard_rows=2**24, chunk_rows=2**10)
    for rows in (239, 241, 260, 480, 2**20):
        yield f"{rows} rows", partial(set_rows, rows=rows)


def _manifest_mutations() -> Iterator[tuple[str, Mutation]]:
    for number, name in enumerate(NAMES):
        yield f"a shard file is called {number}", partial(rename_in_manifest, old="state/c/0/0", new=name)
        yield f"a file {number} is added", partial(add_to_manifest, name=name)
    for key in ("schema_version", "complete", "rows", "episodes", "files"):
        for number, value in enumerate([None, [], {}, "x", -1, 2**70, True]):
            yield (
                f"manifest's {key} is value {number}",
                lambda store, key=key, value=value: change_json(
                    store / "manifest.json", lambda document: document.update({key: value})
                ),
            )
    for field in ("sha256", "bytes"):
        for number, value in enumerate([None, "", "0" * 64, "0" * 64 + "\n", 2**60, -5, 1.0, True, {}]):
            yield (
                f"a file's {field} is value {number}",
                lambda store, field=field, value=value: change_json(
                    store / "manifest.json", lambda document: document["files"]["state/c/0/0"].update({field: value})
                ),
            )
    for number, value in enumerate([None, [], "x", 3]):
        yield (
            f"a file's entry is value {number}",
            lambda store, value=value: change_json(
                store / "manifest.json", lambda document: document["files"].update({"state/c/0/0": value})
            ),
        )


def _document_mutations() -> Iterator[tuple[str, Mutation]]:
    changes: dict[str, dict[str, Any]] = {
        "a huge shape": {"shape": [3_000_000_000]},
        "a negative shape": {"shape": [-1, 6]},
        "other numbers": {"data_type": "float64"},
        "strings": {"data_type": "string"},
        "objects": {"data_type": {"name": "fixed_length_utf32", "configuration": {"length_bytes": 4}}},
        "a codec of pickles": {"codecs": [{"name": "numcodecs.pickle"}]},
        "no codecs": {"codecs": []},
        "gzip": {"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "gzip"}]},
        "big-endian numbers": {"codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]},
        "another fill value": {"fill_value": 0},
        "a storage transformer": {"storage_transformers": [{"name": "x"}]},
        "a group": {"node_type": "group"},
        "other chunks": {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2**40, 6]}}},
    }
    for array in ("state", "mask_s", "episodes/start", "statistics/state_mean"):
        for what, change in changes.items():
            yield (
                f"{array} says {what}",
                partial(
                    change_array_document, array=array, change=lambda document, change=change: document.update(change)
                ),
            )


def _update(document: dict[str, Any], change: dict[str, Any]) -> None:
    document.update(change)


def _shard_mutations() -> Iterator[tuple[str, Mutation]]:
    for name in ("mask_s/c/0/0/0", "flags/c/1", "reward/c/0"):
        fields = [("version", 0, 1), ("codec version", 1, 1), ("flags", 2, 1), ("typesize", 3, 1)]
        for what, offset, size in fields:
            for value in (0, 1, 2, 4, 8, 0x21, 0x94, 0x96, 0xFF):
                yield (
                    f"{name}: frame's {what} {value}",
                    partial(set_frame_field, name=name, offset=offset, value=value, size=size),
                )
        for what, offset in (
            ("decoded size", 4),
            ("block size", 8),
            ("own size", 12),
            ("first block", 16),
            ("block", 20),
        ):
            for value in (-1, 0, 1, 15, 16, 1000, 2**20, 2**30, 2**31 - 1):
                yield (
                    f"{name}: frame's {what} {value}",
                    partial(set_frame_field, name=name, offset=offset, value=value, size=4),
                )
        yield f"{name}: an empty chunk", partial(change_shard, name=name, change=lambda pieces: [b"", *pieces[1:]])
        yield f"{name}: a chunk too few", partial(change_shard, name=name, change=lambda pieces: pieces[:-1])
        yield f"{name}: a chunk too many", partial(change_shard, name=name, change=lambda pieces: [*pieces, pieces[0]])
        yield f"{name}: no chunk", partial(change_shard, name=name, change=lambda pieces: [])
        for seed in range(40):
            yield (
                f"{name}: random frame {seed}",
                partial(change_shard, name=name, change=partial(_scrambled, seed=seed)),
            )
    for name in ("state/c/0/0", "mask_s/c/0/0/0"):
        for place in ((0, 0), (0, 1), (1, 0), (4, 1)):
            for value in (0, 1, 2**31, 2**63, 2**64 - 1, 100):
                yield f"{name}: index {place} is {value}", partial(change_index, name=name, place=place, value=value)
    for seed in range(10):
        yield f"state: random bytes {seed}", partial(_random_bytes, name="state/c/0/0", seed=seed)


def _scrambled(pieces: list[bytes], seed: int) -> list[bytes]:
    random = np.random.default_rng(seed)
    frame = bytearray(pieces[0])
    for place in random.integers(0, len(frame), random.integers(1, 6)):
        frame[place] = random.integers(0, 256)
    return [bytes(frame), *pieces[1:]]


def _random_bytes(store: Path, name: str, seed: int) -> None:
    size = (store / name).stat().st_size
    (store / name).write_bytes(np.random.default_rng(seed).bytes(size))
    reseal(store)


def _file_mutations() -> Iterator[tuple[str, Mutation]]:
    kinds = ("fifo", "folder", "link", "loop", "device", "sparse", "nested", "wide", "array", "latin", "huge number")
    for name in ("manifest.json", "zarr.json", "shards/00000.json", "state/zarr.json", "state/c/0/0", "flags/c/0",
                 "episodes/start/c/0", "statistics/state_mean/c/0"):  # fmt: skip
        for kind in kinds:
            yield f"{name} is a {kind}", partial(replace_file, name=name, kind=kind)
            if kind in ("nested", "wide", "array", "latin", "huge number"):
                yield f"{name} is a {kind}, sealed", partial(_replace_and_seal, name=name, kind=kind)
    yield "the store is a file", _store_is_a_file


def _replace_and_seal(store: Path, name: str, kind: str) -> None:
    replace_file(store, name, kind)
    if name != "manifest.json":
        reseal(store, but=store / name)


def _store_is_a_file(store: Path) -> None:
    shutil.rmtree(store)
    store.write_bytes(b"no store")
