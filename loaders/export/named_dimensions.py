"""Names of dimensions and of their components, for libraries that have such names."""

from __future__ import annotations

import itertools
from typing import Any

from numpy.typing import NDArray

from dynamic_sparsity.loaders.row_source import RowSource
from dynamic_sparsity.schemas.joining import readable_arrays

__all__ = ["components_of", "coordinates_of", "variables_of"]


def variables_of(source: RowSource) -> dict[str, tuple[tuple[str, ...], Any, dict[str, str]]]:
    """Read all rows, with the names of the dimensions, and the unit and description of each column.

    Args:
        source: Where the rows are.

    Returns:
        By column: names of the dimensions, values of shape (n, …), and attributes.
    """
    specs = {spec.name: spec for spec in readable_arrays({**source.metadata, "schema_version": "1.1.0"})}
    return {
        name: (specs[name].dimension_names, values, {"units": specs[name].unit, "description": specs[name].description})
        for name, values in source[:].items()
    }


def coordinates_of(source: RowSource) -> dict[str, Any]:
    """Return the names of the components along each dimension that the columns of a source have.

    Args:
        source: Where the rows are; with "ambient" coordinates, effects and causes are components of the state.

    Returns:
        By dimension: `row` has the rows' numbers in the store, int64; the others have names.
    """
    metadata = source.metadata
    components = metadata["state_names" if source.coordinates == "ambient" else "tangent_names"]
    names = {
        "state_dim": metadata["state_names"],
        "action_dim": metadata["action_names"],
        "effect": components,
        "cause": components,
        "constraint": [one["name"] for one in metadata["constraints"]],
        "contact_pair": [one["name"] for one in metadata["contact_pairs"]],
    }
    specs = {spec.name: spec for spec in readable_arrays({**metadata, "schema_version": "1.1.0"})}
    used = {dimension for column in source.columns for dimension in specs[column].dimension_names}
    return {"row": source.rows} | {dimension: found for dimension, found in names.items() if dimension in used}


def components_of(source: RowSource) -> dict[str, NDArray[Any]]:
    """Read all rows, one entry per component of each column.

    Args:
        source: Where the rows are.

    Returns:
        By name, as "reward", "state[qpos:slider]" or "J_s[qvel:slider, qpos:hinge]": shape (n,), of the column's dtype.
    """
    names, found = coordinates_of(source), {}
    for column, (dimensions, values, _) in variables_of(source).items():
        axes = [names.get(name, range(size)) for name, size in zip(dimensions[1:], values.shape[1:], strict=True)]
        for place in itertools.product(*(range(len(axis)) for axis in axes)):
            labels = ", ".join(str(axis[i]) for axis, i in zip(axes, place, strict=True))
            found[f"{column}[{labels}]" if labels else column] = values[(slice(None), *place)]
    return found
