"""safetensors files from outside: a header that says where arrays lie, checked against the bytes that are there."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptStoreError, DynamicSparsityError
from dynamic_sparsity.untrusted.documents import parse_json

__all__ = ["read_safetensors"]

HEADER_BYTES_MAX: Final = 2**20
LENGTH_BYTES: Final = 8
DIMENSIONS_MAX: Final = 8
DTYPES: Final = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"},
}


def read_safetensors(
    contents: bytes, where: str, error: type[DynamicSparsityError] = CorruptStoreError
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read all arrays of a safetensors file.

    Args:
        contents: Its bytes.
        where: What to call it in the message, usually its path.
        error: Class of the error.

    Returns:
        Name to array, and the texts in the header's `__metadata__`.

    Raises:
        CorruptInputError: It is no such file: its arrays must fill it, one behind the other (or an error of the class
            given).

    Source: The format of safetensors 0.4, https://github.com/huggingface/safetensors.
    """
    size = int.from_bytes(contents[:LENGTH_BYTES], "little")
    if len(contents) < LENGTH_BYTES or size > min(HEADER_BYTES_MAX, len(contents) - LENGTH_BYTES):
        raise error(f"{where}: is not a safetensors file: its header would have {size} bytes of {len(contents)}")
    header = parse_json(contents[LENGTH_BYTES : LENGTH_BYTES + size], f"{where}: header", error)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise error(f"{where}: is not a safetensors file: its metadata are no texts")
    body = contents[LENGTH_BYTES + size :]
    places = {name: _place(entry, f"{where}: {name!a:.100}", error) for name, entry in header.items()}
    arrays, end = {}, 0
    for name, (dtype, shape, start, stop) in sorted(places.items(), key=lambda item: item[1][2:]):
        if start != end or stop > len(body):
            raise error(f"{where}: is not a safetensors file: its arrays overlap, leave holes, or lie behind its end")
        arrays[name] = np.frombuffer(body, dtype, math.prod(shape), start).reshape(shape)
        end = stop
    if end != len(body):
        raise error(f"{where}: is not a safetensors file: {len(body) - end} bytes belong to no array")
    return {name: arrays[name] for name in header}, metadata


def _place(
    entry: object, where: str, error: type[DynamicSparsityError]
) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """Return dtype, shape, first byte, and the byte after the last one of an array, as its entry declares them."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise error(f"{where} is not described as safetensors do it")
    shape, offsets = entry["shape"], entry["data_offsets"]
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
    known = isinstance(entry["dtype"], str) and entry["dtype"] in DTYPES
    if not known or not all(type(one) is int and 0 <= one < 2**48 for one in numbers) or len(offsets) != 2:
        raise error(f"{where} has a dtype, shape or place that no array here has")
    dtype = np.dtype(DTYPES[entry["dtype"]])
    if len(shape) > DIMENSIONS_MAX or math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise error(f"{where} has {offsets[1] - offsets[0]} bytes, which is not shape {shape} of {dtype}")
    return dtype, tuple(shape), offsets[0], offsets[1]
