"""What an HDF5 file of ours says about itself: where every chunk lies, and all that is no row; checked by the schema.

Behind the end of what HDF5 takes for the file, `write_hdf5` puts an index: everything that a reader must know, with the
SHA-256 of each chunk and of all other bytes. So nothing that is damaged goes unnoticed, and libhdf5, which crashes or
hangs on some damaged files, needn't look at one. docs/hub.md has the layout.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError, UnknownNameError
from dynamic_sparsity.loaders.hdf5_chunks import CHUNK_BYTES_MAX, PIPELINES, ChunkForm
from dynamic_sparsity.loaders.store import store_path
from dynamic_sparsity.schemas import ArraySpec, episode_columns, row_arrays, statistics_arrays, validate
from dynamic_sparsity.untrusted.documents import parse_json
from dynamic_sparsity.untrusted.files import read_at

__all__ = [
    "FORMAT",
    "ROW",
    "TABLE",
    "VERSION",
    "Contents",
    "check_contents",
    "encode_index",
    "read_index",
    "row_shapes",
]

FORMAT: Final = "dynamic-sparsity-hdf5"
VERSION: Final = 2
ROW: Final = "row"
"""The dataset with each row's number in the store."""

TABLE: Final = np.dtype([("offset", "<u8"), ("bytes", "<u4"), ("mask", "<u4"), ("sha256", "V32")])
"""An entry of the index per chunk; `mask` has the bits of the filters that this chunk has not gone through."""

MAGIC: Final = b"dysparse-index\n\0"
FOOTER: Final = struct.Struct("<QQ16s32s")
INDEX_BYTES_MAX: Final = 256 * 2**20
DOCUMENT_BYTES_MAX: Final = 32 * 2**20
_BLOCK: Final = 2**20

Array = NDArray[Any]


@dataclass(frozen=True)
class Contents:
    """What a file says.

    Attributes:
        metadata: The store's attributes.
        split: The split it was written from; "" for all rows.
        coordinates: "tangent" or "ambient".
        columns: Names of its columns, in the order in which they were asked for.
        length: Number of rows.
        arrays: The episode table and the statistics, by `episodes.<column>` and `statistics.<name>`.
        forms: How the rows of each dataset become bytes.
        tables: Where the chunks of each dataset lie: arrays of `TABLE`, shape (chunks,).
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
    """The arrays of a file that are no rows, by name, with their shapes.

    Args:
        metadata: The store's validated attributes.
    """
    sizes, episodes = metadata["sizes"], metadata["episodes"]
    specs = {f"episodes.{spec.name}": spec for spec in episode_columns()}
    specs |= {f"statistics.{spec.name}": spec for spec in statistics_arrays(sizes)}
    return {name: (spec, spec.shape(sizes, episodes)) for name, spec in specs.items()}


def row_shapes(metadata: Mapping[str, Any], coordinates: str) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Dtype and shape of a row of each dataset that a file may have.

    Args:
        metadata: The store's validated attributes.
        coordinates: "tangent" or "ambient".
    """
    sizes = metadata["sizes"]
    ambient = {**sizes, "dx": sizes["ds"]} if coordinates == "ambient" else sizes
    specs = row_arrays(sizes, metadata["dynamics"])
    shapes = {spec.name: (np.dtype(spec.dtype).newbyteorder("<"), spec.shape(ambient, 1)[1:]) for spec in specs}
    return {ROW: (np.dtype("<i8"), ()), **shapes}


def encode_index(contents: Contents, rest_sha256: str) -> bytes:
    """The index of a file, to be put behind its end.

    Args:
        contents: What it says.
        rest_sha256: Of all bytes that are in no chunk, in their order, hexadecimal.
    """
    header = {
        "format": FORMAT,
        "version": VERSION,
        "metadata": contents.metadata,
        "split": contents.split,
        "coordinates": contents.coordinates,
        "columns": contents.columns,
        "rows": contents.length,
        "datasets": {
            name: {"chunk_rows": form.chunk_rows, "filters": list(form.filters)}
            for name, form in contents.forms.items()
        },
        "rest_sha256": rest_sha256,
    }
    document = json.dumps(header, allow_nan=False).encode()
    small = [contents.arrays[name].astype(spec.dtype) for name, (spec, _) in small_arrays(contents.metadata).items()]
    blocks = b"".join([*(table.tobytes() for table in contents.tables.values()), *(one.tobytes() for one in small)])
    digest = hashlib.sha256(blocks + document).digest()
    return blocks + document + FOOTER.pack(len(blocks), len(document), MAGIC, digest)


