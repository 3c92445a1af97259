"""Are chunks and shards of the right size for the large rows of robots? Made-up rows, cut in several ways.

    python benchmarks/row_sizes.py [--dx N …] [--rows N] [--json PATH] [--markdown PATH]

Of each size of the tangent state, stores with the default chunks, a quarter and up to four times of them, and with
shards of a quarter of the rows. By processor time, in turns: random minibatches of 256 rows with all Jacobians, one
pass in order, and the first minibatch after opening, which has to check the shards that it touches.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from outputs import write
from provenance import made_with, sentence

from dynamic_sparsity import load_dataset
from dynamic_sparsity.storage.chunking import chunk_rows
from dynamic_sparsity.testing import make_store

LENGTH, MINIBATCH = 128, 256
COLUMNS = ["state", "action", "next_state", "J_s", "J_a", "mask_s"]


def cuts(dx: int, rows: int) -> list[tuple[int, int]]:
    """Chunk and shard rows to compare: the default first."""
    default = chunk_rows(dx)
    return [(default, rows), (max(16, default // 4), rows), (min(1024, 4 * default), rows), (default, rows // 4)]


def timed(repetitions: int, task: Any) -> float:
    """Median processor time, s."""
    found = []
    for _ in range(repetitions):
        began = time.process_time()
        task()
        found.append(time.process_time() - began)
    return statistics.median(found)


def measure(dx: int, rows: int, folder: Path) -> list[dict[str, Any]]:
    """Records of one size."""
    roots, records = {}, []
    for chunk, shard in cuts(dx, rows):
        root = folder / f"{dx}-{chunk}-{shard}"
        began = time.process_time()
        options = {"hinges": dx // 2, "actions": dx // 4, "episodes": rows // LENGTH, "episode_length": LENGTH}
        path = make_store(root / "Pendulums" / "noise.zarr", chunk_rows=chunk, shard_rows=shard, **options)
        made = time.process_time() - began
        roots[chunk, shard] = root
        files = [file for file in path.rglob("*") if file.is_file()]
        records.append(
            {
                "dx": dx, "rows": rows, "chunk_rows": chunk, "shard_rows": shard, "default": not records,
                "row_bytes": sum(file.stat().st_size for file in files) // rows,
                "chunk_bytes": chunk * dx * dx * 4, "shard_bytes": shard * dx * dx * 4, "files": len(files),
                "made_s": made,
            }
        )  # fmt: skip
    times: dict[str, list[list[float]]] = {name: [[] for _ in records] for name in ("first", "random", "scan")}
    for turn in range(5):
        for number, root in enumerate(roots.values()):
            draws = np.random.default_rng(turn).integers(0, rows, (8, MINIBATCH))
            data = load_dataset("Pendulums", root=root, columns=COLUMNS)
            times["first"][number].append(timed(1, lambda data=data, draws=draws: data[draws[0]]))
            times["random"][number].append(timed(1, lambda data=data, draws=draws: [data[one] for one in draws]))
            parts = range(0, rows, MINIBATCH)
            scan = timed(1, lambda data=data, parts=parts: [data[at : at + MINIBATCH] for at in parts])
            times["scan"][number].append(scan)
    for number, record in enumerate(records):
        record["first_s"] = statistics.median(times["first"][number])
        record["random_rows_per_s"] = 8 * MINIBATCH / statistics.median(times["random"][number])
        record["scan_rows_per_s"] = rows / statistics.median(times["scan"][number])
    return records


def markdown(records: list[dict[str, Any]]) -> str:
    """The table as a page."""
    lines = [
        "# Chunks and shards of large rows",
        "",
        f"Made by `benchmarks/row_sizes.py`, which says what is compared, by processor time. {sentence(records[0])}.",
        "In bold what `generate` chooses. *Chunk*, *shard*: of J_s. *First*: the first minibatch of 256 rows after "
        "opening, with the checksums of what it touches.",
        "",
        "| dx | row, kB | chunk | rows | shard | rows | files | random, rows/s | in order, rows/s | first, s |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in records:
        bold = "**" if one["default"] else ""
        cells = [
            str(one["dx"]), f"{one['row_bytes'] / 1e3:.1f}",
            f"{bold}{one['chunk_bytes'] / 2**20:.2f} MiB{bold}", f"{one['chunk_rows']:,}",
            f"{one['shard_bytes'] / 2**20:.0f} MiB", f"{one['shard_rows']:,}", f"{one['files']:,}",
            f"{one['random_rows_per_s']:,.0f}", f"{one['scan_rows_per_s']:,.0f}", f"{one['first_s']:.2f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dx", type=int, nargs="+", default=[36, 50, 70], help="even; Go1, H1, G1 by default")
    parser.add_argument("--rows", type=int, default=8192, help="a power of two (default: %(default)s)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    records: list[dict[str, Any]] = []
    for dx in options.dx:
        with tempfile.TemporaryDirectory() as folder:
            records += [one | made_with("numpy", "zarr") for one in measure(dx, options.rows, Path(folder))]
    print(page := markdown(records))
    write(records, page, options.json, options.markdown)


if __name__ == "__main__":
    main()
