"""The size of a store's units: settled when it is begun, and kept from then on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynamic_sparsity.generation.settings import BATCH_MAX, Settings
from dynamic_sparsity.storage import chunking
from dynamic_sparsity.storage.manifests import read_attributes

__all__ = ["batch_of", "with_units_of"]


def batch_of(metadata: Mapping[str, Any]) -> int:
    """Return the batch that gives a store's units, and its shards.

    A store of fewer episodes than a unit has one unit of just those, and shards for a whole one.

    Args:
        metadata: The store's.
    """
    unit_episodes: int = metadata["settings"]["unit_episodes"]
    length, episodes, dx = metadata["episode_length"], metadata["episodes"], metadata["sizes"]["dx"]
    wanted = metadata["chunk_rows"], metadata["shard_rows"], unit_episodes
    larger = (1 << power for power in range(BATCH_MAX.bit_length()) if 1 << power > unit_episodes)
    # Of an impossible number, `Settings` says what is wrong with it.
    for batch in (unit_episodes, *larger) if 1 <= unit_episodes <= BATCH_MAX else ():
        layout = chunking.plan(length, dx, batch)
        if (layout.chunk_rows, layout.shard_rows, min(layout.unit_episodes, episodes)) == wanted:
            return batch
    return unit_episodes


def with_units_of(store: Path, settings: Settings) -> Settings:
    """Return settings whose units are those of a store that is there already, unless they say what theirs are.

    Args:
        store: The store; it need not exist.
        settings: The settings.

    Raises:
        CorruptStoreError: The store's attributes contradict their schema.
    """
    if settings.batch is not None or not (store / "zarr.json").exists():
        return settings
    attributes = read_attributes(store)
    unit_episodes = attributes["settings"].get("unit_episodes")
    if type(unit_episodes) is not int:
        return settings
    batch = batch_of(attributes)
    planned = chunking.plan(attributes["episode_length"], attributes["sizes"]["dx"], batch)
    if attributes["episodes"] == unit_episodes < min(settings.episodes, planned.unit_episodes):
        # Less than one unit: it is made again, in units of the larger store.
        return settings
    return dataclasses.replace(settings, batch=batch)
