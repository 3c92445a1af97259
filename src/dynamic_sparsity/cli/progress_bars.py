"""Progress bars of commands that run for long: each is a context manager that receives a run's progress."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TimeRemainingColumn,
)
from rich.text import Text

from dynamic_sparsity.untrusted import console as consoles
from dynamic_sparsity.untrusted.console import PlainConsole, PlainTextColumn

if TYPE_CHECKING:
    from typing import Self

    from dynamic_sparsity.learners.interface import Learner
    from dynamic_sparsity.training.checkpoints import Point

__all__ = ["AnalysisBars", "Bars", "GenerationBars", "LearnerBars", "TrainingBars"]


class Bars:
    """Bars that are drawn while the context is open."""

    def __init__(self, console: PlainConsole, *columns: ProgressColumn, **options: Any) -> None:
        """Draw nothing yet.

        Args:
            console: Where to draw.
            *columns: The columns of each bar.
            **options: Those of Rich's `Progress`.
        """
        self._bars = consoles.Bars(*columns, console=console, **options)
        self._bar: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _update(self, **fields: Any) -> None:
        """Update the bar that was added last, if there is one."""
        if self._bar is not None:
            self._bars.update(self._bar, **fields)


class GenerationBars(Bars):
    """A bar per store that `generate` makes; receives a `RunProgress`."""

    def __init__(self, console: PlainConsole) -> None:
        """Draw a first bar while the simulator is loaded.

        Args:
            console: Where to draw.
        """
        columns = (_RowRate(), TimeRemainingColumn(), _Phase())
        description = PlainTextColumn("{task.description}")
        super().__init__(console, description, BarColumn(), MofNCompleteColumn(), *columns, speed_estimate_period=60)
        self._bar = self._bars.add_task("", total=None, phase="loading the simulator", since=time.monotonic())
        self._ids: dict[Path, TaskID] = {}
        self._rows: dict[Path, int] = {}
        self._compiled: dict[Path, float] = {}

    def on_opened(self, store: Path, rows: int, finished: int) -> None:
        """Add the store's bar."""
        if self._bar is not None:
            self._bars.remove_task(self._bar)
            self._bar = None
        name = store.parent.name
        self._rows[store] = rows
        self._ids[store] = self._bars.add_task(name, total=rows, completed=finished, phase="waiting", since=None)

    def on_compiling(self, store: Path) -> None:
        """Show that programs are being compiled."""
        self._bars.update(self._ids[store], phase="compiling (once; then kept on disk)", since=time.monotonic())

    def on_compiled(self, store: Path, seconds: float) -> None:
        """Show that the simulation begins, and how long compilation took."""
        self._compiled[store] = self._compiled.get(store, 0.0) + seconds
        self._show(store, f"simulating{self._compilation(store)}")

    def on_progress(self, store: Path, rows: int) -> None:
        """Advance the store's bar."""
        if store not in self._compiled:
            self._compiled[store] = 0.0
            self._show(store, "simulating")
        self._bars.advance(self._ids[store], rows)

    def on_sealing(self, store: Path) -> None:
        """Show that the store is being checked and sealed."""
        self._bars.update(self._ids[store], completed=self._rows[store])
        self._show(store, f"checking and sealing{self._compilation(store)}")

    def on_closed(self, store: Path) -> None:
        """Show that the store is done."""
        self._show(store, f"done{self._compilation(store)}")

    def _compilation(self, store: Path) -> str:
        seconds = self._compiled.get(store)
        return "" if not seconds else f" (compiled in {seconds:.0f} s)"

    def _show(self, store: Path, phase: str) -> None:
        self._bars.update(self._ids[store], phase=phase, since=None)


class AnalysisBars(Bars):
    """A bar per store that `analyze` and `report` study."""

    def __init__(self, console: PlainConsole) -> None:
        """Draw nothing yet.

        Args:
            console: Where to draw.
        """
        phase = PlainTextColumn("{task.fields[phase]}", style="dim")
        description = PlainTextColumn("{task.description}")
        super().__init__(console, description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), phase)

    def started(self, name: str, rows: int) -> None:
        """Add a store's bar."""
        self._bar = self._bars.add_task(name, total=rows, phase="reading")

    def advanced(self, rows: int) -> None:
        """Advance it."""
        if self._bar is not None:
            self._bars.advance(self._bar, rows)

    def phase(self, words: str) -> None:
        """Show what is done after reading."""
        if self._bar is not None:
            total = self._bars.tasks[self._bar].total
            self._update(phase=words, completed=total if words == "done" else None)


