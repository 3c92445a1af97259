"""`release`: all steps up to a version of the data that can be published."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynamic_sparsity.cli.app import DynamicsOption, app
from dynamic_sparsity.cli.publishing import note_compact, print_plan
from dynamic_sparsity.cli.tables import make_table
from dynamic_sparsity.errors import CorruptStoreError
from dynamic_sparsity.schemas.files import MANIFEST_FILE
from dynamic_sparsity.untrusted.console import PlainConsole

if TYPE_CHECKING:
    from dynamic_sparsity.errors import HubError
    from dynamic_sparsity.publishing.publish import Plan
    from dynamic_sparsity.publishing.release import ReleaseRecord, WantedStore

POLICIES = ("noise", "expert", "mixture")
REPO = "ORG/NAME"


@app.command()
def release(
    version: Annotated[str, typer.Option(help="Version of the data, e.g. 1.0.0.", show_default=False)],
    root: Annotated[Path, typer.Option("--root", "--out", help="Folder of all stores.")] = Path("data"),
    repo: Annotated[str, typer.Option(help="The repository on the Hub for which it is made.")] = REPO,
    task: Annotated[list[str] | None, typer.Option(help="Only these tasks.", show_default="all 25")] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="Only these policies.", show_default=", ".join(POLICIES))
    ] = None,
    dynamics: DynamicsOption = "converged",
    episodes: Annotated[int, typer.Option(help="Episodes per store; a store with fewer gets the rest.")] = 1000,
    episode_length: Annotated[int, typer.Option(help="Control steps per episode of stores to be made.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of stores to be made.")] = 0,
    sample: Annotated[
        int, typer.Option(help="Rows of each store that are computed again; 0 for none.", min=0, max=10_000_000)
    ] = 64,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is there and what is missing.")] = False,
) -> None:
    """Make a version of the data that is ready to be published, and try it out; nothing is sent.

    What is missing is generated, every store is verified, sampled rows are computed again, the package's sample is made
    anew and compared, index, Parquet view, cards, pictures and changelog are made, and every configuration is loaded
    back from a server on this machine, all rows.
    Rerun an interrupted command to resume it: what is done is not repeated. At the end stand the commands that publish.

    Example: [bold]dynamic-sparsity release --version 1.0.0 --root data --repo ORG/NAME[/bold]
    """
    from dynamic_sparsity.publishing.packages import require_packages
    from dynamic_sparsity.publishing.publish import check
    from dynamic_sparsity.publishing.release import ReleaseRecord, wanted_stores

    tag = f"v{version.removeprefix('v')}"
    check(None, repo, tag)  # before hours of work
    console = PlainConsole(soft_wrap=True)
    tasks = task or _all_tasks()
    stores = wanted_stores(root, tasks, policy or POLICIES, dynamics)
    missing = [store for store in stores if store.episodes < episodes]
    _print_stores(console, stores, episodes)
    if dry_run:
        console.print("Nothing was done.")
        return
    require_packages("datasets")
    root.mkdir(parents=True, exist_ok=True)
    if missing:
        _generate(console, missing, root, dynamics, episodes, episode_length, seed)
    record = ReleaseRecord(root)
    if sample:
        _verify(root, sample, record)
    _make_sample(console, root, tasks, policy or POLICIES, dynamics, sample, record)
    made = _prepare(console, root, repo, tag)
    print_plan(console, made)
    note_compact(console, [root / store.path for store in made.publication.stores])
    _rehearse(console, made, root, record)
    console.print(f"Version {version} is ready. These two commands publish it:", style="green")
    console.print("  hf auth login")
    console.print(f"  dynamic-sparsity publish {shlex.quote(str(root))} --repo {repo} --tag {tag}")


def _all_tasks() -> list[str]:
    from dynamic_sparsity.generation.tasks import TASKS

    return list(TASKS)


def _print_stores(console: PlainConsole, stores: Sequence[WantedStore], episodes: int) -> None:
    table = make_table(("store", "episodes", "to be made"), left=["store"], compact=True)
    for store in stores:
        table.add_row(str(store.path), f"{store.episodes:,}", f"{max(0, episodes - store.episodes):,}")
    console.print(table)


def _generate(
    console: PlainConsole,
    missing: Sequence[WantedStore],
    root: Path,
    dynamics: str,
    episodes: int,
    episode_length: int,
    seed: int,
) -> None:
    """Make what is missing on this machine; what `generate` made elsewhere below the folder is taken as it is."""
    from dynamic_sparsity.cli.progress_bars import GenerationBars
    from dynamic_sparsity.generation.executors.choice import make_executor
    from dynamic_sparsity.generation.jobs.generate import generate_all
    from dynamic_sparsity.generation.settings import Settings

    settings = [
        Settings(
            task=store.task,
            policy=store.policy,
            episodes=episodes,
            episode_length=episode_length,
            seed=seed,
            dynamics=dynamics,
        )
        for store in missing
    ]
    workforce = make_executor("local", None, None)
    with GenerationBars(console) as bars:
        summary = generate_all(settings, root, workforce, bars)
    summary.check()


def _verify(root: Path, sample: int, record: ReleaseRecord) -> None:
    """Check all stores below the folder that were not checked yet, sampled rows too."""
    from dynamic_sparsity.cli.verifying import verify_and_print
    from dynamic_sparsity.loaders.store.store import find_stores

    wrong = []
    for location in find_stores(root):
        key = f"{_manifest_sha256(location.path)} {sample}"
        if record.is_done("verified", key):
            continue
        if verify_and_print(location.path, sample, 0):
            record.note("verified", key)
        else:
            wrong.append(str(location.path))
    if wrong:
        raise CorruptStoreError(f"there are problems with {', '.join(wrong)}; see above for what to do")


def _make_sample(
    console: PlainConsole,
    root: Path,
    tasks: Sequence[str],
    policies: Sequence[str],
    dynamics: str,
    sample: int,
    record: ReleaseRecord,
) -> None:
    """Make the package's sample of the release's tasks anew, and say where the package's differs."""
    from dynamic_sparsity.generation.jobs.sample import changed, make, sample_settings
    from dynamic_sparsity.publishing.staging import staging_folder

    wanted = sample_settings(tasks, policies) if dynamics == "converged" else []
    if not wanted:
        return
    console.print(f"The sample inside the package is made anew: {len(wanted)} stores.")
    folder = staging_folder(root) / "sample"
    made = make(folder, wanted)
    if sample:
        _verify(made, sample, record)
    others = changed(made)
    if not others:
        console.print("The sample inside the package is what this code makes.", style="green")
        return
    console.print(
        f"The sample inside the package differs in {len(others)} of {len(wanted)} stores: {', '.join(others)}. To put "
        "the new one there, for a commit, from a checkout:",
        style="yellow",
    )
    console.print(f"  python -m dynamic_sparsity.generation.jobs.sample {shlex.quote(str(folder))}")


