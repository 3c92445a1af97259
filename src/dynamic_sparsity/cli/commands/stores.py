"""Making, showing and checking stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynamic_sparsity.cli.app import RootOption, app

SCALING = "Scaling out (docs/scaling.md)"

StoreArgument = Annotated[Path, typer.Argument(help="A store, e.g. data/CheetahRun/noise.zarr.", show_default=False)]
RepositoryOption = Annotated[
    str | None,
    typer.Option(
        "--repo",
        help="The repository on the Hub, ORG/NAME or ORG/NAME@REVISION.",
        show_default="DYNAMIC_SPARSITY_REPOSITORY",
    ),
]


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
    storage: Annotated[
        str,
        typer.Option(
            help="raw: floats are not compressed, random rows are read fast. compact: about half of the bytes."
        ),
    ] = "raw",
    mujoco_check: Annotated[
        bool,
        typer.Option(
            help="Step every row with MuJoCo C too, on the host's cores, store the difference and flag the rows that "
            "differ (converged only). It costs a third of the time or more where no GPU makes the rows."
        ),
    ] = True,
    executor: Annotated[
        str,
        typer.Option(
            help="local: this machine. ray: actors on a cluster (needs the extra `ray`).",
            rich_help_panel=SCALING,
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes, or Ray actors. One that is killed is replaced, and only what it was making is made again.",
            show_default="one per GPU, or where there is none one per core",
            rich_help_panel=SCALING,
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Cluster to join, `auto` or HOST:PORT.",
            show_default="RAY_ADDRESS, else start one on this machine",
            rich_help_panel=SCALING,
        ),
    ] = None,
    job_index: Annotated[
        int,
        typer.Option(
            help="Which job of an array this is, from 0. `finalize` seals what they made.", rich_help_panel=SCALING
        ),
    ] = 0,
    num_jobs: Annotated[int, typer.Option(help="Jobs of the array.", rich_help_panel=SCALING)] = 1,
    former_job_index: Annotated[int | None, typer.Option("--shard-index", hidden=True)] = None,
    former_num_jobs: Annotated[int | None, typer.Option("--shard-count", hidden=True)] = None,
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
        make.Work(
            executor,
            workers,
            ray_address,
            job_index if former_job_index is None else former_job_index,
            num_jobs if former_num_jobs is None else former_num_jobs,
        ),
        episodes=episodes,
        episode_length=episode_length,
        seed=seed,
        policy=policy,
        noise_beta=noise_beta,
        dynamics=dynamics,
        batch=batch,
        storage=storage,
        check_with_mujoco=mujoco_check,
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
def info(store: StoreArgument) -> None:
    """Show what a store holds: settings, provenance, arrays with their bytes per row, and a summary of its sparsity."""
    from dynamic_sparsity.cli import show

    show.store(store)


@app.command()
def convert(
    stores: Annotated[list[Path], typer.Argument(help="Complete stores, e.g. data/CheetahRun/noise.zarr.")],
    storage: Annotated[
        str,
        typer.Option(
            help="compact: arrays of floats are compressed, for disks and networks. raw: they are not, so that random "
            "rows are read fast."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Root of the copies; another one than that of the stores.")],
) -> None:
    """Copy stores to another storage; every value stays the same, to the bit.

    Rerun the command to resume it where it was interrupted.
    """
    from dynamic_sparsity.cli import convert as converting

    for store in stores:
        converting.convert(store, storage, out)


@app.command()
def verify(
    stores: Annotated[list[Path], typer.Argument(help="Stores, e.g. data/CheetahRun/noise.zarr.")],
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also compute sampled rows again with an independent oracle (needs the extra `generate`)."
        ),
    ] = False,
    sample: Annotated[int, typer.Option(help="Rows that --deep computes again.", min=1, max=10_000_000)] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the draw of these rows.", min=0, max=2**63 - 1)] = 0,
) -> None:
    """Check stores: structure, checksums, values; exit code 1 and a list if anything is wrong.

    --deep holds sampled rows against MuJoCo C's own step, differentiated by central differences in float64, and
    prints the quantiles of the relative error. Rows where C finds other contacts than MJX, and `stock` stores, are held
    against central differences of MJX's own step.
    """
    from dynamic_sparsity.cli import check

    raise typer.Exit(max(check.verify(store, deep=deep, sample=sample, seed=seed) for store in stores))
