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


TrainingRootOption = Annotated[
    Path, typer.Option("--root", help="Folder of all stores; a store is ROOT/<Task>/<policy>[-stock].zarr.")
]
PolicyOption = Annotated[str, typer.Option(help="The policy that acted in the data.")]
DynamicsOption = Annotated[str, typer.Option(help="converged or stock.")]
ProtocolOption = Annotated[
    str, typer.Option(help="full (the paper's network, for a GPU), mini (minutes on a CPU) or smoke (seconds).")
]
SeedsOption = Annotated[str, typer.Option(help="Seeds of the training, with commas between.")]


@app.command("train-learner")
def train_learner(
    tasks: Annotated[list[str], typer.Argument(help="Tasks whose stores to learn from.", show_default=False)],
    learner: Annotated[
        list[str] | None,
        typer.Option(
            "--learner",
            help="hold, ridge, global-graph, mlp, residual-mlp, gated, codebook, oracle, or all; may be repeated.",
            show_default="mlp",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="Of mlp: none, mse, mae, l1, sae (terms on its Jacobian), untrained. Of gated and codebook: l0, mask. "
            "Of global-graph: union, majority.",
            show_default="the learner's first",
        ),
    ] = None,
    weight: Annotated[float | None, typer.Option(help="Of an MLP's term.", show_default="the term's")] = None,
    protocol: ProtocolOption = "mini",
    seeds: SeedsOption = "0,1,2",
    root: TrainingRootOption = Path("data"),
    policy: PolicyOption = "noise",
    dynamics: DynamicsOption = "converged",
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("results"),
    models: Annotated[
        Path | None, typer.Option(help="Keep the trained networks below this folder.", show_default=False)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also where there is a result already.")] = False,
) -> None:
    """Train learners on the train split, judge them on the test split, keep the results.

    A result is OUT/<protocol>/<Task>/<policy>/<learner>-<loss>-<seed>.json; those that exist are left alone, so that an
    interrupted run goes on where it was.

    Example: [bold]dynamic-sparsity train-learner CartpoleBalance --learner mlp --loss sae[/bold]
    """
    from dynamic_sparsity.cli import learn

    learn.train(
        tasks,
        learner or ["mlp"],
        loss,
        weight,
        protocol=protocol,
        seeds=seeds,
        root=root,
        policy=policy,
        dynamics=dynamics,
        out=out,
        models=models,
        again=again,
    )


@app.command()
def evaluate(
    task: Annotated[str, typer.Argument(help="Task to judge on.", show_default=False)],
    model: Annotated[
        str,
        typer.Argument(
            help="A network that train-learner kept (….npz), or FILE.py:FUNCTION or package.module:FUNCTION, a "
            "function (data, budget, seed) that returns a model; see docs/benchmark.md.",
            show_default=False,
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name for the leaderboard.", show_default="the function's")] = None,
    supervision: Annotated[
        str, typer.Option(help="What the function may see: transitions, structure (masks too) or Jacobian (all).")
    ] = "transitions",
    adaptive: Annotated[bool, typer.Option("--adaptive", help="Its graph is meant to depend on the state.")] = False,
    protocol: ProtocolOption = "mini",
    seeds: SeedsOption = "0",
    root: TrainingRootOption = Path("data"),
    policy: PolicyOption = "noise",
    dynamics: DynamicsOption = "converged",
    out: Annotated[
        Path | None, typer.Option(help="Folder of results, to keep the result in.", show_default=False)
    ] = None,
) -> None:
    """Judge a model of one's own, or a trained one: next states, Jacobian, local causal graph.

    A function is given the train split, with no more than its supervision allows, and trained here.

    Example: [bold]dynamic-sparsity evaluate CartpoleBalance examples/own_model_jax.py:fit[/bold]
    """
    from dynamic_sparsity.cli import learn

    learn.evaluate(
        task,
        model,
        name=name,
        supervision=supervision,
        adaptive=adaptive,
        protocol=protocol,
        seeds=seeds,
        root=root,
        policy=policy,
        dynamics=dynamics,
        out=out,
    )


@app.command()
def leaderboard(
    source: Annotated[Path, typer.Argument(help="Folder of results, or a leaderboard.csv.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("LEADERBOARD.md"),
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Also write a table, a line per result.", show_default=False)
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Also draw the paper's Figure 8 into this file.", show_default=False)
    ] = None,
) -> None:
    """Turn results into tables: tasks by learners, mean and spread over seeds, and the paper's Figure 8.

    Example: [bold]dynamic-sparsity leaderboard results --out LEADERBOARD.md --csv results/leaderboard.csv[/bold]
    """
    from dynamic_sparsity.cli import learn

    learn.leaderboard(source, out, csv, figure)


application = typer.main.get_command(app)
