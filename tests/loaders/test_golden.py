"""Stores made by earlier versions are read, verified and regenerated as on the day they were made.

`tests/data/make_golden.py` made them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest

from dynamic_sparsity import load_dataset
from dynamic_sparsity.loaders.dataset import JacobianDataset
from dynamic_sparsity.loaders.load import open_dataset
from dynamic_sparsity.storage.verify import verify_store
from dynamic_sparsity.testing import HubServer, Repository

VERSIONS = sorted(path.stem for path in golden.FOLDER.glob("*.json"))
TABLES: dict[str, dict[str, Any]] = {
    version: json.loads((golden.FOLDER / f"{version}.json").read_bytes()) for version in VERSIONS
}
STORES = [(version, name) for version in VERSIONS for name in TABLES[version]["stores"]]


def facts(version: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = TABLES[version]["stores"][name]
    return found


def unpacked(version: str, name: str, folder: Path) -> Path:
    """The store, below a folder."""
    return golden.unpack(golden.FOLDER / f"{version}-{name}.tar.xz", folder) / facts(version, name)["store"]


def test_every_settings_has_a_store() -> None:
    assert VERSIONS
    assert {name for _, name in STORES} == set(golden.SETTINGS)


@pytest.mark.parametrize(("version", "name"), STORES)
def test_values(version: str, name: str, tmp_path: Path) -> None:
    dataset = open_dataset(unpacked(version, name, tmp_path))
    assert len(dataset.episodes["length"]) >= 10
    assert golden.digests(dataset[:]) == facts(version, name)["columns"]


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize(("version", "name"), STORES)
def test_verify_finds_nothing(version: str, name: str, tmp_path: Path) -> None:
    assert verify_store(unpacked(version, name, tmp_path)) == []


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize("version", VERSIONS)
def test_hdf5(version: str) -> None:
    pytest.importorskip("h5py")
    dataset = JacobianDataset.from_hdf5(golden.FOLDER / f"{version}-{golden.PUBLISHED}.h5")
    assert golden.digests(dataset[:]) == facts(version, golden.PUBLISHED)["hdf5_columns"]


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("streaming", [False, True])
def test_published_form(version: str, streaming: bool, tmp_path: Path, hub: HubServer) -> None:
    name = golden.PUBLISHED
    unpacked(version, name, tmp_path)
    golden.unpack(golden.FOLDER / f"{version}-{name}-published.tar.xz", tmp_path)
    repository = hub.repositories[golden.REPO] = Repository()
    files = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    files = {path: file for path, file in files.items() if not path.startswith("cache/")}
    hub.commit(repository, {path: hub.store(file.read_bytes(), lfs=True) for path, file in files.items()})
    settings = golden.SETTINGS[name]
    if not streaming:
        dataset = load_dataset(settings.task, repo_id=golden.REPO)
        assert golden.digests(dataset[:]) == facts(version, name)["columns"]
        return
    stream = load_dataset(settings.task, repo_id=golden.REPO, streaming=True)
    batches = list(stream.batches(256, shuffle=False))
    rows = {column: np.concatenate([batch[column] for batch in batches]) for column in batches[0]}
    assert golden.digests(rows) == facts(version, name)["columns"]


@pytest.mark.parametrize("version", VERSIONS)
def test_parquet_view(version: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    name = golden.PUBLISHED
    dataset = open_dataset(unpacked(version, name, tmp_path))
    golden.unpack(golden.FOLDER / f"{version}-{name}-published.tar.xz", tmp_path)
    files = sorted((tmp_path / "parquet").rglob("*.parquet"))
    assert sum(parquet.read_metadata(file).num_rows for file in files) == len(dataset)
    for file in files:
        table = parquet.read_table(file)
        rows = np.asarray(table["episode"]) * dataset.metadata["episode_length"] + np.asarray(table["step"])
        for column, values in dataset.select(rows)[:].items():
            stored = np.array(table[column].to_pylist(), values.dtype)
            np.testing.assert_array_equal(stored, values, err_msg=column)


@pytest.mark.slow
@pytest.mark.sample(4)
@pytest.mark.parametrize(("version", "name"), STORES)
def test_regenerated_bit_by_bit(version: str, name: str, tmp_path: Path) -> None:
    from dynamic_sparsity.generation import jax_runtime

    jax_runtime.configure()
    from dynamic_sparsity.generation.executors.threads import ThreadExecutor
    from dynamic_sparsity.generation.verification.regenerate import other_settings, published_settings, regenerate
    from dynamic_sparsity.loaders.store.store import open_store

    store = open_store(unpacked(version, name, tmp_path / "golden"))
    with ThreadExecutor() as executor:
        present = executor.describe(published_settings(store.metadata))
    others = other_settings(store.metadata["settings"], present["settings"])
    if present["schema_version"] != version:
        pytest.skip(f"this code writes version {present['schema_version']} of the format")
    if others:
        changes = ", ".join(f"{key} {before} → {now}" for key, (before, now) in others.items())
        pytest.skip(f"bits may differ: {changes}")
    machine = TABLES[version]["instruction_set"]
    if machine != golden.instruction_set():
        pytest.skip(f"made on {machine!r}; this machine has {golden.instruction_set()!r}")
    made, _ = regenerate(store, tmp_path, None)
    assert golden.file_digests(made) == facts(version, name)["files"]
    assert golden.digests(open_dataset(made)[:]) == facts(version, name)["columns"]
