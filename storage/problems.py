"""What a verification finds, and the command for one."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a store.

    Attributes:
        where: File, array or rows.
        what: What was found there, and what was expected.
        fix: What to do about it.
    """

    where: str
    what: str
    fix: str

    def __str__(self) -> str:
        """Return the problem as one line."""
        return f"{self.where}: {self.what}. To fix: {self.fix}"


def verify_command(path: Path) -> str:
    """Return the command that lists what is damaged in a store.

    Args:
        path: The store.
    """
    return shlex.join(["dynamic-sparsity", "verify", str(path)])


FIX_FILE: Final = "restore this file from another copy of the store, or generate the store again"
FIX_VALUES: Final = (
    "the values were written wrong, so another copy won't help: delete the store, generate it again, and report it "
    "as a bug if it happens again"
)
FIX_EXTRA: Final = "delete it"
FIX_LOCATION: Final = "don't use it, unless you know how it came to be there"


def fix_shard(shard: int) -> str:
    """Return what fixes a damaged shard.

    Args:
        shard: Index of the shard.
    """
    return (
        f"restore this file from another copy of the store, or delete manifest.json and shards/{shard:05d}.json "
        "and run the command that generated the store again"
    )
