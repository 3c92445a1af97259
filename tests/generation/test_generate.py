"""The main job end to end: what it writes, that it repeats, that it survives being killed, what it refuses."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from processes import running, wait_for

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import InvalidSettingError, SettingsMismatchError, StoreLockedError
from dynamic_sparsity.generation.jobs.generate import generate
from dynamic_sparsity.generation.jobs.unit_runner import SimulationUnitRunner
from dynamic_sparsity.generation.jobs.units import plan_units
from dynamic_sparsity.generation.physics.model import load_physics
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.generation.verification import finite_differences
from dynamic_sparsity.generation.verification.deep import verify_deep
from dynamic_sparsity.loaders import open_store
from dynamic_sparsity.policies import load_policy
from dynamic_sparsity.schemas import FLAG_BITS
from dynamic_sparsity.storage import writer
from dynamic_sparsity.storage.manifests import read_attributes
from dynamic_sparsity.storage.verify import verify_store

pytestmark = pytest.mark.slow

SMALL = Settings("PendulumSwingup", episodes=40, episode_length=64, batch=1)
"""Of the dynamics that compile fastest."""
"""Three units of 16 episodes, the last one not full."""


def digest(store: Path) -> dict[str, str]:
    """sha256 of every file of a store; provenance is the only thing that may differ, and here it does not."""
    return {
        str(file.relative_to(store)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(store.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return generate(SMALL, tmp_path_factory.mktemp("data"))


def test_small_has_several_units(store):
    units = plan_units(SMALL, store, read_attributes(store))
    assert len(units) == 3
    assert [unit.first_episode for unit in units] == [0, 16, 32]
    assert [shard for unit in units for shard in unit.shards] == list(range(3))


def test_verifies(store):
    assert verify_store(store) == []


def test_rows(store):
    ds = load_dataset("PendulumSwingup", root=store.parent.parent)
    assert len(ds) == 40 * 64
    assert "closed forms" in ds.metadata["provenance"]["jacobians"]
    rows = ds[:]
    assert rows["J_s"].shape == (2560, 2, 2)
    assert rows["J_a"].shape == (2560, 2, 1)
    assert (rows["flags"] == 0).all()
    assert all(np.isfinite(rows[name]).all() for name in ("state", "action", "next_state", "J_s", "J_a", "reward"))
    inside = rows["step"] > 0
    np.testing.assert_array_equal(rows["state"][inside], rows["next_state"][np.flatnonzero(inside) - 1])
    assert len(np.unique(rows["state"][rows["step"] == 0], axis=0)) == 40, "every episode starts elsewhere"
    assert len(np.unique(rows["action"][rows["step"] == 3])) == 40, "every episode has its own noise"


def test_rows_are_mujoco_c_s(store):
    ds = load_dataset("PendulumSwingup", root=store.parent.parent)
    reference = finite_differences.MujocoOracle(load_physics("PendulumSwingup"))
    for row in (ds[i] for i in range(0, len(ds), 160)):
        truth = reference.reference(row["state"], row["action"])
        np.testing.assert_array_equal(row["next_state"], truth.next_state.astype(np.float32))
        assert finite_differences.relative_error(np.hstack([row["J_s"], row["J_a"]]), truth.jacobian) < 1e-6


def test_returns_are_sums_of_rewards(store):
    ds = load_dataset("PendulumSwingup", root=store.parent.parent)
    rewards = ds[:]["reward"].reshape(40, 64).astype(np.float64).sum(axis=1)
    np.testing.assert_allclose(ds.episodes["return"], rewards, rtol=1e-12)
    assert rewards.max() > 0


def test_repeats_to_the_bit(store, tmp_path):
    assert digest(generate(SMALL, tmp_path)) == digest(store)


def test_going_on_with_a_whole_store_changes_nothing(store):
    before = digest(store)
    generate(SMALL, store.parent.parent)
    assert digest(store) == before


def test_fewer_episodes_are_a_prefix(store, tmp_path):
    """Whole units do not depend on how many episodes follow."""
    shorter = generate(Settings("PendulumSwingup", episodes=16, episode_length=64, batch=1), tmp_path)
    short, long = (load_dataset("PendulumSwingup", root=path.parent.parent)[:1024] for path in (shorter, store))
    for name in ("state", "J_s", "flags", "reward"):
        np.testing.assert_array_equal(short[name], long[name])


def test_a_grown_store_is_the_one_made_at_once(store, tmp_path):
    generate(dataclasses.replace(SMALL, episodes=21), tmp_path)
    # It keeps the units that it was begun with.
    assert digest(generate(dataclasses.replace(SMALL, batch=None), tmp_path)) == digest(store)


def test_a_small_store_costs_no_whole_unit_and_can_grow():
    runner = SimulationUnitRunner()
    few, many = (runner.describe(Settings("PendulumSwingup", episodes=count)) for count in (10, 3000))
    cut = ("chunk_rows", "shard_rows")
    assert [few[key] for key in cut] == [many[key] for key in cut]
    assert few["settings"]["unit_episodes"] == 10
    sizes = {"episodes": 3000, "unit_episodes": many["settings"]["unit_episodes"]}
    assert few["settings"] | sizes == many["settings"]


def test_other_seed_is_other_data(store, tmp_path):
    other = generate(Settings("PendulumSwingup", episodes=1, episode_length=64, seed=1, batch=1), tmp_path)
    first = load_dataset("PendulumSwingup", root=other.parent.parent)[0]
    assert not np.array_equal(first["state"], load_dataset("PendulumSwingup", root=store.parent.parent)[0]["state"])


def test_refuses_other_settings(store):
    with pytest.raises(SettingsMismatchError, match=r"seed: the store has 0, now asked for 5") as caught:
        generate(
            Settings("PendulumSwingup", episodes=40, episode_length=64, seed=5, noise_beta=1.0, batch=1),
            store.parent.parent,
        )
    assert "noise_beta" in str(caught.value)
    assert "episode_length" not in str(caught.value)


def test_two_runs_at_once(store):
    script = (
        "import sys; from pathlib import Path; from dynamic_sparsity.storage import writer\n"
        "with writer.lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with running([sys.executable, "-c", script, store], stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLockedError, match="another process"):
            generate(SMALL, store.parent.parent)


def command(root: Path, episodes: int = 40) -> list[str]:
    options = ["--episodes", str(episodes), "--episode-length", "64", "--batch", "1"]
    return [sys.executable, "-m", "dynamic_sparsity.cli", "generate", "PendulumSwingup", "--out", str(root), *options]


def test_survives_kills(store, tmp_path):
    """SIGKILL when there is a shard and when there are two; then the same command ends with the same bits."""
    survivor = tmp_path / "data" / "PendulumSwingup" / "noise.zarr"
    for shards in (1, 2):
        with running(command(tmp_path / "data"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
            wait_for(lambda shards=shards: len(list(survivor.glob("shards/*.json"))) >= shards, killed)
    finished = subprocess.run(command(tmp_path / "data"), capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert digest(survivor) == digest(store)
    assert not list((tmp_path / "data").rglob("*.partial"))
    assert not list((tmp_path / "data").rglob("*.lock"))


def test_resumes_after_each_unit(store, tmp_path, monkeypatch):
    """Stopped after any number of shards: the rest is made, what was there is not made again."""
    written: list[int] = []
    original = writer.write_unit

    def stop_after_one(path, first_row, columns, episodes):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(first_row)
        return original(path, first_row, columns, episodes)

    for _ in range(3):
        written.clear()
        monkeypatch.setattr(writer, "write_unit", stop_after_one)
        with suppress(OSError):
            generate(SMALL, tmp_path)
    monkeypatch.setattr(writer, "write_unit", original)
    path = generate(SMALL, tmp_path)
    assert digest(path) == digest(store)


def test_two_devices_give_the_same_bits(store, tmp_path):
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run(command(tmp_path), check=True, capture_output=True, env=environment)
    assert digest(tmp_path / "PendulumSwingup" / "noise.zarr") == digest(store)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGTERM, 143, "Terminated"),
        pytest.param(signal.SIGINT, 130, "Interrupted", marks=pytest.mark.exhaustive),
    ],
)
def test_signals_end_a_run_with_a_word_on_how_to_resume(number, code, word, tmp_path):
    # A test run in the background inherits that Ctrl-C is ignored; a user's terminal does not.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{listen}\nfrom dynamic_sparsity.cli import entry\nentry()"
    # More than it can finish before it is interrupted, however slowly this process gets to see the store.
    words = [sys.executable, "-c", script, *command(tmp_path, episodes=10**5)[3:]]
    store = tmp_path / "PendulumSwingup" / "noise.zarr"
    with running(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(store.exists, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=900)
    assert process.returncode == code
    assert f"{word}. Finished work is on disk: rerun the same command to resume." in " ".join(errors.split())
    assert not list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob("*.lock"))
    assert "Traceback" not in errors


def test_mixture_is_labelled(tmp_path):
    settings = Settings("CartpoleBalance", episodes=16, episode_length=64, policy="mixture", batch=1)
    path = generate(settings, tmp_path)
    assert path.name == "mixture.zarr"
    assert verify_store(path) == []
    store = open_store(path)
    assert store.metadata["policies"] == ["noise", "expert", "expert-mean"]
    assert store.metadata["settings"]["policy_sha256"] == load_policy("CartpoleBalance").sha256
    kind, returns = store.episodes["policy"], store.episodes["return"]
    np.testing.assert_array_equal(kind, np.arange(16) % 3)
    # Near rest, where experts are, plain differentiation of the solver gives NaN; here rows are finite, and right.
    report = verify_deep(path, 200)
    assert (report.problems, report.flagged) == ((), 0)
    # Experts hold the pole up; noise lets it fall.
    assert returns[kind == 0].max() < returns[kind > 0].min() <= 64


def test_stock_store(tmp_path):
    path = generate(Settings("PendulumSwingup", episodes=16, episode_length=64, dynamics="stock", batch=1), tmp_path)
    assert path.name == "noise-stock.zarr"
    assert verify_store(path) == []
    ds = load_dataset("PendulumSwingup", root=tmp_path, dynamics="stock")
    rows = ds[:]
    assert rows["qacc_warmstart"].shape == (1024, 1)
    assert np.abs(rows["qacc_warmstart"]).max() > 0
    lost = rows["flags"] & (1 << FLAG_BITS["tangents_lost"])
    assert lost.mean() < len(rows["flags"])


def test_settings_are_checked():
    for wrong in (
        {"episodes": 0},
        {"episode_length": -1},
        {"seed": -1},
        {"seed": 2**63},
        {"noise_beta": 9.0},
        {"dynamics": "exact"},
        {"policy": "expert2"},
        {"batch": 0},
    ):
        with pytest.raises(InvalidSettingError, match=next(iter(wrong))):
            Settings("PendulumSwingup", **wrong)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_output(tmp_path):
    tmp_path.chmod(0o555)
    finished = subprocess.run(command(tmp_path), capture_output=True, text=True)
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