def _prepare(console: PlainConsole, root: Path, repo: str, tag: str) -> Plan:
    from dynamic_sparsity.loaders.hub.transfer_progress import chosen
    from dynamic_sparsity.publishing.preparation import prepare
    from dynamic_sparsity.publishing.publish import plan

    bar = chosen(None)
    if repo == REPO:
        return plan(root, repo, tag=tag, offline=True, progress=bar)

    def print_unreachable(error: HubError) -> None:
        console.print(f"The repository can't be read, so it is taken for empty. {error}", style="yellow")

    return prepare(root, repo, tag=tag, dry_run=True, progress=bar, on_unreachable=print_unreachable)


def _rehearse(console: PlainConsole, made: Plan, root: Path, record: ReleaseRecord) -> None:
    """Load back what was not loaded back yet in this form."""
    from dynamic_sparsity.publishing.rehearsal import rehearse

    keys = {}
    for store in made.publication.stores:
        views = [file.sha256 for files in store.parquet.values() for file in files]
        views_sha256 = hashlib.sha256(" ".join(views).encode()).hexdigest()
        keys[store.path] = f"{store.manifest_sha256} {store.index.sha256} {views_sha256}"
    left = [store for store in made.publication.stores if not record.is_done("loaded", keys[store.path])]
    for store in rehearse(made, root, left):
        record.note("loaded", keys[store.path])
        console.print(f"{store.path}: all rows came back from a local server.", style="green")


def _manifest_sha256(path: Path) -> str:
    return hashlib.sha256((path / MANIFEST_FILE).read_bytes()).hexdigest()
