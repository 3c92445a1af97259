"""Compact storage against raw: bytes per row, scans and random minibatches.

    python benchmarks/storage.py ROOT... [--rounds N] [--json PATH] [--markdown PATH]

Takes the finished raw stores below each ROOT, noise and expert, of one task for each dynamics (of several the first),
and makes a compact copy of each in a temporary folder; records that PATH has already are kept. Bytes are those of the
row arrays' shards; raw ones without the padding of the last chunk, which compresses to nothing. Both are read in turns,
warm: all rows in blocks of 1024, and minibatches of 256 random rows, all columns. A speed is raw's processor time over
compact's, in the median over the rounds, and its quartiles are those of the rounds' ratios.

There are four speeds. `scan_speed` is that of a store too large to be kept decoded: both sides are opened with no
memory for decoded arrays, so that every compressed chunk (masks and flags also in raw stores) is decoded each time.
`first_speed` is that of opening a store as users do, and reading all rows once: checksums of all bytes, decoding into
memory. `decoded_speed` is that of random minibatches afterwards. `batch_speed` is that of random minibatches in a store
so large that nothing is kept and each row lies in another chunk; it is worked out: a row takes as long as a chunk of a
scan.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import outputs
from local_graphs import DYNAMICS
from numpy.typing import NDArray
from provenance import made_with, sentence

from dynamic_sparsity.generation.jobs import sample
from dynamic_sparsity.loaders import find_stores, open_store
from dynamic_sparsity.loaders.shards import reader
from dynamic_sparsity.loaders.store.store import Store
from dynamic_sparsity.storage.convert import convert_store
from dynamic_sparsity.storage.manifests import read_attributes

BLOCK_ROWS = 1024
BATCH_ROWS = 256
BATCHES = 8


def shard_bytes(path: Path, arrays: tuple[str, ...]) -> int:
    """Bytes of a store's row arrays on disk."""
    return sum(file.stat().st_size for name in arrays for file in (path / name / "c").rglob("*") if file.is_file())


def seconds(action: Callable[[], object]) -> float:
    """How much processor time a call takes, of all threads."""
    began = time.process_time()
    action()
    return time.process_time() - began


def scan(store: Store) -> None:
    """Read all rows in order."""
    for start in range(0, store.rows, BLOCK_ROWS):
        store.reader.read(store.arrays, start, min(start + BLOCK_ROWS, store.rows))


def batches(store: Store, rows: NDArray[np.int64]) -> None:
    """Read random minibatches."""
    for batch in rows:
        store.reader.gather(store.arrays, batch)


