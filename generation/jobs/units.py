"""Units of work, planned in advance from the store's attributes alone, without a simulator.

A unit is a block of whole episodes whose rows fill whole shards. It is deterministic and idempotent: the same unit
gives the same bits on the same platform, wherever and however often it runs. The store's shards and their manifests
record what is done; there is no other record.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.settings import Settings

JOBS_MAX = 1_000_000


@dataclass(frozen=True)
class Unit:
    """A block of whole episodes whose rows fill whole shards.

    Attributes:
        settings: The settings of its store.
        store: Path of its store.
        index: Its index among the units of its store.
        first_episode: Index of its first episode.
        episodes: Number of its episodes that belong to the store.
        simulated: Number of episodes simulated side by side. Bits depend on it, so the last unit is simulated whole as
            well.
        shards: Indices of its shards.
    """

    settings: Settings
    store: Path
    index: int
    first_episode: int
    episodes: int
    simulated: int
    shards: range

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.store.parent.name}/{self.store.name} unit {self.index}"

    @property
    def rows(self) -> int:
        """Number of rows of the store that it makes."""
        return self.episodes * self.settings.episode_length

    @property
    def first_row(self) -> int:
        """Index of its first row in the store."""
        return self.first_episode * self.settings.episode_length

    def document(self) -> dict[str, Any]:
        """Return the unit as JSON data."""
        own = {name: getattr(self, name) for name in ("index", "first_episode", "episodes", "simulated")}
        shards = [self.shards.start, self.shards.stop]
        return own | {"settings": dataclasses.asdict(self.settings), "store": str(self.store), "shards": shards}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Unit:
        """Read what `document` returned.

        Args:
            document: JSON data.
        """
        fields = dict(document)
        settings, store, shards = Settings(**fields.pop("settings")), Path(fields.pop("store")), fields.pop("shards")
        return cls(settings, store, shards=range(*shards), **fields)


@dataclass(frozen=True)
class Job:
    """One of several jobs that share the units of a run, without communication among them.

    Attributes:
        index: Which one it is, from 0.
        count: Number of jobs.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Check the values; raise InvalidSettingError."""
        if not 1 <= self.count <= JOBS_MAX:
            raise InvalidSettingError(f"num_jobs is {self.count}; it must be at least 1 and at most {JOBS_MAX}.")
        if not 0 <= self.index < self.count:
            raise InvalidSettingError(
                f"job_index is {self.index}; of {self.count} jobs it must be from 0 to {self.count - 1}."
            )

    @property
    def alone(self) -> bool:
        """Whether there is no other job."""
        return self.count == 1

    @property
    def name(self) -> str:
        """Its name in the names of its lock and its status file."""
        return f"{self.index}-of-{self.count}"

    def select(self, units: list[Unit], before: int = 0) -> list[Unit]:
        """Return this job's share of a list of units.

        Args:
            units: The units.
            before: Number of units in the lists that were shared out before.
        """
        return [unit for number, unit in enumerate(units, before) if number % self.count == self.index]


def plan_units(settings: Settings, store: Path, attributes: Mapping[str, Any]) -> list[Unit]:
    """Cut a store into units, in order. Deterministic, and independent of what is already done.

    Args:
        settings: The store's settings.
        store: Its path.
        attributes: Attributes of its root group.
    """
    simulated, shard_rows = attributes["settings"]["unit_episodes"], attributes["shard_rows"]
    units = []
    for index, first in enumerate(range(0, settings.episodes, simulated)):
        episodes = min(simulated, settings.episodes - first)
        start, stop = first * settings.episode_length, (first + episodes) * settings.episode_length
        shards = range(start // shard_rows, math.ceil(stop / shard_rows))
        units.append(Unit(settings, store, index, first, episodes, simulated, shards))
    return units


def unfinished(units: list[Unit], missing: set[int]) -> list[Unit]:
    """Return the units of which some shard is missing.

    Args:
        units: The units.
        missing: Indices of shards that are not on disk.
    """
    return [unit for unit in units if missing.intersection(unit.shards)]
