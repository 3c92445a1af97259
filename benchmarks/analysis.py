"""How long it takes to answer Q1 to Q3 from all rows, against reading the same columns once with a plain loop.

Both sides take turns, each time in a process of its own, so that the peak of its memory is its own too.

    python benchmarks/analysis.py [--store STORE | --rows N] [--repetitions R] [--json PATH]
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from example_store import write_example_store

from dynamic_sparsity.loaders.load import open_dataset

COLUMNS = ("mask_s", "mask_a", "active_any", "J_s", "J_a")
READ_ROWS = 4096
SIDES = ("plain loop", "analysis")
SLOWER_AT_MOST, BYTES_AT_MOST = 2.0, 2e9


def read(store: Path) -> None:
    """The plain loop."""
    dataset = open_dataset(store, columns=COLUMNS)
    for start in range(0, len(dataset), READ_ROWS):
        dataset[start : start + READ_ROWS]


def analyse(store: Path) -> None:
    """Everything that `analyze` takes from all rows."""
    from dynamic_sparsity.analysis.study import EXCLUDED_FLAGS, totals

    totals(open_dataset(store, exclude_flags=EXCLUDED_FLAGS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--store", type=Path, help="a store; else one of CheetahRun's shape is made up")
    source.add_argument("--rows", type=int, default=1_000_000, help="rows of the made-up store (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="of both sides (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        return _measure_here(arguments.side, arguments.store)
    with tempfile.TemporaryDirectory() as folder:
        store = arguments.store or write_example_store(Path(folder), arguments.rows)
        found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        _measure("plain loop", store)  # so that the first side does not read from a colder disk than the second
        for _ in range(arguments.repetitions):
            for side in SIDES:
                found[side].append(_measure(side, store))
                print(f"{side:12} {found[side][-1]['seconds']:7.2f} s {found[side][-1]['peak_bytes'] / 1e9:6.2f} GB")
        dataset = open_dataset(store)
        rows, task = len(dataset), dataset.store.task
    seconds = {side: statistics.median(one["seconds"] for one in found[side]) for side in SIDES}
    cpu = {side: statistics.median(one["cpu_seconds"] for one in found[side]) for side in SIDES}
    peak = {side: max(one["peak_bytes"] for one in found[side]) for side in SIDES}
    ratio = seconds["analysis"] / seconds["plain loop"]
    results = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "packages": {name: importlib.metadata.version(name) for name in ("numpy", "numcodecs")},
        "store": f"{task}, {rows:,} rows" + ("" if arguments.store else ", made up"),
        "repetitions": arguments.repetitions,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_bytes": peak,
        "ratio": ratio,
        "cpu_ratio": cpu["analysis"] / cpu["plain loop"],
    }
    for words, value, most in (
        ("time, as a multiple", ratio, SLOWER_AT_MOST),
        ("bytes", peak["analysis"], BYTES_AT_MOST),
    ):
        print(f"{words}: {value:.3g}, at most {most:.3g}: {'reached' if value <= most else 'MISSED'}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def _measure(side: str, store: Path) -> dict[str, float]:
    words = [sys.executable, __file__, "--side", side, "--store", str(store)]
    found: dict[str, float] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return found


def _measure_here(side: str, store: Path) -> None:
    start = time.perf_counter()
    {"plain loop": read, "analysis": analyse}[side](store)
    seconds, usage = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    unit = 1 if sys.platform == "darwin" else 1024
    cpu = usage.ru_utime + usage.ru_stime
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": usage.ru_maxrss * unit}))


if __name__ == "__main__":
    main()
