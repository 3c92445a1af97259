"""The store's schema as data: what every array and every document must look like. Nothing here reads a store.

`arrays.json` is the one source of truth for the arrays, `*.schema.json` for the documents; this module gives both
to Python. It imports no zarr and no simulator.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sized
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, Literal

import jsonschema

from dynamic_sparsity.errors import CorruptStoreError, UnknownNameError
from dynamic_sparsity.schemas.consistency import attribute_contradictions

__all__ = [
    "FLAG_BITS",
    "MUJOCO_TOLERANCE",
    "READABLE_VERSIONS",
    "SCHEMA_VERSION",
    "STORAGES",
    "ArraySpec",
    "episode_columns",
    "fill_values",
    "load_schema",
    "row_arrays",
    "row_arrays_of",
    "statistics_arrays",
    "validate",
]

SCHEMA_VERSION: Final = "1.1.0"
"""What is written."""

READABLE_VERSIONS: Final = ("1.0.0", "1.1.0")
"""What is read."""

MUJOCO_TOLERANCE: Final = 1e-6
"""`mujoco_difference` from which on a row is flagged `differs_from_mujoco`; rounding to float32 gives 6e-8."""

SCHEMA_NAMES: Final = ("store", "shard_manifest", "manifest", "episodes", "policy", "scene")

ERRORS_MAX: Final = 50
NODES_SHOWN_MAX: Final = 200

STORAGES: Final = ("raw", "compact")
"""How a store's arrays of floats may lie in its files."""

Storage = Literal["raw", "packed", "compact", "plain"]


@dataclass(frozen=True)
class ArraySpec:
    """What one array of the store must be.

    Attributes:
        name: Name of the array inside its group.
        dims: Symbols of its dimensions: `N` rows, `E` episodes, else a key of the metadata's `sizes`.
        dimension_names: Names of its dimensions, as in its `zarr.json`; none is the name of an array.
        dtype: NumPy name of its dtype.
        storage: `raw` (sharded, uncompressed), `packed` (sharded, blosc), `compact` (sharded, entry by entry, blosc) or
            `plain` (one chunk).
        fill_value: What a missing or padding entry holds.
        unit: Unit of its values.
        description: What it holds.
        dynamics: The only dynamics whose stores have it, or None where all have.
        needs: The key of the metadata's `sizes` that must be there and above zero, or None.
        former_dimension_names: Its `dimension_names` in version 1.0.0, or None if they were the same.
    """

    name: str
    dims: tuple[str, ...]
    dimension_names: tuple[str, ...]
    dtype: str
    storage: Storage
    fill_value: float | int
    unit: str
    description: str
    dynamics: str | None = None
    needs: str | None = None
    former_dimension_names: tuple[str, ...] | None = None

    def shape(self, sizes: Mapping[str, int], rows: int) -> tuple[int, ...]:
        """Shape of the array.

        Args:
            sizes: The metadata's `sizes`.
            rows: Number of rows (of episodes, for an episode column).

        Returns:
            One length per dimension.
        """
        return tuple(rows if symbol in ("N", "E") else sizes[symbol] for symbol in self.dims)


def fill_values() -> dict[str, float | int]:
    """Return what a missing or padding entry holds, by name of every row array that any store may have."""
    return {spec.name: spec.fill_value for spec in _specs("rows")}


@cache
def load_schema(name: str) -> Mapping[str, Any]:
    """Return the JSON Schema of one kind of document; the caller must not change it.

    Args:
        name: `store`, `shard_manifest`, `manifest`, `episodes` or `policy`.

    Raises:
        UnknownNameError: There is no such schema.
    """
    if name not in SCHEMA_NAMES:
        raise UnknownNameError(f"no schema is called {name!r}; the schemas are {', '.join(SCHEMA_NAMES)}")
    schema: dict[str, Any] = json.loads(_resource(f"{name}.schema.json"))
    return schema


def row_arrays(sizes: Mapping[str, int], dynamics: str) -> tuple[ArraySpec, ...]:
    """Return the arrays with one entry per row that a store has, in the contract's order.

    Args:
        sizes: The metadata's `sizes`; an array with a zero-sized dimension is left out.
        dynamics: `converged` or `stock`.
    """
    return tuple(
        spec
        for spec in _specs("rows")
        if 0 not in spec.shape(sizes, rows=1)
        and spec.dynamics in (None, dynamics)
        and (spec.needs is None or sizes.get(spec.needs, 0) > 0)
    )


