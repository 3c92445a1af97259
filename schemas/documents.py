"""The `zarr.json` documents of a store, written out by us so that every version of zarr gives the same bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from dynamic_sparsity.schemas import ArraySpec, episode_columns, row_arrays_of, statistics_arrays

SHUFFLES: Final = {"packed": "bitshuffle", "compact": "shuffle"}
"""What blosc does before it compresses, by an array's `storage`."""

GROUPS: Final = ("episodes", "statistics")
"""The groups of a store below its root."""


def encode_document(document: Mapping[str, Any]) -> bytes:
    """Return a JSON document as the bytes of a file.

    Args:
        document: What JSON can hold; a NaN must be written out as a string before.
    """
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def store_arrays(attributes: Mapping[str, Any]) -> dict[str, tuple[ArraySpec, tuple[int, ...]]]:
    """Return every array that a finished store has.

    Args:
        attributes: The root group's attributes.

    Returns:
        Path inside the store to the array's specification and shape.
    """
    sizes, episodes = attributes["sizes"], attributes["episodes"]
    row_specs = row_arrays_of(attributes)
    arrays = {spec.name: (spec, spec.shape(sizes, attributes["rows"])) for spec in row_specs}
    arrays |= {f"episodes/{spec.name}": (spec, spec.shape(sizes, episodes)) for spec in episode_columns()}
    arrays |= {f"statistics/{spec.name}": (spec, spec.shape(sizes, episodes)) for spec in statistics_arrays(sizes)}
    return arrays


def shard_file(spec: ArraySpec, shard: int) -> str:
    """Return the path inside the store of one shard of one row array.

    Args:
        spec: The row array.
        shard: Index of the shard, from 0.
    """
    return "/".join([spec.name, "c", str(shard), *["0"] * (len(spec.dims) - 1)])


def plain_file(path: str, spec: ArraySpec) -> str:
    """Return the path inside the store of the one chunk of a plain array.

    Args:
        path: Path of the array inside the store.
        spec: The array.
    """
    return "/".join([path, "c", *["0"] * len(spec.dims)])


def array_document(spec: ArraySpec, shape: tuple[int, ...], chunk_rows: int, shard_rows: int) -> dict[str, Any]:
    """Return the `zarr.json` of one array.

    Args:
        spec: The array.
        shape: Its shape.
        chunk_rows: Rows per chunk; ignored by plain arrays.
        shard_rows: Rows per shard; ignored by plain arrays.
    """
    plain = spec.storage == "plain"
    fill_value = "NaN" if isinstance(spec.fill_value, float) and math.isnan(spec.fill_value) else spec.fill_value
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": spec.dtype,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": list(shape if plain else (shard_rows, *shape[1:]))},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill_value,
        "codecs": _chunk_codecs(spec) if plain else [_sharding_codec(spec, [chunk_rows, *shape[1:]])],
        "attributes": {"unit": spec.unit, "description": spec.description},
        "storage_transformers": [],
    }
    if spec.dimension_names:
        document["dimension_names"] = list(spec.dimension_names)
    return document


def group_document(
    attributes: Mapping[str, Any] | None = None, members: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the `zarr.json` of one group.

    Args:
        attributes: The group's attributes.
        members: Consolidated metadata: path to document of every array and group below; None for none.
    """
    document: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}
    if members is not None:
        document["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": dict(members)}
    return document


def member_documents(attributes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the `zarr.json` of every array and group of a finished store but the root.

    Args:
        attributes: The root group's attributes.

    Returns:
        Path inside the store to document.
    """
    chunk_rows, shard_rows = attributes["chunk_rows"], attributes["shard_rows"]
    documents = {
        path: array_document(spec, shape, chunk_rows, shard_rows)
        for path, (spec, shape) in store_arrays(attributes).items()
    }
    return {**{name: group_document() for name in GROUPS}, **documents}


def _bytes_codec(dtype: str) -> dict[str, Any]:
    if np.dtype(dtype).itemsize == 1:
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": "little"}}


def _chunk_codecs(spec: ArraySpec) -> list[dict[str, Any]]:
    codecs = [_bytes_codec(spec.dtype)]
    if spec.storage == "compact" and len(spec.dims) > 1:
        # All values of one entry next to each other: they are alike.
        order = [*range(1, len(spec.dims)), 0]
        codecs.insert(0, {"name": "transpose", "configuration": {"order": order}})
    if spec.storage in SHUFFLES:
        configuration = {
            "typesize": np.dtype(spec.dtype).itemsize,
            "cname": "zstd",
            "clevel": 5,
            "shuffle": SHUFFLES[spec.storage],
            "blocksize": 0,
        }
        codecs.append({"name": "blosc", "configuration": configuration})
    return [*codecs, {"name": "crc32c"}]


def _sharding_codec(spec: ArraySpec, chunk_shape: list[int]) -> dict[str, Any]:
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": chunk_shape,
            "codecs": _chunk_codecs(spec),
            "index_codecs": [_bytes_codec("uint64"), {"name": "crc32c"}],
            "index_location": "end",
        },
    }
