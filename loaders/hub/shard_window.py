"""Shards of a published store in memory, as they come from the Hub: checked, and read like files of a store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.hub.local_copy import LocalCopy
from dynamic_sparsity.loaders.hub.repository import quiet
from dynamic_sparsity.loaders.hub.transfer import THREADS, fetch_run, in_threads
from dynamic_sparsity.loaders.hub.transfer_plan import FilePlan, ShardRows, plan_files
from dynamic_sparsity.loaders.store.partial import PartialLedger
from dynamic_sparsity.loaders.store.pieces import row_file
from dynamic_sparsity.loaders.store.store import Store

__all__ = ["Receiver", "ShardWindow", "Shards"]

Bytes = NDArray[np.uint8]
Shards = dict[str, Bytes]
"""The bytes of shard files, by path inside the store, each of shape (size,)."""

Part = tuple[FilePlan, tuple[int, int]]

PART_BYTES_MAX: Final = 8 * 2**20
"""A larger file comes in parts, side by side: with fewer threads in larger ones, as many bytes are under way."""

RECEIVED_BYTES_MAX: Final = 2 * 2**30
"""How many bytes of shards are brought into memory at once: twice those of the largest task's, four at a time."""

REUSED_BYTES_MIN: Final = 2**20
THREADS_MIN: Final = 2
LATENCY_PER_THREAD_S: Final = 2e-3


class MemoryLedger(PartialLedger):
    """The files of a copy of which some shards are in memory; only its small files are on disk."""

    shards_in_memory = True

    def __init__(self, root: Path, files: Mapping[str, tuple[str, int]]):
        """Hold no shard yet.

        Args:
            root: Folder of the copy.
            files: SHA-256 (hexadecimal) and size (bytes) of all files of the whole store.
        """
        super().__init__(root, files, "size")
        self.contents: Shards = {}

    def absent(self, arrays: Any) -> tuple[str, ...]:
        """See `Ledger.absent`: every array is there when its rows are read."""
        return ()

    def in_memory(self, name: str) -> Bytes | None:
        """See `Ledger.in_memory`."""
        return self.contents.get(name)

    def clear(self) -> None:
        """Let all shards go."""
        self.contents = {}


class ShardWindow:
    """The shards of a published store that are in memory; one thread may use it.

    Attributes:
        store: The store, of which the rows of these shards can be read.
    """

    def __init__(self, receiver: Receiver):
        """Hold no shard yet.

        Args:
            receiver: Where the shards come from, and their memory goes back to.
        """
        copy = receiver.copy
        store = copy.store
        files = {name: store.ledger.record(name) for name in store.ledger.names()}
        self._ledger = MemoryLedger(copy.path, files)
        self._ledger.check_metadata(store.metadata)
        self._receiver = receiver
        self.store = Store(store.path, self._ledger, store.metadata)

    def show(self, contents: Shards) -> None:
        """Let go of the shards that were there, and read others.

        Args:
            contents: Of `Receiver.receive`; empty for none.
        """
        places = (row_file(name) for name in self._ledger.contents)
        self.store.reader.forget({place[1] for place in places if place is not None})
        old = self._ledger.contents
        self._ledger.clear()
        self._receiver.reuse(old)
        self._ledger.contents = contents


class Receiver:
    """Fetches shards of one copy of a store into memory. It may be used by several threads."""

    def __init__(self, copy: LocalCopy):
        """Nothing is fetched yet.

        Args:
            copy: Of the store; its folder stays as it is.
        """
        self.copy = copy
        self._threads = THREADS
        self._spare: dict[int, list[Bytes]] = {}

    def receive(self, arrays: Sequence[str], wanted: Sequence[ShardRows]) -> Shards:
        """Fetch the bytes of shards that some rows of the copy need, and check them; what is not needed may be zero.

        What was downloaded before is read from the cache, offline too.

        Args:
            arrays: Names of arrays.
            wanted: The rows, of each shard one run of them.

        Raises:
            InvalidSettingError: They are too large for the memory.
            CorruptStoreError: The Hub's bytes are not those that were published.
            HubError: The Hub can't be reached, or refuses.
        """
        copy, found, parts = self.copy, Shards(), list[Part]()
        part_bytes_max = PART_BYTES_MAX * THREADS // self._threads
        plans = plan_files(copy.ledger, arrays, wanted, force=True)
        size = sum(plan.size for plan in plans)
        if size > RECEIVED_BYTES_MAX:
            raise InvalidSettingError(
                f"{copy.repository.name}: {len(wanted)} shards of {copy.published.path} have {size} bytes, more than "
                f"the {RECEIVED_BYTES_MAX} that are brought into memory at once; name fewer columns or smaller "
                "buffer_shards, or load without streaming"
            )
        for plan in plans:
            # Memory that is set to zero is not taken from the system before it is used.
            found[plan.name] = np.zeros(plan.size, np.uint8) if plan.pieces else self._take(plan.size)
            cut = _cut(copy, plan, part_bytes_max)
            parts += [(cut, run) for run in cut.runs]
        # Small files came with the index.
        folders = [copy.path, *(folder for folder in copy.cached_folders if folder.exists())]
        durations = []

        def fetch(part: Part) -> None:
            plan, run = part
            out = found[plan.name][slice(*plan.bounds(run))]
            if any(_read(folder / plan.name, plan, run, out) for folder in folders):
                return
            began = time.perf_counter()
            fetch_run(copy.repository, f"{copy.published.path}/{plan.name}", plan, run, out)
            durations.append(time.perf_counter() - began)

        # The largest first: the small ones then fill what time is left.
        parts.sort(key=lambda part: part[0].bounds(part[1])[0] - part[0].bounds(part[1])[1])
        with quiet():
            in_threads(fetch, parts, self._threads)
        if durations:
            # The fastest request shows the latency of the Hub. Where it is small, threads only wait for each other.
            self._threads = int(np.clip(min(durations) / LATENCY_PER_THREAD_S, THREADS_MIN, THREADS))
        return found

    def reuse(self, contents: Shards) -> None:
        """Take the memory of shards for the next ones, as the system takes its time to give out new memory.

        Args:
            contents: Of `receive`; nobody may use them any more.
        """
        for array in contents.values():
            if array.size >= REUSED_BYTES_MIN:
                self._spare.setdefault(array.size, []).append(array)

    def _take(self, size: int) -> Bytes:
        try:
            return self._spare[size].pop()
        except (KeyError, IndexError):
            return np.empty(size, np.uint8)


def _cut(copy: LocalCopy, plan: FilePlan, part_bytes_max: int) -> FilePlan:
    """Return a plan for a large file that is fetched whole, with several requests side by side."""
    pieces = copy.ledger.pieces.get(plan.name)
    if plan.pieces is not None or pieces is None or plan.size <= part_bytes_max:
        return plan
    needed = tuple(range(len(pieces.offsets)))
    return replace(plan, pieces=pieces, needed=needed, run_bytes_max=part_bytes_max)


def _read(path: Path, plan: FilePlan, run: tuple[int, int], out: Bytes) -> bool:
    """Read the bytes of one request from a copy of the file, if it is there; returns whether they are right."""
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(plan.bounds(run)[0])
            return file.readinto(out.data) == out.size and plan.is_right(run, out)
    except OSError:
        return False
