"""What a verification finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a store.

    Attributes:
        where: File, array or rows.
        what: What was found there, and what was expected.
        mend: What mends it.
    """

    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        """The problem as one line."""
        return f"{self.where}: {self.what}. To mend: {self.mend}"


MEND_FILE: Final = "restore this file from another copy of the store, or make the store anew"
MEND_VALUES: Final = (
    "the values were written wrong, so another copy won't help: delete the store, make it anew with "
    "`dynamic-sparsity generate`, and report it as a bug if it happens again"
)
MEND_EXTRA: Final = "delete it"
MEND_LOCATION: Final = "don't use it, unless you know how it came to be there"
MEND_INCOMPLETE: Final = "run the same `dynamic-sparsity generate` command again; it makes only what is missing"


def mend_shard(shard: int) -> str:
    """What mends a damaged shard.

    Args:
        shard: Index of the shard.
    """
    return (
        f"restore this file from another copy of the store, or delete manifest.json and shards/{shard:05d}.json "
        f"and run the same `dynamic-sparsity generate` command again"
    )
