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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from example_store import write_example_store
from numpy.typing import NDArray

from dynamic_sparsity.loaders.dataset import JacobianDataset
from dynamic_sparsity.loaders.load import open_dataset

COLUMNS = ("state", "action", "next_state", "J_s", "J_a", "mask_s", "mask_a")
BATCH_ROWS, SCAN_ROWS = 256, 4096
PATTERNS = ("random minibatches", "shuffled blocks", "full scan")
PACKAGES = ("numpy", "zarr", "numcodecs", "h5py", "pyarrow", "datasets")
# What the loaders promise for random minibatches, as multiples of another reader's rate.
FLOORS = {"h5py contiguous": 20.0}
IN_TURNS_FLOOR = 1.0
"""The same against the plain npy memmap, by the medians of minibatches in turns."""

IN_TURNS = 2000
"""Minibatches of each side."""

Batch = dict[str, NDArray[Any]]


class Reader(ABC):
    """One way to store and read the arrays."""

    name: str
    packages: tuple[str, ...] = ()

    def __init__(self, dataset: JacobianDataset, folder: Path):
        self.row_count = len(dataset)
        self.block_rows = int(dataset.metadata["chunk_rows"])
        self.row_shapes = {name: values.shape for name, values in dataset[0].items()}

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> Batch:
        """Rows in any order."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Batch:
        """Consecutive rows."""

    def blocks(self, seed: int) -> Iterator[Batch]:
        """Chunks in random order, each one's rows mixed, in batches."""
        random = np.random.default_rng(seed)
        for block in random.permutation(-(-self.row_count // self.block_rows)):
            start = int(block) * self.block_rows
            values = self.read(start, min(start + self.block_rows, self.row_count))
            order = random.permutation(len(values["state"]))
            for first in range(0, order.size, BATCH_ROWS):
                yield {name: array[order[first : first + BATCH_ROWS]] for name, array in values.items()}

    def scan(self) -> Iterator[Batch]:
        for start in range(0, self.row_count, SCAN_ROWS):
            yield self.read(start, min(start + SCAN_ROWS, self.row_count))

    def batches(self, pattern: str, seed: int) -> Iterator[Batch]:
        if pattern == "shuffled blocks":
            return self.blocks(seed)
        if pattern == "full scan":
            return self.scan()
        order = np.random.default_rng(seed).permutation(self.row_count)
        return (self.take(order[first : first + BATCH_ROWS]) for first in range(0, order.size, BATCH_ROWS))


class Ours(Reader):
    name = "dynamic-sparsity"

    def __init__(self, dataset: JacobianDataset, folder: Path):
        super().__init__(dataset, folder)
        self.dataset = dataset

    def take(self, rows: NDArray[np.int64]) -> Batch:
        return self.dataset[rows]

    def read(self, start: int, stop: int) -> Batch:
        return self.dataset[start:stop]


class NpyMemmap(Reader):
    name = "npy memmap"

    def __init__(self, dataset: JacobianDataset, folder: Path):
        super().__init__(dataset, folder)
        for name, values in dataset[:].items():
            np.save(folder / f"{name}.npy", values)
        self.arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in COLUMNS}

    def take(self, rows: NDArray[np.int64]) -> Batch:
        return {name: np.asarray(array[rows]) for name, array in self.arrays.items()}

    def read(self, start: int, stop: int) -> Batch:
        return {name: np.array(array[start:stop]) for name, array in self.arrays.items()}


class SortedReader(Reader):
    """A reader that wants rows in ascending order."""

    def take(self, rows: NDArray[np.int64]) -> Batch:
        order = np.argsort(rows)
        back = np.argsort(order)
        return {name: values[back] for name, values in self.take_sorted(rows[order]).items()}

    @abstractmethod
    def take_sorted(self, rows: NDArray[np.int64]) -> Batch: ...


class Hdf5(SortedReader):
    name = "h5py contiguous"
    packages = ("h5py",)
    compressed = False

    def __init__(self, dataset: JacobianDataset, folder: Path):
        super().__init__(dataset, folder)
        import h5py

        path = folder / "arrays.h5"
        with h5py.File(path, "w") as file:
            for name, values in dataset[:].items():
                chunks = (min(self.block_rows, len(values)), *values.shape[1:])
                options = {"chunks": chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True}
                file.create_dataset(name, data=values, **(options if self.compressed else {}))
        self.file = h5py.File(path, "r")

    def take_sorted(self, rows: NDArray[np.int64]) -> Batch:
        return {name: self.file[name][rows] for name in COLUMNS}

    def read(self, start: int, stop: int) -> Batch:
        return {name: self.file[name][start:stop] for name in COLUMNS}


class Hdf5Gzip(Hdf5):
    name = "h5py gzip chunks"
    compressed = True


class Parquet(Reader):
    name = "Parquet (pyarrow)"
    packages = ("pyarrow",)

    def __init__(self, dataset: JacobianDataset, folder: Path):
        super().__init__(dataset, folder)
        import pyarrow.parquet

        path = folder / "rows.parquet"
        pyarrow.parquet.write_table(_arrow_table(dataset), path, row_group_size=self.block_rows, compression="zstd")
        self.file = pyarrow.parquet.ParquetFile(path)

    def take(self, rows: NDArray[np.int64]) -> Batch:
        # Only the row groups that are touched, which is several times faster than pyarrow.dataset's `take`.
        groups, group_of_row = np.unique(rows // self.block_rows, return_inverse=True)
        table = self.file.read_row_groups(groups.tolist())
        return self._arrays(table.take(group_of_row * self.block_rows + rows % self.block_rows))

    def read(self, start: int, stop: int) -> Batch:
        # Always asked for whole row groups.
        groups = range(start // self.block_rows, -(-stop // self.block_rows))
        return self._arrays(self.file.read_row_groups(list(groups)))

    def _arrays(self, table: Any) -> Batch:
        flat = {name: table[name].combine_chunks().flatten().to_numpy() for name in COLUMNS}
        return {name: values.reshape(-1, *self.row_shapes[name]) for name, values in flat.items()}


class HuggingFace(Reader):
    name = "Hugging Face datasets"
    packages = ("datasets", "pyarrow")

    def __init__(self, dataset: JacobianDataset, folder: Path):
        super().__init__(dataset, folder)
        os.environ["HF_HUB_OFFLINE"] = "1"
        import datasets
        import pyarrow

        path = folder / "rows.arrow"
        table = _arrow_table(dataset)
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table, max_chunksize=1000)  # the library's own size of a record batch
        self.dataset = datasets.Dataset.from_file(str(path)).with_format("numpy")

    def take(self, rows: NDArray[np.int64]) -> Batch:
        return self._arrays(self.dataset[rows])

    def read(self, start: int, stop: int) -> Batch:
        return self._arrays(self.dataset[start:stop])

    def _arrays(self, batch: dict[str, Any]) -> Batch:
        return {name: np.asarray(batch[name]).reshape(-1, *self.row_shapes[name]) for name in COLUMNS}


class ZarrPython(SortedReader):
    name = "zarr-python"

    def __init__(self, dataset: JacobianDataset, folder: Path):
        super().__init__(dataset, folder)
        import zarr

        self.group: Any = zarr.open_group(dataset.store.path, mode="r")

    def take_sorted(self, rows: NDArray[np.int64]) -> Batch:
        return {name: self.group[name].oindex[rows] for name in COLUMNS}

    def read(self, start: int, stop: int) -> Batch:
        return {name: self.group[name][start:stop] for name in COLUMNS}


READERS: tuple[type[Reader], ...] = (Ours, NpyMemmap, Hdf5, Hdf5Gzip, Parquet, HuggingFace, ZarrPython)


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
        readers = list(_make_readers(dataset, Path(folder), READERS[:2] if arguments.in_turns else READERS))
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


def _arrow_table(dataset: JacobianDataset) -> Any:
    import pyarrow

    columns = {}
    for name, values in dataset[:].items():
        flat = pyarrow.array(values.reshape(-1))
        columns[name] = pyarrow.FixedSizeListArray.from_arrays(flat, values[0].size)
    return pyarrow.table(columns)


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
