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

SCALING = "Scaling out (docs/scaling.md)"

RootOption = Annotated[
    Path, typer.Option("--out", "--root", help="Folder of all stores; a store is OUT/<Task>/<policy>[-stock].zarr.")
]
StoreArgument = Annotated[Path, typer.Argument(help="A store, e.g. data/CheetahRun/noise.zarr.", show_default=False)]
RepositoryOption = Annotated[
    str | None,
    typer.Option(
        "--repo",
        help="The repository on the Hub, ORG/NAME or ORG/NAME@REVISION.",
        show_default="DYNAMIC_SPARSITY_REPOSITORY",
    ),
]


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
            "(episodes alternate among these three), or the path of a .safetensors file or a folder that `train` wrote."
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
    executor: Annotated[
        str,
        typer.Option(
            help="local: this machine. ray: one actor per GPU, or per node without GPUs (needs the extra `ray`).",
            rich_help_panel=SCALING,
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes, or Ray actors. One that is killed is replaced, and only what it was making is made again.",
            show_default="threads of one process for local, one per device for ray",
            rich_help_panel=SCALING,
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Cluster to join, `auto` or HOST:PORT.",
            show_default="start one on this machine",
            rich_help_panel=SCALING,
        ),
    ] = None,
    shard_index: Annotated[
        int,
        typer.Option(
            help="Which job of an array this is, from 0. `finalize` joins what they made.", rich_help_panel=SCALING
        ),
    ] = 0,
    shard_count: Annotated[int, typer.Option(help="Jobs of the array.", rich_help_panel=SCALING)] = 1,
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
        make.Work(executor, workers, ray_address, shard_index, shard_count),
        episodes=episodes,
        episode_length=episode_length,
        seed=seed,
        policy=policy,
        noise_beta=noise_beta,
        dynamics=dynamics,
        batch=batch,
    )


@app.command()
def finalize(stores: Annotated[list[Path], typer.Argument(help="Stores that several jobs made.")]) -> None:
    """Seal stores made by an array of jobs: check every byte, add statistics, write the manifest.

    A store of which units are missing is refused; run the jobs again, they make only what is missing.
    """
    from dynamic_sparsity.cli import follow

    follow.finalize(stores)


@app.command()
def status(
    stores: Annotated[list[Path], typer.Argument(help="Stores, e.g. data/CheetahRun/noise.zarr.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how far the making of stores is: units done, running and failed, rows per second, time left."""
    from dynamic_sparsity.cli import follow

    follow.status(stores, as_json=as_json)


@app.command()
def train(
    tasks: Annotated[
        list[str] | None, typer.Argument(help="Tasks to train policies for; `list` shows them.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All 25 tasks.")] = False,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the policies: OUT/<Task>.safetensors, its .json, and the run.")
    ] = Path("policies"),
    algorithm: Annotated[str, typer.Option(help="ppo or sac, of brax.")] = "ppo",
    steps: Annotated[
        int | None, typer.Option(help="Control steps of all environments together.", show_default="by task")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of networks, initial states and noise.")] = 0,
    profile: Annotated[
        str | None,
        typer.Option(
            help="cpu: physics by MuJoCo C and hyperparameters for a few cores. playground: MJX and Playground's own "
            "hyperparameters, for a GPU.",
            show_default="by what JAX runs on",
        ),
    ] = None,
) -> None:
    """Train policies, and keep each that is better than the one that is there.

    Interrupted or killed, the same command goes on from the latest evaluation; with more --steps it goes on further.
    The return shown is that of `generate --policy expert`: 64 episodes with coloured noise.

    Example: [bold]dynamic-sparsity train CartpoleBalance --out mine[/bold], then [bold]dynamic-sparsity generate
    CartpoleBalance --policy mine[/bold]
    """
    from dynamic_sparsity.cli import learn, make

    learn.train(
        make.chosen_tasks(tasks or [], every), out, algorithm=algorithm, profile=profile, steps=steps, seed=seed
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
def publish(
    root: Annotated[Path, typer.Argument(help="Folder of all stores.", show_default=False)],
    repo: Annotated[str, typer.Option(help="The repository on the Hub, ORG/NAME.", show_default=False)],
    tag: Annotated[
        str | None, typer.Option(help="Version of the data, e.g. v1.0.0; the code's version is another.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="A repository that is made is private.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the repository's stores that ROOT does not have.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, send nothing.")] = False,
) -> None:
    """Publish all stores below a folder on the Hugging Face Hub, with a card, a Parquet view and checksums.

    Every store is verified first. What the repository has already is not sent again; interrupted, the same command
    goes on.

    Example: [bold]dynamic-sparsity publish data --repo ORG/NAME --tag v1.0.0 --dry-run[/bold]
    """
    from dynamic_sparsity.cli import hub

    hub.publish(root, repo, tag=tag, private=private, delete=delete, dry_run=dry_run)


@app.command()
def download(
    tasks: Annotated[list[str] | None, typer.Argument(help="Tasks to fetch.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All tasks of the repository.")] = False,
    repo: RepositoryOption = None,
    policy: Annotated[list[str] | None, typer.Option(help="Only these policies.", show_default="all")] = None,
    dynamics: Annotated[str, typer.Option(help="converged or stock.")] = "converged",
    split: Annotated[str | None, typer.Option(help="Only train, validation or test.", show_default="all")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Only these columns, with commas between them.", show_default="all")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be fetched.")] = False,
) -> None:
    """Fetch published data into the Hub's cache, so that `load_dataset` finds them there, offline too.

    Example: [bold]dynamic-sparsity download CheetahRun --repo ORG/NAME@v1.0.0 --split test[/bold]
    """
    from dynamic_sparsity.cli import hub

    chosen = None if columns is None else [name.strip() for name in columns.split(",")]
    hub.download(
        tasks or [],
        every,
        repo,
        policies=policy,
        dynamics=dynamics,
        split=split,
        columns=chosen,
        force=force,
        dry_run=dry_run,
    )


@app.command()
def regenerate(
    repo: Annotated[str, typer.Argument(help="The published repository, ORG/NAME@REVISION.", show_default=False)],
    task: Annotated[str, typer.Argument(help="The task.", show_default=False)],
    policy: Annotated[str, typer.Option(help="The published policy.")] = "noise",
    dynamics: Annotated[str, typer.Option(help="converged or stock.")] = "converged",
    seed: Annotated[int | None, typer.Option(help="Seed of the new store.", show_default="the published one")] = None,
    out: RootOption = Path("regenerated"),
    check: Annotated[
        int | None,
        typer.Option(help="Only make this shard again, and compare it with the published one.", show_default=False),
    ] = None,
) -> None:
    """Make published data again: with another seed, or one shard to see whether its bits agree.

    Example: [bold]dynamic-sparsity regenerate ORG/NAME@v1.0.0 CheetahRun --seed 7[/bold]
    """
    from dynamic_sparsity.cli import remake

    raise typer.Exit(remake.regenerate(repo, task, policy=policy, dynamics=dynamics, seed=seed, out=out, check=check))


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
