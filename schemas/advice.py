"""What to do about a store that is not there, or not finished: commands that work as they are, or words."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dynamic_sparsity.errors import UnknownNameError
from dynamic_sparsity.schemas.naming import StoreLocation, parse_store_path
from dynamic_sparsity.schemas.task_names import POLICY_NAMES, ROBOT_NAMES, TASK_NAMES, close_names

__all__ = [
    "can_be_generated",
    "example_command",
    "generate_command",
    "how_to_make",
    "how_to_make_at",
    "how_to_resume",
]

OWN_TASK = "from the model's file, or the function, that it was made from"


def example_command(root: Path) -> str:
    """Return a command that makes a first store.

    Args:
        root: Folder of all stores.
    """
    return shlex.join(["dynamic-sparsity", "generate", "CartpoleBalance", "--out", str(root)])


def can_be_generated(location: StoreLocation, metadata: Mapping[str, Any] | None = None) -> bool:
    """Return whether `generate_command` makes a store by names alone, without files that only its maker has.

    Args:
        location: Which store.
        metadata: Its metadata, as far as they are known.
    """
    policy, _ = _policy_and_name(location, metadata or {})
    with_expert = policy != "noise"
    return location.task in TASK_NAMES and policy in POLICY_NAMES and not (with_expert and location.task in ROBOT_NAMES)


def generate_command(location: StoreLocation, metadata: Mapping[str, Any] | None = None) -> str:
    """Return the command that makes a store, or resumes it.

    Args:
        location: Which store, for which `can_be_generated`.
        metadata: Its metadata, as far as they are known, for the settings to repeat.
    """
    metadata = metadata or {}
    settings = metadata.get("settings")
    policy, named = _policy_and_name(location, metadata)
    words = ["dynamic-sparsity", "generate", location.task, "--policy", policy, *named]
    if location.dynamics == "stock":
        words += ["--dynamics", "stock"]
    options = {"--episodes": metadata.get("episodes"), "--episode-length": metadata.get("episode_length")}
    options["--seed"] = settings.get("seed") if isinstance(settings, dict) else None
    for option, value in options.items():
        if isinstance(value, int):
            words += [option, str(value)]
    return shlex.join([*words, "--out", str(location.path.parent.parent)])


def _policy_and_name(location: StoreLocation, metadata: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the policy that acts in a store, and the option for the store's name if that is another."""
    settings = metadata.get("settings")
    if isinstance(settings, dict) and settings.get("name") == location.policy and type(settings.get("policy")) is str:
        return settings["policy"], ["--name", location.policy]
    return location.policy, []


def how_to_make(location: StoreLocation, there: Collection[StoreLocation] = ()) -> str:
    """Return what to do to get a store that does not exist: the command that makes it, or which one may be meant.

    Args:
        location: The store.
        there: The stores in the same root.
    """
    task, policy = location.task, location.policy
    same = {store.path.stem for store in there if store.task == task}
    if can_be_generated(location):
        return f"To make it, run `{generate_command(location)}`"
    if task not in TASK_NAMES and not same:
        meant = _meant(task, TASK_NAMES.union(store.task for store in there))
        return f"There is no task {task!r}. {meant}`dynamic-sparsity list` shows all tasks"
    if task not in TASK_NAMES:
        known = " and ".join(map(repr, sorted(same)))
        return f"{task} is no task of this package: there is {known}; more is made {OWN_TASK}"
    if task in ROBOT_NAMES and policy in POLICY_NAMES:
        return f"No expert of {task} comes with the package; `dynamic-sparsity train {task}` makes one, for --policy"
    return (
        f"No policy {policy!r} comes with the package. {_meant(policy, POLICY_NAMES | same)}"
        "`dynamic-sparsity generate --help` lists policies, and says how to give your own, or another --name"
    )


def how_to_make_at(path: Path) -> str:
    """Return what to do to get a store at a path where there is none, whose root is not looked at.

    Args:
        path: The path; it need not be one that a store can have.
    """
    try:
        return how_to_make(parse_store_path(path))
    except UnknownNameError:
        command = example_command(Path("data"))
        return f"A store is ROOT/<Task>/<policy>.zarr; `{command}` makes one: data/CartpoleBalance/noise.zarr"


def how_to_resume(path: Path, metadata: Mapping[str, Any]) -> str:
    """Return what to do about a store that is not finished, as the end of a sentence.

    Args:
        path: The store.
        metadata: Its metadata, as far as they can be read.
    """
    try:
        location = parse_store_path(path)
    except UnknownNameError:
        location = None
    settings = metadata.get("settings")
    own = isinstance(settings, dict) and "source" in settings
    if location is None or own or not can_be_generated(location, metadata):
        return "repeat the command that began it, with all its options"
    command = generate_command(location, metadata)
    return f"repeat the command that began it: `{command}` and what other options it had"


def _meant(name: str, known: Collection[str]) -> str:
    close = close_names(name, known)
    return f"Did you mean {' or '.join(close)}? " if close else ""
