"""Rows as Arrow tables, with the names, dtypes and shapes of the store: for Parquet and for Hugging Face's `datasets`.

A vector becomes a fixed-size list, a matrix a fixed-size list of such lists: types that every reader of Arrow and
Parquet has. The schema's metadata have the features by which `datasets` makes `Array2D` of them, in the form in which
it writes them; `card_features` has them as the card of a repository does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import MissingDependencyError

__all__ = ["arrow_schema", "arrow_table", "card_features", "features_of", "import_pyarrow", "shapes_of"]

Array = NDArray[Any]
Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]


def import_pyarrow() -> Any:
    """Import the package pyarrow.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise MissingDependencyError("Arrow needs the package pyarrow: pip install 'dynamic-sparsity[hub]'") from error
    return pyarrow


def arrow_schema(shapes: Shapes) -> Any:
    """Make the schema of a table of rows, with the features that `datasets` reads.

    Args:
        shapes: Shape of one row, and dtype, by column.

    Returns:
        A `pyarrow.Schema`.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    pa = import_pyarrow()
    fields = [pa.field(name, _type(pa, shape, dtype)) for name, (shape, dtype) in shapes.items()]
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features_of(shapes)}})})


def features_of(shapes: Shapes) -> dict[str, Any]:
    """Return the features of `datasets`, as JSON has them.

    Args:
        shapes: Shape of one row, and dtype, by column.
    """
    return {name: _feature(shape, dtype) for name, (shape, dtype) in shapes.items()}


def card_features(shapes: Shapes) -> list[dict[str, Any]]:
    """Return the features of `datasets`, as the header of a repository's card has them.

    Args:
        shapes: Shape of one row, and dtype, by column.
    """
    features = []
    for name, (shape, dtype) in shapes.items():
        if not shape:
            kind: dict[str, Any] = {"dtype": dtype.name}
        elif len(shape) == 1:
            kind = {"list": dtype.name, "length": shape[0]}
        else:
            kind = {"dtype": {f"array{len(shape)}_d": {"shape": list(shape), "dtype": dtype.name}}}
        features.append({"name": name} | kind)
    return features


def shapes_of(batch: Mapping[str, Array]) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return the shape of one row, and the dtype, of each column of a batch.

    Args:
        batch: Arrays by column, shape (n, …).
    """
    return {name: (values.shape[1:], values.dtype) for name, values in batch.items()}


def arrow_table(schema: Any, batch: Mapping[str, Array]) -> Any:
    """Make a table of rows.

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
    for length in reversed(shape):
        kind = pa.list_(kind, length)
    return kind


def _feature(shape: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, Any]:
    value = {"dtype": dtype.name, "_type": "Value"}
    if not shape:
        return value
    if len(shape) == 1:
        return {"feature": value, "length": shape[0], "_type": "List"}
    return {"shape": list(shape), "dtype": dtype.name, "_type": f"Array{len(shape)}D"}


def _array(pa: Any, values: Array) -> Any:
    """Return an array of shape (n, …) as n Arrow values."""
    shape = values.shape[1:]
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    for length in reversed(shape):
        flat = pa.FixedSizeListArray.from_arrays(flat, length)
    return flat
