"""How a run of `generate` reports its progress; the command line draws bars from it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Progress(Protocol):
    """Told how a run goes on; the command line draws bars from it. Every call names the store's path."""

    def opened(self, store: Path, rows: int, finished: int) -> None:
        """A store is begun or gone on with: rows to be made here in all, and how many of them are there already."""

    def compiling(self, store: Path) -> None:
        """Its programs are being compiled, or read from the cache."""

    def compiled(self, store: Path, seconds: float) -> None:
        """They are ready, after so many seconds."""

    def advanced(self, store: Path, rows: int) -> None:
        """More rows were computed; negative if some were lost with a worker."""

    def sealing(self, store: Path) -> None:
        """All rows are on disk; checksums and statistics are being made."""

    def closed(self, store: Path) -> None:
        """Nothing more is done with it."""


class Silent:
    """Reports nothing."""

    def opened(self, store: Path, rows: int, finished: int) -> None:
        """Does nothing."""

    def compiling(self, store: Path) -> None:
        """Does nothing."""

    def compiled(self, store: Path, seconds: float) -> None:
        """Does nothing."""

    def advanced(self, store: Path, rows: int) -> None:
        """Does nothing."""

    def sealing(self, store: Path) -> None:
        """Does nothing."""

    def closed(self, store: Path) -> None:
        """Does nothing."""
