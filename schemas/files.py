"""Which files a finished store has; it follows from the store's attributes alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from dynamic_sparsity.schemas import row_arrays_of
from dynamic_sparsity.schemas.documents import GROUPS, plain_file, shard_file, store_arrays

__all__ = ["MANIFEST_FILE", "expected_files", "file_count", "listing_problem", "shard_count", "shard_files"]

MANIFEST_FILE: Final = "manifest.json"

COMPARED_MAX: Final = 1000
"""By how many files a manifest may miss what the metadata say for the names to be compared one by one."""


def shard_count(attributes: Mapping[str, Any]) -> int:
    """Return how many shards a store's rows make.

    Args:
        attributes: The root group's attributes.
    """
    return -(-int(attributes["rows"]) // int(attributes["shard_rows"]))


def shard_files(attributes: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Return every shard file that a store must have: path inside the store to (array, shard).

    Args:
        attributes: The root group's attributes.
    """
    specs = row_arrays_of(attributes)
    return {shard_file(spec, shard): (spec.name, shard) for shard in range(shard_count(attributes)) for spec in specs}


def expected_files(attributes: Mapping[str, Any]) -> set[str]:
    """Return every file that a finished store must have but `manifest.json`.

    Args:
        attributes: The root group's attributes; as many shards as they declare are listed, see `listing_problem`.
    """
    return _fixed_files(attributes) | _files_of_shards(attributes)


def file_count(attributes: Mapping[str, Any]) -> int:
    """Return the number of `expected_files`, without listing them.

    Args:
        attributes: The root group's attributes.
    """
    return _count(attributes, _fixed_files(attributes))


def listing_problem(attributes: Mapping[str, Any], names: Collection[str]) -> str | None:
    """Say how a manifest's files differ from those that a store of its sizes must have.

    Nothing as long as what the attributes declare is made unless the manifest is as long.

    Args:
        attributes: The root group's attributes.
        names: Paths inside the store, without `manifest.json`.

    Returns:
        What is wrong; None if nothing is.
    """
    fixed = _fixed_files(attributes)
    count = _count(attributes, fixed)
    if abs(len(names) - count) > COMPARED_MAX:
        shards = f"{attributes['rows']} rows in shards of {attributes['shard_rows']}"
        return f"lists {len(names)} files; {shards} make a store of {count} files"
    expected = fixed | _files_of_shards(attributes)
    if len(names) == count and expected.issuperset(names):
        return None
    if missing := expected.difference(names):
        return f"does not list {min(missing)}, which a store of these sizes must have"
    return f"lists {ascii(min(set(names) - expected))[:80]}, which a store of these sizes does not have"


def _count(attributes: Mapping[str, Any], fixed: Collection[str]) -> int:
    arrays = len(row_arrays_of(attributes))
    return len(fixed) + shard_count(attributes) * (arrays + 1)


def _files_of_shards(attributes: Mapping[str, Any]) -> set[str]:
    """Return the manifests and files of all shards."""
    manifests = {f"shards/{shard:05d}.json" for shard in range(shard_count(attributes))}
    return manifests.union(shard_files(attributes))


def _fixed_files(attributes: Mapping[str, Any]) -> set[str]:
    """Return the files that do not depend on the number of rows."""
    arrays = store_arrays(attributes)
    documents = {f"{name}/zarr.json" for name in (*GROUPS, *arrays)}
    plain = {plain_file(name, spec) for name, (spec, _) in arrays.items() if spec.storage == "plain"}
    return {"zarr.json", *documents, *plain}
