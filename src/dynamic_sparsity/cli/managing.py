"""`show`, `merge` and `delete`: what there is, one store from several, and away with it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynamic_sparsity.cli.app import OutRootOption, StoresArgument, app
from dynamic_sparsity.cli.arguments import output_folder, parse_repository
from dynamic_sparsity.cli.stores import info
from dynamic_sparsity.cli.tables import byte_size, make_table, print_new_stores
from dynamic_sparsity.errors import InvalidSettingError, StoreNotFoundError
from dynamic_sparsity.untrusted.console import PlainConsole, progress

if TYPE_CHECKING:
    from dynamic_sparsity.loaders.hub.repository import Repository


@app.command()
def show(
    what: Annotated[
        str,
        typer.Argument(
            help="A store, e.g. data/CheetahRun/noise.zarr, or a repository, ORG/NAME or ORG/NAME@REVISION.",
            show_default=False,
        ),
    ],
) -> None:
    """Show what a store or a published repository holds; of the latter, only its table of contents is fetched.

    Example: [bold]dynamic-sparsity show ORG/NAME@v1.0.0[/bold]
    """
    path = Path(what)
    if path.exists() or what.removesuffix("/").endswith(".zarr"):
        info(path)
        return
    if what.count("/") != 1:
        raise StoreNotFoundError(f"{what!r:.200} does not exist, and is no repository, whose name is ORG/NAME")
    from dynamic_sparsity.loaders.hub.repository import Repository

    print_repository(Repository.open(*parse_repository(what)))


def print_repository(repository: Repository) -> None:
    """Print what a repository holds.

    Args:
        repository: The repository.
    """
    console, publication = PlainConsole(soft_wrap=True), repository.publication
    console.print(f"{repository.name}, commit {repository.commit[:12]}, data version {publication.data_version}")
    names = ("task", "policy", "dynamics")
    splits = ("train", "validation", "test")
    table = make_table((*names, *splits, "size"), left=names, no_wrap=names, title="Stores")
    for one in publication.stores:
        rows = (f"{one.splits.get(split, 0):,}" for split in splits)
        table.add_row(one.task, one.policy, one.dynamics, *rows, byte_size(one.bytes))
    console.print(table)
    total = sum(one.bytes for one in publication.stores)
    console.print(f"{len(publication.stores)} stores, {byte_size(total)}; the numbers are rows by split")


@app.command()
def merge(
    stores: StoresArgument,
    name: Annotated[str, typer.Option(help="Name of the new store, e.g. all-seeds; load it as policy=NAME.")],
    out: OutRootOption = Path("data"),
    storage: Annotated[str, typer.Option(help="raw or compact, as of generate.")] = "raw",
) -> None:
    """Write one store with the episodes of several of the same task: other seeds or policies. Theirs stay as they are.

    Splits stay those that the episodes had. `load_dataset(TASK, policy=["noise", "expert"])` reads several stores as
    one without writing anything. Rerun an interrupted command to resume it.

    Example: [bold]dynamic-sparsity merge data/CheetahRun/noise*.zarr --name all-seeds[/bold]
    """
    from dynamic_sparsity.loaders.export.merging import merge_stores

    output_folder(out)
    console = PlainConsole(soft_wrap=True)
    with progress(console, transient=True) as bars:
        bar = bars.add_task("shards", total=None)
        path = merge_stores(
            stores,
            out,
            name,
            storage=storage,
            on_progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    print_new_stores(console, [path])
    console.print(f"{path}", style="green")


@app.command()
def delete(
    stores: StoresArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete stores from the disk, complete or not; asks first. What is no store is not touched."""
    from dynamic_sparsity.loaders.store.summary import bytes_below
    from dynamic_sparsity.storage.manifests import read_attributes
    from dynamic_sparsity.storage.removal import check_store, delete_store

    console = PlainConsole(soft_wrap=True)
    for store in stores:
        check_store(store)  # all of them before one is deleted
    for store in stores:
        console.print(f"{store}: {read_attributes(store)['rows']:,} rows, {byte_size(bytes_below(store))}")
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidSettingError("delete asks before it deletes, and nobody can answer here; give --yes")
        if not typer.confirm("Delete this? It can't be undone."):
            console.print("Nothing was deleted.")
            return
    for store in stores:
        delete_store(store)
        console.print(f"{store}: deleted.", style="green")
