"""The same request gives the same rows in the same order, whoever reads them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import (
    CorruptStoreError,
    InvalidSettingError,
    MissingDependencyError,
    StoreNotFoundError,
    UnknownNameError,
)
from dynamic_sparsity.loaders import JacobianDataset
from dynamic_sparsity.loaders.export.arrow import features_of, shapes_of
from dynamic_sparsity.publishing.parquet import plan_parquet, view_of, write_parquet
from dynamic_sparsity.testing import make_store

Batch = dict[str, np.ndarray]
REQUESTS: list[dict[str, Any]] = [
    {},
    {"split": "test"},
    {"split": "train", "columns": ["J_s", "reward", "mask_a", "flags"]},
    {"coordinates": "ambient", "columns": ["J_s", "J_a", "mask_s", "state"]},
    {"exclude_flags": ["active_set_changed"]},
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_store(root / "Pendulums/noise.zarr", early={2: 7}, quaternion=True)
    return root


def expect(rows: Batch, expected: Batch) -> None:
    assert list(rows) == list(expected)
    for name, values in expected.items():
        found = np.asarray(rows[name])
        assert found.dtype == values.dtype, name
        np.testing.assert_array_equal(found, values, err_msg=name)


def of_datasets(found: Any) -> Batch:
    """All rows of a `datasets.Dataset`, whose NumPy format makes 64-bit integers of all others."""
    dtypes = {name: str(getattr(feature, "feature", feature).dtype) for name, feature in found.features.items()}
    rows = found.with_format("numpy")[:]
    return {name: np.asarray(values).astype(dtypes[name]) for name, values in rows.items()}


def stacked(rows: list[dict[str, Any]]) -> Batch:
    return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_all_readers_agree(request_: dict[str, Any], root: Path, tmp_path: Path) -> None:
    dataset = load_dataset("Pendulums", root=root, **request_)
    selected = dataset.select(np.random.default_rng(0).permutation(len(dataset))[:30])
    for rows in (dataset, selected):
        expected = rows[:]
        expect(stacked(list(rows)), expected)
        for path in (None, tmp_path / f"{len(rows)}.arrow"):
            expect(of_datasets(rows.to_hf(path)), expected)
        again = JacobianDataset.from_hdf5(rows.to_hdf5(tmp_path / "rows.h5"))
        expect(again[:], expected)
        shuffled = np.random.default_rng(1).permutation(len(rows))
        expect(again[shuffled], rows[shuffled])


@pytest.mark.parametrize("request_", REQUESTS[:3], ids=str)
def test_torch_agrees(request_: dict[str, Any], root: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is large; it is installed by the extra of its name")
    dataset = load_dataset("Pendulums", root=root, **request_)
    rows = pickle.loads(pickle.dumps(dataset.to_torch()))
    expected = dataset[:]
    expect(stacked([rows[number] for number in range(len(rows))]), expected)
    batches = list(torch.utils.data.DataLoader(rows, batch_size=7))
    expect({name: torch.cat([batch[name] for batch in batches]).numpy() for name in expected}, expected)


@pytest.mark.slow
def test_parquet_and_hdf5_agree_with_the_store(root: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    store = root / "Pendulums/noise.zarr"
    for planned in plan_parquet(store):
        expected = load_dataset("Pendulums", root=root, split=planned.split)
        write_parquet(store, planned, tmp_path / f"{planned.split}.parquet")
        expected.to_hdf5(tmp_path / f"{planned.split}.h5")
        for kind, suffix in (("parquet", "parquet"), ("hdf5", "h5")):
            features = datasets.Features.from_dict(features_of(shapes_of(view_of(expected)[:0])))
            found = datasets.load_dataset(
                kind,
                features=features if kind == "parquet" else None,  # as the card has them
                data_files={"x": str(tmp_path / f"{planned.split}.{suffix}")},
                split="x",
                cache_dir=str(tmp_path / "cache"),
            )
            rows = of_datasets(found)
            if kind == "hdf5":
                np.testing.assert_array_equal(rows.pop("row"), expected.rows)
            expect({name: rows[name] for name in expected.columns}, expected[:])


def test_hdf5_keeps_what_describes_the_rows(root: Path, tmp_path: Path) -> None:
    dataset = load_dataset("Pendulums", root=root, split="train")
    again = JacobianDataset.from_hdf5(dataset.to_hdf5(tmp_path / "train.h5"))
    assert again.metadata == dataset.metadata and again.split == "train"
    assert again.columns == dataset.columns
    for name, values in dataset.episodes.items():
        np.testing.assert_array_equal(again.episodes[name], values)
    for column, measures in dataset.statistics.items():
        for measure, value in measures.items():
            np.testing.assert_array_equal(again.statistics[column][measure], value)
    expect(again.episode(1), dataset.episode(1))
    expect(again.windows(5)[3], dataset.windows(5)[3])
    ours, theirs = (list(rows.batches(16, seed=3)) for rows in (again, dataset))
    for batch, other in zip(ours, theirs, strict=True):
        expect(batch, other)
    expect(again.mask(1e-3), dataset.mask(1e-3))
    ambient = JacobianDataset(tmp_path / "train.h5", coordinates="ambient", columns=["J_s"])
    expect(ambient[:], load_dataset("Pendulums", root=root, split="train", coordinates="ambient", columns=["J_s"])[:])


def test_hdf5_is_refused_where_it_is_not_what_was_asked(root: Path, tmp_path: Path) -> None:
    dataset = load_dataset("Pendulums", root=root, split="test", columns=["J_s", "J_a", "state"], coordinates="ambient")
    path = dataset.to_hdf5(tmp_path / "test.h5")
    with pytest.raises(InvalidSettingError, match="ambient"):
        JacobianDataset(path)
    with pytest.raises(InvalidSettingError, match="'test', not 'train'"):
        JacobianDataset(path, split="train", coordinates="ambient")
    with pytest.raises(UnknownNameError, match="reward"):
        JacobianDataset(path, columns=["reward"], coordinates="ambient")
    with pytest.raises(StoreNotFoundError, match="to_hdf5"):
        JacobianDataset.from_hdf5(tmp_path / "none.h5")
    (tmp_path / "other.h5").write_bytes(b"no HDF5")
    with pytest.raises(CorruptStoreError, match="not an HDF5 file of this package"):
        JacobianDataset.from_hdf5(tmp_path / "other.h5")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError):
        JacobianDataset.from_hdf5(path)[:]


@pytest.mark.parametrize(
    ("method", "package", "extra"),
    [
        ("to_hf", "datasets", "hub"),
        ("to_torch", "torch", "torch"),
        ("to_grain", "grain", "grain"),
        ("to_jax", "jax", "generate"),
        ("to_hdf5", "h5py", "hub"),
    ],
)
def test_missing_packages_are_named(method, package, extra, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*dynamic-sparsity\[{extra}\]"):
        getattr(load_dataset("Pendulums", root=root), method)(*["rows.h5"] * (method == "to_hdf5"))


def test_missing_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"huggingface_hub.*dynamic-sparsity\[hub\]"):
        load_dataset("Pendulums", repo_id="org/name")


def test_parquet_is_cut_for_a_viewer(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    dataset = load_dataset("Pendulums", root=root, split="train")
    row_bytes = sum(values.nbytes for values in dataset[:1].values())
    monkeypatch.setattr("dynamic_sparsity.publishing.parquet.ROW_GROUP_BYTES", 20 * row_bytes)
    monkeypatch.setattr("dynamic_sparsity.publishing.parquet.FILE_BYTES", 60 * row_bytes)
    store = root / "Pendulums/noise.zarr"
    planned = [file for file in plan_parquet(store) if file.split == "train"]
    assert len(planned) == -(-len(dataset) // 60) and planned[0].path.endswith(f"-of-{len(planned):05d}.parquet")
    steps = []
    for file in planned:
        write_parquet(store, file, tmp_path / "x.parquet")
        with parquet.ParquetFile(tmp_path / "x.parquet", page_checksum_verification=True) as opened:
            groups = [opened.metadata.row_group(number) for number in range(opened.num_row_groups)]
            assert all(group.num_rows <= 20 for group in groups)
            assert all(group.column(0).has_offset_index for group in groups)
            steps += opened.read(["step"])["step"].to_pylist()
    np.testing.assert_array_equal(steps, dataset[:]["step"])
