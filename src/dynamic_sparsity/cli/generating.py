"""`generate`, `finalize`, `status` and `regenerate`: making stores."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from dynamic_sparsity.cli.app import AllTasksOption, DynamicsOption, OutRootOption, StoresOrRootsArgument, app
from dynamic_sparsity.cli.arguments import check_least, chosen_sources, chosen_stores, output_folder, parse_repository
from dynamic_sparsity.cli.tables import make_table, print_new_stores
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.untrusted.console import PlainConsole

if TYPE_CHECKING:
    from dynamic_sparsity.generation.jobs.generate import Summary
    from dynamic_sparsity.generation.jobs.status import Status
    from dynamic_sparsity.generation.jobs.units import Job
    from dynamic_sparsity.generation.verification.regenerate import ShardComparison

SCALING = "Scaling out (docs/scaling.md)"
NAME_WIDTH_MIN = 20
"""Columns that a store's name has at least; a longer one is wrapped."""


@app.command()
def generate(
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tasks to make data sets of; `list` shows them. Also tasks of your own: the path of a MuJoCo model, "
            "or MODULE:FUNCTION, a function that returns a model or an environment like those of Playground.",
            show_default=False,
        ),
    ] = None,
    every: AllTasksOption = False,
    out: OutRootOption = Path("data"),
    episodes: Annotated[
        int, typer.Option(help="Episodes per task; a store that has fewer gets the missing ones.")
    ] = 10,
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
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the store, to have several of one policy: load it as `policy=NAME`.",
            show_default="the policy's",
        ),
    ] = None,
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
            help="local: this machine. ray: actors on a cluster (needs the extra `ray`).", rich_help_panel=SCALING
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes, or Ray actors. One that is killed is replaced, and only its unfinished unit is repeated.",
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
    time_limit: Annotated[
        str | None,
        typer.Option(
            help="Begin no unit that may not end in this time, such as 4h, 1h30m or Slurm's 04:00:00; exit code 124 if "
            "some are left, which the same command makes.",
            show_default="none",
            rich_help_panel=SCALING,
        ),
    ] = None,
    former_job_index: Annotated[int | None, typer.Option("--shard-index", hidden=True)] = None,
    former_num_jobs: Annotated[int | None, typer.Option("--shard-count", hidden=True)] = None,
) -> None:
    """Make data sets: simulate, differentiate, check, write.

    Rerun an interrupted or killed command to resume it; the result is bit-identical. A store keeps the settings with
    which it was begun; more episodes are added to it, and are those that it would have had if it had been made with
    them at once. The first run of a group of tasks compiles its program (10 to 90 s on a CPU), which is then kept
    on disk.

    Example: [bold]dynamic-sparsity generate CheetahRun WalkerRun --episodes 100 --out data[/bold]
    """
    from dynamic_sparsity.generation.machine import check_platform

    check_platform()
    from dynamic_sparsity.generation.jobs.time_limit import TimeLimit, parse_duration
    from dynamic_sparsity.generation.settings import Settings

    limit = TimeLimit(None if time_limit is None else parse_duration(time_limit))
    chosen = chosen_sources(tasks or [], every)
    output_folder(out)
    settings = [
        Settings(
            task=task,
            source=source,
            episodes=episodes,
            episode_length=episode_length,
            seed=seed,
            policy=policy,
            name=name,
            noise_beta=noise_beta,
            dynamics=dynamics,
            batch=batch,
            storage=storage,
            check_with_mujoco=mujoco_check,
        )
        for task, source in chosen
    ]
    from dynamic_sparsity.generation.executors.choice import make_executor
    from dynamic_sparsity.generation.jobs.units import Job

    job = Job(
        job_index if former_job_index is None else former_job_index,
        num_jobs if former_num_jobs is None else former_num_jobs,
    )
    workforce = make_executor(executor, workers, ray_address)
    from dynamic_sparsity.cli.progress_bars import GenerationBars
    from dynamic_sparsity.generation.jobs.generate import generate_all

    console = PlainConsole()
    began = time.monotonic()
    with GenerationBars(console) as bars:
        summary = generate_all(settings, out, workforce, bars, job, limit)
    if summary.sealed:
        print_new_stores(console, summary.sealed)
    console.print(
        f"\n{summary.rows:,} rows in {summary.units:,} units, in {time.monotonic() - began:,.0f} s with compilation "
        "and sealing"
    )
    summary.check()
    console.print(_next_command(summary, job), soft_wrap=True)


def _next_command(summary: Summary, job: Job) -> Text:
    """Say what to do with stores that are finished, or once all jobs are."""
    stores = [shlex.quote(str(store)) for store in summary.stores]
    if job.alone:
        return Text.assemble("Next: ", (f"dynamic-sparsity verify {stores[0]} --deep", "bold"))
    command = f"dynamic-sparsity finalize {' '.join(stores)}"
    return Text.assemble(f"When all {job.count} jobs have ended: ", (command, "bold"))


@app.command()
def finalize(stores: Annotated[list[Path], typer.Argument(help="Stores that several jobs made.")]) -> None:
    """Seal stores made by an array of jobs: check every byte, add statistics, write the manifest.

    A store with missing units is refused; run the jobs again, they make only what is missing.
    """
    from dynamic_sparsity.generation.jobs.generate import finalize as seal
    from dynamic_sparsity.storage.manifests import read_attributes

    for store in stores:
        read_attributes(store)  # check all of them before one is sealed
    console = PlainConsole(soft_wrap=True)
    for store in stores:
        with console.status(f"Checking and sealing {store}"):
            seal(store)
        console.print(f"{store}: sealed.", style="green")


