"""Stores that get more episodes: the same bytes as made at once, and nothing lost when processes are really killed."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import fake_unit_runner
import numpy as np
import pytest

from dynamic_sparsity import cli, load_dataset
from dynamic_sparsity.errors import CorruptStoreError, SettingsMismatchError
from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs.generate import Summary, generate_all
from dynamic_sparsity.generation.jobs.status import read_status
from dynamic_sparsity.generation.jobs.unit_size import with_units_of
from dynamic_sparsity.generation.jobs.units import Job
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.storage import growth
from dynamic_sparsity.storage.manifests import read_attributes
from dynamic_sparsity.storage.verify import verify_store

HELPERS = Path(__file__).parents[1] / "helpers"
FEW, MANY = 3, 5
STORE = Path("CartpoleBalance/noise.zarr")


def digests(root: Path) -> dict[str, str]:
    """sha256 of every file below a folder: so it finds what is left over as well."""
    files = [file for file in sorted(root.rglob("*")) if file.is_file()]
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def make(root: Path, units: int, job: Job | None = None, **options: object) -> Summary:
    wanted = fake_unit_runner.settings(units, **options)
    return generate_all([wanted], root, ThreadExecutor(fake_unit_runner.FakeUnitRunner()), job=job)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("few")
    make(root, FEW)
    return digests(root)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("many")
    make(root, MANY)
    return digests(root)


@pytest.mark.slow
def test_a_grown_store_is_the_one_made_at_once(tmp_path: Path, many: dict[str, str]) -> None:
    make(tmp_path, FEW)
    shard = tmp_path / STORE / "J_s/c/0/0/0"
    inode = shard.stat().st_ino
    summary = make(tmp_path, MANY)
    # The last unit of the old store was not full.
    assert (summary.units, summary.sealed) == (MANY - FEW + 1, (tmp_path / STORE,))
    assert digests(tmp_path) == many
    assert verify_store(tmp_path / STORE) == []
    assert shard.stat().st_ino == inode, "what stays as it is needs no room twice"
    assert make(tmp_path, MANY).units == 0


@pytest.mark.slow
def test_less_than_a_unit_is_made_again_in_larger_units(tmp_path: Path, many: dict[str, str]) -> None:
    make(tmp_path, 1)
    assert read_attributes(tmp_path / STORE)["settings"]["unit_episodes"] == fake_unit_runner.EPISODES_PER_UNIT - 1
    assert make(tmp_path, MANY).units == MANY
    assert digests(tmp_path) == many


@pytest.mark.slow
def test_an_unfinished_store_grows(tmp_path: Path, many: dict[str, str]) -> None:
    make(tmp_path, FEW, Job(0, FEW))
    assert make(tmp_path, MANY).units == MANY - 1
    assert digests(tmp_path) == many


@pytest.mark.slow
def test_disks_without_links_and_exchange(
    tmp_path: Path, many: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(1, "not here")

    make(tmp_path, FEW)
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(growth, "exchange", refuse)
    make(tmp_path, MANY)
    assert digests(tmp_path) == many


@pytest.mark.slow
def test_damaged_shards_are_made_again(tmp_path: Path, many: dict[str, str]) -> None:
    make(tmp_path, FEW)
    with (tmp_path / STORE / "J_s/c/0/0/0").open("r+b") as file:
        file.write(b"\xff\xff")
    assert make(tmp_path, MANY).units == MANY - FEW + 2
    assert digests(tmp_path) == many


@pytest.mark.slow
def test_jobs_grow_a_store_together(tmp_path: Path, many: dict[str, str], few: dict[str, str]) -> None:
    make(tmp_path, FEW)
    for index in range(2):
        make(tmp_path, MANY, Job(index, 2))
        assert len(load_dataset("CartpoleBalance", root=tmp_path)) < (MANY * 4 - 1) * 20
        assert few.items() <= digests(tmp_path).items()
    assert read_status(tmp_path / STORE).state == "waiting to be sealed"
    assert cli.main(["finalize", str(tmp_path / STORE)]) == 0
    assert digests(tmp_path) == many


@pytest.mark.slow
def test_who_reads_the_old_store_goes_on(tmp_path: Path) -> None:
    make(tmp_path, FEW)
    dataset = load_dataset("CartpoleBalance", root=tmp_path)
    before = dataset[:60]
    make(tmp_path, MANY)
    for name, values in dataset[:60].items():
        np.testing.assert_array_equal(values, before[name])
    with pytest.raises(CorruptStoreError, match=r"more episodes\. Load the data set again"):
        dataset[-1]
    grown = load_dataset("CartpoleBalance", root=tmp_path)
    assert len(grown) > len(dataset)
    for name, values in grown[:60].items():
        np.testing.assert_array_equal(values, before[name])


@pytest.mark.slow
def test_other_settings_are_named(tmp_path: Path, few: dict[str, str]) -> None:
    make(tmp_path, FEW)
    with pytest.raises(SettingsMismatchError, match=r"settings.seed: the store has 0, now asked for 5") as caught:
        make(tmp_path, MANY, seed=5)
    assert "episodes" not in str(caught.value).splitlines()[1]
    assert digests(tmp_path) == few


@pytest.mark.slow
def test_a_store_does_not_shrink(tmp_path: Path, many: dict[str, str]) -> None:
    make(tmp_path, MANY)
    with pytest.raises(SettingsMismatchError, match=f"episodes: the store has {MANY * 4 - 1}, now asked for"):
        make(tmp_path, FEW)
    assert digests(tmp_path) == many


def test_what_made_the_first_episodes_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, FEW)
    old = read_attributes(tmp_path / STORE)["provenance"]
    describe = fake_unit_runner.FakeUnitRunner.describe

    def later(self: fake_unit_runner.FakeUnitRunner, settings: Settings) -> dict[str, object]:
        attributes = describe(self, settings)
        return attributes | {"provenance": attributes["provenance"] | {"git_commit": "later"}}

    monkeypatch.setattr(fake_unit_runner.FakeUnitRunner, "describe", later)
    make(tmp_path, MANY)
    provenance = read_attributes(tmp_path / STORE)["provenance"]
    assert provenance["git_commit"] == "later"
    assert provenance["earlier"] == [old | {"episodes": FEW * 4 - 1}]


# ---- killed ----------------------------------------------------------------------------------------------------------


def kill_growth(root: Path, moment: str, units: int = MANY) -> None:
    """Really kill a process that grows a store, at a moment."""
    command = [sys.executable, str(HELPERS / "killed_growth.py"), str(root), str(units), moment]
    path = f"{HELPERS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    assert subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, timeout=300).returncode == -9


SYNCS = [60, 400]
"""Of 555: while shards are taken over, and while units are written."""


@pytest.mark.slow
@pytest.mark.sample(8)
@pytest.mark.parametrize(
    "moment",
    [*map(str, SYNCS), *(pytest.param(str(sync), marks=pytest.mark.slow) for sync in range(1, 555, 23))],
)
def test_killed_while_it_is_made(tmp_path: Path, moment: str, few: dict[str, str], many: dict[str, str]) -> None:
    make(tmp_path, FEW)
    kill_growth(tmp_path, moment)
    # The old store is as it was, and can be read and checked.
    assert few.items() <= digests(tmp_path).items() or digests(tmp_path) == many
    assert len(load_dataset("CartpoleBalance", root=tmp_path)[:]["state"])
    make(tmp_path, MANY)
    assert digests(tmp_path) == many


@pytest.mark.parametrize("moment", ["exchanged", "renamed"])
@pytest.mark.slow
def test_killed_while_names_change(tmp_path: Path, moment: str, many: dict[str, str]) -> None:
    make(tmp_path, FEW)
    kill_growth(tmp_path, moment)
    if moment == "exchanged":
        assert load_dataset("CartpoleBalance", root=tmp_path).metadata["episodes"] == MANY * 4 - 1
    assert make(tmp_path, MANY).units == 0
    assert digests(tmp_path) == many


@pytest.mark.slow
def test_another_number_after_a_kill(tmp_path: Path, many: dict[str, str]) -> None:
    """What was made for another number of episodes is not made again."""
    make(tmp_path, FEW)
    kill_growth(tmp_path, "400", MANY + 1)
    assert make(tmp_path, MANY).units < MANY - FEW + 1
    assert digests(tmp_path) == many


# ---- the size of units -----------------------------------------------------------------------------------------------


def test_a_store_keeps_its_units(tmp_path: Path) -> None:
    make(tmp_path, FEW)
    wanted = Settings("CartpoleBalance", episodes=40, episode_length=20)
    assert with_units_of(tmp_path / STORE, wanted).batch == fake_unit_runner.EPISODES_PER_UNIT
    given = dataclasses.replace(wanted, batch=64)
    assert with_units_of(tmp_path / STORE, given) == given
    assert with_units_of(tmp_path / "absent.zarr", wanted) == wanted
