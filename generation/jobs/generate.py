"""`generate`: stores, from settings to sealed data, in units of work. Killed at any moment, a run can be resumed.

A store that has fewer episodes than are wanted grows: see `storage.growth`.
Stores are opened one after the other, when the executor has room for their first unit, and sealed in the background
when their last unit is on disk.
"""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from dynamic_sparsity.errors import DynamicSparsityWarning, TimeLimitError, UnitsFailedError
from dynamic_sparsity.generation.executors.protocol import Event, EventKind, Executor
from dynamic_sparsity.generation.jobs.run_progress import NoRunProgress, RunProgress
from dynamic_sparsity.generation.jobs.scheduler import MAX_ATTEMPTS, QuarantinedUnit, run_units
from dynamic_sparsity.generation.jobs.status_file import StatusFile, delete_status_files
from dynamic_sparsity.generation.jobs.time_limit import TimeLimit, TimeOver
from dynamic_sparsity.generation.jobs.unit_size import with_units_of
from dynamic_sparsity.generation.jobs.units import Job, Unit, plan_units, unfinished
from dynamic_sparsity.generation.machine import check_platform
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.storage import growth, writer
from dynamic_sparsity.storage.manifests import read_attributes


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        stores: Paths of all requested stores, in order.
        sealed: Those that are complete now.
        rows: Rows made by this run.
        units: Units made by this run.
        quarantined: Units that failed in every attempt.
        stopped: Whether the time limit ended it before all was done.
    """

    stores: tuple[Path, ...]
    sealed: tuple[Path, ...]
    rows: int
    units: int
    quarantined: tuple[QuarantinedUnit, ...]
    stopped: bool = False

    def check(self) -> None:
        """Check that every unit was made.

        Raises:
            TimeLimitError: The time was over before.
            UnitsFailedError: Units were quarantined.
        """
        lines = "\n".join(f"  {one.unit.name}: {one.failure}" for one in self.quarantined)
        failed = f"{len(self.quarantined)} units failed {MAX_ATTEMPTS} times each and were given up"
        if self.stopped:
            made = f"{self.units:,} units were made" if self.units else "no unit could be made in it: give more time"
            raise TimeLimitError(
                f"The time limit leaves no room for another unit; {made}. Finished work is on disk: rerun the same "
                "command to resume." + (f"\n{failed}:\n{lines}" if self.quarantined else "")
            )
        if self.quarantined:
            raise UnitsFailedError(
                f"{failed}; all others are finished:\n{lines}\nRerun the same command to try these again; "
                f"`{shlex.join(['dynamic-sparsity', 'status', str(self.stores[0].parent.parent)])}` lists them."
            )


def generate(settings: Settings, root: Path, progress: RunProgress | None = None) -> Path:
    """Make, resume or grow a store in this process, and seal it. A complete store is checked and left as it is.

    Args:
        settings: What to generate.
        root: Folder of all stores.
        progress: Receives the progress of the run.

    Returns:
        Path of the store.

    Raises:
        SettingsMismatchError: The store exists with other settings.
        StoreLockedError: Another process is writing to it.
        UnitsFailedError: Units failed, for example because the constraint solver did not converge.
    """
    from dynamic_sparsity.generation.executors.threads import ThreadExecutor

    summary = generate_all([settings], root, ThreadExecutor(), progress)
    summary.check()
    return summary.stores[0]


def generate_all(
    wanted: Sequence[Settings],
    root: Path,
    executor: Executor,
    progress: RunProgress | None = None,
    job: Job | None = None,
    limit: TimeLimit | None = None,
) -> Summary:
    """Make, resume or grow stores, and seal them.

    Args:
        wanted: What to generate, one entry per store.
        root: Folder of all stores.
        executor: Makes the units; entered and left here.
        progress: Receives the progress of the run.
        job: Make only this job's units and seal nothing; `finalize` seals the stores when all jobs have ended.
        limit: The time for making units; what is complete by then is sealed.

    Returns:
        What was done; `Summary.check` raises if units failed in every attempt, or the time was over before the end.

    Raises:
        SettingsMismatchError: A store exists with other settings.
        StoreLockedError: Another process is writing to a store.
        UnsupportedPlatformError: This system is not POSIX.
    """
    check_platform()
    run = _Run(root, executor, progress or NoRunProgress(), job or Job(), limit or TimeLimit())
    # The executor is left before the locks: nobody else may write while one of its workers still does.
    with ExitStack() as locks, ThreadPoolExecutor(1, thread_name_prefix="seal") as sealer, executor:
        run.sealer = sealer
        try:
            quarantined = run_units(executor, run.units(wanted, locks), run.on_event, run.limit)
            for one in quarantined:
                run.status_files[one.unit.store].quarantine(one.unit, one.failure)
        finally:
            for status_file in run.status_files.values():
                status_file.close()
    for future in run.sealing.values():
        future.result()
    stores = tuple(settings.store_path(root) for settings in wanted)
    return Summary(stores, tuple(run.sealing), run.rows, run.made, tuple(quarantined), run.limit.stopped)


@dataclass
class _Run:
    """The stores that a run has opened, and how many units are left of each.

    Units belong to the folder that they are written to: the store's, or that of the larger store which is to take the
    store's place.
    """

    root: Path
    executor: Executor
    progress: RunProgress
    job: Job
    limit: TimeLimit
    stores: dict[Path, Path] = field(default_factory=dict)
    units_left: dict[Path, int] = field(default_factory=dict)
    status_files: dict[Path, StatusFile] = field(default_factory=dict)
    sealing: dict[Path, Future[None]] = field(default_factory=dict)
    rows: int = 0
    made: int = 0
    sealer: ThreadPoolExecutor = field(init=False)

    def units(self, wanted: Sequence[Settings], locks: ExitStack) -> Iterator[Unit]:
        """Open store after store, and yield the units to make of each."""
        planned = 0
        for settings in wanted:
            if not self.limit.has_room:
                self.limit.stopped = True
                return
            store = settings.store_path(self.root)
            try:
                settled, folder = self._open(store, settings, locks)
            except TimeOver:
                self.limit.stopped = True
                return
            units = plan_units(settled, folder, read_attributes(folder))
            own, planned = self.job.select(units, planned), planned + len(units)
            to_make = unfinished(own, writer.missing_shards(folder))
            rows = sum(unit.rows for unit in to_make)
            self.stores[folder] = store
            self.status_files[folder], self.units_left[folder] = StatusFile(folder, self.job, rows), len(to_make)
            total = sum(unit.rows for unit in own)
            self.progress.on_opened(store, total, total - rows)
            if to_make:
                yield from to_make
            else:
                self._finish(folder)
        if planned < self.job.count:
            share = "this one has none" if self.job.index >= planned else "this one has one"
            warnings.warn(
                f"of the {self.job.count:,} jobs only {planned:,} have anything to make, as there are {planned:,} "
                f"units in all; {share}. A smaller --batch would make more units, of other bits.",
                DynamicSparsityWarning,
                stacklevel=2,
            )

    def _open(self, store: Path, settings: Settings, locks: ExitStack) -> tuple[Settings, Path]:
        """Lock a store, and create it or clean up after an earlier run; return its settings and where to write.

        Raises:
            TimeOver: The time was over before the simulator was loaded; nothing was created.
        """
        locks.enter_context(writer.lock(store, shared=not self.job.alone))
        if not self.job.alone:
            locks.enter_context(writer.lock(store.with_name(f"{store.name}.{self.job.name}")))
        growth.restore(store)
        if self.job.alone:
            growth.recover(store)
        settings = with_units_of(store, settings)
        with self.limit.cutting():
            attributes = self.executor.describe(settings)
        growing = growth.growing_path(store)
        grows = growth.grows(store, attributes)
        if self.job.alone:
            for folder in (store, growing):
                writer.sweep(folder)
                delete_status_files(folder)
                locks.callback(_sweep, folder)
        if grows:
            return settings, growth.begin_growth(store, attributes, alone=self.job.alone)
        writer.create_store(store, attributes)
        return settings, store

    def on_event(self, event: Event) -> None:
        """Report an event of a unit, and seal its store after the last unit."""
        folder = event.unit.store
        store = self.stores[folder]
        if event.kind is EventKind.COMPILING:
            self.progress.on_compiling(store)
        elif event.kind is EventKind.COMPILED:
            self.progress.on_compiled(store, event.amount)
        change = self.status_files[folder].on_event(event)
        if change:
            self.progress.on_progress(store, change)
        if event.kind is EventKind.FINISHED:
            self.rows, self.made = self.rows + event.unit.rows, self.made + 1
            self.units_left[folder] -= 1
            if not self.units_left[folder]:
                self._finish(folder)

    def _finish(self, folder: Path) -> None:
        """Seal a store in the background, unless other jobs make units of it too."""
        store = self.stores[folder]
        if not self.job.alone:
            self.progress.on_closed(store)
            return
        self.progress.on_sealing(store)

        def seal() -> None:
            _seal(folder, store)
            self.status_files[folder].close()
            self.progress.on_closed(store)

        self.sealing[store] = self.sealer.submit(seal)


def _seal(folder: Path, store: Path) -> None:
    """Seal what was made in a folder; if that is a larger store, put it into the old one's place."""
    writer.finalize(folder)
    if folder != store:
        growth.finish_growth(store)


def _sweep(store: Path) -> None:
    """Delete what workers that were stopped in the midst of writing have left."""
    with suppress(OSError):
        writer.sweep(store)


def finalize(store: Path) -> None:
    """Seal a store whose units were made by several jobs.

    Args:
        store: Path of the store.

    Raises:
        StoreNotFoundError: There is none.
        StoreLockedError: A job is still writing to it.
        IncompleteStoreError: Units are missing.
        CorruptStoreError: Some file's bytes are not the ones that were written.
    """
    read_attributes(store)  # what is no store gets no lock
    with writer.lock(store):
        growth.recover(store)
        growing = growth.growing_path(store)
        folder = growing if growing.exists() else store
        _seal(folder, store)
        delete_status_files(folder)
