"""Learners and their leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynamic_sparsity.cli.app import app

StoresOption = Annotated[
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
    root: StoresOption = Path("data"),
    policy: PolicyOption = "noise",
    dynamics: DynamicsOption = "converged",
    out: Annotated[Path, typer.Option(help="Folder of results.")] = Path("results/learners"),
    models: Annotated[
        Path | None, typer.Option(help="Keep the trained networks below this folder.", show_default=False)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also where there is a result already.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Read rows while training: for data larger than memory.")
    ] = False,
) -> None:
    """Train learners on the train split, judge them on the test split, keep the results.

    A result is OUT/<protocol>/<Task>/<policy>/<learner>-<loss>-<seed>.json; those that exist are left alone, so that an
    interrupted run goes on where it was.

    Example: [bold]dynamic-sparsity train-learner CartpoleBalance --learner mlp --loss sae[/bold]
    """
    from dynamic_sparsity.cli import learners

    learners.train(
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
        stream=stream,
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
    root: StoresOption = Path("data"),
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
    from dynamic_sparsity.cli import learners

    learners.evaluate(
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

    Example: [bold]dynamic-sparsity leaderboard results/learners --csv results/leaderboard.csv[/bold]
    """
    from dynamic_sparsity.cli import learners

    learners.leaderboard(source, out, csv, figure)
