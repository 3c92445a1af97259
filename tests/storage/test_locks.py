"""The lock of a store: one writer at a time, and none that outlives its holder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import running, wait_for

from dynamic_sparsity.errors import StoreLockedError
from dynamic_sparsity.storage import writer


def test_the_lock_keeps_others_out(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "noise.zarr"
    with writer.lock(path):
        with pytest.raises(StoreLockedError, match=rf"{os.getpid()}.*noise\.zarr\.lock"), writer.lock(path):
            pass
        assert (tmp_path / "deep" / "noise.zarr.lock").exists()
    assert not (tmp_path / "deep" / "noise.zarr.lock").exists()
    with writer.lock(path):
        pass


@pytest.mark.slow
def test_the_lock_goes_when_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "noise.zarr"
    code = f"""
import pathlib, sys
from dynamic_sparsity.storage.writer import lock
with lock(pathlib.Path({str(path)!r})):
    pathlib.Path({str(tmp_path / "held")!r}).touch()
    sys.stdin.read()
"""
    with running([sys.executable, "-c", code], stdin=subprocess.PIPE) as holder:
        wait_for((tmp_path / "held").exists, holder)
        with pytest.raises(StoreLockedError, match=str(holder.pid)), writer.lock(path):
            pass
    with writer.lock(path):
        pass
    assert not (tmp_path / "noise.zarr.lock").exists()


def test_folders_made_for_a_lock_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    store = tmp_path / "empty/data/CheetahRun/noise.zarr"
    with pytest.raises(KeyError), writer.lock(store):
        assert store.parent.is_dir()
        raise KeyError
    assert list((tmp_path / "empty").iterdir()) == [], "that was there before"


def test_folders_that_are_used_stay(tmp_path: Path) -> None:
    store = tmp_path / "data/CheetahRun/noise.zarr"
    with writer.lock(store), writer.lock(store.with_name("other.zarr")):
        store.mkdir()
    assert list(store.parent.iterdir()) == [store]


def test_jobs_that_share_leave_each_others_folders(tmp_path: Path) -> None:
    store = tmp_path / "data/CheetahRun/noise.zarr"
    with writer.lock(store, shared=True):
        with writer.lock(store, shared=True):
            pass
        with pytest.raises(StoreLockedError), writer.lock(store):
            pass
        assert store.parent.is_dir()
    assert not list(tmp_path.iterdir())
