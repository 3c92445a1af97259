"""`train`: training policies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynamic_sparsity.cli.app import AllTasksOption, app
from dynamic_sparsity.cli.arguments import check_least, chosen_tasks, output_folder
from dynamic_sparsity.untrusted.console import PlainConsole

if TYPE_CHECKING:
    from dynamic_sparsity.training.run import Result


@app.command()
def train(
    tasks: Annotated[
        list[str] | None, typer.Argument(help="Tasks to train policies for; `list` shows them.", show_default=False)
    ] = None,
    every: AllTasksOption = False,
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
    """Train policies, and keep each that is better than the existing one.

    Rerun an interrupted or killed command to resume at the latest evaluation; with more --steps the training is
    continued. The return shown is that of `generate --policy expert`: 64 episodes with coloured noise.

    Example: [bold]dynamic-sparsity train CartpoleBalance --out mine[/bold], then [bold]dynamic-sparsity generate
    CartpoleBalance --policy mine[/bold]
    """
    chosen = chosen_tasks(tasks or [], every)
    output_folder(out)
    check_least(seed, "--seed", most=2**31 - 1)
    check_least(steps, "--steps", least=1, most=10**12)
    from dynamic_sparsity.generation import jax_runtime

    console = PlainConsole(soft_wrap=True)
    with console.status("Loading the simulator and brax"):
        jax_runtime.configure()
        import jax

        from dynamic_sparsity.training.hyperparameters import resolve
        from dynamic_sparsity.training.run import train as train_policy

        profile = profile or ("cpu" if jax.default_backend() == "cpu" else "playground")
    runs = [resolve(task, algorithm, profile, steps, seed) for task in chosen]
    from dynamic_sparsity.cli.progress_bars import TrainingBars

    with TrainingBars(console) as bars:
        results = [train_policy(run, out, bars, initial_policy) for run in runs]
    for task, result in zip(chosen, results, strict=True):
        _print_result(console, task, result)


def _print_result(console: PlainConsole, task: str, result: Result) -> None:
    console.print(
        f"{task}: return {result.mean:.1f}, noise or no action {result.chance:.1f}\n"
        f"  policy          {result.path}{'' if result.kept else ' (an earlier one, which is better, was kept)'}\n"
        f"  learning curve  {result.curve or 'needs matplotlib'}"
    )
    if not result.learned:
        console.print("  Not clearly better than noise or no action: no expert yet. Try more --steps.", style="yellow")
