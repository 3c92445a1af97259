"""The description of an HDF5 file of this package, and checks of it against the schema and the file's size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError, UnknownNameError
from dynamic_sparsity.loaders.hdf5.chunks import CHUNK_BYTES_MAX, PIPELINES, ChunkForm
from dynamic_sparsity.loaders.store.store import store_path
from dynamic_sparsity.schemas import ArraySpec, episode_columns, statistics_arrays, validate
from dynamic_sparsity.schemas.joining import readable_arrays

__all__ = [
    "FORMAT",
    "ROW",
    "TABLE",
    "Array",
    "Contents",
    "check_contents",
    "check_form",
    "check_metadata",
    "check_names",
    "damaged",
    "ordered_chunks",
    "row_shapes",
    "small_arrays",
]

FORMAT: Final = "dynamic-sparsity-hdf5"
ROW: Final = "row"
"""The dataset with each row's number in the store."""

TABLE: Final = np.dtype([("offset", "<u8"), ("bytes", "<u4"), ("mask", "<u4"), ("sha256", "V32")])
"""An entry of the index per chunk; `mask` has the bits of the filters that this chunk has not gone through."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Contents:
    """What a file says.

    Attributes:
        metadata: The store's attributes.
        split: The split it was written from; "" for all rows.
        coordinates: "tangent" or "ambient".
        columns: Names of its columns, in the order in which they were requested.
        length: Number of rows.
        arrays: The episode table and the statistics, by `episodes.<column>` and `statistics.<name>`.
        forms: How the rows of each dataset become bytes.
        tables: Where the chunks of each dataset are: arrays of `TABLE`, shape (chunks,).
        sums: Whether the tables have the chunks' SHA-256; files of version 1 have none.
    """

    metadata: dict[str, Any]
    split: str
    coordinates: str
    columns: list[str]
    length: int
    arrays: dict[str, Array]
    forms: dict[str, ChunkForm]
    tables: dict[str, NDArray[np.void]]
    sums: bool


def small_arrays(metadata: Mapping[str, Any]) -> dict[str, tuple[ArraySpec, tuple[int, ...]]]:
    """Return the shapes of the arrays of a file that are not rows, by name.

    Args:
        metadata: The store's validated attributes.
    """
    sizes, episodes = metadata["sizes"], metadata["episodes"]
    specs = {f"episodes.{spec.name}": spec for spec in episode_columns()}
    specs |= {f"statistics.{spec.name}": spec for spec in statistics_arrays(sizes)}
    return {name: (spec, spec.shape(sizes, episodes)) for name, spec in specs.items()}


def row_shapes(metadata: Mapping[str, Any], coordinates: str) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return the dtype and shape of a row of each dataset that a file may have.

    Args:
        metadata: The store's validated attributes.
        coordinates: "tangent" or "ambient".
    """
    sizes = metadata["sizes"]
    ambient = {**sizes, "dx": sizes["ds"]} if coordinates == "ambient" else sizes
    specs = readable_arrays(metadata)
    shapes = {spec.name: (np.dtype(spec.dtype).newbyteorder("<"), spec.shape(ambient, 1)[1:]) for spec in specs}
    return {ROW: (np.dtype("<i8"), ()), **shapes}


def check_metadata(metadata: object, where: str) -> dict[str, Any]:
    """Check the store's attributes against the schema, and return them.

    Args:
        metadata: What was read.
        where: The file's path, for messages.

    Raises:
        CorruptStoreError: They don't.
    """
    validate(metadata, "store", where)
    if not isinstance(metadata, dict) or metadata["complete"] is not True:
        raise damaged(where, "it was written from a store that was not complete")
    try:
        store_path("", metadata["task"], metadata["policy"], metadata["dynamics"])
    except UnknownNameError as error:
        raise damaged(where, str(error)) from error
    return metadata


def check_names(
    columns: object, split: object, coordinates: object, metadata: Mapping[str, Any], where: str
) -> list[str]:
    """Check columns, split and coordinates against the schema, and return them.

    Args:
        columns: What was read for each of them.
        split: Likewise.
        coordinates: Likewise.
        metadata: The store's validated attributes.
        where: The file's path, for messages.

    Returns:
        The columns.

    Raises:
        CorruptStoreError: One is not known.
    """
    if split not in ("", *metadata["splits"]) or coordinates not in ("tangent", "ambient"):
        raise damaged(where, f"its split is {split!r:.99} and its coordinates are {coordinates!r:.99}")
    known = {spec.name for spec in readable_arrays(metadata)}
    if (
        not isinstance(columns, list)
        or not all(isinstance(name, str) and name in known for name in columns)
        or len(set(columns)) != len(columns)
    ):
        raise damaged(where, f"its columns are {columns!r:.200}; there is {', '.join(sorted(known))}")
    return columns


