"""What people try who know other libraries, or who mistype: it works, or the message says what does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import IncompleteStoreError, InvalidSettingError, StoreNotFoundError, UnknownNameError
from dynamic_sparsity.generation.settings import POLICIES
from dynamic_sparsity.generation.tasks import ROBOTS, TASKS
from dynamic_sparsity.loaders import load, open_dataset
from dynamic_sparsity.policies import files
from dynamic_sparsity.schemas.task_names import POLICY_NAMES, ROBOT_NAMES, SUITE_NAMES
from dynamic_sparsity.testing import make_store

STORE = "Pendulums/noise.zarr"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    make_store(root / STORE)
    return root


def test_a_column_by_its_name_is_explained(root: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"dataset\[:\]\['state'\] reads a column"):
        load_dataset("Pendulums", root=root)["state"]


def test_names_of_tasks_are_those_that_are_generated() -> None:
    assert set(TASKS) == SUITE_NAMES == set(files.available())
    assert set(ROBOTS) == ROBOT_NAMES
    assert set(POLICIES) == POLICY_NAMES


@pytest.mark.parametrize(("name", "words"), [("Pendulum", "Pendulums"), ("Cartpole", "CartpoleBalance")])
def test_a_mistyped_task(name: str, words: str, root: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="Did you mean") as caught:
        load_dataset(name, root=root)
    assert words in str(caught.value) and "dynamic-sparsity generate" not in str(caught.value)


def test_a_task_that_can_be_made(root: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="run `dynamic-sparsity generate CheetahRun --policy noise"):
        load_dataset("CheetahRun", root=root)


@pytest.mark.parametrize(
    ("task", "policy", "words"),
    [
        ("Pendulums", "expert", "no task of this package: there is 'noise'"),
        ("CheetahRun", "exprt", "No policy 'exprt' comes with the package. Did you mean expert"),
        ("CheetahRun", "noise-seed7", "No policy 'noise-seed7' .* another --name"),
        ("BarkourJoystick", "expert", "No expert of BarkourJoystick"),
        ("Walker", "noise", "Did you mean"),
    ],
)
def test_no_command_that_cannot_work(task: str, policy: str, words: str, root: Path) -> None:
    with pytest.raises(StoreNotFoundError, match=words) as caught:
        load_dataset(task, root=root, policy=policy)
    assert f"generate {task}" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "policy", "words"),
    [("Swings", "noise", "with all its options"), ("CheetahRun", "noise", "generate CheetahRun --policy noise --epi")],
)
def test_how_to_go_on_with_a_store(task: str, policy: str, words: str, tmp_path: Path) -> None:
    make_store(tmp_path / "a folder" / task / f"{policy}.zarr", task=task, policy=policy, finalize=False)
    with pytest.raises(IncompleteStoreError, match=words) as caught:
        load_dataset(task, root=tmp_path / "a folder", policy=policy)
    assert f"generate {task}" not in str(caught.value) or f"--out '{tmp_path}/a folder'" in str(caught.value)


def test_a_mistyped_task_with_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DYNAMIC_SPARSITY_REPOSITORY", raising=False)
    with pytest.raises(StoreNotFoundError, match=r"Did you mean Cartpole.*CartpoleBalance") as caught:
        load_dataset("Cartpole")
    assert "dynamic-sparsity generate" not in str(caught.value)


def test_the_home_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root.parent))
    home = f"~/{root.name}"
    assert len(load_dataset("Pendulums", root=home)) == len(open_dataset(f"{home}/{STORE}")) > 0


def test_the_order_of_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    class Stop(Exception):
        pass

    def stop(repo_id: str, revision: str | None) -> None:
        opened.append(repo_id)
        raise Stop

    monkeypatch.setattr(load.Repository, "open", stop)
    with pytest.raises(Stop):
        load_dataset("org/data", "Pendulums")
    assert opened == ["org/data"]
    with pytest.raises(InvalidSettingError, match="one task, and all else by name"):
        load_dataset("Pendulums", "noise")


def test_pandas(root: Path) -> None:
    pytest.importorskip("pandas", reason="pandas comes with the extra `hub`")
    rows = load_dataset("Pendulums", root=root, split="test", columns=["state", "J_s", "reward", "episode"])
    frame, read = rows.to_pandas(), rows[:]
    assert frame.shape == (len(rows), read["state"].shape[1] + read["J_s"][0].size + 2)
    np.testing.assert_array_equal(frame.index, rows.rows)
    effect, cause = rows.tangent_names[1], rows.tangent_names[0]
    np.testing.assert_array_equal(frame[f"J_s[{effect}, {cause}]"], read["J_s"][:, 1, 0])
    np.testing.assert_array_equal(frame[f"state[{rows.state_names[-1]}]"], read["state"][:, -1])
    assert frame["episode"].dtype == np.int32 and frame["reward"].dtype == np.float32
