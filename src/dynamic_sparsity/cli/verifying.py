"""`verify`: checking stores."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynamic_sparsity.cli.app import StoresOrRootsArgument, app
from dynamic_sparsity.cli.arguments import chosen_stores
from dynamic_sparsity.untrusted.console import PlainConsole, progress

if TYPE_CHECKING:
    from dynamic_sparsity.generation.verification.deep import DeepReport
    from dynamic_sparsity.storage.problems import Problem

PROBLEMS_SHOWN = 20


@app.command()
def verify(
    stores: StoresOrRootsArgument,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also compute sampled rows again with an independent oracle (needs the extra `generate`)."
        ),
    ] = False,
    sample: Annotated[int, typer.Option(help="Rows that --deep computes again.", min=1, max=10_000_000)] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the draw of these rows.", min=0, max=2**63 - 1)] = 0,
    source: Annotated[
        str | None,
        typer.Option(help="For --deep: the model or MODULE:FUNCTION that a task of your own was generated from."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check stores: structure, checksums, values; exit code 1 and a list if anything is wrong.

    A folder of stores stands for all stores in it.

    --deep compares sampled rows with MuJoCo C's own step, differentiated by central differences in float64, and
    prints the quantiles of the relative error. Rows where C finds other contacts than MJX, and `stock` stores, are
    compared with central differences of MJX's own step.
    """
    rows = sample if deep else 0
    if as_json:
        verified = [_verification(store, rows, seed, source) for store in chosen_stores(stores)]
        typer.echo(json.dumps(verified, indent=1))
        raise typer.Exit(1 if any(one["problems"] for one in verified) else 0)
    right = [verify_and_print(store, rows, seed, source) for store in chosen_stores(stores)]
    raise typer.Exit(0 if all(right) else 1)


def _verification(path: Path, sample: int, seed: int, source: str | None) -> dict[str, Any]:
    """Return what is wrong with a store, and how its rows compare, as a document."""
    from dynamic_sparsity.storage.verify import verify_store

    problems: Sequence[Problem] = verify_store(path)
    document: dict[str, Any] = {"store": str(path)}
    if sample and not problems:
        report = _deep_report(path, sample, seed, source)
        problems = report.problems
        document |= {"rows_drawn": report.sampled, "rows_hard": report.hard, "rows_flagged": report.flagged}
        document["comparisons"] = [one.as_json() for one in report.comparisons]
    return document | {"problems": [str(problem) for problem in problems]}


def verify_and_print(path: Path, sample: int, seed: int, source: str | None = None) -> bool:
    """Check one store and print the result.

    Args:
        path: The store.
        sample: Rows that are computed again; 0 for none.
        seed: Of their draw.
        source: Where a task of the user's own comes from.

    Returns:
        Whether nothing is wrong.
    """
    from dynamic_sparsity.storage.verify import verify_store

    console = PlainConsole(soft_wrap=True)
    with console.status("Checking files and values"):
        problems: Sequence[Problem] = verify_store(path)
    if not problems:
        console.print(f"{path}: structure, checksums and values are right.", style="green")
        if sample:
            problems = _verify_rows(console, path, sample, seed, source)
    if problems:
        _print_problems(path, problems)
    return not problems


def _verify_rows(console: PlainConsole, path: Path, sample: int, seed: int, source: str | None) -> Sequence[Problem]:
    """Compute rows again, print how they compare, and return what is wrong."""
    with progress(console, transient=True) as bars:
        bar = bars.add_task("Computing rows again", total=sample)
        report = _deep_report(path, sample, seed, source, lambda n: bars.advance(bar, n))
    _print_comparisons(console, report)
    return report.problems


def _deep_report(
    path: Path, sample: int, seed: int, source: str | None, on_progress: Callable[[int], None] | None = None
) -> DeepReport:
    from dynamic_sparsity.generation import jax_runtime

    jax_runtime.configure()
    from dynamic_sparsity.generation.verification.deep import verify_deep

    return verify_deep(path, sample, seed, on_progress, source)


def _print_comparisons(console: PlainConsole, report: DeepReport) -> None:
    console.print(
        f"{report.sampled} rows drawn, {report.hard} of them among those with contacts, limits, switches or high "
        f"speed; {report.flagged} left out as flagged."
    )
    for one in report.comparisons:
        left_out = f"{len(one.other_step)} where it steps elsewhere, {one.near_switch} next to a switch"
        kinks = f", {one.at_kink} of them at a kink, with the derivative of its nearer side" if one.at_kink else ""
        console.print(f"against {one.oracle}: {len(one.errors)} rows compared{kinks}; left out: {left_out}")
        shown = [f"{'max' if q == 1 else f'{100 * q:g} %'} {value:.1e}" for q, value in one.quantiles().items()]
        if shown:
            console.print(f"  relative error of [J_s | J_a]: {', '.join(shown)}")
    if not report.problems:
        console.print("The Jacobians are right.", style="green")


def _print_problems(path: Path, problems: Sequence[Problem]) -> None:
    console = PlainConsole(stderr=True, soft_wrap=True)
    console.print(f"{path}: {len(problems)} problem{'s' if len(problems) > 1 else ''} found:", style="bold red")
    for problem in problems[:PROBLEMS_SHOWN]:
        console.print(f"- {problem}")
    if len(problems) > PROBLEMS_SHOWN:
        console.print(f"… and {len(problems) - PROBLEMS_SHOWN} more.")
