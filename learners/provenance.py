"""With which code numbers were made: versions of packages, and the commit."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

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
    source = Path(__file__).resolve().parent.parent
    if not (source / ".git").exists():
        return None
    git = ["git", "-C", str(source)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        status = [*git, "status", "--porcelain", "--untracked-files=no"]
        changed = subprocess.run(status, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return None if changed.stdout.strip() else commit.stdout.strip()
