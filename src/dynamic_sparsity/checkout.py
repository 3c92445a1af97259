"""The checkout that this code runs from, if it does: which commit made numbers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

__all__ = ["Checkout", "checkout"]

TIMEOUT_S = 10


class Checkout(NamedTuple):
    """A checkout of this package.

    Attributes:
        commit: Its commit, 40 hexadecimal digits.
        changed: Whether tracked files differ from it.
        added: Whether there are files that git neither tracks nor ignores.
    """

    commit: str
    changed: bool
    added: bool


def checkout() -> Checkout | None:
    """Return the checkout this code runs from; None if there is none, or git can't tell."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return None
    try:
        commit, status = _git(source, "rev-parse", "HEAD"), _git(source, "status", "--porcelain")
    except (OSError, subprocess.SubprocessError):
        return None
    files = status.splitlines()
    added = [line for line in files if line.startswith("??")]
    return Checkout(commit.strip(), len(added) < len(files), bool(added))


def _git(source: Path, *words: str) -> str:
    command = ["git", "-C", str(source), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S).stdout
