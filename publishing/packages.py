"""The packages that publishing needs, asked for before any work is done."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from dynamic_sparsity.errors import MissingDependencyError

__all__ = ["require_packages"]

PACKAGES: Final = {
    "huggingface_hub": "huggingface_hub",
    "pyarrow": "pyarrow",
    "matplotlib": "matplotlib",
    "yaml": "pyyaml",
}
"""Names of modules, and what is installed to have them."""


def require_packages(*more: str) -> None:
    """Refuse to begin without one of the packages that publishing needs.

    Args:
        more: Names of further modules that are needed, of the same extra.

    Raises:
        MissingDependencyError: Some are not installed; the message names all of them.
    """
    missing, first = [], None
    for name in (*PACKAGES, *more):
        try:
            import_module(name)
        except ImportError as error:
            missing.append(PACKAGES.get(name, name))
            first = first or error
    if missing:
        word = "package" if len(missing) == 1 else "packages"
        raise MissingDependencyError(
            f"publishing needs the {word} {', '.join(missing)}: pip install 'dynamic-sparsity[publish]'"
        ) from first