@app.command()
def status(
    stores: StoresOrRootsArgument, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show the progress of generating stores: units done, running and failed, rows per second, time left."""
    from dynamic_sparsity.generation.jobs.status import read_status

    found = [read_status(store) for store in chosen_stores(stores)]
    if as_json:
        print(json.dumps([asdict(one) | {"store": str(one.store)} for one in found], indent=1))
        return
    console = PlainConsole()
    console.print(_table_of_progress(found))
    for one in found:
        for unit, why in one.set_aside.items():
            console.print(f"{one.store} unit {unit} failed in every attempt: {why}", soft_wrap=True)


def _table_of_progress(found: Sequence[Status]) -> Table:
    roots = {one.store.parent.parent for one in found}
    root = roots.pop() if len(roots) == 1 else None
    cells: dict[str, list[str]] = {
        "state": [one.state for one in found],
        "units done": [f"{one.units_done:,}/{one.units:,}" for one in found],
        "running": [f"{len(one.running):,}" if one.running else "" for one in found],
        "failed": [f"{len(one.set_aside):,}" if one.set_aside else "" for one in found],
        "rows": [f"{one.rows_done:,}/{one.rows:,}" for one in found],
        "rows/s": ["" if one.rows_per_s is None else f"{one.rows_per_s:,.0f}" for one in found],
        "time left": ["" if one.seconds_left is None else _hours(one.seconds_left) for one in found],
    }
    # The names need the room that empty columns would take.
    shown = {name: column for name, column in cells.items() if any(column)}
    title = "In the making" if root is None else f"In the making, in {root}"
    table = make_table(("store", *shown), left=("store", "state"), no_wrap=tuple(shown), compact=True, title=title)
    table.columns[0].overflow, table.columns[0].min_width = "fold", NAME_WIDTH_MIN
    for one, *row in zip(found, *shown.values(), strict=True):
        table.add_row(str(one.store if root is None else one.store.relative_to(root)), *row)
    return table


def _hours(duration_s: float) -> str:
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


@app.command()
def regenerate(
    repo: Annotated[str, typer.Argument(help="The published repository, ORG/NAME@REVISION.", show_default=False)],
    task: Annotated[str, typer.Argument(help="The task.", show_default=False)],
    policy: Annotated[str, typer.Option(help="The published policy.")] = "noise",
    dynamics: DynamicsOption = "converged",
    seed: Annotated[int | None, typer.Option(help="Seed of the new store.", show_default="the published one")] = None,
    out: OutRootOption = Path("regenerated"),
    check: Annotated[
        int | None,
        typer.Option(help="Only make this shard again, and compare it with the published one.", show_default=False),
    ] = None,
) -> None:
    """Make published data again: with another seed, or one shard to see whether its bits agree.

    Where OUT has a store of that name and another seed, the new one is named after its seed, as noise-seed7.

    Example: [bold]dynamic-sparsity regenerate ORG/NAME@v1.0.0 CheetahRun --seed 7[/bold]
    """
    from dynamic_sparsity.loaders.hub.local_copy import LocalCopy
    from dynamic_sparsity.loaders.hub.repository import Repository
    from dynamic_sparsity.schemas.naming import store_path

    output_folder(out)
    check_least(seed, "--seed")
    check_least(check, "--check")
    store_path(out, task, policy, dynamics)  # refuses what can't be a name
    if check is not None and seed is not None:
        raise InvalidSettingError("--check makes published rows again, with their own seed: leave out --seed.")
    repository = Repository.open(*parse_repository(repo))
    published = repository.publication.find(task, policy, dynamics, repository.name)
    copy = LocalCopy(repository, published, None)
    from dynamic_sparsity.generation import jax_runtime

    jax_runtime.configure()
    from dynamic_sparsity.generation.verification import regenerate as regeneration

    console = PlainConsole(soft_wrap=True)
    if check is None:
        with console.status(f"Making {task} with the settings of {repository.name}"):
            path, others = regeneration.regenerate(copy.store, out, seed)
        _print_other_settings(console, others)
        print_new_stores(console, [path])
        console.print(f"{path}", style="green")
        return
    with console.status(f"Making shard {check} of {published.path} again"):
        comparison = regeneration.check_shard(repository, published, check)
    _print_other_settings(console, comparison.settings)
    _print_comparison(console, check, comparison)
    raise typer.Exit(1 if comparison.differences else 0)


def _print_comparison(console: PlainConsole, shard: int, comparison: ShardComparison) -> None:
    if not comparison.differences:
        console.print(f"Shard {shard}: all bits of {comparison.rows:,} rows agree.", style="green")
        return
    title = f"Shard {shard}: {comparison.rows:,} rows, bits do not agree"
    table = make_table(
        ("array", "rows that differ", "largest error"), left=["array"], title=title, title_style="yellow"
    )
    for name, difference in comparison.differences.items():
        table.add_row(name, f"{difference.rows:,}", f"{difference.error:.3g}")
    console.print(table)


def _print_other_settings(console: PlainConsole, others: Mapping[str, tuple[Any, Any]]) -> None:
    for key, (before, now) in others.items():
        console.print(f"{key} was {before}, is {now}: bits may differ.", style="yellow")
