"""Compact storage against raw: bytes per row, scans and random minibatches.

    python benchmarks/storage.py ROOT [--rounds N] [--json PATH] [--markdown PATH]

Takes every raw store below ROOT, and makes a compact copy of it in a temporary folder. Bytes are those of the row
arrays' shards, with the padding of the last chunk. Both are read in turns, warm: all rows in blocks of 1024, and
minibatches of 256 random rows, all columns; what is compared is the median over the rounds. Chunks are decoded every
time: the copy is opened with no memory for decoded arrays beyond that for the chunks used last.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from provenance import made_with, sentence

from dynamic_sparsity.loaders import find_stores, open_store
from dynamic_sparsity.storage.convert import convert_store

BLOCK_ROWS = 1024
BATCH_ROWS = 256
DECODED_BYTES = 0


def shard_bytes(path: Path, arrays: tuple[str, ...]) -> int:
    """Bytes of a store's row arrays on disk."""
    return sum(file.stat().st_size for name in arrays for file in (path / name / "c").rglob("*") if file.is_file())


def seconds(action: Any) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def compare(path: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """One record."""
    copy = convert_store(path, folder, "compact")
    sides = {"raw": open_store(path), "compact": open_store(copy, decoded_bytes=DECODED_BYTES)}
    store = sides["raw"]
    random = np.random.default_rng(0)
    times: dict[str, dict[str, list[float]]] = {side: {"scan": [], "batch": []} for side in sides}
    for number in range(rounds + 1):
        rows = random.integers(0, store.rows, (8, BATCH_ROWS))
        for side, opened in sides.items():
            starts = range(0, store.rows, BLOCK_ROWS)

            def scan(opened: Any = opened, starts: Any = starts) -> None:
                for start in starts:
                    opened.reader.read(opened.arrays, start, min(start + BLOCK_ROWS, opened.rows))

            def batches(opened: Any = opened, rows: Any = rows) -> None:
                for batch in rows:
                    opened.reader.gather(opened.arrays, batch)

            found = seconds(scan), seconds(batches)
            if number:  # the first round opens files
                times[side]["scan"].append(found[0])
                times[side]["batch"].append(found[1])
    middle = {side: {what: statistics.median(found) for what, found in one.items()} for side, one in times.items()}
    before, after = shard_bytes(path, store.arrays), shard_bytes(copy, store.arrays)
    return {
        "task": store.task,
        "policy": store.policy,
        "rows": store.rows,
        "raw_bytes_per_row": before / store.rows,
        "compact_bytes_per_row": after / store.rows,
        "bytes": after / before,
        "scan_speed": middle["raw"]["scan"] / middle["compact"]["scan"],
        "batch_speed": middle["raw"]["batch"] / middle["compact"]["batch"],
        "compact_rows_per_second": store.rows / middle["compact"]["scan"],
    }


def markdown(document: dict[str, Any]) -> str:
    """The records as a page."""
    lines = [
        "# Compact storage against raw",
        "",
        f"Made by `benchmarks/storage.py`, which says what is compared. {sentence(document)}.",
        "",
        "| task | policy | rows | raw, bytes/row | compact, bytes/row | bytes | scan speed | random rows' speed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in document["records"]:
        lines.append(
            f"| {r['task']} | {r['policy']} | {r['rows']:,} | {r['raw_bytes_per_row']:,.0f} "
            f"| {r['compact_bytes_per_row']:,.0f} | {r['bytes']:.2f} | {r['scan_speed']:.2f} | {r['batch_speed']:.3f} |"
        )
    means = document["geometric_means"]
    lines.append(
        f"| geometric mean | | | | | {means['bytes']:.2f} | {means['scan_speed']:.2f} | {means['batch_speed']:.3f} |"
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare all stores, print and write the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    records = []
    for location in find_stores(options.root):
        with tempfile.TemporaryDirectory() as folder:
            records.append(compare(location.path, Path(folder), options.rounds))
        print(json.dumps(records[-1]), flush=True)
    keys = ("bytes", "scan_speed", "batch_speed")
    means = {key: statistics.geometric_mean(record[key] for record in records) for key in keys}
    document = {"records": records, "geometric_means": means, **made_with("numpy", "numcodecs")}
    print(json.dumps(means))
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(document))


if __name__ == "__main__":
    main()
