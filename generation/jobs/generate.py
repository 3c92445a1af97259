"""The main job: stores, from settings to sealed data, in units of work; killed at any moment, it goes on.

Stores are opened one after the other, when the executor has room for their first unit, and sealed in the background
when their last one is on disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dynamic_sparsity.errors import UnitsFailedError
from dynamic_sparsity.generation.executors.protocol import Event, Executor, Happening
from dynamic_sparsity.generation.jobs.run_progress import Progress, Silent
from dynamic_sparsity.generation.jobs.scheduler import SetAside, work
from dynamic_sparsity.generation.jobs.status_file import Board, forget
from dynamic_sparsity.generation.jobs.units import Part, Unit, plan_units, unfinished
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.storage import writer
from dynamic_sparsity.storage.manifests import read_attributes


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        stores: Paths of all stores asked for, in order.
        sealed: Those that are complete now.
        rows: Rows made by this run.
        units: Units made by this run.
        set_aside: Units that failed again and again.
    """

    stores: tuple[Path, ...]
    sealed: tuple[Path, ...]
    rows: int
    units: int
    set_aside: tuple[SetAside, ...]

    def check(self) -> None:
        """Raises UnitsFailedError if units were set aside."""
        if self.set_aside:
            lines = "\n".join(f"  {one.unit.name}: {one.trouble}" for one in self.set_aside)
            raise UnitsFailedError(
                f"{len(self.set_aside)} units failed three times each and were set aside; all others are finished:\n"
                f"{lines}\nThe same command tries these again; `dynamic-sparsity status STORE` lists them."
            )


def generate(settings: Settings, root: Path, progress: Progress | None = None) -> Path:
    """Makes a store in this process, or goes on with one, and seals it. A complete one is checked and left as it is.

    Args:
        settings: What to generate.
        root: Folder of all stores.
        progress: Told how it goes on.

    Returns:
        The store's path.

    Raises:
        SettingsMismatchError: The store exists with other settings.
        StoreLockedError: Another process is writing to it.
        UnitsFailedError: Units failed, for example because the constraint solver did not converge.
    """
    from dynamic_sparsity.generation.executors.threads import InProcess

    summary = generate_all([settings], root, InProcess(), progress)
    summary.check()
    return summary.stores[0]


def generate_all(
    wanted: Sequence[Settings],
    root: Path,
    executor: Executor,
    progress: Progress | None = None,
    part: Part | None = None,
) -> Summary:
    """Makes stores, or goes on with them, and seals them; arguments and errors as `generate`.

    Args:
        wanted: What to generate, one entry per store.
        root: Folder of all stores.
        executor: Makes the units; entered and left here.
        progress: Told how it goes on.
        part: Make only this job's units and seal nothing: `finalize` does that when all jobs have ended.

    Returns:
        What was done; `Summary.check` raises if units were set aside.
    """
    run = _Run(root, executor, progress or Silent(), part or Part())
    # The executor is left before the locks: nobody else may write while one of its workers still does.
    with ExitStack() as locks, ThreadPoolExecutor(1, thread_name_prefix="seal") as sealer, executor:
        run.sealer = sealer
        try:
            aside = work(executor, run.units(wanted, locks), run.told)
            for one in aside:
                run.boards[one.unit.store].set_aside(one.unit, one.trouble)
        finally:
            for board in run.boards.values():
                board.close()
    for future in run.sealing.values():
        future.result()
    stores = tuple(settings.store_path(root) for settings in wanted)
    return Summary(stores, tuple(run.sealing), run.rows, run.made, tuple(aside))


@dataclass
class _Run:
    """The stores a run has opened, and what is left to do for each."""

    root: Path
    executor: Executor
    progress: Progress
    part: Part
    left: dict[Path, int] = field(default_factory=dict)
    boards: dict[Path, Board] = field(default_factory=dict)
    sealing: dict[Path, Future[None]] = field(default_factory=dict)
    rows: int = 0
    made: int = 0
    sealer: ThreadPoolExecutor = field(init=False)

    def units(self, wanted: Sequence[Settings], locks: ExitStack) -> Iterator[Unit]:
        """Opens store after store, and yields what is to be made of each."""
        planned = 0
        for settings in wanted:
            store = settings.store_path(self.root)
            locks.enter_context(writer.lock(store, shared=not self.part.whole))
            if not self.part.whole:
                locks.enter_context(writer.lock(store.with_name(f"{store.name}.{self.part.name}")))
            attributes = self.executor.describe(settings)
            writer.create_store(store, attributes)
            if self.part.whole:
                writer.sweep(store)
                forget(store)
                locks.push(partial(_sweep_after_error, store))
            units = plan_units(settings, store, attributes)
            own, planned = self.part.of(units, planned), planned + len(units)
            todo = unfinished(own, writer.missing_shards(store))
            rows = sum(unit.rows for unit in todo)
            self.boards[store], self.left[store] = Board(store, self.part, rows), len(todo)
            total = sum(unit.rows for unit in own)
            self.progress.opened(store, total, total - rows)
            if todo:
                yield from todo
            else:
                self._finish(store)

    def told(self, event: Event) -> None:
        """Takes note of what happened to a unit."""
        store = event.unit.store
        if event.what is Happening.COMPILING:
            self.progress.compiling(store)
        elif event.what is Happening.COMPILED:
            self.progress.compiled(store, event.amount)
        change = self.boards[store].told(event)
        if change:
            self.progress.advanced(store, change)
        if event.what is Happening.FINISHED:
            self.rows, self.made = self.rows + event.unit.rows, self.made + 1
            self.left[store] -= 1
            if not self.left[store]:
                self._finish(store)

    def _finish(self, store: Path) -> None:
        if not self.part.whole:
            self.progress.closed(store)
            return
        self.progress.sealing(store)

        def seal() -> None:
            writer.finalize(store)
            self.boards[store].close()
            self.progress.closed(store)

        self.sealing[store] = self.sealer.submit(seal)


def _sweep_after_error(store: Path, kind: type[BaseException] | None, *_: object) -> None:
    """Deletes what workers that were stopped in the midst of writing have left; one that dies itself leaves it."""
    if kind is not None:
        with suppress(OSError):
            writer.sweep(store)


def finalize(store: Path) -> None:
    """Seals a store whose units were made by several jobs.

    Args:
        store: Its path.

    Raises:
        StoreNotFoundError: There is none.
        StoreLockedError: A job is still writing to it.
        IncompleteStoreError: Units are missing.
        CorruptStoreError: Some file's bytes are not the ones that were written.
    """
    read_attributes(store)  # what is no store gets no lock
    with writer.lock(store):
        writer.finalize(store)
        forget(store)
