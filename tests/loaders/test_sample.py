"""The sample inside the package: what a user has right after the installation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dynamic_sparsity import cli, load_dataset
from dynamic_sparsity.errors import InvalidSettingError, StoreNotFoundError
from dynamic_sparsity.sample import SAMPLE_ROOT, sample_stores
from dynamic_sparsity.storage.verify import verify_store

TASKS = [
    "BallInCup",
    "CartpoleBalance",
    "CheetahRun",
    "FingerSpin",
    "FingerTurnEasy",
    "ReacherHard",
    "SwimmerSwimmer6",
    "WalkerRun",
]
BYTES_MAX = 8_000_000


def test_its_stores() -> None:
    assert sample_stores() == {task: ["expert", "noise"] for task in TASKS}
    assert sum(path.stat().st_size for path in SAMPLE_ROOT.rglob("*") if path.is_file()) <= BYTES_MAX


@pytest.mark.fast_sample(8)
@pytest.mark.parametrize("policy", ["noise", "expert"])
@pytest.mark.parametrize("task", TASKS)
def test_a_store(task: str, policy: str) -> None:
    assert list(verify_store(SAMPLE_ROOT / task / f"{policy}.zarr")) == []
    sizes = [
        len(load_dataset(task, sample=True, policy=policy, split=split)) for split in ("train", "validation", "test")
    ]
    assert all(sizes) and sum(sizes) == len(load_dataset(task, sample=True, policy=policy))
    dataset = load_dataset(task, sample=True, policy=policy)
    assert dataset.metadata["sample"] is True and dataset.metadata["storage"] == "compact"
    assert "sample" in repr(dataset) and len(dataset.episodes["index"]) >= 5
    rows = dataset[:]
    assert np.isfinite(rows["J_s"]).all() and not (rows["flags"] & 0b11).any()


@pytest.mark.parametrize("policy", ["noise", "expert"])
def test_contacts_and_limits(policy: str) -> None:
    """There are rows with contacts and rows without, and rows at a joint's limit."""
    kinds: dict[str, bool] = {}
    for task in TASKS:
        dataset = load_dataset(
            task, sample=True, policy=policy, columns=["active_any"] if task != "SwimmerSwimmer6" else None
        )
        active = dataset[:].get("active_any")
        for number, constraint in enumerate(dataset.metadata["constraints"]):
            assert active is not None
            kinds[constraint["kind"]] = kinds.get(constraint["kind"], False) or bool(active[:, number].any())
    assert kinds["contact"] and kinds["joint_limit"]


def test_without_network_and_simulator(tmp_path: Path) -> None:
    program = (
        "import sys, socket\n"
        "socket.socket.connect = None\n"
        "from dynamic_sparsity import load_dataset\n"
        "row = load_dataset('CheetahRun', sample=True, split='train')[0]\n"
        "print(row['J_s'].shape)\n"
        "print([name for name in ('jax', 'mujoco', 'zarr', 'huggingface_hub') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(18, 18)", "[]"]


def test_three_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreNotFoundError) as caught:
        load_dataset("CheetahRun")
    for way in ("sample=True", 'load_dataset("CheetahRun", repo_id=', "`dynamic-sparsity generate CheetahRun"):
        assert way in str(caught.value)
    with pytest.raises(StoreNotFoundError, match=r"only of BallInCup, Cart"):
        load_dataset("HopperHop")


def test_refused() -> None:
    with pytest.raises(
        StoreNotFoundError, match=r"the sample has no noise data of HopperHop .* CheetahRun: expert, noise"
    ):
        load_dataset("HopperHop", sample=True)
    with pytest.raises(InvalidSettingError, match="sample and root do not go together"):
        load_dataset("CheetahRun", sample=True, root="data")
    with pytest.raises(InvalidSettingError, match="sample and streaming"):
        load_dataset("CheetahRun", sample=True, streaming=True)


def test_info_says_that_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(SAMPLE_ROOT / "CheetahRun/noise.zarr")]) == 0
    assert "A small sample" in capsys.readouterr().out
