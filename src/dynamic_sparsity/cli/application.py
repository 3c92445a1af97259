"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import typer.main

from dynamic_sparsity import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=(
        "Ground-truth Jacobians, and their sparsity, of the dynamics of MuJoCo Playground tasks.\n\n"
        "Start with [bold]list[/bold], then [bold]generate[/bold] a task, [bold]verify[/bold] it and look at it with "
        "[bold]info[/bold]. Every command takes [bold]--debug[/bold] to show where an error came from."
    ),
)

RootOption = Annotated[
    Path, typer.Option("--out", "--root", help="Folder of all stores; a store is OUT/<Task>/<policy>[-stock].zarr.")
]
StoreArgument = Annotated[Path, typer.Argument(help="A store, e.g. data/CheetahRun/noise.zarr.", show_default=False)]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dynamic-sparsity {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command("list")
def list_command(
    root: Annotated[
        Path | None,
        typer.Option("--root", help="List the stores below this folder instead of the tasks.", show_default=False),
    ] = None,
) -> None:
    """List the tasks, or with --root the stores that exist.

    Tasks of one [italic]group[/italic] have the same dynamics: they share states, actions and one compiled program.
    ds is the size of the state (dx
    in tangent coordinates, where they differ), da that of the action; a control step of control dt seconds has several
    physics substeps.
    """
    from dynamic_sparsity.cli import show

    if root is None:
        show.tasks()
    else:
        show.stores(root)


@app.command()
def generate(
    tasks: Annotated[
        list[str] | None, typer.Argument(help="Tasks to make data sets of; `list` shows them.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All 25 tasks.")] = False,
    out: RootOption = Path("data"),
    episodes: Annotated[int, typer.Option(help="Episodes per task.")] = 10,
    episode_length: Annotated[int, typer.Option(help="Control steps per episode; 1000 is the tasks' own.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of initial states and actions.")] = 0,
    policy: Annotated[
        str,
        typer.Option(
            help="What chooses the actions: noise (coloured noise, squashed into (-1, 1)), expert (the task's trained "
            "policy, with coloured noise inside the squashing), expert-mean (the same without noise), mixture "
            "(episodes alternate among these three), or the path of a .safetensors file that `train` wrote."
        ),
    ] = "noise",
    noise_beta: Annotated[
        float, typer.Option(help="The noise's colour, power ~ 1/f^beta: 0 white, 1 pink, 2 red.")
    ] = 0.5,
    dynamics: Annotated[
        str,
        typer.Option(
            help="converged: the constraint solver runs to its minimum, so that the step is a function of state and "
            "action, with exact Jacobians. "
            "stock: Playground's own few solver iterations, with partial derivatives at a fixed warm start."
        ),
    ] = "converged",
    batch: Annotated[
        int | None,
        typer.Option(
            help="Episodes simulated side by side, at least; rounded up to fill whole files.", show_default="by task"
        ),
    ] = None,
) -> None:
    """Make data sets: simulate, differentiate, check, write.

    Interrupted or killed, the same command goes on where it stopped, and ends with the same bits. A store keeps to
    the settings it was
    begun with. The first run of a group of tasks compiles its program (10 to 90 s on a CPU), which is then kept on
    disk.

    Example: [bold]dynamic-sparsity generate CheetahRun WalkerRun --episodes 100 --out data[/bold]
    """
    from dynamic_sparsity.cli import make

    make.generate(
        make.chosen_tasks(tasks or [], every),
        out,
        episodes=episodes,
        episode_length=episode_length,
        seed=seed,
        policy=policy,
        noise_beta=noise_beta,
        dynamics=dynamics,
        batch=batch,
    )


@app.command()
def info(store: StoreArgument) -> None:
    """Show what a store holds: settings, provenance, arrays with their bytes per row, and a summary of its sparsity."""
    from dynamic_sparsity.cli import show

    show.store(store)


@app.command()
def verify(
    store: StoreArgument,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also compute sampled rows again with an independent oracle (needs the extra `generate`)."
        ),
    ] = False,
    sample: Annotated[int, typer.Option(help="Rows that --deep computes again.", min=1)] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the draw of these rows.", min=0)] = 0,
) -> None:
    """Check a store: structure, checksums, values; exit code 1 and a list if anything is wrong.

    --deep holds sampled rows against MuJoCo C's own step, differentiated by central differences in float64, and
    prints the quantiles of the relative error. Rows where C finds other contacts than MJX, and `stock` stores, are held
    against central differences of MJX's own step.
    """
    from dynamic_sparsity.cli import check

    raise typer.Exit(check.verify(store, deep=deep, sample=sample, seed=seed))


@app.command()
def analyze(
    stores: Annotated[list[Path], typer.Argument(help="Stores, e.g. data/*/*.zarr.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for tables and figures.")] = Path("results"),
    figure_format: Annotated[
        list[str] | None,
        typer.Option("--format", help="Format of the figures: png, svg; repeat it for both.", show_default="both"),
    ] = None,
    map_rows: Annotated[int, typer.Option(help="Rows of the map of (s, a, s') by t-SNE; 0 for none.", min=0)] = 1000,
    frames: Annotated[bool, typer.Option(help="Render pictures of the robot (needs the extra `generate`).")] = True,
    redraw: Annotated[bool, typer.Option("--redraw", help="Draw figures again that are there already.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the samples and of t-SNE.", min=0)] = 0,
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
    map_rows: Annotated[int, typer.Option(help="Rows of the map of (s, a, s') by t-SNE; 0 for none.", min=0)] = 1000,
    frames: Annotated[
        int, typer.Option(help="Pictures of the robot per episode (needs the extra `generate`); 0 for none.", min=0)
    ] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the samples and of t-SNE.", min=0)] = 0,
) -> None:
    """Write one self-contained HTML page of all stores: open it in a browser, hover, move through an episode.

    It needs no network and no server.

    Example: [bold]dynamic-sparsity report data --results results --out report[/bold]
    """
    from dynamic_sparsity.analysis.study import StudyOptions
    from dynamic_sparsity.cli import study

    study.report(root, out, results, StudyOptions(map_rows=map_rows, seed=seed), frames)


application = typer.main.get_command(app)
