"""The folders that a lock makes for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynamic_sparsity.errors import StoreLockedError
from dynamic_sparsity.storage.locks import lock


def test_folders_made_for_a_lock_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    store = tmp_path / "empty/data/CheetahRun/noise.zarr"
    with pytest.raises(KeyError), lock(store):
        assert store.parent.is_dir()
        raise KeyError
    assert list((tmp_path / "empty").iterdir()) == [], "that was there before"


def test_folders_that_are_used_stay(tmp_path: Path) -> None:
    store = tmp_path / "data/CheetahRun/noise.zarr"
    with lock(store), lock(store.with_name("other.zarr")):
        store.mkdir()
    assert list(store.parent.iterdir()) == [store]


def test_jobs_that_share_leave_each_others_folders(tmp_path: Path) -> None:
    store = tmp_path / "data/CheetahRun/noise.zarr"
    with lock(store, shared=True):
        with lock(store, shared=True):
            pass
        with pytest.raises(StoreLockedError), lock(store):
            pass
        assert store.parent.is_dir()
    assert not list(tmp_path.iterdir())
