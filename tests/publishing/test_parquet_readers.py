"""The Parquet view, read by others: values, dtypes and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dynamic_sparsity import load_dataset
from dynamic_sparsity.loaders.export.arrow import card_features, features_of, shapes_of
from dynamic_sparsity.publishing.parquet import FILE_BYTES_MIN, plan_parquet, view_of, write_parquet
from dynamic_sparsity.testing import make_store

pytestmark = pytest.mark.slow

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("parquet")
    make_store(folder / "Pendulums/noise.zarr", quaternion=True, early={1: 7})
    (planned,) = (file for file in plan_parquet(folder / "Pendulums/noise.zarr") if file.split == "train")
    write_parquet(folder / "Pendulums/noise.zarr", planned, folder / "train.parquet")
    return folder


@pytest.fixture(scope="module")
def expected(folder: Path) -> Arrays:
    return view_of(load_dataset("Pendulums", root=folder, split="train"))[:]


def test_it_has_all_arrays_and_where_episodes_were_cut_off(folder: Path, expected: Arrays) -> None:
    arrays = load_dataset("Pendulums", root=folder).columns
    assert [name for name in expected if name != "truncated"] == list(arrays)
    done, cut = (list(expected).index(name) for name in ("done", "truncated"))
    assert cut == done + 1 and expected["truncated"].any()


def test_types_are_those_that_every_reader_has(folder: Path, expected: Arrays) -> None:
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(folder / "train.parquet")
    for name, values in expected.items():
        kind = schema.field(name).type
        for length in values.shape[1:]:
            assert pyarrow.types.is_fixed_size_list(kind) and kind.list_size == length
            kind = kind.value_type
        assert kind == pyarrow.from_numpy_dtype(values.dtype)
        assert not schema.field(name).metadata or b"ARROW:extension:name" not in schema.field(name).metadata


def test_polars(folder: Path, expected: Arrays) -> None:
    polars = pytest.importorskip("polars")
    for frame in (
        polars.read_parquet(folder / "train.parquet"),
        polars.scan_parquet(folder / "train.parquet").select(list(expected)).collect(),
    ):
        for name, values in expected.items():
            found = frame[name].to_numpy()
            assert found.dtype == values.dtype and found.shape == values.shape, name
            np.testing.assert_array_equal(found, values)


def test_duckdb(folder: Path, expected: Arrays) -> None:
    duckdb = pytest.importorskip("duckdb")
    table = duckdb.sql(f"select * from '{folder / 'train.parquet'}'").fetchnumpy()
    for name, values in expected.items():
        found = np.array([np.asarray(row).tolist() for row in table[name]])
        np.testing.assert_array_equal(found.astype(values.dtype), values, err_msg=name)
    ((most,),) = duckdb.sql(f"select max(step) from '{folder / 'train.parquet'}'").fetchall()
    assert most == expected["step"].max()


def test_pandas(folder: Path, expected: Arrays) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(folder / "train.parquet")
    for name, values in expected.items():
        if values.ndim == 1:
            assert frame[name].dtype == values.dtype
            np.testing.assert_array_equal(frame[name], values)
            continue
        found = np.array([np.array([*map(np.asarray, row)]) if values.ndim > 2 else row for row in frame[name]])
        assert found.dtype == values.dtype, name
        np.testing.assert_array_equal(found, values, err_msg=name)


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_with_the_cards_features(folder: Path, expected: Arrays, tmp_path: Path, streaming: bool) -> None:
    datasets: Any = pytest.importorskip("datasets")
    features = datasets.Features._from_yaml_list(card_features(shapes_of(expected)))
    assert features == datasets.Features.from_dict(features_of(shapes_of(expected)))
    assert isinstance(features["J_s"], datasets.Array2D)
    files = {"train": str(folder / "train.parquet")}
    rows = datasets.load_dataset(
        "parquet", data_files=files, features=features, split="train", streaming=streaming, cache_dir=str(tmp_path)
    )
    assert isinstance(rows.features["J_s"], datasets.Array2D)
    found: list[Any] = list(rows.with_format("numpy"))
    for name, values in expected.items():
        np.testing.assert_array_equal(np.array([row[name] for row in found]), values, err_msg=name)


def test_a_large_split_has_files_for_workers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dynamic_sparsity.publishing import parquet

    store = folder / "Pendulums/noise.zarr"
    for times, files in ((1, 1), (3, 3), (8, 8), (15, 8), (16, 8), (17, 9)):
        monkeypatch.setattr(parquet, "row_bytes", lambda dataset, n=times: n * FILE_BYTES_MIN / len(dataset))
        monkeypatch.setattr(parquet, "FILE_BYTES", 2 * FILE_BYTES_MIN)
        planned = [file for file in plan_parquet(store) if file.split == "train"]
        assert len(planned) == files and planned[0].start == 0
