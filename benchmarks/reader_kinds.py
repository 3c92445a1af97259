"""This package's reader and the usual others, each with the same rows of the same arrays, for `readers.py`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.loaders.dataset import JacobianDataset

COLUMNS = ("state", "action", "next_state", "J_s", "J_a", "mask_s", "mask_a")
BATCH_ROWS, SCAN_ROWS = 256, 4096

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


def _arrow_table(dataset: JacobianDataset) -> Any:
    import pyarrow

    columns = {}
    for name, values in dataset[:].items():
        flat = pyarrow.array(values.reshape(-1))
        columns[name] = pyarrow.FixedSizeListArray.from_arrays(flat, values[0].size)
    return pyarrow.table(columns)


KINDS: tuple[type[Reader], ...] = (Ours, NpyMemmap, Hdf5, Hdf5Gzip, Parquet, HuggingFace, ZarrPython)
