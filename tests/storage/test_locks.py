"""The lock of a store: one writer at a time, and none that outlives its holder."""

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
