"""The column `truncated`: it follows from the table of episodes, wherever the rows come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import UnknownNameError
from dynamic_sparsity.loaders import JacobianDataset, concatenate
from dynamic_sparsity.testing import make_store

LENGTH = 20
EARLY = {1: 7, 5: LENGTH - 1}
"""Episodes that the task itself ends."""

COLUMNS = ["done", "truncated", "episode", "step"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_store(root / "Pendulums/noise.zarr", early=EARLY)
    make_store(root / "Pendulums/short.zarr", policy="short", episode_length=10, early={0: 4})
    return root


def expected(rows: dict[str, np.ndarray]) -> np.ndarray:
    return (rows["step"] == LENGTH - 1) & ~np.isin(rows["episode"], list(EARLY))


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize("split", [None, "train"])
def test_the_last_row_of_an_episode_that_was_cut_off(root: Path, split: str | None) -> None:
    dataset = load_dataset("Pendulums", root=root, split=split, columns=COLUMNS)
    rows = dataset[:]
    assert rows["truncated"].dtype == np.uint8 and rows["truncated"].any() and list(rows) == COLUMNS
    np.testing.assert_array_equal(rows["truncated"], expected(rows))
    assert not (rows["truncated"] & rows["done"]).any()
    shuffled = np.random.default_rng(0).permutation(len(dataset))
    np.testing.assert_array_equal(dataset[shuffled]["truncated"], rows["truncated"][shuffled])
    alone = dataset.with_columns("truncated")
    np.testing.assert_array_equal(alone[:]["truncated"], rows["truncated"])
    assert alone[0]["truncated"] == rows["truncated"][0] and alone[[]]["truncated"].shape == (0,)


def test_it_is_read_by_its_name(root: Path) -> None:
    dataset = load_dataset("Pendulums", root=root)
    assert "truncated" not in dataset.columns and dataset.store.readable == (*dataset.columns, "truncated")
    with pytest.raises(UnknownNameError, match="truncatd") as caught:
        dataset.with_columns("truncatd")
    assert str(caught.value).count("truncated") == 1


@pytest.mark.slow
def test_all_episodes_end_by_themselves(tmp_path: Path) -> None:
    make_store(tmp_path / "Pendulums/noise.zarr", episodes=3, early={0: 4, 1: 4, 2: 4})
    assert not load_dataset("Pendulums", root=tmp_path, columns="truncated")[:]["truncated"].any()


def test_joined(root: Path) -> None:
    parts = [load_dataset("Pendulums", root=root, policy=name, columns=COLUMNS) for name in ("noise", "short")]
    joined = concatenate(parts)
    assert joined.columns == (*COLUMNS, "origin")
    np.testing.assert_array_equal(joined[:]["truncated"], np.concatenate([part[:]["truncated"] for part in parts]))


def test_exports(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py comes with the extra `hub`")
    dataset = load_dataset("Pendulums", root=root, split="train", columns=COLUMNS)
    values = dataset[:]["truncated"]
    exported = JacobianDataset.from_hdf5(dataset.to_hdf5(tmp_path / "rows.h5"))
    assert exported.columns == tuple(COLUMNS)
    np.testing.assert_array_equal(exported[:]["truncated"], values)
    without = JacobianDataset.from_hdf5(dataset.with_columns("step").to_hdf5(tmp_path / "steps.h5"))
    np.testing.assert_array_equal(without.with_columns("truncated")[:]["truncated"], values)
    np.testing.assert_array_equal(dataset.to_pandas()["truncated"], values)
