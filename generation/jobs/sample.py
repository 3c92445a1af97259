"""Makes the sample anew: generates its rows from a fixed seed, and compresses them.

    python -m dynamic_sparsity.generation.jobs.sample [FOLDER]

With the extra `generate`; some minutes on a CPU. FOLDER keeps the stores, raw and compressed, so that an interrupted
run is resumed by the same command; by default it is `cache/sample`. `release` makes them in a folder of its own, and
compares them with the package's; this command then only puts them there.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity.generation.executors.protocol import Executor
from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs.generate import generate_all
from dynamic_sparsity.generation.jobs.run_progress import RunProgress
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.sample import SAMPLE_ROOT
from dynamic_sparsity.schemas.files import MANIFEST_FILE
from dynamic_sparsity.storage.atomic import delete_folder, exchange, partial_path, sweep
from dynamic_sparsity.storage.convert import convert_store
from dynamic_sparsity.storage.manifests import read_attributes, read_document

__all__ = ["build", "changed", "install", "make", "sample_settings"]

TASKS: Final = (
    "BallInCup",
    "CartpoleBalance",
    "CheetahRun",
    "FingerSpin",
    "FingerTurnEasy",
    "ReacherHard",
    "SwimmerSwimmer6",
    "WalkerRun",
)
"""Those of the paper."""

POLICIES: Final = ("noise", "expert")
EPISODES: Final = 10
"""So many that every split has one."""

EPISODE_LENGTH: Final = 64
"""Control steps: enough for falls, catches and limits."""

LARGE_TASKS: Final = ("CheetahRun", "SwimmerSwimmer6", "WalkerRun")
LARGE_EPISODE_LENGTH: Final = 48
"""Control steps of tasks with large Jacobians, which are most of the sample's bytes."""


def sample_settings(tasks: Sequence[str] = TASKS, policies: Sequence[str] = POLICIES) -> list[Settings]:
    """Return the settings of the sample's stores.

    Args:
        tasks: Only those of these tasks.
        policies: Only those of these policies.
    """
    return [
        Settings(
            task=task,
            policy=policy,
            episodes=EPISODES,
            episode_length=LARGE_EPISODE_LENGTH if task in LARGE_TASKS else EPISODE_LENGTH,
            batch=16,
        )
        for task in TASKS
        if task in tasks
        for policy in POLICIES
        if policy in policies
    ]


def make(
    folder: Path, wanted: Sequence[Settings], executor: Executor | None = None, progress: RunProgress | None = None
) -> Path:
    """Make stores of the sample. What another version of the code has left in the folder is made again.

    Args:
        folder: Where they are made; generated stores are kept in it.
        wanted: Their settings.
        executor: Makes the rows.
        progress: Receives the progress.

    Returns:
        The root of the compact stores.

    Raises:
        DynamicSparsityError: As `generate_all`.
    """
    executor = executor or ThreadExecutor()
    for settings in wanted:
        store = settings.store_path(folder / "raw")
        if (store / "zarr.json").exists() and not _is_current(store, executor.describe(settings)):
            delete_folder(store, store)
    generate_all(wanted, folder / "raw", executor, progress).check()
    made = folder / "compact"
    shutil.rmtree(made, ignore_errors=True)
    for settings in wanted:
        convert_store(settings.store_path(folder / "raw"), made, "compact", sample=True)
    for file in made.rglob("*.lock"):
        file.unlink()
    return made


def _is_current(store: Path, described: dict[str, Any]) -> bool:
    """Return whether this code, with these packages, has made a store."""
    attributes = read_attributes(store)
    return all(attributes[key] == described[key] for key in ("schema_version", "provenance")) and all(
        attributes["settings"].get(key) == value
        for key, value in described["settings"].items()
        if key != "unit_episodes"
    )


def changed(made: Path, packaged: Path = SAMPLE_ROOT) -> list[str]:
    """Return which stores are others than those of the package: rows, settings or format, not by whom they were made.

    Args:
        made: The root of the stores that were made.
        packaged: The root of the package's.
    """
    paths = sorted(path.relative_to(made) for path in made.glob("*/*.zarr"))
    return [path.as_posix() for path in paths if _content(made / path) != _content(packaged / path)]


def _content(store: Path) -> object:
    """Return what says whether two stores hold the same; None where there is none."""
    if not (store / "zarr.json").exists():
        return None
    attributes = {key: value for key, value in read_attributes(store).items() if key != "provenance"}
    files = {
        name: record for name, record in read_document(store / MANIFEST_FILE)["files"].items() if name != "zarr.json"
    }
    return attributes, files


def install(made: Path, packaged: Path = SAMPLE_ROOT) -> None:
    """Put stores into the package, in place of those that are there.

    Killed at any moment, the old ones are there or the new ones; the same call goes on. Where the disk can't exchange
    names, there is a moment without either.

    Args:
        made: The root of the stores that were made.
        packaged: The root of the package's.
    """
    sweep(packaged)
    unfinished = partial_path(packaged)
    shutil.copytree(made, unfinished)
    if not packaged.exists():
        unfinished.rename(packaged)
        return
    try:
        exchange(unfinished, packaged)
    except OSError:
        delete_folder(packaged, packaged.with_name(f"{packaged.name}.old"))
        unfinished.rename(packaged)
    else:
        shutil.rmtree(unfinished)


def build(folder: Path) -> None:
    """Make the sample's stores, and put them into the package when all are made.

    Args:
        folder: Where they are kept meanwhile.

    Raises:
        DynamicSparsityError: As `generate_all`.
    """
    install(make(folder, sample_settings()))


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("cache/sample"))
