"""`publish` and `download`: the Hugging Face Hub."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynamic_sparsity.cli.app import DynamicsOption, app
from dynamic_sparsity.cli.arguments import parse_repository
from dynamic_sparsity.cli.tables import byte_size, make_table
from dynamic_sparsity.untrusted.console import PlainConsole

if TYPE_CHECKING:
    from dynamic_sparsity.errors import HubError
    from dynamic_sparsity.loaders.hub.publication import PublishedStore
    from dynamic_sparsity.loaders.hub.repository import Repository
    from dynamic_sparsity.publishing.publish import Plan

FILES_WANTED_MAX = 20_000
FOLDER_ENTRIES_MAX = 10_000
"""What the Hub advises at most: files of a repository with room to grow, and entries of a folder."""


@app.command()
def publish(
    root: Annotated[Path, typer.Argument(help="Folder of all stores.", show_default=False)],
    repo: Annotated[str, typer.Option(help="The repository on the Hub, ORG/NAME.", show_default=False)],
    tag: Annotated[
        str | None, typer.Option(help="Version of the data, e.g. v1.0.0; the code's version is another.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private if it is new.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the repository's stores that ROOT does not have.")
    ] = False,
    skip_incomplete: Annotated[
        bool, typer.Option("--skip-incomplete", help="Leave out stores that are not finished, and name them.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, send nothing.")] = False,
    space: Annotated[
        str | None,
        typer.Option(
            help="Also publish the explorer of this repository as the static Space ORG/NAME.", show_default=False
        ),
    ] = None,
) -> None:
    """Publish all stores below a folder on the Hugging Face Hub, with a card, a Parquet view and checksums.

    Every store is verified first, and published as it is stored: raw, unless it was made compact. What the repository
    has already is not sent again; rerun an interrupted command to resume it.

    Example: [bold]dynamic-sparsity publish data --repo ORG/NAME --tag v1.0.0 --dry-run[/bold]
    """
    from dynamic_sparsity.loaders.hub.transfer_progress import chosen
    from dynamic_sparsity.publishing import publish as publishing
    from dynamic_sparsity.publishing.preparation import prepare
    from dynamic_sparsity.publishing.space import check_space, publish_space

    console, bar = PlainConsole(soft_wrap=True), chosen(None)
    if space is not None:
        check_space(space)

    def print_unreachable(error: HubError) -> None:
        console.print(f"The repository can't be read, so it is taken for empty. {error}", style="yellow")

    plan = prepare(
        root,
        repo,
        tag=tag,
        delete=delete,
        dry_run=dry_run,
        skip_incomplete=skip_incomplete,
        progress=bar,
        on_unreachable=print_unreachable,
    )
    print_plan(console, plan)
    note_compact(console, [root / store.path for store in plan.publication.stores])
    if dry_run:
        console.print("Nothing was sent.")
        return
    if not plan.changes and (tag is None or tag in plan.remote.tags):
        console.print(f"{repo} is up to date.", style="green")
    else:
        address = publishing.publish(plan, private=private, progress=bar)
        console.print(f"Published: {address}" + (f", version {tag}" if tag else ""), style="green")
    if space is not None:
        address = publish_space(space, repo, revision=tag, private=private)
        console.print(f"The explorer: {address}", style="green")


def print_plan(console: PlainConsole, plan: Plan) -> None:
    """Print what a repository is to hold, and what is to be sent.

    Args:
        console: Where to print.
        plan: The plan.
    """
    table = make_table(("", "files", "bytes"), left=[""], compact=True)
    table.add_row("repository", f"{len(plan.files):,}", byte_size(plan.total_bytes))
    table.add_row("to be sent", f"{len(plan.uploads):,}", byte_size(plan.upload_bytes))
    table.add_row("to be deleted", f"{len(plan.deleted):,}", "")
    console.print(f"{plan.repo_id}" + (f" {plan.tag}" if plan.tag else "") + f": {len(plan.publication.stores)} stores")
    console.print(table)
    console.print(f"About {plan.requests:,} requests; at most {plan.largest_folder:,} entries in a folder.")
    if len(plan.files) >= FILES_WANTED_MAX or plan.largest_folder >= FOLDER_ENTRIES_MAX:
        console.print(
            f"That is more than {FILES_WANTED_MAX:,} files, or {FOLDER_ENTRIES_MAX:,} entries in a folder: the Hub "
            "will be slow for readers. Publish fewer stores per repository.",
            style="yellow",
        )


def note_compact(console: PlainConsole, stores: Sequence[Path]) -> None:
    """Say which stores are compact: the Hub is better served with raw ones (docs/format.md says why).

    Args:
        console: Where to print.
        stores: The stores that are published.
    """
    from dynamic_sparsity.storage.manifests import read_attributes

    compact = [str(store) for store in stores if read_attributes(store).get("storage") == "compact"]
    if compact:
        raw = shlex.join(["dynamic-sparsity", "convert", *compact, "--storage", "raw", "--out", "raw"])
        console.print(
            f"Compact, and published so: {', '.join(compact)}. Where such a store does not fit into a reader's memory, "
            f"each random row costs a chunk; `{raw}` makes raw copies.",
            style="yellow",
        )


@app.command()
def download(
    tasks: Annotated[list[str] | None, typer.Argument(help="Tasks to fetch.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All tasks of the repository.")] = False,
    repo: Annotated[
        str | None,
        typer.Option(
            "--repo",
            help="The repository on the Hub, ORG/NAME or ORG/NAME@REVISION.",
            show_default="DYNAMIC_SPARSITY_REPOSITORY",
        ),
    ] = None,
    policy: Annotated[list[str] | None, typer.Option(help="Only these policies.", show_default="all")] = None,
    dynamics: DynamicsOption = "converged",
    split: Annotated[str | None, typer.Option(help="Only train, validation or test.", show_default="all")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Only these columns, with commas between them.", show_default="all")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what is there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be fetched.")] = False,
) -> None:
    """Fetch published data into the Hub's cache, so that `load_dataset` finds them there, offline too.

    Example: [bold]dynamic-sparsity download CheetahRun --repo ORG/NAME@v1.0.0 --split test[/bold]
    """
    from dynamic_sparsity.loaders.hub.download import StoreSelection
    from dynamic_sparsity.loaders.hub.download import download as fetch
    from dynamic_sparsity.loaders.hub.repository import Repository
    from dynamic_sparsity.loaders.hub.transfer_progress import chosen

    names = None if columns is None else [name.strip() for name in columns.split(",")]
    selection = StoreSelection(tasks or (), every, policy, dynamics, split, names)
    repository = Repository.open(*parse_repository(repo))
    stores = fetch(repository, selection, chosen(None), force=force, dry_run=dry_run)
    console = PlainConsole(soft_wrap=True)
    titles = ("store", "split", "files", "to be fetched" if dry_run else "fetched", "of", "requests")
    table = make_table(titles, left=("store", "split"), compact=True)
    for one in stores:
        sizes = byte_size(one.bytes), byte_size(one.published.bytes)
        table.add_row(one.published.path, split or "all", f"{one.files:,}", *sizes, f"{one.requests:,}")
    console.print(
        f"{repository.name}, commit {repository.commit[:12]}, data version {repository.publication.data_version}"
    )
    console.print(table)
    if dry_run:
        console.print("Nothing was fetched but the indices.")
    else:
        console.print(f"Load it: {_load_call(repository, stores[0].published, split)}")


def _load_call(repository: Repository, published: PublishedStore, split: str | None) -> str:
    options = {"repo_id": repository.id, "revision": repository.revision, "policy": published.policy, "split": split}
    words = ", ".join(f"{key}={value!r}" for key, value in options.items() if value is not None)
    return f"load_dataset({published.task!r}, {words})"
