"""Results as JSON and back: frozen dataclasses, with arrays as compressed bytes."""

from __future__ import annotations

import base64
import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["decode", "encode"]

TYPE, ARRAY = "type", "array"


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
        contents = zlib.decompress(base64.b64decode(value[ARRAY]))
        dtype = np.dtype(value["dtype"]).newbyteorder("<")
        return np.frombuffer(contents, dtype).astype(value["dtype"]).reshape(value["shape"])
    decoded = {key: decode(one, classes) for key, one in value.items() if key != TYPE}
    return classes[value[TYPE]](**decoded) if TYPE in value else decoded
