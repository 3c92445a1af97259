"""How a run of `generate` reports its progress; the command line draws bars from it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class RunProgress(Protocol):
    """Receives the progress of a run; every call names the store's path."""

    def on_opened(self, store: Path, rows: int, finished: int) -> None:
        """Report that a store is begun or resumed.

        Args:
            store: Path of the store.
            rows: Rows that this run has to make in all.
            finished: How many of them exist already.
        """

    def on_compiling(self, store: Path) -> None:
        """Report that the store's programs are being compiled, or read from the cache.

        Args:
            store: Path of the store.
        """

    def on_compiled(self, store: Path, seconds: float) -> None:
        """Report that the store's programs are ready.

        Args:
            store: Path of the store.
            seconds: Time that this took.
        """

    def on_progress(self, store: Path, rows: int) -> None:
        """Report that more rows were computed.

        Args:
            store: Path of the store.
            rows: Rows computed since the last call; negative if some were lost with a worker.
        """

    def on_sealing(self, store: Path) -> None:
        """Report that all rows are on disk; checksums and statistics are being made.

        Args:
            store: Path of the store.
        """

    def on_closed(self, store: Path) -> None:
        """Report that this run is done with the store.

        Args:
            store: Path of the store.
        """


class NoRunProgress:
    """Reports nothing."""

    def on_opened(self, store: Path, rows: int, finished: int) -> None:
        """Do nothing."""

    def on_compiling(self, store: Path) -> None:
        """Do nothing."""

    def on_compiled(self, store: Path, seconds: float) -> None:
        """Do nothing."""

    def on_progress(self, store: Path, rows: int) -> None:
        """Do nothing."""

    def on_sealing(self, store: Path) -> None:
        """Do nothing."""

    def on_closed(self, store: Path) -> None:
        """Do nothing."""
