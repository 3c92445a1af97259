"""Episodes as Minari and LeRobot have them: Minari's own reader, and the layout that LeRobot documents."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dynamic_sparsity import load_dataset
from dynamic_sparsity.cli.application import application
from dynamic_sparsity.errors import InvalidSettingError, MissingDependencyError, WriteFailedError
from dynamic_sparsity.loaders import concatenate
from dynamic_sparsity.loaders.export import lerobot, optional
from dynamic_sparsity.loaders.whole_file import whole_folder
from dynamic_sparsity.storage.file_lock import HAS_LOCKS
from dynamic_sparsity.testing import make_store

EPISODES, LENGTH, EARLY = 10, 20, {3: 7, 8: 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_store(root / "Pendulums/noise.zarr", episodes=EPISODES, episode_length=LENGTH, early=EARLY)
    return root


@pytest.fixture
def dataset(root):
    return load_dataset("Pendulums", root=root, columns=["J_s", "flags", "action"])


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*"))


def test_minari_reads_its_episodes(dataset, tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    folder = dataset.to_minari(tmp_path)
    assert folder == tmp_path / "Pendulums/noise-v0"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert list(minari.list_local_datasets()) == ["Pendulums/noise-v0"]
    read = minari.load_dataset("Pendulums/noise-v0")
    assert (read.total_episodes, read.total_steps) == (EPISODES, len(dataset))
    assert read.env_spec is None  # no task that this package can simulate
    rows = dataset.with_columns(["state", "action", "next_state", "reward", "J_s", "flags"])
    about = list(read.storage.get_episode_metadata(range(EPISODES)))
    for number, episode in enumerate(read.iterate_episodes()):
        stored = rows.episode(number)
        length = EARLY.get(number, LENGTH)
        assert len(episode) == length
        np.testing.assert_array_equal(episode.observations[:-1], stored["state"])
        np.testing.assert_array_equal(episode.observations[1:], stored["next_state"])
        np.testing.assert_array_equal(episode.actions, stored["action"])
        np.testing.assert_array_equal(episode.rewards, stored["reward"])
        last = np.arange(length) == length - 1
        np.testing.assert_array_equal(episode.terminations, last & (number in EARLY))
        np.testing.assert_array_equal(episode.truncations, last & (number not in EARLY))
        assert episode.infos.keys() == {"J_s", "flags"}
        np.testing.assert_array_equal(episode.infos["J_s"], stored["J_s"])
        assert episode.observations.dtype == read.observation_space.dtype
        assert episode.observations[0] in read.observation_space and episode.actions[0] in read.action_space
        assert about[number]["seed"] == dataset.episodes["seed"][number]
        assert about[number]["options"]["episode"] == about[number]["store_episode"] == number
        assert about[number]["split"] == ["train", "validation", "test"][dataset.episodes["split"][number]]


def test_minari_knows_the_environment(tmp_path):
    minari = pytest.importorskip("minari")
    sample = load_dataset("CartpoleBalance", sample=True, split="test", columns=["reward"])
    folder = sample.to_minari(tmp_path, "mine/cartpole-v3")
    assert folder == tmp_path / "mine/cartpole-v3"
    spec = minari.MinariDataset(folder / "data").env_spec
    assert (spec.id, spec.kwargs) == ("dynamic_sparsity/CartpoleBalance-v1", {"task": "CartpoleBalance"})
    assert spec.entry_point == "dynamic_sparsity.envs.environment:DynamicsEnv"
    assert spec.max_episode_steps == sample.metadata["episode_length"]


def test_lerobot_has_its_layout(dataset, tmp_path):
    pq, pandas = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pandas")
    folder = dataset.to_lerobot(tmp_path / "set")
    names = [path.relative_to(folder).as_posix() for path in files_below(folder) if path.is_file()]
    assert names == [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
    ]
    info = json.loads((folder / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_tasks"]) == ("v3.0", 20, 1)
    assert (info["total_episodes"], info["total_frames"]) == (EPISODES, len(dataset))
    assert info["splits"] == {"train": f"0:{EPISODES}"}
    assert info["data_path"] == "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
    tasks = pandas.read_parquet(folder / "meta/tasks.parquet")
    assert tasks.loc["Pendulums"].task_index == 0

    frames = pq.read_table(folder / info["data_path"].format(chunk_index=0, file_index=0))
    assert set(frames.column_names) == set(info["features"])
    for name, feature in info["features"].items():
        kind, shape = frames.schema.field(name).type, []
        while hasattr(kind, "list_size"):
            shape.append(kind.list_size)
            kind = kind.value_type
        assert (shape or [1]) == feature["shape"], name
        assert str(kind).replace("float", "float32").replace("double", "float64") == feature["dtype"], name
    assert info["features"]["observation.state"]["names"] == dataset.state_names

    rows = dataset.with_columns(["state", "action", "next_state", "reward", "J_s"])[:]
    wanted = {"observation.state": "state", "action": "action", "next.state": "next_state", "J_s": "J_s"}
    for name, column in wanted.items():
        np.testing.assert_array_equal(np.array(frames[name].to_pylist(), np.float32), rows[column])
    np.testing.assert_array_equal(frames["next.reward"], rows["reward"])
    np.testing.assert_array_equal(frames["index"], np.arange(len(dataset)))

    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pandas()
    assert list(episodes["episode_index"]) == list(range(EPISODES))
    assert all(list(tasks) == ["Pendulums"] for tasks in episodes["tasks"])
    for number, episode in episodes.iterrows():
        part = frames.slice(episode["dataset_from_index"], episode["length"]).to_pandas()
        assert episode["length"] == EARLY.get(number, LENGTH)
        assert episode["dataset_to_index"] == episode["dataset_from_index"] + episode["length"]
        assert set(part["episode_index"]) == {number}
        np.testing.assert_array_equal(part["frame_index"], np.arange(len(part)))
        np.testing.assert_array_equal(part["timestamp"], (np.arange(len(part)) / 20).astype(np.float32))
        last = np.arange(len(part)) == len(part) - 1
        np.testing.assert_array_equal(part["next.done"], last)
        np.testing.assert_array_equal(part["next.truncated"], last & (number not in EARLY))
        np.testing.assert_allclose(
            episode["stats/observation.state/mean"], np.stack(part["observation.state"]).mean(axis=0), atol=1e-6
        )


KILLED = """
import os, signal, sys
from pathlib import Path
from dynamic_sparsity.loaders.whole_file import whole_folder
with whole_folder(Path(sys.argv[1])) as folder:
    (folder / "data").mkdir()
    (folder / "data/rows").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.skipif(not HAS_LOCKS, reason="without locks, nobody knows whether a writer still runs")
