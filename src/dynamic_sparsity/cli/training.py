"""`train`: the progress it shows, and what it says at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from dynamic_sparsity.generation import runtime

if TYPE_CHECKING:
    from dynamic_sparsity.training.checkpoints import Point
    from dynamic_sparsity.training.run import Result


def train(tasks: Sequence[str], out: Path, *, profile: str | None, **options: Any) -> None:
    """Trains one task after the other and prints what each came to."""
    console = Console(soft_wrap=True, highlight=False)
    with console.status("Loading the simulator and brax"):
        runtime.configure()
        import jax

        from dynamic_sparsity.training.run import train as train_policy
        from dynamic_sparsity.training.settings import resolve

        profile = profile or ("cpu" if jax.default_backend() == "cpu" else "playground")
    runs = [resolve(task, profile=profile, **options) for task in tasks]
    results: list[tuple[str, Result]] = []
    with _progress(console) as bars:
        results += [(run.task, train_policy(run, out, _Reporter(bars))) for run in runs]
    table = Table("task", "stochastic return", "policy", "learning curve")
    for task, result in results:
        kept = str(result.path) if result.kept else f"{result.path} is better and was kept"
        table.add_row(task, f"{result.mean:.1f}", kept, str(result.curve or "needs matplotlib"))
    console.print(table)


class _Rate(ProgressColumn):
    """Control steps per second."""

    def render(self, task: Task) -> Text:
        """Renders one bar's rate."""
        return Text(f"{task.speed:,.0f} steps/s" if task.speed else "", style="cyan")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[phase]}"),
        console=console,
        speed_estimate_period=600,
    )


class _Reporter:
    """Draws one training's progress."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._bar: TaskID | None = None

    def started(self, task: str, steps: int, done: int) -> None:
        self._bar = self._bars.add_task(task, total=steps, completed=done, phase="compiling, then the first steps")

    def evaluated(self, point: Point, best: Point) -> None:
        phase = f"return {point.mean:.0f} ± {point.deviation:.0f}, best {best.mean:.0f}"
        self._update(completed=point.steps, phase=phase)

    def measuring(self, task: str) -> None:
        self._update(phase="measuring the best policy")

    def _update(self, **fields: Any) -> None:
        if self._bar is not None:
            self._bars.update(self._bar, **fields)
