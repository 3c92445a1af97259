"""`publish` and `download`: what they print."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from dynamic_sparsity.cli.show import size
from dynamic_sparsity.errors import HubError, InvalidSettingError, UnknownNameError
from dynamic_sparsity.loaders.hub.local_copy import LocalCopy
from dynamic_sparsity.loaders.hub.publication import PublishedStore
from dynamic_sparsity.loaders.hub.repository import REPOSITORY_VARIABLE, Repository, default_repository
from dynamic_sparsity.loaders.hub.transfer_plan import FilePlan, plan_files
from dynamic_sparsity.loaders.hub.transfer_progress import chosen
from dynamic_sparsity.loaders.store.store import store_path
from dynamic_sparsity.schemas.splits import SPLITS
from dynamic_sparsity.untrusted.console import PlainConsole

if TYPE_CHECKING:
    from dynamic_sparsity.publishing.publish import Plan

FILES_WANTED_MAX = 20_000
FOLDER_ENTRIES_MAX = 10_000
"""What the Hub advises at most: files of a repository with room to grow, and entries of a folder."""


def parse_repository(text: str | None) -> tuple[str, str | None]:
    """ "ORG/NAME@REVISION" as repository and revision; None for the default one.

    Args:
        text: What was given.

    Raises:
        InvalidSettingError: None was given, and there is no default.
    """
    text = text or default_repository()
    if text is None:
        raise InvalidSettingError(
            f"no repository was given: name one with --repo ORG/NAME, or set {REPOSITORY_VARIABLE}"
        )
    repository, at, revision = text.partition("@")
    if at and not revision:
        raise InvalidSettingError(f"the repository is {text!r}, without a revision behind '@'; as in 'ORG/NAME@v1.0.0'")
    return repository, revision or None


def publish(root: Path, repo: str, *, tag: str | None, private: bool, delete: bool, dry_run: bool) -> None:
    """Publishes stores and prints what was sent, or only the plan."""
    from dynamic_sparsity.publishing import publish as publishing

    console = PlainConsole(soft_wrap=True)
    bar = chosen(None)
    publishing.check(root, repo, tag)
    if not dry_run:
        publishing.require_token(repo)
    try:
        plan = publishing.plan(root, repo, tag=tag, delete=delete, progress=bar)
    except HubError as error:
        if not dry_run:
            raise
        console.print(
            f"The repository can't be looked at, so it is taken for empty. {error}", style="yellow", markup=False
        )
        plan = publishing.plan(root, repo, tag=tag, delete=delete, offline=True, progress=bar)
    _print_plan(console, plan)
    if dry_run:
        console.print("Nothing was sent.")
        return
    if not plan.changes and (tag is None or tag in plan.remote.tags):
        console.print(f"{repo} is up to date.", style="green")
        return
    address = publishing.publish(plan, private=private, progress=bar)
    console.print(f"Published: {address}" + (f", version {tag}" if tag else ""), style="green")


def _print_plan(console: PlainConsole, plan: Plan) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("", "files", "bytes"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("repository", f"{len(plan.files):,}", size(plan.total_bytes))
    table.add_row("to be sent", f"{len(plan.uploads):,}", size(plan.upload_bytes))
    table.add_row("to be deleted", f"{len(plan.deleted):,}", "")
    console.print(f"{plan.repo_id}" + (f" {plan.tag}" if plan.tag else "") + f": {len(plan.publication.stores)} stores")
    console.print(table)
    console.print(f"About {plan.requests:,} requests; at most {plan.largest_folder:,} entries in a folder.")
    if len(plan.files) >= FILES_WANTED_MAX or plan.largest_folder >= FOLDER_ENTRIES_MAX:
        console.print(
            f"That is more than {FILES_WANTED_MAX:,} files, or {FOLDER_ENTRIES_MAX:,} entries in a folder: readers "
            "will wait for "
            "the Hub. Publish fewer stores per repository.",
            style="yellow",
        )


def download(
    tasks: Sequence[str],
    every: bool,
    repo: str | None,
    *,
    policies: Sequence[str] | None,
    dynamics: str,
    split: str | None,
    columns: Sequence[str] | None,
    force: bool,
    dry_run: bool,
) -> None:
    """Fetches published stores and prints how to load them, or only the plan."""
    console = PlainConsole(soft_wrap=True)
    if split is not None and split not in SPLITS:
        raise UnknownNameError(f"split is {split!r}; it can be {', '.join(map(repr, SPLITS))}")
    for task in tasks or ["Any"]:
        for policy in policies or ["any"]:
            store_path("", task, policy, dynamics)  # refuses what can be no name
    repository = Repository.open(*parse_repository(repo))
    wanted = _chosen_stores(repository, tasks, every, policies, dynamics)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("store", "split", "files", "to be fetched" if dry_run else "fetched", "of", "requests"):
        table.add_column(name, justify="left" if name in ("store", "split") else "right")
    for published in wanted:
        copy = LocalCopy(repository, published, split, force=force and not dry_run)
        arrays = copy.arrays_for(columns)
        plans: list[FilePlan] = plan_files(copy.ledger, arrays, force=force)
        if not dry_run:
            copy.fetch(arrays, chosen(None), force=force)
        fetched, requests = sum(plan.bytes for plan in plans), sum(plan.requests for plan in plans)
        cells = (f"{len(plans):,}", size(fetched), size(published.bytes), f"{requests:,}")
        table.add_row(published.path, split or "all", *cells)
    console.print(
        f"{repository.name}, commit {repository.commit[:12]}, data version {repository.publication.data_version}"
    )
    console.print(table)
    if dry_run:
        console.print("Nothing was fetched but the indices.")
        return
    first = wanted[0]
    options = {"repo_id": repository.id, "revision": repository.revision, "policy": first.policy, "split": split}
    words = ", ".join(f"{key}={value!r}" for key, value in options.items() if value is not None)
    console.print(f"Load it: load_dataset({first.task!r}, {words})")


def _chosen_stores(
    repository: Repository, tasks: Sequence[str], every: bool, policies: Sequence[str] | None, dynamics: str
) -> list[PublishedStore]:
    """The stores asked for.

    Raises:
        InvalidSettingError: No task was named, or some and --all.
        HubNotFoundError: One is not there.
    """
    if bool(tasks) == every:
        there = ", ".join(sorted({store.task for store in repository.publication.stores}))
        raise InvalidSettingError(f"Name tasks, or give --all; {shlex.quote(repository.name)} has {there}.")
    stores = repository.publication.stores
    found = []
    for task in dict.fromkeys(tasks or (store.task for store in stores)):
        names = policies or [store.policy for store in stores if (store.task, store.dynamics) == (task, dynamics)]
        for policy in names or ["noise"]:
            found.append(repository.publication.find(task, policy, dynamics, repository.name))
    return found
