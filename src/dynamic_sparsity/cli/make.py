"""`generate`: the progress it shows, and what it says at the end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from rich.text import Text

from dynamic_sparsity.cli import show
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.tasks import TASKS, get_task


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
            "No task was given. Name one or more, e.g. `dynamic-sparsity generate CartpoleBalance`, or use --all; "
            "`dynamic-sparsity list` shows them."
        )
    return list(TASKS) if every else list(dict.fromkeys(get_task(name).name for name in names))


def generate(tasks: Sequence[str], out: Path, **options: Any) -> None:
    """Generates the stores of several tasks and prints what was made."""
    from dynamic_sparsity.generation import runtime
    from dynamic_sparsity.generation.settings import Settings

    settings = [Settings(task=task, **options) for task in tasks]
    console = Console()
    with console.status("Loading the simulator"):
        runtime.configure()
        from dynamic_sparsity.generation.generate import generate as generate_store
    paths = []
    with _progress(console) as bars:
        for one in settings:
            reporter = _Reporter(bars, one.task)
            paths.append(generate_store(one, out, reporter))
            reporter.done()
    show.made(console, paths)
    console.print(f"\nNext: [bold]dynamic-sparsity verify {shlex.quote(str(paths[0]))} --deep[/bold]", soft_wrap=True)


class _Rate(ProgressColumn):
    """Rows per second."""

    def render(self, task: Task) -> Text:
        """Renders one bar's rate."""
        return Text(f"{task.speed:,.0f} rows/s" if task.speed else "", style="cyan")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[phase]}"),
        console=console,
        speed_estimate_period=60,
    )


class _Reporter:
    """Draws one store's progress."""

    def __init__(self, bars: Progress, task: str) -> None:
        self._bars = bars
        self._bar: TaskID = bars.add_task(task, total=None, phase="opening")

    def compiling(self, task: str, group: str) -> None:
        self._bars.update(self._bar, phase=f"compiling the program of {group} (once; then kept on disk)")

    def started(self, task: str, rows: int, finished: int) -> None:
        self._bars.reset(self._bar, total=rows, completed=finished, phase="simulating")

    def advanced(self, rows: int) -> None:
        self._bars.advance(self._bar, rows)

    def sealing(self, task: str) -> None:
        total = self._bars.tasks[self._bar].total
        self._bars.update(self._bar, total=total or 1, completed=total or 1, phase="checking and sealing")

    def done(self) -> None:
        self._bars.update(self._bar, phase="")