def row_arrays_of(attributes: Mapping[str, Any]) -> tuple[ArraySpec, ...]:
    """Return the arrays with one entry per row that a store has, as its version and its storage have them.

    Args:
        attributes: The root group's attributes; with `storage` "compact", what would be `raw` is `compact`.
    """
    specs = row_arrays(attributes["sizes"], attributes["dynamics"])
    if attributes["schema_version"] == "1.0.0":
        specs = tuple(
            replace(spec, dimension_names=spec.former_dimension_names or spec.dimension_names) for spec in specs
        )
    if attributes.get("storage", "raw") == "raw":
        return specs
    return tuple(replace(spec, storage="compact") if spec.storage == "raw" else spec for spec in specs)


def episode_columns() -> tuple[ArraySpec, ...]:
    """Return the columns of the episode table, group `episodes`."""
    return _specs("episodes")


def statistics_arrays(sizes: Mapping[str, int]) -> tuple[ArraySpec, ...]:
    """Return the arrays of group `statistics`; one with a zero-sized dimension is left out.

    Args:
        sizes: The metadata's `sizes`.
    """
    return tuple(spec for spec in _specs("statistics") if 0 not in spec.shape(sizes, rows=1))


def validate(instance: object, schema_name: str, where: str) -> None:
    """Check a parsed JSON document against its schema, and a store's attributes for contradictions too.

    Args:
        instance: The parsed document.
        schema_name: `store`, `shard_manifest`, `manifest`, `episodes` or `policy`.
        where: What to call the document in the message, usually its path.

    Raises:
        CorruptStoreError: The document contradicts its schema.
        UnknownNameError: There is no such schema.
    """
    # A document may break a rule a million times over.
    errors = list(islice(_validator(schema_name).iter_errors(instance), ERRORS_MAX))
    problems = [_describe(error) for error in sorted(errors, key=lambda error: error.json_path)]
    if not problems and schema_name == "store" and isinstance(instance, dict):
        problems = attribute_contradictions(instance)
    if problems:
        at_least = "at least " if len(problems) == ERRORS_MAX else ""
        more = f" (and {at_least}{len(problems) - 3} more)" if len(problems) > 3 else ""
        raise CorruptStoreError(f"{where}: {'; '.join(problems[:3])}{more}; see schemas/{schema_name}.schema.json")


def _resource(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


@cache
def _specs(table: str) -> tuple[ArraySpec, ...]:
    entries = json.loads(_resource("arrays.json"))[table]
    return tuple(
        ArraySpec(
            **{
                **entry,
                "dims": tuple(entry["dims"]),
                "dimension_names": tuple(entry["dimension_names"]),
                "former_dimension_names": tuple(entry.get("former_dimension_names", ())) or None,
                # JSON has no NaN, so the table spells it, as zarr's own metadata does.
                "fill_value": math.nan if entry["fill_value"] == "NaN" else entry["fill_value"],
            }
        )
        for entry in entries
    )


@cache
def _validator(schema_name: str) -> Any:
    return _Validator(_inlined(load_schema(schema_name), schema_name))


def _inlined(node: Any, schema_name: str) -> Any:
    """Return a part of a schema with every reference replaced by what it refers to.

    Validating looks each reference up again, for every item of every list of names: a fifth of the time that it takes
    to open a store.
    """
    if isinstance(node, list):
        return [_inlined(part, schema_name) for part in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        file, _, pointer = node["$ref"].partition("#")
        schema_name = file.removesuffix(".schema.json") or schema_name
        target: Any = load_schema(schema_name)
        for key in filter(None, pointer.split("/")):
            target = target[key]
        rest = {key: part for key, part in node.items() if key != "$ref"}
        return _inlined(target, schema_name) | _inlined(rest, schema_name)
    return {key: _inlined(part, schema_name) for key, part in node.items() if key != "$defs"}


# JSON Schema takes 16.0 and in Python also True for integers; neither is one that this package writes.
_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, instance: type(instance) is int
    ),
)


def _describe(error: jsonschema.ValidationError) -> str:
    """Return one JSON Schema error as "where: what was found, what was expected"."""
    place = error.json_path.removeprefix("$").removeprefix(".") or "the document"
    if error.validator in ("required", "additionalProperties"):
        return f"{place}: {_short(error.message)}"
    return f"{place}: found {_short(error.instance)}, expected {error.validator} {_short(error.validator_value)}"


def _short(value: object) -> str:
    """Return a value as a message may show it; a large one is only counted."""
    nodes: list[Any] = [value]
    for node in nodes:
        nodes += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        if len(nodes) > NODES_SHOWN_MAX:
            return f"{type(value).__name__} of {len(value) if isinstance(value, Sized) else 'many'} entries"
    text = value if isinstance(value, str) and " " in value else json.dumps(value, default=repr)
    return text if len(text) <= 200 else f"{text[:200]}…"


FLAG_BITS: Final[Mapping[str, int]] = MappingProxyType(load_schema("store")["properties"]["flag_bits"]["enum"][-1])