def test_what_a_killed_export_leaves_goes_with_the_next(dataset, tmp_path):
    pytest.importorskip("pyarrow")
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "set")]).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left / "data/rows").exists() and left.name.startswith(".set.")
    with whole_folder(tmp_path / "other") as foreign, whole_folder(tmp_path / "set") as running:
        assert not left.exists()
        dataset.to_lerobot(tmp_path / "other-set")
        with pytest.raises(WriteFailedError), whole_folder(tmp_path / "set"):
            raise OSError("and it is not this one that ends")
        assert foreign.is_dir() and running.is_dir(), "writers that run keep theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "other-set", "set"]


def test_statistics_are_those_of_all_frames(dataset, tmp_path):
    pytest.importorskip("pyarrow")
    stats = json.loads((dataset.to_lerobot(tmp_path / "set") / "meta/stats.json").read_text())
    states = dataset.with_columns("state")[:]["state"].astype(np.float64)
    for kind in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(stats["observation.state"][kind], getattr(states, kind)(axis=0), rtol=1e-9)
    assert stats["observation.state"]["count"] == [len(states)]
    assert "J_s" not in stats


def test_what_has_no_finite_statistics_is_left_out_of_them(dataset, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    read = type(dataset).__getitem__

    def with_infinity(self, key):
        batch = read(self, key)
        return batch | {"reward": np.full_like(batch["reward"], np.inf)} if "reward" in batch else batch

    monkeypatch.setattr(type(dataset), "__getitem__", with_infinity)
    stats = json.loads((dataset.to_lerobot(tmp_path / "set") / "meta/stats.json").read_text())
    assert "next.reward" not in stats and "action" in stats


def test_large_data_sets_have_several_files(dataset, tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(lerobot, "FILE_MB", 0.005)
    monkeypatch.setattr(lerobot, "CHUNK_FILES", 2)
    folder = dataset.to_lerobot(tmp_path / "set")
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pandas()
    assert episodes["data/chunk_index"].max() > 0
    for number, episode in episodes.iterrows():
        chunk, file = episode["data/chunk_index"], episode["data/file_index"]
        rows = pq.read_table(folder / f"data/chunk-{chunk:03d}/file-{file:03d}.parquet")
        assert rows["episode_index"].to_pylist().count(number) == episode["length"]


def test_one_number_is_no_list(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    sample = load_dataset("CartpoleBalance", sample=True, split="test", columns=["J_a"])
    folder = sample.to_lerobot(tmp_path / "set")
    frames = pq.read_table(folder / "data/chunk-000/file-000.parquet")
    assert str(frames.schema.field("action").type) == "float"
    assert json.loads((folder / "meta/info.json").read_text())["features"]["J_a"]["shape"] == [4, 1]
    assert np.shape(frames["J_a"].to_pylist()) == (len(sample), 4, 1)


@pytest.fixture(params=["minari", "lerobot"])
def written(request):
    """Write a data set by its format's function, into a folder that is called the same for both."""
    pytest.importorskip("minari" if request.param == "minari" else "pyarrow")

    def write(source, folder):
        return source.to_minari(folder, "set-v0") if request.param == "minari" else source.to_lerobot(folder / "set-v0")

    return write


def test_joined_stores_have_no_resets(root, tmp_path):
    minari = pytest.importorskip("minari")
    one = load_dataset("Pendulums", root=root, columns=["action"], split="test")
    folder = concatenate([one, one]).to_minari(tmp_path, "set-v0")
    read = minari.MinariDataset(folder / "data")
    assert read.total_episodes == 2 * len(one.episodes["index"])
    assert all("seed" not in about for about in read.storage.get_episode_metadata(range(read.total_episodes)))


def test_rows_that_are_no_episodes(dataset, written, tmp_path):
    for rows in (dataset.select(slice(1, None)), dataset.select(np.arange(len(dataset))[::-1])):
        with pytest.raises(InvalidSettingError, match="no whole episodes"):
            written(rows, tmp_path / "out")
    assert files_below(tmp_path) == []


def test_nothing_is_replaced(dataset, written, tmp_path):
    written(dataset, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in files_below(tmp_path)}
    with pytest.raises(InvalidSettingError, match="is there already; delete it"):
        written(dataset, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in files_below(tmp_path)} == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_is_interrupted_leaves_nothing(dataset, written, error, tmp_path, monkeypatch):
    read, calls = type(dataset).__getitem__, []

    def fail(self, key):
        calls.append(key)
        if len(calls) > 5:
            raise error
        return read(self, key)

    monkeypatch.setattr(type(dataset), "__getitem__", fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else WriteFailedError):
        written(dataset, tmp_path / "out")
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("name", ["noise", "a/b c-v0", "../noise-v0", "/noise-v0", "noise-v", ""])
def test_names_that_minari_has_not(dataset, name, tmp_path):
    with pytest.raises(InvalidSettingError, match="as in 'CheetahRun/noise-v0'"):
        dataset.to_minari(tmp_path / "out", name)
    assert files_below(tmp_path) == []


def test_missing_packages(dataset, written, tmp_path, monkeypatch):
    def missing(name, extra):
        raise MissingDependencyError(f"pip install 'dynamic-sparsity[{extra}]'")

    for module in ("minari", "lerobot"):
        monkeypatch.setattr(f"dynamic_sparsity.loaders.export.{module}.imported", missing)
    with pytest.raises(MissingDependencyError, match=r"dynamic-sparsity\[(minari|hub)\]"):
        written(dataset, tmp_path / "out")
    assert optional.imported("json", "hub") is json
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("layout", ["minari", "lerobot"])
def test_the_command(layout, root, tmp_path, capsys):
    pytest.importorskip("minari" if layout == "minari" else "pyarrow")
    words = [
        "export",
        str(root),
        "--format",
        layout,
        "--out",
        str(tmp_path),
        "--split",
        "train",
        "--columns",
        "J_s,J_a",
    ]
    application([*words, "--columns", "J_s,J_a"], standalone_mode=False)
    name = f"Pendulums/noise-train{'-v0' if layout == 'minari' else ''}"
    assert f"{tmp_path / name}: 8 episodes, " in capsys.readouterr().out
    assert (tmp_path / name).is_dir()


def test_the_command_knows_its_formats(root, tmp_path):
    with pytest.raises(InvalidSettingError, match="'rlds'; it must be one of: minari, lerobot"):
        application(["export", str(root), "--format", "rlds", "--out", str(tmp_path)], standalone_mode=False)
