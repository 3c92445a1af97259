"""`generate`: the progress it shows, and what it says at the end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TimeRemainingColumn,
)
from rich.text import Text

from dynamic_sparsity.cli import show
from dynamic_sparsity.cli.arguments import output_folder
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.tasks import TASKS, get_task
from dynamic_sparsity.untrusted.console import PlainConsole, PlainTextColumn

if TYPE_CHECKING:
    from dynamic_sparsity.generation.executors.protocol import Executor

EXECUTORS = ("local", "ray")
WORKERS_MAX = 4096


def chosen_tasks(names: Sequence[str], every: bool) -> list[str]:
    """The tasks asked for, each once, in the order given.

    Raises:
        InvalidSettingError: None, or some and `--all`.
        UnknownNameError: One does not exist.
    """
    if every and names:
        raise InvalidSettingError("Give either task names or --all, not both.")
    if not every and not names:
        raise InvalidSettingError(
            "No task was given. Name one or more, e.g. CartpoleBalance, or use --all. `dynamic-sparsity list` has them."
        )
    return list(TASKS) if every else list(dict.fromkeys(get_task(name).name for name in names))


def generate(tasks: Sequence[str], out: Path, work: Work, **options: Any) -> None:
    """Generates the stores of several tasks and prints what was made.

    Raises:
        UnitsFailedError: Some units failed in every attempt.
    """
    from dynamic_sparsity.generation.jobs.units import Job
    from dynamic_sparsity.generation.settings import Settings

    output_folder(out)
    settings = [Settings(task=task, **options) for task in tasks]
    job = Job(work.job_index, work.num_jobs)
    from dynamic_sparsity.generation.jobs.generate import generate_all

    console = PlainConsole()
    executor = work.executor_of()
    began = time.monotonic()
    with _progress(console) as bars:
        summary = generate_all(settings, out, executor, _Reporter(bars), job)
    seconds = time.monotonic() - began
    if summary.sealed:
        show.made(console, summary.sealed)
    console.print(
        f"\n{summary.rows:,} rows in {summary.units:,} units, in {seconds:,.0f} s with compilation and sealing",
        highlight=False,
    )
    summary.check()
    if job.alone:
        following = f"verify {shlex.quote(str(summary.stores[0]))} --deep"
    else:
        following = f"finalize {' '.join(shlex.quote(str(store)) for store in summary.stores)}"
    after = "Next" if job.alone else f"When all {job.count} jobs have ended"
    console.print(Text.assemble(f"{after}: ", (f"dynamic-sparsity {following}", "bold")), soft_wrap=True)


@dataclass(frozen=True)
class Work:
    """Who makes the units.

    Attributes:
        executor: "local" or "ray".
        workers: Processes, or actors; None for one per GPU, or per core where there is none.
        ray_address: A cluster to join: "auto", HOST:PORT; None for RAY_ADDRESS, or one that is started on this machine.
        job_index: Which of several jobs this is.
        num_jobs: How many there are.
    """

    executor: str = "local"
    workers: int | None = None
    ray_address: str | None = None
    job_index: int = 0
    num_jobs: int = 1

    def executor_of(self) -> Executor:
        """Sets up the executor.

        Raises:
            InvalidSettingError: There is no such executor, or an option does not fit it.
            MissingDependencyError: What it needs is not installed.
        """
        if self.executor not in EXECUTORS:
            raise InvalidSettingError(f"executor is {self.executor!r}; it must be one of: {', '.join(EXECUTORS)}.")
        if self.workers is not None and not 1 <= self.workers <= WORKERS_MAX:
            raise InvalidSettingError(f"workers is {self.workers}; it must be at least 1 and at most {WORKERS_MAX}.")
        if self.ray_address is not None and self.executor != "ray":
            raise InvalidSettingError("--ray-address needs --executor ray.")
        if self.executor == "ray":
            from dynamic_sparsity.generation.executors.ray_actors import RayExecutor

            return RayExecutor(self.ray_address, self.workers)
        from dynamic_sparsity.generation.executors.processes import ProcessExecutor

        return ProcessExecutor(self.workers)


class _Rate(ProgressColumn):
    """Rows per second."""

    def render(self, task: Task) -> Text:
        """Renders one bar's rate."""
        return Text(f"{task.speed:,.0f} rows/s" if task.speed else "", style="cyan")


class _Phase(ProgressColumn):
    """What is done now, with the seconds it has taken where nothing else moves."""

    def render(self, task: Task) -> Text:
        """Renders one bar's phase."""
        since = task.fields["since"]
        waited = "" if since is None else f", {time.monotonic() - since:.0f} s"
        return Text(task.fields["phase"] + waited, style="dim")


def _progress(console: PlainConsole) -> Progress:
    return Progress(
        PlainTextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        _Phase(),
        console=console,
        speed_estimate_period=60,
    )


class _Reporter:
    """Draws a bar for each store."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._loading: TaskID | None = bars.add_task(
            "", total=None, phase="loading the simulator", since=time.monotonic()
        )
        self._ids: dict[Path, TaskID] = {}
        self._rows: dict[Path, int] = {}
        self._compiled: dict[Path, float] = {}

    def on_opened(self, store: Path, rows: int, finished: int) -> None:
        if self._loading is not None:
            self._bars.remove_task(self._loading)
            self._loading = None
        name = store.parent.name
        self._rows[store] = rows
        self._ids[store] = self._bars.add_task(name, total=rows, completed=finished, phase="waiting", since=None)

    def on_compiling(self, store: Path) -> None:
        self._bars.update(self._ids[store], phase="compiling (once; then kept on disk)", since=time.monotonic())

    def on_compiled(self, store: Path, seconds: float) -> None:
        self._compiled[store] = self._compiled.get(store, 0.0) + seconds
        self._show(store, f"simulating{self._after(store)}")

    def on_progress(self, store: Path, rows: int) -> None:
        if store not in self._compiled:
            self._compiled[store] = 0.0
            self._show(store, "simulating")
        self._bars.advance(self._ids[store], rows)

    def on_sealing(self, store: Path) -> None:
        self._bars.update(self._ids[store], completed=self._rows[store])
        self._show(store, f"checking and sealing{self._after(store)}")

    def on_closed(self, store: Path) -> None:
        self._show(store, f"done{self._after(store)}")

    def _after(self, store: Path) -> str:
        seconds = self._compiled.get(store)
        return "" if not seconds else f" (compiled in {seconds:.0f} s)"

    def _show(self, store: Path, phase: str) -> None:
        self._bars.update(self._ids[store], phase=phase, since=None)
