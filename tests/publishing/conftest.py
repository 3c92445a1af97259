"""A root with two made-up stores, for what publishes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dynamic_sparsity.testing import make_store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with two stores; not to be changed."""
    root = tmp_path_factory.mktemp("made")
    make_store(root / "Pendulums/noise.zarr", early={2: 7})
    make_store(root / "Swings/noise-stock.zarr", task="Swings", stock=True, quaternion=True, pairs=0, limits=0)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    shutil.copytree(made, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def one(root: Path) -> Path:
    """A root with one store."""
    shutil.rmtree(root / "Swings")
    return root