def read_index(descriptor: int, size: int, where: str) -> Contents | None:
    """Read and check the index of a file, and the bytes that are in no chunk.

    Args:
        descriptor: The open file.
        size: Its size, bytes.
        where: Its path, for messages.

    Returns:
        What it says; None if it has no index.

    Raises:
        CorruptStoreError: It is damaged, or does not keep to the schema.
    """
    if size < FOOTER.size:
        return None
    block_bytes, document_bytes, magic, digest = FOOTER.unpack(
        read_at(descriptor, size - FOOTER.size, FOOTER.size, where)
    )
    if magic != MAGIC:
        return None
    end = size - FOOTER.size - block_bytes - document_bytes
    if end < 0 or block_bytes > INDEX_BYTES_MAX or document_bytes > DOCUMENT_BYTES_MAX:
        raise _damaged(where, f"its index would have {block_bytes} and {document_bytes} bytes")
    index = read_at(descriptor, end, block_bytes + document_bytes, where)
    if hashlib.sha256(index).digest() != digest:
        raise _damaged(where, "its index does not have the SHA-256 that it had when it was written")
    contents, rest_sha256 = _parse(index[:block_bytes], index[block_bytes:], where)
    check_contents(contents, end, where)
    if rest_digest(descriptor, end, contents.tables, where) != rest_sha256:
        raise _damaged(where, "bytes outside its rows are not those that were written")
    return contents


