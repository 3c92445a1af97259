"""The Parquet view of a store: the same rows, for those who read with `datasets`, pandas or the Hub's viewer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.loaders.dataset import JacobianDataset
from dynamic_sparsity.loaders.export.arrow import arrow_schema, arrow_table, card_features, import_pyarrow, shapes_of
from dynamic_sparsity.loaders.hub.publication import config_name, parquet_path
from dynamic_sparsity.schemas.splits import SPLITS
from dynamic_sparsity.schemas.truncation import TRUNCATED
from dynamic_sparsity.untrusted.archives import translated

ROW_GROUP_BYTES: Final = 16 * 2**20
"""Decoded size of a row group: what a viewer has to read to show any row."""

FILE_BYTES: Final = 512 * 2**20
"""Decoded size of a file, about, at most."""

FILES_WANTED: Final = 8
"""Files of a split, if they are not too small: so many workers can read it side by side."""

FILE_BYTES_MIN: Final = 32 * 2**20
"""Decoded size below which no more files are made."""


@dataclass(frozen=True)
class ParquetFile:
    """One file to be written.

    Attributes:
        path: Its path in the repository.
        split: Which split's rows.
        start: First of them.
        stop: The one after the last.
    """

    path: str
    split: str
    start: int
    stop: int


def plan_parquet(store: Path) -> list[ParquetFile]:
    """Return the files of a store's Parquet view; a split without rows has none.

    Args:
        store: A complete store, `…/<Task>/<policy>[-stock].zarr`.
    """
    files = []
    for split in SPLITS:
        dataset = view_of(JacobianDataset(store, split=split, verify="size"))
        rows = len(dataset)
        size = rows * row_bytes(dataset)
        count = file_count(size)
        for number in range(count):
            path = parquet_path(dataset.store.task, store.name, split, number, count)
            start, stop = rows * number // count, rows * (number + 1) // count
            files.append(ParquetFile(path, split, start, stop))
    return files


def view_of(dataset: JacobianDataset) -> JacobianDataset:
    """Return the same rows with the columns of the Parquet view: its arrays, and `truncated` beside `done`.

    Args:
        dataset: Rows of a store.
    """
    names = list(dataset.store.arrays)
    names.insert(names.index("done") + 1, TRUNCATED.name)
    return dataset.with_columns(names)


def file_count(size: int) -> int:
    """Return how many files a split is cut into.

    Args:
        size: Of all its rows, decoded, bytes; 0 where there is none.
    """
    return max(math.ceil(size / FILE_BYTES), min(FILES_WANTED, int(size // FILE_BYTES_MIN)))


def row_bytes(dataset: JacobianDataset) -> int:
    """Return the decoded size of a row of all columns, bytes.

    Args:
        dataset: The rows.
    """
    return sum(int(values.nbytes) for values in dataset[:1].values()) if len(dataset) else 0


def write_parquet(store: Path, planned: ParquetFile, target: Path) -> None:
    """Write one file of the Parquet view, read it back, and compare it with the store.

    Args:
        store: The store.
        planned: Which rows.
        target: The file.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        CorruptStoreError: The store is damaged, or the file does not hold what was written.
    """
    import_pyarrow()
    import pyarrow.parquet

    dataset = view_of(JacobianDataset(store, split=planned.split))
    schema = arrow_schema(shapes_of(dataset[:0]))
    group_rows = max(1, ROW_GROUP_BYTES // row_bytes(dataset))
    options: dict[str, Any] = {"compression": "zstd", "store_schema": True}
    options |= {"write_page_index": True, "write_page_checksum": True}
    with pyarrow.parquet.ParquetWriter(target, schema, **options) as writer:
        for start, stop in _groups(planned, group_rows):
            writer.write_table(arrow_table(schema, dataset[start:stop]), row_group_size=stop - start)
    _compare(target, dataset, list(_groups(planned, group_rows)))


def _compare(path: Path, dataset: JacobianDataset, groups: list[tuple[int, int]]) -> None:
    """Refuse a file that does not read back as the rows it was made of, bit by bit."""
    import pyarrow.parquet

    with translated(str(path)), pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
        right = file.metadata.num_row_groups == len(groups)
        for number, (start, stop) in enumerate(groups if right else ()):
            expected = dataset[start:stop]
            table = file.read_row_group(number)
            right = right and table.column_names == list(expected)
            for name, values in expected.items() if right else ():
                right = right and _holds(table.column(name), values)
    if not right:
        raise CorruptStoreError(
            f"{path} does not read back as the rows that were written; check the disk and its memory, and run the same "
            "command again"
        )


def _holds(column: Any, values: NDArray[Any]) -> bool:
    """Return whether a column read from Parquet has the bits of an array of shape (n, …)."""
    pa = import_pyarrow()
    import pyarrow.compute

    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of older pyarrow, and of no rows
        array = pa.concat_arrays(array.chunks)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if len(array) != len(values):
        return False
    for length in values.shape[1:]:
        sizes = pyarrow.compute.unique(pyarrow.compute.list_value_length(array)).to_pylist()
        if array.null_count or sizes != [length]:
            return False
        array = array.flatten()
    found = array.to_numpy(zero_copy_only=False)
    return not array.null_count and found.dtype == values.dtype and found.tobytes() == values.tobytes()


def _groups(planned: ParquetFile, rows: int) -> Iterator[tuple[int, int]]:
    for start in range(planned.start, planned.stop, rows):
        yield start, min(planned.stop, start + rows)


def dataset_info(stores: list[tuple[str, str, str]], paths: dict[tuple[str, str, str], Path]) -> list[dict[str, Any]]:
    """Return the `dataset_info` of the card's YAML header: features of each configuration, with matrices as `Array2D`.

    Args:
        stores: Task, policy and dynamics of each store.
        paths: Where it is on this machine.
    """
    return [
        {
            "config_name": config_name(*store),
            "features": card_features(shapes_of(view_of(JacobianDataset(paths[store], verify="size"))[:0])),
        }
        for store in stores
    ]


def configs(stores: list[tuple[str, str, str]], files: dict[tuple[str, str, str], list[ParquetFile]]) -> list[Any]:
    """Return the `configs` of the card's YAML header: one per store, one data file pattern per split.

    Args:
        stores: Task, policy and dynamics of each store.
        files: Its Parquet files.
    """
    found = []
    for number, store in enumerate(stores):
        by_split: dict[str, list[str]] = {}
        for file in files[store]:
            by_split.setdefault(file.split, []).append(file.path)
        data_files = [{"split": split, "path": paths} for split, paths in by_split.items()]
        config: dict[str, Any] = {"config_name": config_name(*store), "data_files": data_files}
        found.append(config | ({"default": True} if number == 0 else {}))
    return found
