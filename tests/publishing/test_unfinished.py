"""One store that is not finished does not keep the others from being published, if asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynamic_sparsity.errors import DynamicSparsityWarning, IncompleteStoreError
from dynamic_sparsity.loaders.hub.transfer_progress import Silent
from dynamic_sparsity.publishing import build
from dynamic_sparsity.testing import make_store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_store(tmp_path / "Pendulums/noise.zarr", episodes=10)
    make_store(tmp_path / "Pendulums/expert.zarr", episodes=10, policy="expert", finalize=False)
    return tmp_path


@pytest.fixture(autouse=True)
def _only_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made of a store that is found is another file's test."""
    monkeypatch.setattr(build, "_build", lambda location, *_: location)


@pytest.mark.slow
def test_unfinished_stores_are_refused_or_left_out(root: Path) -> None:
    with pytest.raises(IncompleteStoreError, match=r"Pendulums/expert\.zarr.*--skip-incomplete"):
        build.build_stores(root, Silent())
    with pytest.warns(DynamicSparsityWarning, match=r"left out, as they are not finished: .*expert\.zarr$"):
        (left,) = build.build_stores(root, Silent(), skip_incomplete=True)
    assert left.policy == "noise"  # type: ignore[attr-defined]


def test_nothing_else_is_left(root: Path) -> None:
    (root / "Pendulums/noise.zarr/manifest.json").unlink()
    with pytest.raises(IncompleteStoreError, match="not finished") as caught:
        build.build_stores(root, Silent(), skip_incomplete=True)
    assert "--skip-incomplete" not in str(caught.value)
