"""A unit runner without a simulator: for tests of executors, and of what happens when processes die."""

from __future__ import annotations

import errno
import os
import signal
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynamic_sparsity.errors import DynamicSparsityWarning, MissingDependencyError, NotConvergedError
from dynamic_sparsity.generation.executors.protocol import UnitProgress
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.schemas.consistency import settings_digest
from dynamic_sparsity.storage import writer
from dynamic_sparsity.testing import stores as synthetic

NAME = "fake_unit_runner:FakeUnitRunner"
EPISODES_PER_UNIT = 4
SHARD_ROWS = 80

SECONDS, FAILING, CRASHING, FULL, MADE = "FAKE_SECONDS", "FAKE_FAILING", "FAKE_CRASHING", "FAKE_FULL", "FAKE_MADE"
WHILE = "FAKE_WHILE"
"""Environment variables: how long a unit takes; numbers of units that fail, that kill their process, that find the disk
full; a file to which every made unit appends a line; one during whose existence no unit ends."""


def settings(units: int, task: str = "CartpoleBalance", **options: Any) -> Settings:
    """Settings of a store of so many units, the last one not full."""
    return Settings(task, episodes=units * EPISODES_PER_UNIT - 1, episode_length=20, **options)


class FakeUnitRunner:
    """As `SimulationUnitRunner`, with the pendulums of `synthetic`."""

    def devices(self) -> Sequence[Any]:
        return [None]

    def describe(self, settings: Settings) -> dict[str, Any]:
        attributes = synthetic.make_attributes(
            episodes=settings.episodes,
            episode_length=settings.episode_length,
            seed=settings.seed,
            chunk_rows=16,
            shard_rows=SHARD_ROWS,
        )
        unit_episodes = min(EPISODES_PER_UNIT, settings.episodes)
        document = attributes["settings"] | {"unit_episodes": unit_episodes, "task": settings.task}
        document |= {key: getattr(settings, key) for key in ("policy", "noise_beta", "dynamics")}
        document |= {} if settings.name is None else {"name": settings.name}
        return attributes | {
            "task": settings.task,
            "policy": settings.policy_name,
            "settings": document,
            "settings_sha256": settings_digest(document),
        }

    def check(self, unit: Unit) -> None:
        writer.create_store(unit.store, self.describe(unit.settings))

    def run(self, unit: Unit, device: Any, progress: UnitProgress) -> None:
        if not writer.missing_shards(unit.store).intersection(unit.shards):
            return
        if _listed(FAILING, unit):
            raise NotConvergedError(f"unit {unit.index} does not converge")
        if _listed(FULL, unit):
            (unit.store / "shards" / "another-unit.partial").touch()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(unit.store))
        while WHILE in os.environ and Path(os.environ[WHILE]).exists():
            time.sleep(0.05)
        steps = 10
        for _ in range(steps):
            time.sleep(float(os.environ.get(SECONDS, "0")) / steps)
            progress.on_progress(unit, unit.rows // steps)
        if _listed(CRASHING, unit):
            os.kill(os.getpid(), signal.SIGKILL)
        attributes = self.describe(unit.settings)
        episodes = range(unit.first_episode, unit.first_episode + unit.episodes)
        columns, table = synthetic.make_unit(attributes, episodes, {})
        writer.write_unit(unit.store, unit.first_row, columns, table)
        if MADE in os.environ:
            with Path(os.environ[MADE]).open("a") as log:
                log.write(f"{unit.store.parent.name} {unit.index}\n")


class MissingUnitRunner(FakeUnitRunner):
    """On a machine without a simulator."""

    def __init__(self) -> None:
        raise MissingDependencyError("Simulating needs jax: pip install it")


class BrokenUnitRunner(FakeUnitRunner):
    """With a fault that has nothing to say for itself."""

    def __init__(self) -> None:
        raise AssertionError


class WarningUnitRunner(FakeUnitRunner):
    """Warns of something at every store."""

    def describe(self, settings: Settings) -> dict[str, Any]:
        warnings.warn(f"{settings.task} is made in spite of this", DynamicSparsityWarning, stacklevel=2)
        return super().describe(settings)


def _listed(variable: str, unit: Unit) -> bool:
    return str(unit.index) in os.environ.get(variable, "").split(",")
