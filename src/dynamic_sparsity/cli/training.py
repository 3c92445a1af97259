"""`train`: the progress it shows, and what it says at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
)
from rich.text import Text

from dynamic_sparsity.cli.arguments import check_least, output_folder
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.untrusted.console import PlainConsole, PlainTextColumn

if TYPE_CHECKING:
    from dynamic_sparsity.training.checkpoints import Point
    from dynamic_sparsity.training.run import Result


def train(tasks: Sequence[str], out: Path, *, profile: str | None, initial_policy: str | None, **options: Any) -> None:
    """Trains one task after the other and prints what each came to."""
    output_folder(out)
    check_least(options["seed"], "--seed", most=2**31 - 1)
    check_least(options["steps"], "--steps", least=1, most=10**12)
    console = PlainConsole(soft_wrap=True)
    with console.status("Loading the simulator and brax"):
        jax_runtime.configure()
        import jax

        from dynamic_sparsity.training.run import train as train_policy
        from dynamic_sparsity.training.settings import resolve

        profile = profile or ("cpu" if jax.default_backend() == "cpu" else "playground")
    runs = [resolve(task, profile=profile, **options) for task in tasks]
    results: list[tuple[str, Result]] = []
    with _progress(console) as bars:
        results += [(run.task, train_policy(run, out, _Reporter(bars), initial_policy)) for run in runs]
    for task, result in results:
        console.print(
            f"{task}: return {result.mean:.1f}, noise or no action {result.chance:.1f}\n"
            f"  policy          {result.path}{'' if result.kept else ' (an earlier one, which is better, was kept)'}\n"
            f"  learning curve  {result.curve or 'needs matplotlib'}"
        )
        if not result.learned:
            console.print(
                "  Not clearly better than noise or no action: no expert yet. Try more --steps.", style="yellow"
            )


class _Steps(ProgressColumn):
    """Control steps done and wanted, in millions."""

    def render(self, task: Task) -> Text:
        """Renders one bar's steps."""
        return Text(f"{task.completed / 1e6:.2f}/{(task.total or 0) / 1e6:.2f} M", style="green")


class _Left(ProgressColumn):
    """Control steps per second and time left; before the first evaluation, or after the last, what is done instead."""

    def render(self, task: Task) -> Text:
        """Renders one bar's rate."""
        rate = task.fields["rate"]
        return Text(task.fields["phase"] or _pace(rate, (task.total or 0) - task.completed), style="cyan")


def _pace(rate: float, steps: float) -> str:
    left = timedelta(seconds=round(max(0.0, steps) / rate))
    return f"{rate:,.0f} steps/s, {left} left"


def _progress(console: PlainConsole) -> Progress:
    return Progress(
        SpinnerColumn(), PlainTextColumn("{task.description}"), BarColumn(10), _Steps(), _Left(), console=console
    )


class _Reporter:
    """Draws one training's progress, and prints a line per evaluation, which a log keeps too."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._bar: TaskID | None = None
        self._task, self._steps, self._done = "", 0, 0
        self._since = time.monotonic()

    def started(self, task: str, steps: int, done: int) -> None:
        self._task, self._steps, self._done, self._since = task, steps, done, time.monotonic()
        phase = "compiling, first steps"
        self._bar = self._bars.add_task(task, total=steps, completed=done, phase=phase, rate=0.0)
        if done:
            self._bars.console.print(f"{task}: goes on from {done:,} steps")

    def evaluated(self, point: Point, best: Point) -> None:
        now = time.monotonic()
        rate = (point.steps - self._done) / (now - self._since)
        self._done, self._since = point.steps, now
        self._bars.console.print(
            f"{self._task}: {point.steps:,} steps, return {point.mean:.1f} ± {point.deviation:.1f}, "
            f"best {best.mean:.1f}; {_pace(rate, self._steps - point.steps)}"
        )
        self._update(completed=min(point.steps, self._steps), rate=rate, phase="")

    def measuring(self, task: str) -> None:
        self._update(phase="measuring the best")

    def _update(self, **fields: Any) -> None:
        if self._bar is not None:
            self._bars.update(self._bar, **fields)
