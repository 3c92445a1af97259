"""How stores are named: `ROOT/<Task>/<policy>[-stock].zarr`, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynamic_sparsity.errors import UnknownNameError
from dynamic_sparsity.untrusted.names import is_name

__all__ = [
    "DYNAMICS",
    "POLICY_PATTERN",
    "STOCK_SUFFIX",
    "TASK_PATTERN",
    "StoreLocation",
    "location_problem",
    "parse_store_path",
    "store_path",
]

DYNAMICS = ("converged", "stock")
STOCK_SUFFIX = "-stock"
TASK_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
POLICY_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9_.-]{0,62}[a-z0-9_-])?")


@dataclass(frozen=True, order=True)
class StoreLocation:
    """Which transitions a store holds, and where it is.

    Attributes:
        task: Name of the task, as in MuJoCo Playground.
        policy: Name of the policy.
        dynamics: "converged" or "stock".
        path: Folder of the store.
    """

    task: str
    policy: str
    dynamics: str
    path: Path


def store_path(root: str | Path, task: str, policy: str, dynamics: str = "converged") -> Path:
    """Return where a store is: `ROOT/<Task>/<policy>[-stock].zarr`.

    Args:
        root: Folder of all stores.
        task: Name of the task.
        policy: Name of the policy.
        dynamics: "converged" or "stock".

    Raises:
        UnknownNameError: One of the names can't be that of a store.
    """
    if not TASK_PATTERN.fullmatch(task) or not is_name(task):
        raise UnknownNameError(f"task is {task!r}; a task's name has 1 to 64 letters and digits, as in 'CheetahRun'")
    if not POLICY_PATTERN.fullmatch(policy) or not is_name(policy) or policy.endswith(STOCK_SUFFIX):
        raise UnknownNameError(
            f"policy is {policy!r}; a policy's name has lower-case letters, digits, '_', '.' and '-' and does not end "
            f"in '{STOCK_SUFFIX}': for the stock dynamics pass dynamics='stock'"
        )
    if dynamics not in DYNAMICS:
        raise UnknownNameError(f"dynamics is {dynamics!r}; it can be {' or '.join(map(repr, DYNAMICS))}")
    return Path(root).expanduser() / task / f"{policy}{STOCK_SUFFIX if dynamics == 'stock' else ''}.zarr"


def parse_store_path(path: str | Path) -> StoreLocation:
    """Return the task, policy and dynamics of a store's path: the inverse of `store_path`.

    Args:
        path: `…/<Task>/<policy>[-stock].zarr`.

    Raises:
        UnknownNameError: The path does not have that form.
    """
    path = Path(path)
    stem = path.name.removesuffix(".zarr")
    policy = stem.removesuffix(STOCK_SUFFIX)
    location = StoreLocation(path.parent.name, policy, "converged" if policy == stem else "stock", path)
    if stem == path.name or store_path(path.parent.parent, location.task, policy, location.dynamics) != path:
        raise UnknownNameError(f"{path} is no store's path; those are ROOT/<Task>/<policy>[{STOCK_SUFFIX}].zarr")
    return location


def location_problem(path: Path, attributes: Mapping[str, Any]) -> str | None:
    """Return where a store claims to be another one than its path names; None where it does not.

    Args:
        path: Folder of the store; one whose path does not have the form of a store's is not checked.
        attributes: Those of its root group, valid by their schema.

    Returns:
        What is wrong, and what to do; None if nothing is.
    """
    try:
        location = parse_store_path(path)
    except UnknownNameError:
        return None
    for name in ("task", "policy", "dynamics"):
        expected, found = getattr(location, name), attributes[name]
        if found != expected:
            there = store_path(path.parent.parent, attributes["task"], attributes["policy"], attributes["dynamics"])
            return (
                f"its metadata say that its {name} is {found!r}, its path says {expected!r}; if it was moved or "
                f"renamed, move it to {there}, else don't use it"
            )
    return None
