"""A release: what is missing, what was done, and a publication that is tried out before it is sent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dynamic_sparsity.errors import CorruptStoreError, InvalidSettingError
from dynamic_sparsity.publishing.publish import plan
from dynamic_sparsity.publishing.rehearsal import rehearse
from dynamic_sparsity.publishing.release import ReleaseRecord, wanted_stores
from dynamic_sparsity.testing import make_store

CAME_BACK = "all rows came back"


def make_root(root: Path) -> Path:
    make_store(root / "Pendulums/noise.zarr", episodes=20, early={3: 11})
    make_store(root / "Pendulums/expert.zarr", episodes=20, policy="expert")
    return root


@pytest.mark.slow
def test_what_is_missing(tmp_path: Path) -> None:
    make_store(tmp_path / "Pendulums/noise.zarr", episodes=20)
    make_store(tmp_path / "Pendulums/expert.zarr", episodes=20, policy="expert", finalize=False)
    stores = wanted_stores(tmp_path, ["Pendulums"], ["noise", "expert", "mixture"], "converged")
    assert [(store.policy, store.episodes) for store in stores] == [("noise", 20), ("expert", 0), ("mixture", 0)]


def test_the_record_of_what_was_done(tmp_path: Path) -> None:
    record = ReleaseRecord(tmp_path)
    assert not record.is_done("verified", "a")
    record.note("verified", "a")
    again = ReleaseRecord(tmp_path)
    assert again.is_done("verified", "a") and not again.is_done("loaded", "a")
    for damaged in ("[]", "{", json.dumps({"verified": 3, "loaded": ["a", 4]})):
        (tmp_path / ".publish/release.json").write_text(damaged)
        assert not ReleaseRecord(tmp_path).is_done("verified", "a")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/.publish").symlink_to(elsewhere)
    with pytest.raises(InvalidSettingError, match="link"):
        ReleaseRecord(tmp_path / "other")


def release(root: Path) -> subprocess.Popen[str]:
    words = ["--version", "1.0.0", "--root", str(root), "--task", "Pendulums", "--sample", "0", "--episodes", "20"]
    command = [
        sys.executable,
        "-m",
        "dynamic_sparsity.cli",
        "release",
        *words,
        "--policy",
        "noise",
        "--policy",
        "expert",
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_release_goes_on(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    with release(root) as killed:
        assert killed.stdout is not None
        first = next(line for line in killed.stdout if CAME_BACK in line)
        os.kill(killed.pid, signal.SIGKILL)
    with release(root) as resumed:
        assert resumed.stdout is not None
        lines = resumed.stdout.read().splitlines()
    assert resumed.returncode == 0
    assert [line for line in lines if CAME_BACK in line] == [f"Pendulums/noise.zarr: {CAME_BACK} from a local server."]
    assert first.startswith("Pendulums/expert.zarr")
    assert lines[-2:] == ["  hf auth login", f"  dynamic-sparsity publish {root} --repo ORG/NAME --tag v1.0.0"]
    assert not (root / ".publish/rehearsal").exists()
    with release(root) as again:
        assert again.stdout is not None
        assert CAME_BACK not in again.stdout.read()


@pytest.mark.slow
def test_a_publication_that_can_not_be_loaded(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    made = plan(root, "org/name", tag="v1.0.0", offline=True)
    views = [path for path in (root / ".publish").rglob("*.parquet") if "test" in path.name]
    assert views
    for path in views:
        content = bytearray(path.read_bytes())
        content[-4:] = b"none"  # where the format says what it is
        path.write_bytes(content)
    with pytest.raises(CorruptStoreError, match=r"Pendulums/expert\.zarr can't be loaded back"):
        list(rehearse(made, root, list(made.publication.stores)))
    assert not (root / ".publish/rehearsal").exists()
