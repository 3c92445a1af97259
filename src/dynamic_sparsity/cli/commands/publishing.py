"""The Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynamic_sparsity.cli.app import RootOption, app

RepositoryOption = Annotated[
    str | None,
    typer.Option(
        "--repo",
        help="The repository on the Hub, ORG/NAME or ORG/NAME@REVISION.",
        show_default="DYNAMIC_SPARSITY_REPOSITORY",
    ),
]


@app.command()
def publish(
    root: Annotated[Path, typer.Argument(help="Folder of all stores.", show_default=False)],
    repo: Annotated[str, typer.Option(help="The repository on the Hub, ORG/NAME.", show_default=False)],
    tag: Annotated[
        str | None, typer.Option(help="Version of the data, e.g. v1.0.0; the code's version is another.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="A repository that is made is private.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the repository's stores that ROOT does not have.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, send nothing.")] = False,
) -> None:
    """Publish all stores below a folder on the Hugging Face Hub, with a card, a Parquet view and checksums.

    Every store is verified first. What the repository has already is not sent again; interrupted, the same command
    goes on.

    Example: [bold]dynamic-sparsity publish data --repo ORG/NAME --tag v1.0.0 --dry-run[/bold]
    """
    from dynamic_sparsity.cli import hub

    hub.publish(root, repo, tag=tag, private=private, delete=delete, dry_run=dry_run)


@app.command()
def download(
    tasks: Annotated[list[str] | None, typer.Argument(help="Tasks to fetch.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All tasks of the repository.")] = False,
    repo: RepositoryOption = None,
    policy: Annotated[list[str] | None, typer.Option(help="Only these policies.", show_default="all")] = None,
    dynamics: Annotated[str, typer.Option(help="converged or stock.")] = "converged",
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
    from dynamic_sparsity.cli import hub

    chosen = None if columns is None else [name.strip() for name in columns.split(",")]
    hub.download(
        tasks or [],
        every,
        repo,
        policies=policy,
        dynamics=dynamics,
        split=split,
        columns=chosen,
        force=force,
        dry_run=dry_run,
    )


@app.command()
def regenerate(
    repo: Annotated[str, typer.Argument(help="The published repository, ORG/NAME@REVISION.", show_default=False)],
    task: Annotated[str, typer.Argument(help="The task.", show_default=False)],
    policy: Annotated[str, typer.Option(help="The published policy.")] = "noise",
    dynamics: Annotated[str, typer.Option(help="converged or stock.")] = "converged",
    seed: Annotated[int | None, typer.Option(help="Seed of the new store.", show_default="the published one")] = None,
    out: RootOption = Path("regenerated"),
    check: Annotated[
        int | None,
        typer.Option(help="Only make this shard again, and compare it with the published one.", show_default=False),
    ] = None,
) -> None:
    """Make published data again: with another seed, or one shard to see whether its bits agree.

    Example: [bold]dynamic-sparsity regenerate ORG/NAME@v1.0.0 CheetahRun --seed 7[/bold]
    """
    from dynamic_sparsity.cli import remake

    raise typer.Exit(remake.regenerate(repo, task, policy=policy, dynamics=dynamics, seed=seed, out=out, check=check))
