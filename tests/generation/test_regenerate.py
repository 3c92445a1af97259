"""Published data made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_unit_runner
import numpy as np
import pytest

from dynamic_sparsity import cli, load_dataset
from dynamic_sparsity.errors import CorruptStoreError, InvalidSettingError
from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs.generate import generate, generate_all
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.generation.verification.regenerate import (
    ArrayDifference,
    ShardComparison,
    differences,
    other_settings,
    published_settings,
    regenerate,
)
from dynamic_sparsity.loaders.store.store import open_store
from dynamic_sparsity.publishing.publish import plan, publish
from dynamic_sparsity.schemas.advice import generate_command
from dynamic_sparsity.schemas.naming import parse_store_path
from dynamic_sparsity.storage import chunking
from dynamic_sparsity.testing import HubServer, make_store


def test_differences() -> None:
    published: dict[str, np.ndarray] = {
        "a": np.array([[1.0, np.nan], [2, 3]], np.float32),
        "b": np.array([1, 2], np.uint8),
    }
    assert differences(published, {name: values.copy() for name, values in published.items()}) == {}
    made: dict[str, np.ndarray] = {"a": published["a"].copy(), "b": np.array([1, 250], np.uint8)}
    made["a"][1, 0] = 2.5
    assert differences(published, made) == {"a": ArrayDifference(1, 0.5), "b": ArrayDifference(1, 248.0)}
    made["a"][0, 1] = 1
    assert differences(published, made)["a"] == ArrayDifference(2, np.inf)
    assert differences(published, {"a": published["a"]}) == {"b": ArrayDifference(2, np.inf)}


def test_other_settings() -> None:
    published = {"seed": 0, "noise_beta": 0.5, "versions": {"jax": "1", "mujoco": "2"}}
    present = {"seed": 7, "noise_beta": 0.5, "versions": {"jax": "3", "mujoco": "2"}}
    assert other_settings(published, present) == {"jax": ("1", "3")}


@pytest.mark.slow
def test_differences_are_reported(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    make_store(tmp_path / "data/Pendulums/noise.zarr")
    publish(plan(tmp_path / "data", "org/name"))
    found = ShardComparison(80, {"J_s": ArrayDifference(3, 2.5e-7)}, {"jax": ("1", "2")})
    monkeypatch.setattr("dynamic_sparsity.generation.verification.regenerate.check_shard", lambda *arguments: found)
    assert cli.main(["regenerate", "org/name", "Pendulums", "--check", "0"]) == 1
    output = capsys.readouterr().out
    for word in ("80 rows", "J_s", "3", "2.5e-07", "jax was 1, is 2"):
        assert word in output
    assert cli.main(["regenerate", "org/name", "Pendulums", "--check", "0", "--seed", "7"]) == 1
    assert "--seed" in capsys.readouterr().err


@pytest.mark.slow
def test_regenerate(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(task="PendulumSwingup", episodes=66, episode_length=16, seed=3, batch=64)
    generate(settings, tmp_path / "data")
    publish(plan(tmp_path / "data", "org/name", tag="v1.0.0"))
    published = load_dataset("PendulumSwingup", root=tmp_path / "data")
    for shard, rows in ((0, 1024), (1, 32)):
        assert cli.main(["regenerate", "org/name@v1.0.0", "PendulumSwingup", "--check", str(shard)]) == 0
        assert f"all bits of {rows:,} rows agree" in capsys.readouterr().out
    assert cli.main(["regenerate", "org/name@v1.0.0", "PendulumSwingup", "--check", "9"]) == 1
    assert "shards 0 to 1" in capsys.readouterr().err
    assert cli.main(["regenerate", "org/name@v1.0.0", "PendulumSwingup", "--seed", "7", "--out", "new"]) == 0
    made = load_dataset("PendulumSwingup", root=tmp_path / "new")
    assert made.metadata["settings"] == {**published.metadata["settings"], "seed": 7}
    assert not np.array_equal(made[:]["state"], published[:]["state"])


@pytest.mark.parametrize("batch", [1, 64, 1024])
@pytest.mark.parametrize(("episodes", "length"), [(12, 8), (10, 5), (80, 16), (1, 1), (1000, 1000), (3, 1000)])
def test_shards_of_a_store_are_made_again(episodes: int, length: int, batch: int) -> None:
    """Also of a store with fewer episodes than a unit, which has one unit of just those."""
    layout = chunking.plan(length, 8, batch)
    unit_episodes = min(layout.unit_episodes, episodes)
    settings = Settings(task="PointMass", episodes=episodes, episode_length=length, batch=batch)
    metadata = {"task": "PointMass", "policy": "noise", "dynamics": "converged", "sizes": {"dx": 8}}
    metadata |= {"episodes": episodes, "episode_length": length}
    metadata |= {"chunk_rows": layout.chunk_rows, "shard_rows": layout.shard_rows}
    again = published_settings({**metadata, "settings": settings.document(unit_episodes, "cpu")})
    planned = chunking.plan(length, 8, again.batch)
    assert (planned.chunk_rows, planned.shard_rows) == (layout.chunk_rows, layout.shard_rows)
    assert min(planned.unit_episodes, episodes) == unit_episodes


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", "CheetahRun"),
        ("policy", "/home/mine.safetensors"),
        ("dynamics", "stock"),
        ("episodes", 10.0),
        ("seed", True),
        ("noise_beta", "0.5"),
        ("unit_episodes", None),
        ("unit_episodes", [2]),
    ],
)
def test_settings_of_strangers(key: str, value: Any) -> None:
    settings = Settings(task="CartpoleBalance", batch=64)
    metadata = {"task": "CartpoleBalance", "policy": "noise", "dynamics": "converged"}
    metadata["settings"] = {**settings.document(64, "cpu"), key: value}
    with pytest.raises(CorruptStoreError, match=key if key != "unit_episodes" else "batch"):
        published_settings(metadata)


@pytest.mark.parametrize("source", ["arm.xml", "os:getcwd"])
def test_tasks_of_strangers_are_not_called(source: str) -> None:
    settings = Settings(task="CartpoleBalance", batch=64).document(64, "cpu") | {"source": source}
    metadata = {"task": "Getcwd", "policy": "noise", "dynamics": "converged", "settings": settings}
    with pytest.raises(InvalidSettingError, match="a task of the publisher's own"):
        published_settings(metadata)


@pytest.mark.slow
def test_a_seed_beside_another_gets_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = fake_unit_runner.FakeUnitRunner()
    root = tmp_path / "data"
    wanted = fake_unit_runner.settings(2)
    generate_all([wanted], root, ThreadExecutor(runner))
    published = open_store(wanted.store_path(root))
    monkeypatch.setattr(
        "dynamic_sparsity.generation.verification.regenerate.generate",
        lambda settings, root: generate_all([settings], root, ThreadExecutor(runner)).stores[0],
    )
    for _ in range(2):
        path, others = regenerate(published, root, 7)
        assert (path.name, others) == ("noise-seed7.zarr", {})
    both = load_dataset("CartpoleBalance", root=root, policy=["noise", "noise-seed7"])
    assert [one["seed"] for one in both.origins] == [0, 7]
    assert regenerate(published, root, 0)[0] == published.path
    assert regenerate(published, tmp_path / "new", 7)[0].name == "noise.zarr"
    # The named one can be made again as well.
    again = published_settings(open_store(path).metadata)
    assert (again.policy, again.name, again.store_path(root)) == ("noise", "noise-seed7", path)
    assert "--policy noise --name noise-seed7" in generate_command(parse_store_path(path), open_store(path).metadata)


def test_names_of_strangers() -> None:
    settings = Settings(task="CartpoleBalance", batch=64, name="mine")
    metadata = {"task": "CartpoleBalance", "policy": "mine", "dynamics": "converged"}
    metadata["settings"] = {**settings.document(64, "cpu"), "policy": "/home/mine.safetensors"}
    with pytest.raises(CorruptStoreError, match="policy"):
        published_settings(metadata)
    for name in ("noise", "a/b", "x-stock", "UP"):
        with pytest.raises(InvalidSettingError, match="name is"):
            Settings("CartpoleBalance", name=name)
