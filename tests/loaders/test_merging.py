"""Several stores written as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_joining import assert_same

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import IncompleteStoreError, InvalidSettingError, UnknownNameError
from dynamic_sparsity.loaders.export.merging import merge_stores
from dynamic_sparsity.publishing.publish import plan, publish
from dynamic_sparsity.storage.verify import verify_store
from dynamic_sparsity.testing import HubServer, make_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_store(root / "Pendulums/noise.zarr", early={2: 7})
    make_store(root / "Pendulums/expert.zarr", policy="expert", seed=7, chunk_rows=8, shard_rows=40, episodes=11)
    make_store(root / "Pendulums/short.zarr", policy="short", episode_length=16)
    make_store(root / "Pendulums/noise-stock.zarr", stock=True)
    make_store(root / "Others/noise.zarr", task="Others")
    return root


def stores(root: Path) -> list[Path]:
    return [root / "Pendulums/noise.zarr", root / "Pendulums/expert.zarr"]


@pytest.mark.parametrize("storage", ["raw", "compact"])
def test_a_merged_store(root: Path, tmp_path: Path, storage: str) -> None:
    path = merge_stores(stores(root), tmp_path, "both", storage=storage)
    assert verify_store(path) == []
    joined = load_dataset("Pendulums", root=root, policy=["noise", "expert"])
    merged = load_dataset("Pendulums", root=tmp_path, policy="both")
    assert merged.columns == joined.columns
    assert_same(merged[:], joined[:])
    assert merged.origins == joined.origins
    for split in ("train", "validation", "test"):
        rows = [len(load_dataset("Pendulums", root=folder, policy=policy, split=split))
                for folder, policy in ((root, ["noise", "expert"]), (tmp_path, "both"))]  # fmt: skip
        assert rows[0] == rows[1]
    for name, values in merged.store.statistics.items():
        np.testing.assert_allclose(values, joined.store.statistics[name], rtol=1e-9, atol=1e-12, err_msg=name)
    before = (path / "manifest.json").read_bytes()
    merge_stores(stores(root), tmp_path, "both", storage=storage)
    assert (path / "manifest.json").read_bytes() == before


def test_a_merged_store_is_merged_again(root: Path, tmp_path: Path) -> None:
    make_store(tmp_path / "Pendulums/noise.zarr", seed=3, episodes=5)
    both = merge_stores(stores(root), tmp_path, "both")
    merged = merge_stores([tmp_path / "Pendulums/noise.zarr", both], tmp_path, "all")
    assert verify_store(merged) == []
    dataset = load_dataset("Pendulums", root=tmp_path, policy="all")
    assert [one["seed"] for one in dataset.origins] == [3, 0, 7]
    assert np.unique(dataset[:]["origin"]).tolist() == [0, 1, 2]


def test_a_merged_store_is_published(hub: HubServer, root: Path, tmp_path: Path) -> None:
    merge_stores(stores(root), tmp_path / "data", "both")
    publish(plan(tmp_path / "data", "org/name"))
    here = load_dataset("Pendulums", root=tmp_path / "data", policy="both", split="test")
    there = load_dataset("Pendulums", repo_id="org/name", policy="both", split="test", progress=False)
    assert_same(there[:], here[:])
    stream = load_dataset("Pendulums", repo_id="org/name", policy="both", split="test", streaming=True)
    batch = next(stream.batches(1000, shuffle=False))
    assert_same(batch, here[:])


def test_what_can_not_be_merged(root: Path, tmp_path: Path) -> None:
    noise = stores(root)[0]
    for others, what in (
        ([root / "Others/noise.zarr"], "task"),
        ([root / "Pendulums/noise-stock.zarr"], "dynamics"),
        ([root / "Pendulums/short.zarr"], "episode_length is 16 and 20"),
        ([], "at least two"),
    ):
        with pytest.raises(InvalidSettingError, match=what):
            merge_stores([noise, *others], tmp_path, "both")
    with pytest.raises(InvalidSettingError, match="another name"):
        merge_stores(stores(root), root, "noise")
    with pytest.raises(UnknownNameError, match="policy"):
        merge_stores(stores(root), tmp_path, "../both")
    half = make_store(tmp_path / "Pendulums/half.zarr", policy="half", finalize=False)
    with pytest.raises(IncompleteStoreError):
        merge_stores([noise, half], tmp_path, "both")
    assert not (tmp_path / "Pendulums/both.zarr").exists()


PROGRAM = """
import os, signal, sys
from pathlib import Path
from dynamic_sparsity.loaders.export.merging import merge_stores
def on_progress(done, total):
    if done == 2: os.kill(os.getpid(), signal.SIGKILL)
merge_stores([Path(name) for name in sys.argv[2:]], Path(sys.argv[1]), "both", on_progress=on_progress)
"""


def test_killed_and_resumed(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), *map(str, stores(root))]
    assert subprocess.run(command, env=os.environ, timeout=300).returncode == -signal.SIGKILL
    with pytest.raises(IncompleteStoreError):
        load_dataset("Pendulums", root=tmp_path, policy="both")
    done = []
    path = merge_stores(stores(root), tmp_path, "both", on_progress=lambda shard, total: done.append(shard))
    assert done[0] == 3
    assert verify_store(path) == []
