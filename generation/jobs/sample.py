"""Makes the sample anew: generates its rows from a fixed seed, and compresses them.

    python -m dynamic_sparsity.generation.jobs.sample [FOLDER]

With the extra `generate`; some minutes on a CPU. FOLDER keeps the rows before they are compressed, so that an
interrupted run is resumed by the same command; by default it is `cache/sample`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs.generate import generate_all
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.sample import SAMPLE_ROOT
from dynamic_sparsity.schemas.naming import store_path
from dynamic_sparsity.storage.convert import convert_store

__all__ = ["build"]

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


def build(folder: Path) -> None:
    """Make the sample's stores; those that are there are replaced when all are made.

    Args:
        folder: Where the generated stores are kept meanwhile.

    Raises:
        DynamicSparsityError: As `generate_all`.
    """
    settings = [
        Settings(
            task=task,
            policy=policy,
            episodes=EPISODES,
            episode_length=LARGE_EPISODE_LENGTH if task in LARGE_TASKS else EPISODE_LENGTH,
            batch=16,
        )
        for task in TASKS
        for policy in POLICIES
    ]
    generate_all(settings, folder / "raw", ThreadExecutor()).check()
    made = folder / "compact"
    shutil.rmtree(made, ignore_errors=True)
    for task in TASKS:
        for policy in POLICIES:
            convert_store(store_path(folder / "raw", task, policy, "converged"), made, "compact", sample=True)
    for file in made.rglob("*.lock"):
        file.unlink()
    shutil.rmtree(SAMPLE_ROOT, ignore_errors=True)
    shutil.copytree(made, SAMPLE_ROOT)


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("cache/sample"))
