"""`analyze` and `report`: the paper's questions."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from dynamic_sparsity.cli.app import StoresOrRootsArgument, app
from dynamic_sparsity.cli.arguments import SEED_MAX, chosen_stores, input_folder, output_folder
from dynamic_sparsity.cli.tables import byte_size, make_table
from dynamic_sparsity.errors import UnknownNameError
from dynamic_sparsity.storage.made_here import check_free_folder
from dynamic_sparsity.untrusted.console import PlainConsole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dynamic_sparsity.analysis.study import Study

MAP_ROWS_MAX = 100_000
FRAMES_MAX = 10_000

MapRowsOption = Annotated[
    int, typer.Option(help="Rows of the map of (s, a, s') by t-SNE; 0 for none.", min=0, max=MAP_ROWS_MAX)
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        help="From which |J| on an entry counts, decided anew from the stored Jacobians.",
        show_default="the masks of the store",
    ),
]
ScaleOption = Annotated[
    str,
    typer.Option(
        "--scale",
        help="In which unit --threshold is: absolute (MuJoCo's), dimensionless (variables by their standard "
        "deviation), relative (to the row's largest).",
    ),
]
SeedOption = Annotated[int, typer.Option(help="Seed of the samples and of t-SNE.", min=0, max=SEED_MAX)]


@app.command()
def analyze(
    stores: StoresOrRootsArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder for tables and figures.")] = Path("outputs/analysis"),
    figure_format: Annotated[
        list[str] | None,
        typer.Option(
            "--format", help="Format of the figures: png, svg, pdf; repeat it for several.", show_default="all"
        ),
    ] = None,
    threshold: ThresholdOption = None,
    scale: ScaleOption = "absolute",
    map_rows: MapRowsOption = 1000,
    frames: Annotated[bool, typer.Option(help="Render pictures of the robot (needs the extra `generate`).")] = True,
    redraw: Annotated[bool, typer.Option("--redraw", help="Draw figures again that exist already.")] = False,
    seed: SeedOption = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write into a folder with files that this command did not make there.")
    ] = False,
) -> None:
    """Answer the paper's questions: is the causal graph sparse, does that depend on the state, how does it change?

    Writes tables (CSV, JSON) and figures (PNG, SVG, PDF) of every store and of all together. Each store is read once,
    in bounded memory. A store that has not changed since is neither studied nor drawn again: more can be added later.
    A folder that has files of others is left alone.

    With --threshold, all of it is answered for another meaning of zero.

    Example: [bold]dynamic-sparsity analyze data/*/*.zarr --out outputs/analysis[/bold]
    Example: [bold]dynamic-sparsity analyze data --threshold 0.01 --scale dimensionless --out outputs/coarse[/bold]
    """
    from dynamic_sparsity.analysis.files import FORMATS
    from dynamic_sparsity.analysis.files import analyze as analyze_stores
    from dynamic_sparsity.analysis.study import StudyOptions
    from dynamic_sparsity.cli.progress_bars import AnalysisBars

    output_folder(out)
    check_free_folder(out, "analyze", overwrite)
    console = PlainConsole()
    with AnalysisBars(console) as bars:
        studies = analyze_stores(
            chosen_stores(stores),
            out,
            options=StudyOptions(map_rows=map_rows, seed=seed, threshold=threshold, scale=scale),
            formats=figure_format or FORMATS,
            render=_Renderer(console) if frames else None,
            redraw=redraw,
            progress=bars,
        )
    console.print(_table_of_studies(studies))
    console.print(
        Text.assemble("\nTables and figures are in ", (shlex.quote(str(out)), "bold"), "; start with README.md there."),
        soft_wrap=True,
    )


@app.command()
def report(
    root: Annotated[Path, typer.Argument(help="Folder of all stores.")] = Path("data"),
    out: Annotated[Path, typer.Option("--out", help="Folder for the page, index.html.")] = Path("report"),
    results: Annotated[
        Path | None,
        typer.Option(help="Folder with results of `analyze`, to be used again.", show_default=False),
    ] = None,
    threshold: ThresholdOption = None,
    scale: ScaleOption = "absolute",
    map_rows: MapRowsOption = 1000,
    frames: Annotated[
        int,
        typer.Option(
            help="Pictures of the robot per episode (needs the extra `generate`); 0 for none.", min=0, max=FRAMES_MAX
        ),
    ] = 100,
    seed: SeedOption = 0,
) -> None:
    """Write one self-contained HTML page of all stores: open it in a browser, hover, move through an episode.

    It needs no network and no server.

    Example: [bold]dynamic-sparsity report data --results results --out report[/bold]
    """
    from dynamic_sparsity.analysis.page import report as write_report
    from dynamic_sparsity.analysis.study import StudyOptions
    from dynamic_sparsity.cli.progress_bars import AnalysisBars

    input_folder(root, "ROOT")
    output_folder(out)
    output_folder(results, "--results")
    console = PlainConsole()
    with AnalysisBars(console) as bars:
        page = write_report(
            root,
            out,
            results=results,
            options=StudyOptions(map_rows=map_rows, seed=seed, threshold=threshold, scale=scale),
            frames=frames,
            render=_Renderer(console) if frames else None,
            progress=bars,
        )
    console.print(
        Text.assemble((shlex.quote(str(page)), "bold"), f", {byte_size(page.stat().st_size)}: open it in a browser."),
        soft_wrap=True,
    )


class _Renderer:
    """Renders states; if that is not possible, prints why once and returns no pictures."""

    def __init__(self, console: PlainConsole) -> None:
        self._console, self._failed = console, False

    def __call__(self, task: str, states: NDArray[np.float32], width: int, height: int) -> NDArray[np.uint8] | None:
        if self._failed:
            return None
        try:
            from dynamic_sparsity.generation.rollout.rendering import render_states

            return render_states(task, states, width, height)
        except (ImportError, UnknownNameError) as error:
            self._failed = True
            self._console.print(f"Without pictures: {error}", style="yellow")
            return None


def _table_of_studies(studies: Sequence[Study]) -> Table:
    from dynamic_sparsity.analysis.tables import table1

    columns = ("task", "data", "always zero", "(paper)", "sparsity", "patterns", "explained")
    caption = "always zero: entries of J_s and J_a that are zero in every row; explained: of the pattern, by what acts"
    table = make_table(columns, left=("task", "data"), compact=True, caption=caption)
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
            "–" if math.isnan(explained) else f"{100 * explained:.1f} %",
        )
    return table
