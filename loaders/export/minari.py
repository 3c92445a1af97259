"""Episodes as a data set of Minari, which its own storage writes.

Source: https://minari.farama.org, version 0.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.export.environment_spec import environment_spec
from dynamic_sparsity.loaders.export.episodes import (
    Episode,
    episode_numbers,
    export_name,
    further_columns,
    whole_episodes,
)
from dynamic_sparsity.loaders.export.optional import imported
from dynamic_sparsity.loaders.row_source import RowSource
from dynamic_sparsity.loaders.whole_file import whole_folder
from dynamic_sparsity.schemas.task_names import TASK_NAMES

__all__ = ["write_minari"]

_ID: Final = re.compile(r"(?:[A-Za-z0-9_-]{2,}/)*[A-Za-z0-9_-]+-v[0-9]+")


def write_minari(source: RowSource, root: Path, dataset_id: str | None = None) -> Path:
    """Write the episodes of a source as a data set of Minari.

    Args:
        source: The rows; whole episodes. Columns beside state, action, next state, reward and done become `infos`.
        root: Folder of all of Minari's data sets: what MINARI_DATASETS_PATH names.
        dataset_id: As Minari has it, "CheetahRun/noise-v0"; None to name it so by task, policy and split.

    Returns:
        The data set's folder, `root / dataset_id`.

    Raises:
        InvalidSettingError: The id is none, the data set is there already, or the rows are not whole episodes.
        MissingDependencyError: The extra `minari` is not installed.
        CorruptStoreError: The store is damaged.
        WriteFailedError: The disk is full, say.
    """
    dataset_id = re.sub(r"[^A-Za-z0-9_/-]", "_", export_name(source)) + "-v0" if dataset_id is None else dataset_id
    if not _ID.fullmatch(dataset_id):
        raise InvalidSettingError(
            f"the data set's id is {dataset_id!r:.99}; Minari's have letters, digits, '_' and '-', folders before, and "
            "a version behind, as in 'CheetahRun/noise-v0'"
        )
    for needed in ("h5py", "PIL"):  # Minari itself needs them, and does not say so before it writes
        imported(needed, "minari")
    storages, spaces = imported("minari.dataset.minari_storage", "minari"), imported("gymnasium.spaces", "minari")
    numbers, columns = episode_numbers(source), further_columns(source)
    sizes, metadata = source.metadata["sizes"], source.metadata
    known = metadata["task"] in TASK_NAMES and metadata["dynamics"] == "converged"
    with whole_folder(root / dataset_id) as folder:
        (folder / "data").mkdir()
        storage = storages.MinariStorage.new(
            folder / "data",
            observation_space=spaces.Box(-np.inf, np.inf, (sizes["ds"],), np.float32),
            action_space=spaces.Box(-1.0, 1.0, (sizes["da"],), np.float32),
            env_spec=environment_spec(metadata["task"], metadata["episode_length"]) if known else None,
        )
        storage.update_metadata(_description(source, dataset_id))
        storage.update_episodes(_buffers(source, columns))
        table, splits = source.store.episodes, metadata["splits"]
        about = ({"split": splits[table["split"][number]], "store_episode": int(number)} for number in numbers)
        storage.update_episode_metadata(about)
    return root / dataset_id


def _description(source: RowSource, dataset_id: str) -> dict[str, Any]:
    metadata = source.metadata
    return {
        "dataset_id": dataset_id,
        "minari_version": imported("minari", "minari").__version__,
        "algorithm_name": metadata["policy"],
        "description": (
            f"Episodes of {metadata['task']} ({metadata['dynamics']} dynamics, policy {metadata['policy']}, "
            f"{source.split or 'all splits'}), from a store of dynamic-sparsity. Observations are the states: "
            f"{', '.join(metadata['state_names'])}. infos[…][t] belong to the step from observations[t]."
        ),
        "requirements": ["dynamic-sparsity[gymnasium]"],
    }


def _buffers(source: RowSource, columns: tuple[str, ...]) -> Iterator[Any]:
    buffer = imported("minari.data_collector.episode_buffer", "minari").EpisodeBuffer
    for number, episode in enumerate(whole_episodes(source, columns)):
        yield buffer(id=number, **(episode.reset(source) or {}), **_columns(episode, columns))


def _columns(episode: Episode, columns: tuple[str, ...]) -> dict[str, Any]:
    rows = episode.columns
    ended = np.zeros((2, len(rows["reward"])), bool)
    ended[0 if episode.terminated else 1, -1:] = True
    return {
        "observations": np.concatenate([rows["state"], rows["next_state"][-1:]]),
        "actions": rows["action"],
        "rewards": rows["reward"],
        "terminations": ended[0],
        "truncations": ended[1],
        "infos": {name: rows[name] for name in columns},
    }
