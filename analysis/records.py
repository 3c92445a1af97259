"""Results as JSON and back: frozen dataclasses, with arrays as compressed bytes."""

from __future__ import annotations

import base64
import dataclasses
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["decode", "encode"]

TYPE, ARRAY = "type", "array"
ARRAY_BYTES_MAX = 256 * 2**20


def encode(value: Any) -> Any:
    """Turn a result into what JSON knows.

    Args:
        value: A dataclass, array, list, tuple, dictionary with string keys, number, string or None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {TYPE: type(value).__name__, **fields}
    if isinstance(value, np.ndarray):
        contents = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
        packed = base64.b64encode(zlib.compress(contents.tobytes(), 9)).decode()
        return {ARRAY: packed, "dtype": value.dtype.name, "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, Mapping):
        return {str(key): encode(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [encode(one) for one in value]
    return value


def decode(value: Any, classes: Mapping[str, type]) -> Any:
    """Undo `encode`; tuples become lists.

    Args:
        value: Parsed JSON.
        classes: The dataclasses that may occur, by name.

    Raises:
        KeyError, TypeError, ValueError, zlib.error: It is something else.
    """
    if isinstance(value, list):
        return [decode(one, classes) for one in value]
    if not isinstance(value, dict):
        return value
    if ARRAY in value:
        dtype = np.dtype(value["dtype"]).newbyteorder("<")
        size = math.prod(value["shape"]) * dtype.itemsize
        if dtype.kind not in "biuf" or not 0 <= size <= ARRAY_BYTES_MAX:
            raise ValueError(f"an array of {size} bytes of {dtype} is none of a result")
        contents = zlib.decompressobj().decompress(base64.b64decode(value[ARRAY]), size + 1)
        return np.frombuffer(contents, dtype).astype(value["dtype"]).reshape(value["shape"])
    decoded = {key: decode(one, classes) for key, one in value.items() if key != TYPE}
    return classes[value[TYPE]](**decoded) if TYPE in value else decoded
