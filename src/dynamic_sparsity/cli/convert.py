"""`convert`: copies of stores with another storage."""

from __future__ import annotations

from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress

from dynamic_sparsity.cli.arguments import output_folder
from dynamic_sparsity.storage.atomic import files_below
from dynamic_sparsity.storage.convert import convert_store
from dynamic_sparsity.untrusted.console import PlainConsole, PlainTextColumn


def convert(store: Path, storage: str, out: Path) -> None:
    """Copy a store, and print how many bytes it had and has.

    Args:
        store: A complete store.
        storage: "raw" or "compact".
        out: Root of the copy.
    """
    output_folder(out)
    console = PlainConsole()
    columns = (PlainTextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("shards", total=None)
        copy = convert_store(
            store, out, storage, on_progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    before, after = (sum(file.stat().st_size for file in files_below(path)) for path in (store, copy))
    console.print(f"{copy}: {after:,} bytes, {after / before:.2f} of the {before:,} of {store}", soft_wrap=True)