def _parse(blocks: bytes, document: bytes, where: str) -> tuple[Contents, str]:
    header = parse_json(document, where)
    keys = {"format", "version", "metadata", "split", "coordinates", "columns", "rows", "datasets", "rest_sha256"}
    if header.keys() != keys or header["format"] != FORMAT or header["version"] != VERSION:
        raise _damaged(where, f"its index has the keys {', '.join(header)}, version {header.get('version')!r}")
    metadata, datasets, length = check_metadata(header["metadata"], where), header["datasets"], header["rows"]
    columns = check_names(header["columns"], header["split"], header["coordinates"], metadata, where)
    if type(length) is not int or length < 0 or not isinstance(datasets, dict) or list(datasets) != [ROW, *columns]:
        raise _damaged(where, "its index names other datasets than its columns")
    shapes = row_shapes(metadata, header["coordinates"])
    forms = {name: _form(one, *shapes[name], where) for name, one in datasets.items()}
    counts = {name: -(-length // form.chunk_rows) for name, form in forms.items()}
    small = small_arrays(metadata)
    sizes = [count * TABLE.itemsize for count in counts.values()]
    sizes += [_size(spec.dtype, shape) for spec, shape in small.values()]
    if sum(sizes) != len(blocks):
        raise _damaged(where, f"its index has {len(blocks)} bytes of tables where its numbers ask for {sum(sizes)}")
    starts = iter(np.cumsum([0, *sizes]).tolist())
    tables = {name: np.frombuffer(blocks, TABLE, count, next(starts)) for name, count in counts.items()}
    arrays = {
        name: np.frombuffer(blocks, np.dtype(spec.dtype).newbyteorder("<"), _count(shape), next(starts)).reshape(shape)
        for name, (spec, shape) in small.items()
    }
    names = header["split"], header["coordinates"], columns
    return Contents(metadata, *names, length, arrays, forms, tables, sums=True), str(header["rest_sha256"])


def check_metadata(metadata: object, where: str) -> dict[str, Any]:
    """The store's attributes, if they keep to the schema.

    Args:
        metadata: What was read.
        where: The file's path, for messages.

    Raises:
        CorruptStoreError: They don't.
    """
    validate(metadata, "store", where)
    if not isinstance(metadata, dict) or metadata["complete"] is not True:
        raise _damaged(where, "it was written from a store that was not complete")
    try:
        store_path("", metadata["task"], metadata["policy"], metadata["dynamics"])
    except UnknownNameError as error:
        raise _damaged(where, str(error)) from error
    return metadata


def check_names(
    columns: object, split: object, coordinates: object, metadata: Mapping[str, Any], where: str
) -> list[str]:
    """Columns, split and coordinates, if the schema knows them.

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
        raise _damaged(where, f"its split is {split!r:.99} and its coordinates are {coordinates!r:.99}")
    known = {spec.name for spec in row_arrays(metadata["sizes"], metadata["dynamics"])}
    if (
        not isinstance(columns, list)
        or not all(isinstance(name, str) and name in known for name in columns)
        or len(set(columns)) != len(columns)
    ):
        raise _damaged(where, f"its columns are {columns!r:.200}; there is {', '.join(sorted(known))}")
    return columns


def _form(entry: object, dtype: np.dtype[Any], row_shape: tuple[int, ...], where: str) -> ChunkForm:
    if not isinstance(entry, dict) or entry.keys() != {"chunk_rows", "filters"}:
        raise _damaged(where, "an entry of its index does not say how the rows of a dataset were written")
    chunk_rows, filters = entry["chunk_rows"], entry["filters"]
    if type(chunk_rows) is not int or not isinstance(filters, list):
        raise _damaged(where, "an entry of its index does not say how the rows of a dataset were written")
    return check_form(ChunkForm(dtype, row_shape, chunk_rows, tuple(map(str, filters))), where)


def check_form(form: ChunkForm, where: str) -> ChunkForm:
    """How rows were written, if that is a way in which they can be read.

    Args:
        form: What was read.
        where: The file's path, for messages.

    Raises:
        CorruptStoreError: It isn't.
    """
    if form.filters not in PIPELINES or form.chunk_rows < 1 or not 0 < form.chunk_bytes <= CHUNK_BYTES_MAX:
        raise _damaged(
            where,
            f"a dataset has chunks of {form.chunk_rows} rows, {form.chunk_bytes} bytes, and the filters "
            f"{', '.join(form.filters) or 'none'!r:.99}; at most {CHUNK_BYTES_MAX} bytes, and of the filters "
            f"{' or '.join('+'.join(one) or 'none' for one in PIPELINES)} are read",
        )
    return form


def check_contents(contents: Contents, end: int, where: str) -> None:
    """Check that the chunks lie in the file, one beside the other, and that the arrays hold what they must.

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
            raise _damaged(where, f"{name} has {table.size} chunks for {contents.length} rows: rows are missing")
        skipped = 1 << form.filters.index("deflate") if "deflate" in form.filters else 0
        plain = ChunkForm(form.dtype, form.row_shape, form.chunk_rows, ("fletcher32",) if form.filters else ())
        for mask, size in np.unique(table[["mask", "bytes"]]).tolist():
            # A chunk that deflate would have made larger has not gone through it.
            legal = form.legal_size(size) if mask == 0 else mask == skipped and plain.legal_size(size)
            if not legal:
                raise _damaged(where, f"a chunk of {name} has {size} bytes and the filter mask {mask}")
    chunks = ordered_chunks(contents.tables)
    starts, stops = chunks["offset"], chunks["offset"] + chunks["bytes"]
    if starts.size and (int(starts.max()) > end or int(stops[-1]) > end or (starts[1:] < stops[:-1]).any()):
        raise _damaged(where, "its chunks overlap, or lie behind its end")
    _check_episodes(contents, where)


def _check_episodes(contents: Contents, where: str) -> None:
    metadata, arrays = contents.metadata, contents.arrays
    small = small_arrays(metadata)
    others = sorted(set(arrays) - set(small))
    if others:
        raise _damaged(where, f"it has {', '.join(others)!r:.99}, which the schema does not know")
    for name, (spec, shape) in small.items():
        found = arrays.get(name)
        if found is None or found.shape != shape or found.dtype != np.dtype(spec.dtype):
            described = "missing" if found is None else f"{found.dtype} of shape {found.shape}"
            raise _damaged(where, f"{name} is {described}; the schema asks for {spec.dtype} of shape {shape}")
    start, length = arrays["episodes.start"], arrays["episodes.length"].astype(np.int64)
    split, policy = arrays["episodes.split"], arrays["episodes.policy"]
    rows = metadata["rows"]
    if (start < 0).any() or (length < 0).any() or (length > rows).any() or (start > rows - length).any():
        raise _damaged(where, f"some episodes are outside the {rows} rows")
    if (split >= len(metadata["splits"])).any() or (policy >= len(metadata["policies"])).any():
        raise _damaged(where, "some episodes have a split or policy that does not exist")


def ordered_chunks(tables: Mapping[str, NDArray[np.void]]) -> NDArray[np.void]:
    """The chunks of all datasets in the order in which they lie in the file.

    Args:
        tables: Of `Contents`.
    """
    chunks = np.concatenate([np.empty(0, TABLE), *tables.values()])
    return chunks[np.argsort(chunks["offset"], kind="stable")]


def rest_digest(descriptor: int, end: int, tables: Mapping[str, NDArray[np.void]], where: str) -> str:
    """The SHA-256 of all bytes that are in no chunk, in their order, hexadecimal.

    Args:
        descriptor: The open file.
        end: Where it ends for HDF5, bytes.
        tables: Of `Contents`; checked.
        where: Its path, for messages.

    Raises:
        CorruptStoreError: It can't be read.
    """
    digest = hashlib.sha256()
    for start, stop in _rest_of(end, tables):
        for place in range(start, stop, _BLOCK):
            digest.update(read_at(descriptor, place, min(_BLOCK, stop - place), where))
    return digest.hexdigest()


def _rest_of(end: int, tables: Mapping[str, NDArray[np.void]]) -> Iterator[tuple[int, int]]:
    """The stretches of a file that are in no chunk: start and stop, bytes."""
    chunks = ordered_chunks(tables)
    starts = [*chunks["offset"].tolist(), end]
    stops = [0, *(chunks["offset"] + chunks["bytes"]).tolist()]
    yield from ((start, stop) for start, stop in zip(stops, starts, strict=True) if start < stop)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def _size(dtype: str, shape: tuple[int, ...]) -> int:
    return _count(shape) * np.dtype(dtype).itemsize


def _damaged(where: str, problem: str) -> CorruptStoreError:
    return CorruptStoreError(f"{where} is damaged, or not an HDF5 file of this package ({problem}); write it anew")
