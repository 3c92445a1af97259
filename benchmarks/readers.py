"""How fast rows are read: this package's reader and the usual others, the same rows of the same arrays.

All readers are measured in turn, several times over, in one process with warm caches; a figure is the median.
Random minibatches are also read minibatch by minibatch in turns with the plain npy memmap, by processor time: of that
the quartiles are reported, as wall time on a busy machine says more about the machine.

    python benchmarks/readers.py [--store STORE | --rows N] [--repetitions R] [--in-turns] [--json PATH]
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from example_store import write_example_store
from reader_kinds import BATCH_ROWS, COLUMNS, KINDS, Batch, Ours, Reader

from dynamic_sparsity.loaders.dataset import JacobianDataset
from dynamic_sparsity.loaders.load import open_dataset

PATTERNS = ("random minibatches", "shuffled blocks", "full scan")
PACKAGES = ("numpy", "zarr", "numcodecs", "h5py", "pyarrow", "datasets")
# What the loaders promise for random minibatches, as multiples of another reader's rate.
FLOORS = {"h5py contiguous": 20.0}
IN_TURNS_FLOOR = 1.0
"""The same against the plain npy memmap, by the medians of minibatches in turns."""

IN_TURNS = 2000
"""Minibatches of each side."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--store", type=Path, help="a store without padding rows; else one is made up")
    source.add_argument("--rows", type=int, default=200_000, help="rows of the made-up store (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="of every measurement (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.4, help="per measurement (default: %(default)s)")
    parser.add_argument("--in-turns", action="store_true", help="only minibatches in turns with the npy memmap")
    parser.add_argument("--json", type=Path, help="where to write the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = arguments.store or write_example_store(Path(folder), arguments.rows)
        dataset = open_dataset(store, columns=COLUMNS)
        print(dataset)
        readers = list(_make_readers(dataset, Path(folder), KINDS[:2] if arguments.in_turns else KINDS))
        _check(readers, dataset)
        rates = {} if arguments.in_turns else _measure(readers, arguments.repetitions, arguments.seconds)
        in_turns = compare_in_turns(readers[0], readers[1])
    results = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "task": dataset.store.task,
        "rows": len(dataset),
        "shards": -(-len(dataset) // int(dataset.metadata["shard_rows"])),
        "batch_rows": BATCH_ROWS,
        "repetitions": arguments.repetitions,
        "rows_per_second": rates,
        "minibatches_in_turns": in_turns,
    }
    if rates:
        _print_table(rates)
    print(
        f"minibatches in turns: {in_turns['speed']:.2f} times as fast as npy memmap, by the quartiles "
        f"{', '.join(f'{one:.2f}' for one in in_turns['speed_by_quartile'])}; floor {IN_TURNS_FLOOR:g}: "
        f"{'reached' if in_turns['speed'] >= IN_TURNS_FLOOR else 'MISSED'}"
    )
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def _make_readers(dataset: JacobianDataset, folder: Path, kinds: Sequence[type[Reader]]) -> Iterator[Reader]:
    for kind in kinds:
        missing = [package for package in kind.packages if _version(package) is None]
        if missing:
            print(f"{kind.name}: left out, {' and '.join(missing)} not installed (extra 'benchmark')")
            continue
        place = folder / kind.__name__
        place.mkdir()
        yield kind(dataset, place)


def _check(readers: list[Reader], dataset: JacobianDataset) -> None:
    """All readers must give the same rows; this also warms the caches."""
    rows = np.random.default_rng(0).permutation(len(dataset))[:BATCH_ROWS]
    expected = dataset[rows]
    for reader in readers:
        for name, values in reader.take(rows).items():
            np.testing.assert_array_equal(values, expected[name], err_msg=f"{reader.name}: {name}")
        for batch in islice(reader.scan(), 4):
            _touch(batch)


def _measure(readers: list[Reader], repetitions: int, seconds: float) -> dict[str, dict[str, float]]:
    """Median rows per second by pattern and reader; the readers take turns, so that all see the same weather."""
    found: dict[str, dict[str, list[float]]] = {
        pattern: {reader.name: [] for reader in readers} for pattern in PATTERNS
    }
    for repetition in range(repetitions):
        for pattern in PATTERNS:
            for reader in readers:
                make = lambda epoch, reader=reader, pattern=pattern: reader.batches(pattern, epoch)  # noqa: E731
                found[pattern][reader.name].append(_rate(make, repetition, seconds))
    return {
        pattern: {name: round(statistics.median(rates)) for name, rates in by_reader.items()}
        for pattern, by_reader in found.items()
    }


def compare_in_turns(ours: Reader, other: Reader, minibatches: int = IN_TURNS) -> dict[str, Any]:
    """Processor time of random minibatches, each side's in turns and each of other rows: quartiles in microseconds."""
    random = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {ours.name: [], other.name: []}
    for _ in range(minibatches):
        for reader in (ours, other):
            rows = random.integers(0, reader.row_count, BATCH_ROWS)
            began = time.process_time()
            reader.take(rows)
            seconds[reader.name].append(time.process_time() - began)
    quartiles = {name: np.percentile(found, (25, 50, 75)) * 1e6 for name, found in seconds.items()}
    speeds = quartiles[other.name] / quartiles[ours.name]
    return {
        "minibatches": minibatches,
        "microseconds": {name: found.round(1).tolist() for name, found in quartiles.items()},
        "speed_by_quartile": speeds.round(3).tolist(),
        "speed": round(float(speeds[1]), 3),
    }


def _rate(make: Callable[[int], Iterator[Batch]], seed: int, seconds: float) -> float:
    """Rows per second over at least `seconds`, going round again where the rows don't last."""
    rows, epoch, start = 0, 0, time.perf_counter()
    while True:
        for batch in make(1000 * seed + epoch):
            rows += _touch(batch)
            elapsed = time.perf_counter() - start
            if elapsed > seconds:
                return rows / elapsed
        epoch += 1


def _touch(batch: Batch) -> int:
    return len(batch["state"])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _print_table(rates: dict[str, dict[str, float]]) -> None:
    print(f"\n{'rows per second':24}" + "".join(f"{pattern:>22}" for pattern in PATTERNS) + f"{'ours / this':>14}")
    random = rates[PATTERNS[0]]
    for name in random:
        figures = "".join(f"{rates[pattern][name]:>22,.0f}" for pattern in PATTERNS)
        print(f"{name:24}{figures}{random[Ours.name] / random[name]:>14.2f}")
    for name, floor in FLOORS.items():
        if name in random:
            ratio = random[Ours.name] / random[name]
            verdict = "reached" if ratio >= floor else "MISSED"
            print(f"random minibatches against {name}: {ratio:.2f} times as fast, floor {floor:g}: {verdict}")


if __name__ == "__main__":
    main()
