"""Training policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynamic_sparsity.cli.app import app


@app.command()
def train(
    tasks: Annotated[
        list[str] | None, typer.Argument(help="Tasks to train policies for; `list` shows them.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All 25 tasks.")] = False,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the policies: OUT/<Task>.safetensors, its .json, and the run.")
    ] = Path("policies"),
    algorithm: Annotated[
        str, typer.Option(help="ppo or sac, of brax; dagger: imitation of a planning teacher; lqr: a regulator.")
    ] = "ppo",
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
    initial_policy: Annotated[
        str | None,
        typer.Option(
            help="ppo begins with this policy, not with random weights: a .safetensors file, or a task whose policy "
            "comes with the package. Sizes of observations and actions must be the task's.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train policies, and keep each that is better than the one that is there.

    Interrupted or killed, the same command goes on from the latest evaluation; with more --steps it goes on further.
    The return shown is that of `generate --policy expert`: 64 episodes with coloured noise.

    Example: [bold]dynamic-sparsity train CartpoleBalance --out mine[/bold], then [bold]dynamic-sparsity generate
    CartpoleBalance --policy mine[/bold]
    """
    from dynamic_sparsity.cli import make, training

    training.train(
        make.chosen_tasks(tasks or [], every),
        out,
        profile=profile,
        initial_policy=initial_policy,
        algorithm=algorithm,
        steps=steps,
        seed=seed,
    )
