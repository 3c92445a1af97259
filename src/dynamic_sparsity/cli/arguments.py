"""Parsing and checking arguments before any work begins: folders, files, numbers, names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dynamic_sparsity.errors import InvalidSettingError, StoreNotFoundError
from dynamic_sparsity.storage.atomic import check_output_folder

__all__ = [
    "SEED_MAX",
    "check_least",
    "chosen_stores",
    "chosen_tasks",
    "input_folder",
    "output_file",
    "output_folder",
    "parse_repository",
    "parse_seeds",
]

SEED_MAX: Final = 2**32 - 1
"""Largest seed that NumPy's older generators and scikit-learn take."""

LEARNER_SEED_MAX: Final = 2**31 - 1
"""Largest seed that JAX takes with numbers of 32 bits."""


def output_folder(path: Path | None, option: str = "--out") -> None:
    """Refuse a folder that can't be written to.

    Args:
        path: The folder; it need not exist. None for none.
        option: The option that names it, for the message.

    Raises:
        InvalidSettingError: It is a file, lies below one, or may not be written to.
    """
    if path is not None:
        check_output_folder(path, option)


def output_file(path: Path | None, option: str, suffixes: Sequence[str] = ()) -> None:
    """Refuse a file that can't be written.

    Args:
        path: The file; it need not exist. None for none.
        option: The option that names it, for the message.
        suffixes: How it may end, as in ".png"; any way if empty.

    Raises:
        InvalidSettingError: It is a folder, its folder can't be written to, or it ends in another way.
    """
    if path is None:
        return
    if path.is_dir():
        raise InvalidSettingError(f"{option} is {str(path)!r}, which is a folder; name a file")
    if suffixes and path.suffix.lower() not in suffixes:
        raise InvalidSettingError(f"{option} is {str(path)!r}; its name must end in {' or '.join(suffixes)}")
    output_folder(path.parent, option)


def input_folder(path: Path, what: str) -> None:
    """Refuse a folder that is not there.

    Args:
        path: The folder.
        what: What it is, for the message.

    Raises:
        StoreNotFoundError: There is no such folder.
    """
    if not path.is_dir():
        kind = "is not a folder" if path.exists() else "does not exist"
        raise StoreNotFoundError(f"{what} is {str(path)!r}, which {kind}; name the folder that has the stores in it")


def chosen_stores(paths: Sequence[Path]) -> list[Path]:
    """Return the stores that paths name: a folder of stores stands for all stores in it, complete or not.

    Args:
        paths: Stores, or folders that hold some as `ROOT/<Task>/<policy>.zarr`. One that is neither is returned as it
            is, so that opening it says what is wrong.
    """
    from dynamic_sparsity.loaders.store.store import find_stores

    found: dict[Path, None] = {}
    for path in paths:
        below = [] if path.name.endswith(".zarr") else [store.path for store in find_stores(path)]
        found |= dict.fromkeys(below or [path])
    return list(found)


def check_least(value: int | None, option: str, least: int = 0, most: int = 2**63 - 1) -> None:
    """Refuse a number that is out of range.

    Args:
        value: The number; None for none.
        option: The option that gives it, for the message.
        least: Smallest legal value.
        most: Largest legal value.

    Raises:
        InvalidSettingError: It is smaller or larger.
    """
    if value is not None and not least <= value <= most:
        raise InvalidSettingError(f"{option} is {value}; it must be from {least} to {most}")


def chosen_tasks(names: Sequence[str], every: bool) -> list[str]:
    """Return the tasks asked for, each once, in the order given.

    Args:
        names: Names of tasks.
        every: Whether `--all` was given.

    Raises:
        InvalidSettingError: No task was given, or some and `--all`.
        UnknownNameError: A task does not exist.
    """
    from dynamic_sparsity.generation.tasks import get_task

    return list(dict.fromkeys(get_task(name).name for name in _named(names, every)))


def chosen_sources(names: Sequence[str], every: bool) -> list[tuple[str, str | None]]:
    """Return the tasks asked for, also the user's own, each once, in the order given.

    Args:
        names: Names of tasks, paths of models, or functions as `module:function`.
        every: Whether `--all` was given.

    Returns:
        Name and source of each; the source is None for a task of Playground.

    Raises:
        InvalidSettingError: No task was given, or some and `--all`; or a source is not there.
        UnknownNameError: A task does not exist.
    """
    from dynamic_sparsity.generation.task_sources import settled

    return list(dict.fromkeys(settled(name) for name in _named(names, every)))


def _named(names: Sequence[str], every: bool) -> list[str]:
    from dynamic_sparsity.generation.tasks import TASKS

    if every and names:
        raise InvalidSettingError("Give either task names or --all, not both.")
    if not every and not names:
        raise InvalidSettingError(
            "No task was given. Name one or more, e.g. CartpoleBalance, or use --all. `dynamic-sparsity list` has them."
        )
    return list(TASKS) if every else list(names)


def parse_repository(text: str | None) -> tuple[str, str | None]:
    """Parse "ORG/NAME@REVISION".

    Args:
        text: The repository; None for the default one.

    Returns:
        Repository and revision; None for no revision.

    Raises:
        InvalidSettingError: No repository was given and there is no default, or the revision is empty.
    """
    from dynamic_sparsity.loaders.hub.repository import REPOSITORY_VARIABLE, default_repository

    text = text or default_repository()
    if text is None:
        raise InvalidSettingError(
            f"no repository was given: name one with --repo ORG/NAME, or set {REPOSITORY_VARIABLE}"
        )
    repository, at, revision = text.partition("@")
    if at and not revision:
        raise InvalidSettingError(f"the repository is {text!r}, without a revision behind '@'; as in 'ORG/NAME@v1.0.0'")
    return repository, revision or None


def parse_seeds(text: str) -> list[int]:
    """Parse seeds such as "0,1,2".

    Args:
        text: The seeds.

    Returns:
        Each seed once, in the order given.

    Raises:
        InvalidSettingError: The text is not a list of integers separated by commas, or a seed is too large.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,10}", word) and int(word) <= LEARNER_SEED_MAX for word in words):
        raise InvalidSettingError(
            f"seeds are {text[:80]!r}; they must be integers from 0 to {LEARNER_SEED_MAX} with commas between, as in "
            "0,1,2"
        )
    return list(dict.fromkeys(int(word) for word in words))
