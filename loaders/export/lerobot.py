"""Episodes as a data set of LeRobot, format v3.0, as its own documentation describes it.

Frames are rows of Parquet files of many episodes; `meta/` says what a row has, which rows are an episode's, and what
means and ranges the features have.

Source: https://huggingface.co/docs/lerobot/lerobot-dataset-v3, and `lerobot/datasets` of LeRobot 0.4.4 and 0.6.1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.export.arrow import arrow_schema, arrow_table, import_pyarrow, shapes_of
from dynamic_sparsity.loaders.export.episodes import Episode, episode_numbers, further_columns, whole_episodes
from dynamic_sparsity.loaders.export.optional import imported
from dynamic_sparsity.loaders.row_source import Batch, RowSource
from dynamic_sparsity.loaders.whole_file import whole_folder

__all__ = ["write_lerobot"]

VERSION: Final = "v3.0"
CHUNK_FILES: Final = 1000
"""Files in a folder, as LeRobot has it."""

FILE_MB: Final = 100
"""Size of a file of rows in memory, as LeRobot has it: a file is closed when the next episode would go beyond."""

PATH: Final = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
NAMES: Final = {"state": "observation.state", "action": "action", "next_state": "next.state", "reward": "next.reward"}
"""LeRobot's names of the columns; all others keep theirs."""

Frames = dict[str, NDArray[Any]]
Statistics = dict[str, dict[str, NDArray[Any]]]


