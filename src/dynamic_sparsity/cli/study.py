"""`analyze` and `report`: the progress they show, and what they say at the end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dynamic_sparsity.analysis.study import Study, StudyOptions
from dynamic_sparsity.analysis.tables import table1
from dynamic_sparsity.cli.arguments import input_folder, output_folder
from dynamic_sparsity.errors import UnknownNameError
from dynamic_sparsity.untrusted.console import PlainConsole, PlainTextColumn


def analyze(
    stores: Sequence[Path], out: Path, options: StudyOptions, formats: Sequence[str], frames: bool, redraw: bool
) -> None:
    """Studies stores and prints where the results are."""
    from dynamic_sparsity.analysis.files import analyze as analyze_stores

    output_folder(out)
    console = PlainConsole()
    with _progress(console) as bars:
        render = _Pictures(console) if frames else None
        studies = analyze_stores(
            stores, out, options=options, formats=formats, render=render, redraw=redraw, progress=_Bars(bars)
        )
    console.print(_summary(studies))
    console.print(
        Text.assemble("\nTables and figures are in ", (shlex.quote(str(out)), "bold"), "; start with README.md there."),
        soft_wrap=True,
    )


def report(root: Path, out: Path, results: Path | None, options: StudyOptions, frames: int) -> None:
    """Writes the page and prints where it is."""
    from dynamic_sparsity.analysis.page import report as write_report
    from dynamic_sparsity.cli.show import size

    input_folder(root, "ROOT")
    output_folder(out)
    output_folder(results, "--results")
    console = PlainConsole()
    with _progress(console) as bars:
        render = _Pictures(console) if frames else None
        made = write_report(
            root, out, results=results, options=options, frames=frames, render=render, progress=_Bars(bars)
        )
    console.print(
        Text.assemble((shlex.quote(str(made)), "bold"), f", {size(made.stat().st_size)}: open it in a browser."),
        soft_wrap=True,
    )


class _Pictures:
    """Renders states; if that fails, says so once and leaves them out."""

    def __init__(self, console: PlainConsole) -> None:
        self._console, self._broken = console, False

    def __call__(self, task: str, states: NDArray[np.float32], width: int, height: int) -> NDArray[np.uint8] | None:
        if self._broken:
            return None
        try:
            from dynamic_sparsity.generation.rollout.rendering import render_states

            return render_states(task, states, width, height)
        except (ImportError, UnknownNameError) as error:
            self._broken = True
            self._console.print(f"Without pictures: {error}", style="yellow")
            return None


def _summary(studies: Sequence[Study]) -> Table:
    caption = "always zero: entries of J_s and J_a that are zero in every row; explained: of the pattern, by what acts"
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, caption=caption, caption_justify="left")
    for name in ("task", "data", "always zero", "(paper)", "sparsity", "patterns", "explained"):
        table.add_column(name, justify="left" if name in ("task", "data") else "right", no_wrap=True)
    for one, row in zip(studies, table1(studies), strict=True):
        paper = "" if row["paper_zeros_J_s"] is None else f"{row['paper_zeros_J_s']}, {row['paper_zeros_J_a']}"
        explained = one.patterns.entropies["explained"]
        table.add_row(
            one.source.task,
            one.source.name,
            f"{row['zeros_J_s']}, {row['zeros_J_a']}",
            paper,
            f"{one.sparsity.mean('s'):.3f}",
            f"{one.patterns.patterns:,}",
            "–" if np.isnan(explained) else f"{100 * explained:.1f} %",
        )
    return table


def _progress(console: PlainConsole) -> Progress:
    return Progress(
        PlainTextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        PlainTextColumn("{task.fields[phase]}", style="dim"),
        console=console,
    )


class _Bars:
    """One bar per store."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._bar: TaskID | None = None

    def started(self, name: str, rows: int) -> None:
        self._bar = self._bars.add_task(name, total=rows, phase="reading")

    def advanced(self, rows: int) -> None:
        if self._bar is not None:
            self._bars.advance(self._bar, rows)

    def phase(self, words: str) -> None:
        if self._bar is not None:
            total = self._bars.tasks[self._bar].total
            self._bars.update(self._bar, phase=words, completed=total if words == "done" else None)
