"""With which code numbers were made: versions of packages, and the commit."""

from __future__ import annotations

from importlib import metadata

from dynamic_sparsity.checkout import checkout

__all__ = ["git_commit", "package_versions"]

PACKAGES = ("dynamic-sparsity", "numpy", "jax", "jaxlib", "equinox", "optax")


def package_versions() -> dict[str, str | None]:
    """Return the versions of the packages that decide numbers; None for those that are not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Return the commit of the checkout this code runs from; None if there is none, or tracked files differ from it."""
    found = checkout()
    return None if found is None or found.changed else found.commit
