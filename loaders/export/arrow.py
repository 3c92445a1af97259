"""Rows as Arrow tables, with the names, dtypes and shapes of the store: for Parquet and for Hugging Face's `datasets`.

A vector becomes a fixed-size list, a matrix nested lists that `datasets` knows as `Array2D`: the schema's metadata say
so, in the form in which `datasets` writes them, so that neither needs the other to be installed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import MissingDependencyError

__all__ = ["arrow_schema", "arrow_table", "import_pyarrow"]

Array = NDArray[Any]
Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]


def import_pyarrow() -> Any:
    """The package pyarrow.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise MissingDependencyError("Arrow needs the package pyarrow: pip install 'dynamic-sparsity[hub]'") from error
    return pyarrow


def arrow_schema(shapes: Shapes) -> Any:
    """The schema of a table of rows, with the features that `datasets` reads.

    Args:
        shapes: Shape of one row, and dtype, by column.

    Returns:
        A `pyarrow.Schema`.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    pa = import_pyarrow()
    fields = [
        pa.field(name, _type(pa, shape, dtype), metadata=_extension(shape, dtype))
        for name, (shape, dtype) in shapes.items()
    ]
    features = {name: _feature(shape, dtype) for name, (shape, dtype) in shapes.items()}
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features}})})


def arrow_table(schema: Any, batch: Mapping[str, Array]) -> Any:
    """Rows as a table.

    Args:
        schema: Of `arrow_schema`.
        batch: Arrays by column, shape (n, …).

    Returns:
        A `pyarrow.Table` of n rows.
    """
    pa = import_pyarrow()
    return pa.Table.from_arrays([_array(pa, batch[field.name]) for field in schema], schema=schema)


def _type(pa: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    kind = pa.from_numpy_dtype(dtype)
    if len(shape) == 1:
        return pa.list_(kind, shape[0])
    for _ in shape:
        kind = pa.list_(kind)
    return kind


def _extension(shape: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, str] | None:
    """What marks nested lists as the matrix type of `datasets`, for a reader that has that type."""
    if len(shape) < 2:
        return None
    return {
        "ARROW:extension:name": f"datasets.features.features.Array{len(shape)}DExtensionType",
        "ARROW:extension:metadata": json.dumps([list(shape), dtype.name]),
    }


def _feature(shape: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, Any]:
    value = {"dtype": dtype.name, "_type": "Value"}
    if not shape:
        return value
    if len(shape) == 1:
        return {"feature": value, "length": shape[0], "_type": "List"}
    return {"shape": list(shape), "dtype": dtype.name, "_type": f"Array{len(shape)}D"}


def _array(pa: Any, values: Array) -> Any:
    """An array of shape (n, …) as n Arrow values."""
    shape = values.shape[1:]
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    if len(shape) == 1:
        return pa.FixedSizeListArray.from_arrays(flat, shape[0])
    for axis in reversed(range(len(shape))):
        lists = len(values) * math.prod(shape[:axis])
        offsets = np.arange(lists + 1, dtype=np.int64) * shape[axis]
        flat = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), flat)
    return flat
