"""The index of an HDF5 file of this package: where every chunk is, and everything that is not a row.

After the end of what HDF5 takes for the file, `write_hdf5` puts an index: everything that a reader must know, with the
SHA-256 of each chunk and of all other bytes. So every damage is noticed, and libhdf5, which crashes or
hangs on some damaged files, needn't look at one. docs/hub.md has the layout.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.loaders.hdf5.chunks import ChunkForm
from dynamic_sparsity.loaders.hdf5.contents import (
    FORMAT,
    ROW,
    TABLE,
    Contents,
    check_contents,
    check_form,
    check_metadata,
    check_names,
    damaged,
    ordered_chunks,
    row_shapes,
    small_arrays,
)
from dynamic_sparsity.untrusted.documents import parse_json
from dynamic_sparsity.untrusted.files import read_at

__all__ = ["VERSION", "encode_index", "read_index", "rest_digest"]

VERSION: Final = 2
MAGIC: Final = b"dysparse-index\n\0"
FOOTER: Final = struct.Struct("<QQ16s32s")
INDEX_BYTES_MAX: Final = 256 * 2**20
DOCUMENT_BYTES_MAX: Final = 32 * 2**20
_BLOCK: Final = 2**20


def encode_index(contents: Contents, rest_sha256: str) -> bytes:
    """Encode the index of a file, to be appended to it.

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
    """Read and check the index of a file, and the bytes outside the chunks.

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
        raise damaged(where, f"its index would have {block_bytes} and {document_bytes} bytes")
    index = read_at(descriptor, end, block_bytes + document_bytes, where)
    if hashlib.sha256(index).digest() != digest:
        raise damaged(where, "its index does not have the SHA-256 that it had when it was written")
    contents, rest_sha256 = _parse(index[:block_bytes], index[block_bytes:], where)
    check_contents(contents, end, where)
    if rest_digest(descriptor, end, contents.tables, where) != rest_sha256:
        raise damaged(where, "bytes outside its rows are not those that were written")
    return contents


def _parse(blocks: bytes, document: bytes, where: str) -> tuple[Contents, str]:
    header = parse_json(document, where)
    keys = {"format", "version", "metadata", "split", "coordinates", "columns", "rows", "datasets", "rest_sha256"}
    if header.keys() != keys or header["format"] != FORMAT or header["version"] != VERSION:
        raise damaged(where, f"its index has the keys {', '.join(header)}, version {header.get('version')!r}")
    metadata, datasets, length = check_metadata(header["metadata"], where), header["datasets"], header["rows"]
    columns = check_names(header["columns"], header["split"], header["coordinates"], metadata, where)
    if type(length) is not int or length < 0 or not isinstance(datasets, dict) or list(datasets) != [ROW, *columns]:
        raise damaged(where, "its index names other datasets than its columns")
    shapes = row_shapes(metadata, header["coordinates"])
    forms = {name: _form(one, *shapes[name], where) for name, one in datasets.items()}
    counts = {name: -(-length // form.chunk_rows) for name, form in forms.items()}
    small = small_arrays(metadata)
    sizes = [count * TABLE.itemsize for count in counts.values()]
    sizes += [_size(spec.dtype, shape) for spec, shape in small.values()]
    if sum(sizes) != len(blocks):
        raise damaged(where, f"its index has {len(blocks)} bytes of tables where its numbers ask for {sum(sizes)}")
    starts = iter(np.cumsum([0, *sizes]).tolist())
    tables = {name: np.frombuffer(blocks, TABLE, count, next(starts)) for name, count in counts.items()}
    arrays = {
        name: np.frombuffer(blocks, np.dtype(spec.dtype).newbyteorder("<"), _count(shape), next(starts)).reshape(shape)
        for name, (spec, shape) in small.items()
    }
    names = header["split"], header["coordinates"], columns
    return Contents(metadata, *names, length, arrays, forms, tables, sums=True), str(header["rest_sha256"])


def _form(entry: object, dtype: np.dtype[Any], row_shape: tuple[int, ...], where: str) -> ChunkForm:
    if not isinstance(entry, dict) or entry.keys() != {"chunk_rows", "filters"}:
        raise damaged(where, "an entry of its index does not say how the rows of a dataset were written")
    chunk_rows, filters = entry["chunk_rows"], entry["filters"]
    if type(chunk_rows) is not int or not isinstance(filters, list):
        raise damaged(where, "an entry of its index does not say how the rows of a dataset were written")
    return check_form(ChunkForm(dtype, row_shape, chunk_rows, tuple(map(str, filters))), where)


def rest_digest(descriptor: int, end: int, tables: Mapping[str, NDArray[np.void]], where: str) -> str:
    """Return the SHA-256 of all bytes outside the chunks, in their order, hexadecimal.

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
    """Return the ranges of a file outside the chunks: start and stop, bytes."""
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
