"""The paper's questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynamic_sparsity.cli.app import app
from dynamic_sparsity.cli.arguments import SEED_MAX

MAP_ROWS_MAX = 100_000
FRAMES_MAX = 10_000


@app.command()
def analyze(
    stores: Annotated[list[Path], typer.Argument(help="Stores, e.g. data/*/*.zarr.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for tables and figures.")] = Path("results"),
    figure_format: Annotated[
        list[str] | None,
        typer.Option("--format", help="Format of the figures: png, svg; repeat it for both.", show_default="both"),
    ] = None,
    map_rows: Annotated[
        int, typer.Option(help="Rows of the map of (s, a, s') by t-SNE; 0 for none.", min=0, max=MAP_ROWS_MAX)
    ] = 1000,
    frames: Annotated[bool, typer.Option(help="Render pictures of the robot (needs the extra `generate`).")] = True,
    redraw: Annotated[bool, typer.Option("--redraw", help="Draw figures again that are there already.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the samples and of t-SNE.", min=0, max=SEED_MAX)] = 0,
) -> None:
    """Answer the paper's questions: is the causal graph sparse, does that depend on the state, how does it change?

    Writes tables (CSV and JSON) and figures (PNG and SVG) of every store and of all together. Each store is read once,
    in bounded memory. A store that has not changed since is neither studied nor drawn again: more can be added later.

    Example: [bold]dynamic-sparsity analyze data/*/*.zarr --out results[/bold]
    """
    from dynamic_sparsity.analysis.study import StudyOptions
    from dynamic_sparsity.cli import study

    study.analyze(
        stores, out, StudyOptions(map_rows=map_rows, seed=seed), figure_format or ("png", "svg"), frames, redraw
    )


@app.command()
def report(
    root: Annotated[Path, typer.Argument(help="Folder of all stores.")] = Path("data"),
    out: Annotated[Path, typer.Option("--out", help="Folder for the page, index.html.")] = Path("report"),
    results: Annotated[
        Path | None,
        typer.Option(help="Where `analyze` has left its results, to be used again.", show_default=False),
    ] = None,
    map_rows: Annotated[
        int, typer.Option(help="Rows of the map of (s, a, s') by t-SNE; 0 for none.", min=0, max=MAP_ROWS_MAX)
    ] = 1000,
    frames: Annotated[
        int,
        typer.Option(
            help="Pictures of the robot per episode (needs the extra `generate`); 0 for none.", min=0, max=FRAMES_MAX
        ),
    ] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the samples and of t-SNE.", min=0, max=SEED_MAX)] = 0,
) -> None:
    """Write one self-contained HTML page of all stores: open it in a browser, hover, move through an episode.

    It needs no network and no server.

    Example: [bold]dynamic-sparsity report data --results results --out report[/bold]
    """
    from dynamic_sparsity.analysis.study import StudyOptions
    from dynamic_sparsity.cli import study

    study.report(root, out, results, StudyOptions(map_rows=map_rows, seed=seed), frames)
