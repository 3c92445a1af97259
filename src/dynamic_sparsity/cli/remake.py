"""`regenerate`: published data made again, and what that showed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from dynamic_sparsity.cli import show
from dynamic_sparsity.cli.arguments import check_least, output_folder
from dynamic_sparsity.cli.hub import parse_repository
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.hub.local_copy import LocalCopy
from dynamic_sparsity.loaders.hub.repository import Repository
from dynamic_sparsity.loaders.store.store import store_path
from dynamic_sparsity.untrusted.console import PlainConsole


def regenerate(
    repo: str, task: str, *, policy: str, dynamics: str, seed: int | None, out: Path, check: int | None
) -> int:
    """Makes a store with published settings, or one shard of it to compare.

    Returns:
        0, or 1 if a shard's bits do not agree.
    """
    console = PlainConsole(soft_wrap=True)
    output_folder(out)
    check_least(seed, "--seed")
    check_least(check, "--check")
    store_path(out, task, policy, dynamics)  # refuses what can be no name
    if check is not None and seed is not None:
        raise InvalidSettingError("--check makes published rows again, with their own seed: leave out --seed.")
    repository = Repository.open(*parse_repository(repo))
    published = repository.publication.find(task, policy, dynamics, repository.name)
    copy = LocalCopy(repository, published, None)
    from dynamic_sparsity.generation import jax_runtime

    jax_runtime.configure()
    from dynamic_sparsity.generation.verification import regenerate as remake

    if check is None:
        with console.status(f"Making {task} with the settings of {repository.name}"):
            path, others = remake.regenerate(copy.store, out, seed)
        _print_settings(console, others)
        show.made(console, [path])
        console.print(f"{path}", style="green")
        return 0
    with console.status(f"Making shard {check} of {published.path} again"):
        comparison = remake.check_shard(repository, published, check)
    _print_settings(console, comparison.settings)
    if not comparison.differences:
        console.print(f"Shard {check}: all bits of {comparison.rows:,} rows agree.", style="green")
        return 0
    table = Table(title=f"Shard {check}: {comparison.rows:,} rows, bits do not agree", title_style="yellow")
    for name in ("array", "rows that differ", "largest error"):
        table.add_column(name, justify="left" if name == "array" else "right")
    for name, difference in comparison.differences.items():
        table.add_row(name, f"{difference.rows:,}", f"{difference.error:.3g}")
    console.print(table)
    return 1


def _print_settings(console: PlainConsole, others: dict[str, tuple[Any, Any]] | Any) -> None:
    for key, (before, now) in dict(others).items():
        console.print(f"{key} was {before}, is {now}: bits may differ.", style="yellow")
