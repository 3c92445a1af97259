"""The size of a store's units: settled when it is begun, and kept from then on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynamic_sparsity.generation.settings import BATCH_MAX, Settings
from dynamic_sparsity.storage import chunking
from dynamic_sparsity.storage.manifests import read_attributes

__all__ = ["unit_settings", "with_units_of"]


def unit_settings(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that give a store's units, and its shards.

    In earlier versions, a store of fewer episodes than its batch had one unit of just those episodes, and shards for a
    whole batch.

    Args:
        metadata: The store's.

    Returns:
        `batch`, and for such a store `unit_episodes`.
    """
    unit_episodes: int = metadata["settings"]["unit_episodes"]
    length, episodes, dx = metadata["episode_length"], metadata["episodes"], metadata["sizes"]["dx"]
    wanted = metadata["chunk_rows"], metadata["shard_rows"], unit_episodes
    if not 1 <= unit_episodes <= BATCH_MAX:
        # `Settings` says what is wrong with it.
        return {"batch": unit_episodes}
    larger = (1 << power for power in range(BATCH_MAX.bit_length()) if 1 << power > unit_episodes)
    for batch in (unit_episodes, *larger):
        layout = chunking.plan(length, dx, batch)
        if (layout.chunk_rows, layout.shard_rows, layout.unit_episodes) == wanted:
            return {"batch": batch}
        if (layout.chunk_rows, layout.shard_rows, min(layout.unit_episodes, episodes)) == wanted:
            return {"batch": batch, "unit_episodes": unit_episodes}
    return {"batch": unit_episodes}


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
    if type(attributes["settings"].get("unit_episodes")) is not int:
        return settings
    found = unit_settings(attributes)
    if settings.episodes > found.get("unit_episodes", settings.episodes):
        # It can't grow: new units have other sizes, which is what the difference of the settings will say.
        return settings
    return dataclasses.replace(settings, **found)
