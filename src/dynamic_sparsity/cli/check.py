"""`verify`: a list of what is wrong, or word that nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dynamic_sparsity.storage.verify import Problem, verify_store
from dynamic_sparsity.untrusted.console import PlainConsole, progress

SHOWN = 20


def verify(path: Path, *, deep: bool, sample: int, seed: int) -> int:
    """Verifies a store and prints the result.

    Returns:
        0 if nothing is wrong, else 1.
    """
    console = PlainConsole(soft_wrap=True)
    with console.status("Checking files and values"):
        problems: Sequence[Problem] = verify_store(path)
    if problems:
        return _failed(path, problems)
    console.print(f"{path}: structure, checksums and values are right.", style="green")
    if not deep:
        return 0
    problems = _deep(console, path, sample, seed)
    return _failed(path, problems) if problems else 0


def _deep(console: PlainConsole, path: Path, sample: int, seed: int) -> Sequence[Problem]:
    from dynamic_sparsity.generation import jax_runtime

    jax_runtime.configure()
    from dynamic_sparsity.generation.verification.deep import verify_deep

    with progress(console, transient=True) as bars:
        bar = bars.add_task("Computing rows again", total=sample)
        report = verify_deep(path, sample, seed, lambda n: bars.advance(bar, n))
    console.print(
        f"{report.sampled} rows drawn, {report.hard} of them among those with contacts, limits, switches or high "
        f"speed; {report.flagged} left out as flagged."
    )
    for one in report.comparisons:
        left_out = f"{len(one.other_step)} where it steps elsewhere, {one.near_switch} next to a switch"
        console.print(f"against {one.oracle}: {len(one.errors)} rows compared; left out: {left_out}")
        shown = [f"{'max' if q == 1 else f'{100 * q:g} %'} {value:.1e}" for q, value in one.quantiles().items()]
        if shown:
            console.print(f"  relative error of [J_s | J_a]: {', '.join(shown)}")
    if not report.problems:
        console.print("The Jacobians are right.", style="green")
    return report.problems


def _failed(path: Path, problems: Sequence[Problem]) -> int:
    console = PlainConsole(stderr=True, soft_wrap=True)
    console.print(f"{path}: {len(problems)} problem{'s' if len(problems) > 1 else ''} found:", style="bold red")
    for problem in problems[:SHOWN]:
        console.print(f"- {problem}")
    if len(problems) > SHOWN:
        console.print(f"… and {len(problems) - SHOWN} more.")
    return 1
