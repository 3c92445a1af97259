"""Packages of extras, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from dynamic_sparsity.errors import MissingDependencyError

__all__ = ["imported"]


def imported(name: str, extra: str) -> Any:
    """Return an optional package.

    Args:
        name: Its name.
        extra: Our extra that installs it.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"this needs the package {name}: pip install 'dynamic-sparsity[{extra}]'"
        ) from error
