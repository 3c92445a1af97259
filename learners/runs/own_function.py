"""Importing a user's function by its location. Errors in it are reported as errors of the user's code."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from dynamic_sparsity.errors import (
    DynamicSparsityError,
    InvalidSettingError,
    MissingDependencyError,
    UnknownNameError,
)

__all__ = ["failures_of", "function_at", "takes_data"]

EXTRAS = {"torch": "torch", "jax": "learners", "equinox": "learners", "optax": "learners"}
"""Which extra of this package installs what a user's code may miss."""


@contextmanager
def failures_of(what: str) -> Iterator[None]:
    """Report errors of the user's code as such.

    Args:
        what: What is being done, as in "importing mine.py"; begins the message.

    Yields:
        Nothing.

    Raises:
        InvalidSettingError: The code raised an error other than one of this package's.
        MissingDependencyError: It imports a package of one of the extras, which is not installed.
    """
    try:
        yield
    except DynamicSparsityError:
        raise
    except (Exception, SystemExit) as error:
        missing = getattr(error, "name", None) if isinstance(error, ImportError) else None
        extra = EXTRAS.get(missing or "")
        if extra is not None:
            raise MissingDependencyError(
                f"{what} needs {missing}, which is not installed: pip install 'dynamic-sparsity[{extra}]'"
            ) from error
        words = f": {error}" if str(error) else ""
        raise InvalidSettingError(
            f"{what} failed with {type(error).__name__}{words}; `--debug` shows where it came from"
        ) from error


def function_at(place: str) -> Callable[..., Any]:
    """Import the function at FILE.py:NAME or package.module:NAME.

    Args:
        place: Where it is.

    Returns:
        The function; an error in it becomes an `InvalidSettingError` that names it.

    Raises:
        UnknownNameError: There is no such function.
        InvalidSettingError: Importing its module fails.
    """
    where, _, name = place.rpartition(":")
    if not where or not name:
        raise UnknownNameError(f"{place!r} is no model: give a saved model.npz, FILE.py:FUNCTION or MODULE:FUNCTION")
    module = _module_of_file(where) if where.endswith(".py") else _module_of_name(where)
    function = getattr(module, name, None)
    if not callable(function):
        raise UnknownNameError(f"{where} has no function {name!r}")

    @functools.wraps(function)
    def checked(*arguments: Any) -> Any:
        with failures_of(place):
            made = function(*(arguments if takes_data(function) else ()))
        if not callable(getattr(made, "predict", made)):
            raise InvalidSettingError(
                f"{place} returned {type(made).__name__}, which is no model: it has no method `predict(state, action)`"
            )
        return made

    return checked


def takes_data(function: Callable[..., Any]) -> bool:
    """Return whether a function takes arguments; one without any has its model from elsewhere.

    Args:
        function: Perhaps of `function_at`.
    """
    try:
        return bool(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return True


def _module_of_file(where: str) -> ModuleType:
    if not Path(where).is_file():
        raise UnknownNameError(f"there is no file {where}")
    spec = importlib.util.spec_from_file_location(Path(where).stem, where)
    if spec is None or spec.loader is None:
        raise UnknownNameError(f"{where} can't be imported")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(spec.name)
    sys.modules[spec.name] = module
    try:
        with failures_of(f"importing {where}"):
            spec.loader.exec_module(module)
    except BaseException:
        # The next import would take a half-executed module for a complete one.
        if before is None:
            del sys.modules[spec.name]
        else:
            sys.modules[spec.name] = before
        raise
    return module


def _module_of_name(where: str) -> ModuleType:
    if not all(part.isidentifier() for part in where.split(".")):
        raise UnknownNameError(f"{where!r} is no name of a module, as in package.module")
    with failures_of(f"importing {where}"):
        try:
            return importlib.import_module(where)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{where}.".startswith(f"{error.name}."):
                raise
            raise UnknownNameError(
                f"there is no module {error.name!r}; install it, put its folder into PYTHONPATH, or give "
                "FILE.py:FUNCTION"
            ) from error