def write_lerobot(source: RowSource, path: Path) -> Path:
    """Write the episodes of a source as a data set of LeRobot.

    Args:
        source: The rows; whole episodes. Columns beside state, action, next state, reward and done become features.
        path: The data set's folder.

    Returns:
        The folder.

    Raises:
        InvalidSettingError: The folder is there already, or the rows are not whole episodes, or none.
        MissingDependencyError: The extra `hub` is not installed.
        CorruptStoreError: The store is damaged.
        WriteFailedError: The disk is full, say.
    """
    pandas, pq = imported("pandas", "hub"), imported("pyarrow.parquet", "hub")
    if not len(episode_numbers(source)):
        raise InvalidSettingError("there are no episodes among these rows, and LeRobot has no empty data sets")
    fps = 1 / source.metadata["control_dt"]
    fps = round(fps) if abs(fps - round(fps)) < 1e-6 else fps
    with whole_folder(path) as folder:
        writer = _Writer(folder)
        for frames in _frames(source, fps):
            writer.add(frames, source.metadata["task"])
        writer.close()
        (folder / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
        pq.write_table(_table_of_episodes(writer.episodes), folder / "meta/episodes" / _numbered(0))
        tasks = pandas.DataFrame({"task_index": [0]}, index=[source.metadata["task"]])
        tasks.to_parquet(folder / "meta" / "tasks.parquet")
        stats = _joined([one["stats"] for one in writer.episodes])
        # Such as the distance of geoms that can't touch: JSON has no infinity.
        finite = {name: of for name, of in stats.items() if all(np.isfinite(value).all() for value in of.values())}
        _write_json(folder / "meta" / "stats.json", finite)
        _write_json(folder / "meta" / "info.json", _info(source, writer, fps))
    return path


class _Writer:
    """Writes frames of whole episodes into files of a limited size, and keeps what `meta/episodes` says of each.

    Attributes:
        episodes: What `meta/episodes` says of each.
        features: Shape of a frame, and dtype, by feature.
    """

    def __init__(self, folder: Path) -> None:
        """Begin.

        Args:
            folder: The data set's.
        """
        self.episodes: list[dict[str, Any]] = []
        self.features: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._folder = folder / "data"
        self._file, self._bytes = -1, 0
        self._open: Any = None

    def add(self, frames: Frames, task: str) -> None:
        """Write an episode.

        Args:
            frames: Its features, each of shape (T, …).
            task: The task's name.
        """
        self.features = shapes_of(frames)
        # LeRobot reads what has the shape (1,) from a column of plain numbers.
        columns = {name: values[:, 0] if values.shape[1:] == (1,) else values for name, values in frames.items()}
        table = arrow_table(arrow_schema(shapes_of(columns)), columns)
        if self._open is None or self._bytes + table.nbytes > FILE_MB * 2**20:
            self.close()
            self._file, self._bytes = self._file + 1, 0
            path = self._folder / _numbered(self._file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open = imported("pyarrow.parquet", "hub").ParquetWriter(path, table.schema)
        self._open.write_table(table)
        self._bytes += table.nbytes
        length, start = table.num_rows, int(frames["index"][0, 0])
        self.episodes.append(
            {
                "episode_index": len(self.episodes),
                "tasks": [task],
                "length": length,
                "data/chunk_index": self._file // CHUNK_FILES,
                "data/file_index": self._file % CHUNK_FILES,
                "dataset_from_index": start,
                "dataset_to_index": start + length,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
                "stats": {name: _statistics(values) for name, values in frames.items() if values.ndim == 2},
            }
        )

    def close(self) -> None:
        """Finish the last file."""
        if self._open is not None:
            self._open.close()
        self._open = None


def _frames(source: RowSource, fps: float) -> Iterator[Frames]:
    """Yield the features of each episode, those of one number with the shape (T, 1)."""
    columns, start = further_columns(source), 0
    for number, episode in enumerate(whole_episodes(source, columns)):
        length = len(episode.columns["reward"])
        steps = np.arange(length, dtype=np.int64)
        given = {NAMES.get(name, name): values for name, values in _ordered(episode, columns).items()}
        frames = given | {
            "next.done": steps == length - 1,
            "next.truncated": (steps == length - 1) & (not episode.terminated),
            "timestamp": (steps / fps).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(length, number, np.int64),
            "index": start + steps,
            "task_index": np.zeros(length, np.int64),
        }
        yield {name: values[:, None] if values.ndim == 1 else values for name, values in frames.items()}
        start += length


def _ordered(episode: Episode, columns: tuple[str, ...]) -> Batch:
    return {name: episode.columns[name] for name in (*NAMES, *columns)}


def _info(source: RowSource, writer: _Writer, fps: float) -> dict[str, Any]:
    metadata, episodes = source.metadata, writer.episodes
    components = {
        "observation.state": metadata["state_names"],
        "next.state": metadata["state_names"],
        "action": metadata["action_names"],
    }
    features = {
        name: {"dtype": dtype.name, "shape": list(shape), "names": components.get(name)}
        for name, (shape, dtype) in writer.features.items()
    }
    return {
        "codebase_version": VERSION,
        "robot_type": None,
        "total_episodes": len(episodes),
        "total_frames": episodes[-1]["dataset_to_index"],
        "total_tasks": 1,
        "chunks_size": CHUNK_FILES,
        "data_files_size_in_mb": FILE_MB,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {source.split or "train": f"0:{len(episodes)}"},
        "data_path": "data/" + PATH,
        "video_path": None,
        "features": features,
    }


def _statistics(values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return what `stats.json` says of a feature that is a vector, over the frames of an episode."""
    numbers = values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return {
            "min": numbers.min(axis=0),
            "max": numbers.max(axis=0),
            "mean": numbers.mean(axis=0),
            "std": numbers.std(axis=0),
            "count": np.array([len(numbers)]),
        }


def _joined(episodes: list[Statistics]) -> Statistics:
    """Return the statistics of all frames from those of each episode."""
    joined: Statistics = {}
    for name in episodes[0]:
        kinds = {kind: np.stack([one[name][kind] for one in episodes]) for kind in episodes[0][name]}
        count = kinds["count"]
        with np.errstate(invalid="ignore"):
            mean = (kinds["mean"] * count).sum(axis=0) / count.sum()
            variance = ((kinds["std"] ** 2 + (kinds["mean"] - mean) ** 2) * count).sum(axis=0) / count.sum()
        joined[name] = {
            "min": kinds["min"].min(axis=0),
            "max": kinds["max"].max(axis=0),
            "mean": mean,
            "std": np.sqrt(variance),
            "count": kinds["count"].sum(axis=0),
        }
    return joined


def _table_of_episodes(episodes: list[dict[str, Any]]) -> Any:
    """Return the table of episodes; its statistics are columns `stats/<feature>/<kind>`."""
    rows = []
    for one in episodes:
        stats = {f"stats/{name}/{kind}": of[kind].tolist() for name, of in one["stats"].items() for kind in of}
        rows.append({key: value for key, value in one.items() if key != "stats"} | stats)
    return import_pyarrow().Table.from_pylist(rows)


def _numbered(file: int) -> str:
    return PATH.format(chunk_index=file // CHUNK_FILES, file_index=file % CHUNK_FILES)


def _write_json(path: Path, document: Any) -> None:
    path.write_text(
        json.dumps(document, indent=4, allow_nan=False, default=lambda array: array.tolist()), encoding="utf-8"
    )