def check_form(form: ChunkForm, where: str) -> ChunkForm:
    """Check that rows were written in a way in which they can be read, and return it.

    Args:
        form: What was read.
        where: The file's path, for messages.

    Raises:
        CorruptStoreError: It isn't.
    """
    if form.filters not in PIPELINES or form.chunk_rows < 1 or not 0 < form.chunk_bytes <= CHUNK_BYTES_MAX:
        raise damaged(
            where,
            f"a dataset has chunks of {form.chunk_rows} rows, {form.chunk_bytes} bytes, and the filters "
            f"{', '.join(form.filters) or 'none'!r:.99}; at most {CHUNK_BYTES_MAX} bytes, and of the filters "
            f"{' or '.join('+'.join(one) or 'none' for one in PIPELINES)} are read",
        )
    return form


def check_contents(contents: Contents, end: int, where: str) -> None:
    """Check that the chunks are inside the file and do not overlap, and that the arrays have the right sizes.

    Args:
        contents: What the file says; its metadata, names and forms are checked.
        end: Where the file ends for HDF5, bytes.
        where: Its path, for messages.

    Raises:
        CorruptStoreError: One of these is not so.
    """
    for name, form in contents.forms.items():
        table = contents.tables[name]
        if table.size != -(-contents.length // form.chunk_rows):
            raise damaged(where, f"{name} has {table.size} chunks for {contents.length} rows: rows are missing")
        skipped = 1 << form.filters.index("deflate") if "deflate" in form.filters else 0
        plain = ChunkForm(form.dtype, form.row_shape, form.chunk_rows, ("fletcher32",) if form.filters else ())
        for mask, size in np.unique(table[["mask", "bytes"]]).tolist():
            # A chunk that deflate would have made larger has not gone through it.
            legal = form.legal_size(size) if mask == 0 else mask == skipped and plain.legal_size(size)
            if not legal:
                raise damaged(where, f"a chunk of {name} has {size} bytes and the filter mask {mask}")
    chunks = ordered_chunks(contents.tables)
    starts, stops = chunks["offset"], chunks["offset"] + chunks["bytes"]
    if starts.size and (int(starts.max()) > end or int(stops[-1]) > end or (starts[1:] < stops[:-1]).any()):
        raise damaged(where, "its chunks overlap, or are beyond its end")
    _check_episodes(contents, where)


def _check_episodes(contents: Contents, where: str) -> None:
    metadata, arrays = contents.metadata, contents.arrays
    small = small_arrays(metadata)
    others = sorted(set(arrays) - set(small))
    if others:
        raise damaged(where, f"it has {', '.join(others)!r:.99}, which the schema does not know")
    for name, (spec, shape) in small.items():
        found = arrays.get(name)
        if found is None or found.shape != shape or found.dtype != np.dtype(spec.dtype):
            described = "missing" if found is None else f"{found.dtype} of shape {found.shape}"
            raise damaged(where, f"{name} is {described}; the schema asks for {spec.dtype} of shape {shape}")
    start, length = arrays["episodes.start"], arrays["episodes.length"].astype(np.int64)
    split, policy = arrays["episodes.split"], arrays["episodes.policy"]
    rows = metadata["rows"]
    if (start < 0).any() or (length < 0).any() or (length > rows).any() or (start > rows - length).any():
        raise damaged(where, f"some episodes are outside the {rows} rows")
    if (split >= len(metadata["splits"])).any() or (policy >= len(metadata["policies"])).any():
        raise damaged(where, "some episodes have a split or policy that does not exist")


def ordered_chunks(tables: Mapping[str, NDArray[np.void]]) -> NDArray[np.void]:
    """Return the chunks of all datasets in the order of their positions in the file.

    Args:
        tables: Of `Contents`.
    """
    chunks = np.concatenate([np.empty(0, TABLE), *tables.values()])
    return chunks[np.argsort(chunks["offset"], kind="stable")]


def damaged(where: str, problem: str) -> CorruptStoreError:
    """Return the error for a file that can't be trusted.

    Args:
        where: Its path.
        problem: What is wrong.
    """
    return CorruptStoreError(f"{where} is damaged, or not an HDF5 file of this package ({problem}); write it again")