def compare(path: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """One record."""
    copy = convert_store(path, folder, "compact")
    store, decoded = open_store(path), open_store(copy)
    large = {"raw": open_store(path, decoded_bytes=0), "compact": open_store(copy, decoded_bytes=0)}
    random = np.random.default_rng(0)
    times: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        rows = random.integers(0, store.rows, (BATCHES, BATCH_ROWS))
        actions = {
            "raw scan": lambda: scan(large["raw"]),
            "compact scan": lambda: scan(large["compact"]),
            "raw batch": lambda rows=rows: batches(store, rows),
            "decoded batch": lambda rows=rows: batches(decoded, rows),
            "raw first": lambda: scan(open_store(path)),
            "compact first": lambda: scan(open_store(copy)),
        }
        for name, action in actions.items():
            spent = seconds(action)
            if number:  # the first round opens files
                times.setdefault(name, []).append(spent)
    chunk_rows = store.metadata["chunk_rows"]
    before = shard_bytes(path, store.arrays) * store.rows / (-(-store.rows // chunk_rows) * chunk_rows)
    after = shard_bytes(copy, store.arrays)

    found = {name: np.array(spent) for name, spent in times.items()}
    row_of_batch = found["raw batch"] / (BATCHES * BATCH_ROWS)
    chunk_of_scan = found["compact scan"] / -(-store.rows // chunk_rows)
    speeds = {
        "scan_speed": found["raw scan"] / found["compact scan"],
        "first_speed": found["raw first"] / found["compact first"],
        "decoded_speed": found["raw batch"] / found["decoded batch"],
        "batch_speed": row_of_batch / chunk_of_scan,
    }
    return {
        "task": store.task,
        "policy": store.policy,
        "rows": store.rows,
        "raw_bytes_per_row": before / store.rows,
        "compact_bytes_per_row": after / store.rows,
        "bytes": after / before,
        **{name: float(np.median(ratios)) for name, ratios in speeds.items()},
        **{f"{name}_quartiles": np.percentile(ratios, (25, 75)).tolist() for name, ratios in speeds.items()},
        "raw_rows_per_second": store.rows / statistics.median(times["raw scan"]),
        "compact_rows_per_second": store.rows / statistics.median(times["compact scan"]),
    }


def means_of(records: list[dict[str, Any]]) -> dict[str, float]:
    """Geometric means."""
    keys = ("bytes", "scan_speed", "first_speed", "decoded_speed", "batch_speed")
    return {key: statistics.geometric_mean(record[key] for record in records) for key in keys}


def markdown(document: dict[str, Any]) -> str:
    """The records as a page."""
    lines = [
        "# Compact storage against raw",
        "",
        f"Made by `benchmarks/storage.py`, which says what is compared. {sentence(document)}.",
        "",
        "| task | policy | rows | raw, bytes/row | compact, bytes/row | bytes | scans, large store | first scan "
        "| random rows, decoded in memory | random rows, large store |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in document["records"]:
        lines.append(
            f"| {r['task']} | {r['policy']} | {r['rows']:,} | {r['raw_bytes_per_row']:,.0f} "
            f"| {r['compact_bytes_per_row']:,.0f} | {r['bytes']:.2f} | {shown(r, 'scan_speed')} "
            f"| {shown(r, 'first_speed')} | {shown(r, 'decoded_speed')} | {shown(r, 'batch_speed', 4)} |"
        )
    for name, means in document["geometric_means"].items():
        lines.append(
            f"| **geometric mean**, {name} | | | | | **{means['bytes']:.2f}** | **{means['scan_speed']:.2f}** "
            f"| **{means['first_speed']:.2f}** | {means['decoded_speed']:.2f} | {means['batch_speed']:.4f} |"
        )
    lines += ["", "Brackets have the quartiles over the rounds."]
    return "\n".join(lines) + "\n"


def shown(record: dict[str, Any], key: str, digits: int = 2) -> str:
    """A speed with its quartiles."""
    low, high = record[f"{key}_quartiles"]
    return f"{record[key]:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def main() -> None:
    """Compare all stores, print and write the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    reader.CACHE_BYTES = 1
    stores: dict[tuple[str, str], Path] = {}
    for location in (location for root in options.root for location in find_stores(root)):
        attributes, key = read_attributes(location.path), (location.task, location.policy)
        wanted = location.task in DYNAMICS and location.policy in sample.POLICIES
        if wanted and attributes["complete"] and attributes.get("storage", "raw") == "raw":
            stores.setdefault(key, location.path)
    there = json.loads(options.json.read_text())["records"] if options.json and options.json.exists() else []
    records = {(record["task"], record["policy"]): record for record in there}
    for key, path in sorted(stores.items()):
        if key in records:
            continue
        with tempfile.TemporaryDirectory() as folder:
            records[key] = compare(path, Path(folder), options.rounds)
        print(json.dumps(records[key]), flush=True)
        write(options, [record for _, record in sorted(records.items())])


def write(options: argparse.Namespace, records: list[dict[str, Any]]) -> None:
    """Write what was measured so far."""
    means = {"all": means_of(records)}
    if paper := [record for record in records if record["task"] in sample.TASKS]:
        means["the paper's tasks"] = means_of(paper)
    document = {"records": records, "geometric_means": means, **made_with("numpy", "numcodecs")}
    print(json.dumps(means))
    outputs.write(document, markdown(document), options.json, options.markdown)


if __name__ == "__main__":
    main()
