"""Where a task of the user's own comes from: a model's file, or a Python function. Nothing is read or imported here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.tasks import get_task
from dynamic_sparsity.schemas.naming import TASK_PATTERN
from dynamic_sparsity.schemas.task_names import TASK_NAMES

__all__ = ["check_source", "is_function", "is_source", "name_of", "settled"]

SUFFIXES: Final = (".xml", ".mjb", ".urdf")
"""Of the files that MuJoCo reads."""

_FUNCTION: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def is_function(text: str) -> bool:
    """Return whether a text names a Python function, as `module:function`.

    Args:
        text: The text.
    """
    return bool(_FUNCTION.fullmatch(text))


def is_source(text: str) -> bool:
    """Return whether a text names a source of a task, and not a task.

    Args:
        text: The text.
    """
    return is_function(text) or Path(text).suffix.lower() in SUFFIXES


def name_of(source: str) -> str:
    """Return the name of the task that a source gives: its own name without other signs, `MyRobot` of my_robot.xml.

    Args:
        source: Path of a model's file, or `module:function`.

    Raises:
        InvalidSettingError: That is no name of a task, or that of one of Playground.
    """
    own = source.partition(":")[2] if is_function(source) else Path(source).stem
    name = "".join(part[0].upper() + part[1:] for part in re.findall(r"[A-Za-z0-9]+", own))
    if not TASK_PATTERN.fullmatch(name) or name in TASK_NAMES:
        taken = f"the task {name} is one of Playground's" if name in TASK_NAMES else "no task can be called so"
        raise InvalidSettingError(
            f"{source}: {own!r} names the task, and {taken}: rename it, to 1 to 64 letters and digits, a letter first."
        )
    return name


def settled(text: str) -> tuple[str, str | None]:
    """Return name and source of what a user names as a task.

    Args:
        text: A task's name, or a source.

    Returns:
        Name and source; None for a task of Playground.

    Raises:
        UnknownNameError: It is neither.
        InvalidSettingError: It is a source that is not there, or whose name can't be a task's.
    """
    if not is_source(text):
        return get_task(text).name, None
    source = text if is_function(text) else str(Path(text).expanduser().resolve())
    check_source(name_of(source), source)
    return name_of(source), source


def check_source(task: str, source: str) -> None:
    """Check that a source can give a task.

    Args:
        task: Name of the task.
        source: The source.

    Raises:
        InvalidSettingError: It can't.
    """
    if not is_source(source):
        raise InvalidSettingError(
            f"source is {source!r}; it must be the path of a model ({', '.join(SUFFIXES)}) or MODULE:FUNCTION."
        )
    if name_of(source) != task:
        raise InvalidSettingError(f"task is {task!r}, but {source} gives the task {name_of(source)!r}.")
    if not is_function(source) and not Path(source).is_file():
        raise InvalidSettingError(f"There is no file {source}: name the path of a model, or MODULE:FUNCTION.")