class TrainingBars(Bars):
    """A bar per policy that `train` trains, and a printed line per evaluation, which a log keeps too."""

    def __init__(self, console: PlainConsole) -> None:
        """Draw nothing yet.

        Args:
            console: Where to draw.
        """
        description = PlainTextColumn("{task.description}")
        super().__init__(console, SpinnerColumn(), description, BarColumn(10), _MillionSteps(), _TrainingPace())
        self._task, self._steps, self._done = "", 0, 0
        self._since = time.monotonic()

    def started(self, task: str, steps: int, done: int) -> None:
        """Add a policy's bar."""
        self._task, self._steps, self._done, self._since = task, steps, done, time.monotonic()
        phase = "compiling, first steps"
        self._bar = self._bars.add_task(task, total=steps, completed=done, phase=phase, rate=0.0)
        if done:
            self._bars.console.print(f"{task}: resumed at {done:,} steps")

    def evaluated(self, point: Point, best: Point) -> None:
        """Advance the bar and print the evaluation."""
        now = time.monotonic()
        rate = (point.steps - self._done) / (now - self._since)
        self._done, self._since = point.steps, now
        self._bars.console.print(
            f"{self._task}: {point.steps:,} steps, return {point.mean:.1f} ± {point.deviation:.1f}, "
            f"best {best.mean:.1f}; {_pace(rate, self._steps - point.steps)}"
        )
        self._update(completed=min(point.steps, self._steps), rate=rate, phase="")

    def measuring(self, task: str) -> None:
        """Show that the best policy is being measured."""
        self._update(phase="measuring the best")


class LearnerBars(Bars):
    """A bar of gradient steps for all learners of `train-learner`, and a printed line per result.

    Receives a `LearnerProgress`.
    """

    def __init__(self, console: PlainConsole, runs: int, steps: int) -> None:
        """Draw nothing yet.

        Args:
            console: Where to draw.
            runs: Number of learners times number of tasks.
            steps: Gradient steps of one of these, all seeds together.
        """
        description = PlainTextColumn("{task.description}")
        columns = (description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        super().__init__(console, *columns, transient=True)
        self._steps, self._finished = steps, 0
        self._bar = self._bars.add_task("Training", total=runs * steps)

    def on_started(self, task: str, learner: Learner) -> None:
        """Show what is trained."""
        self._update(description=self._label(task, learner))

    def on_steps(self, steps: int) -> None:
        """Advance the bar."""
        self._update(advance=steps)

    def on_result(self, task: str, learner: Learner, result: dict[str, Any]) -> None:
        """Print the result of one seed."""
        self._bars.console.print(f"{self._label(task, learner)}, seed {result['seed']}: {_result_line(result)}")

    def on_skipped(self, task: str, learner: Learner) -> None:
        """Print that nothing was to be done."""
        label = self._label(task, learner)
        self._bars.console.print(f"{label}: its results exist already (--again trains anew)")

    def on_finished(self, task: str, learner: Learner) -> None:
        """Set the bar to where it is without what needed no steps, or fewer."""
        self._finished += 1
        self._update(completed=self._finished * self._steps)

    @staticmethod
    def _label(task: str, learner: Learner) -> str:
        return f"{task}, {learner.name} {learner.loss}"


class _RowRate(ProgressColumn):
    """Rows per second."""

    def render(self, task: Task) -> Text:
        """Render one bar's rate."""
        return Text(f"{task.speed:,.0f} rows/s" if task.speed else "", style="cyan")


class _Phase(ProgressColumn):
    """What is done now, with the seconds it has taken where nothing else moves."""

    def render(self, task: Task) -> Text:
        """Render one bar's phase."""
        since = task.fields["since"]
        waited = "" if since is None else f", {time.monotonic() - since:.0f} s"
        return Text(task.fields["phase"] + waited, style="dim")


class _MillionSteps(ProgressColumn):
    """Control steps done and wanted, in millions."""

    def render(self, task: Task) -> Text:
        """Render one bar's steps."""
        return Text(f"{task.completed / 1e6:.2f}/{(task.total or 0) / 1e6:.2f} M", style="green")


class _TrainingPace(ProgressColumn):
    """Control steps per second and time left; before the first evaluation, or after the last, what is done instead."""

    def render(self, task: Task) -> Text:
        """Render one bar's rate."""
        rate = task.fields["rate"]
        return Text(task.fields["phase"] or _pace(rate, (task.total or 0) - task.completed), style="cyan")


def _pace(rate: float, steps: float) -> str:
    left = timedelta(seconds=round(max(0.0, steps) / rate))
    return f"{rate:,.0f} steps/s, {left} left"


def _result_line(document: dict[str, Any]) -> str:
    """Return the main measures of a learner's result."""
    result = document["result"]
    rows = (result["structure"] or {}).get("all", {})
    parts = [f"error of s' {result['next_state']['nmse']:.3g}"]
    headline = ((result.get("truths") or {}).get("T2") or {}).get("local_graph_skill")
    for title, value in (
        ("local-graph skill", headline),
        ("average precision", rows.get("average_precision")),
        ("F1", rows.get("f1")),
        ("relative sparsity", result["sparsity"]["relative"]),
    ):
        parts.append(f"{title} {'–' if value is None else f'{value:.3g}'}")
    return ", ".join(parts)
