import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from dynamic_sparsity.errors import (
    CorruptStoreError,
    IncompleteStoreError,
    InvalidSettingError,
    StoreNotFoundError,
    UnknownNameError,
)
from dynamic_sparsity.loaders import find_stores, load_dataset, open_store
from dynamic_sparsity.loaders.store.store import parse_store_path, store_path
from dynamic_sparsity.testing import make_store


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one store; not to be changed."""
    root = tmp_path_factory.mktemp("pristine")
    make_store(root / "Pendulums/noise.zarr", early={2: 7})
    return root


@pytest.fixture
def store(pristine: Path, tmp_path: Path) -> Path:
    """A store to damage."""
    shutil.copytree(pristine, tmp_path / "data")
    return tmp_path / "data/Pendulums/noise.zarr"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_store_says_what_it_is(pristine: Path) -> None:
    opened = open_store(pristine / "Pendulums/noise.zarr")
    assert (opened.task, opened.policy, opened.dynamics, opened.rows) == ("Pendulums", "noise", "converged", 240)
    assert opened.arrays[:3] == ("state", "action", "next_state") and "qacc_warmstart" not in opened.arrays
    group: Any = zarr.open_group(opened.path, mode="r")
    for name, values in opened.episodes.items():
        np.testing.assert_array_equal(values, group[f"episodes/{name}"][:])
    assert len(opened.episodes["start"]) == 12 and opened.episodes["length"][2] == 7
    assert opened.statistics
    for name, values in opened.statistics.items():
        np.testing.assert_array_equal(values, group[f"statistics/{name}"][...])
    assert "Pendulums" in repr(opened) and "240 rows" in repr(opened)


@pytest.mark.parametrize(
    ("task", "policy", "dynamics", "expected"),
    [("CheetahRun", "noise", "converged", "noise.zarr"), ("Go1", "expert-2", "stock", "expert-2-stock.zarr")],
)
def test_paths_and_their_inverse(task: str, policy: str, dynamics: str, expected: str) -> None:
    path = store_path("data", task, policy, dynamics)
    assert path == Path("data") / task / expected
    found = parse_store_path(path)
    assert (found.task, found.policy, found.dynamics) == (task, policy, dynamics)


@pytest.mark.parametrize(
    "names", [("a/b", "noise"), ("A", "Noise"), ("A", "x-stock"), ("A", "noise", "fast"), ("", "x")]
)
def test_impossible_names(names: tuple[str, ...]) -> None:
    with pytest.raises(UnknownNameError):
        store_path("data", *names)


@pytest.mark.parametrize("path", ["noise.zarr", "data/A/noise", "data/a b/noise.zarr", "data/A/-stock.zarr"])
def test_impossible_paths(path: str) -> None:
    with pytest.raises(UnknownNameError):
        parse_store_path(path)


def test_finding_stores(tmp_path: Path) -> None:
    assert find_stores(tmp_path / "nowhere") == []
    for name in ("B/noise.zarr", "A/noise-stock.zarr", "A/noise.zarr", "A/other", "A/no no.zarr"):
        (tmp_path / name).mkdir(parents=True)
    found = [(store.task, store.policy, store.dynamics) for store in find_stores(tmp_path)]
    assert found == [("A", "noise", "converged"), ("A", "noise", "stock"), ("B", "noise", "converged")]


def test_a_missing_store(pristine: Path) -> None:
    with pytest.raises(StoreNotFoundError, match=r"Pendulums/noise\.zarr.*generate CheetahRun --policy noise"):
        load_dataset("CheetahRun", root=pristine)
    with pytest.raises(FileNotFoundError, match="--dynamics stock"):
        load_dataset("CheetahRun", root=pristine, dynamics="stock")
    with pytest.raises(StoreNotFoundError):
        open_store(pristine / "elsewhere")


def test_an_unfinished_store(tmp_path: Path) -> None:
    path = make_store(tmp_path / "CheetahRun/noise.zarr", task="CheetahRun", finalize=False)
    (path / "shards/00001.json").unlink()
    with pytest.raises(
        IncompleteStoreError,
        match=r"160 of 240 rows in 2 of 3 shards.*generate CheetahRun --policy noise --episodes 12 --episode-length 20",
    ):
        open_store(path)


def test_a_store_without_its_manifest(store: Path) -> None:
    (store / "manifest.json").unlink()
    with pytest.raises(IncompleteStoreError, match="240 of 240 rows"):
        open_store(store)


def test_a_manifest_that_is_not_complete(store: Path) -> None:
    edit(store / "manifest.json", complete=False)
    with pytest.raises(IncompleteStoreError):
        open_store(store)


@pytest.mark.parametrize("changes", [{"files": {"x": {}}}, {"files": 3}, {"schema_version": "9.0.0"}, {"rows": 7}])
def test_a_wrong_manifest(store: Path, changes: dict[str, Any]) -> None:
    edit(store / "manifest.json", **changes)
    with pytest.raises(CorruptStoreError, match=r"manifest\.json"):
        open_store(store)


def test_a_manifest_that_is_not_json(store: Path) -> None:
    (store / "manifest.json").write_text("{")
    with pytest.raises(CorruptStoreError, match="dynamic-sparsity verify"):
        open_store(store)


@pytest.mark.parametrize("name", ["zarr.json", "episodes/length/zarr.json", "episodes/length/c/0", "state/zarr.json"])
def test_damaged_small_files(store: Path, name: str) -> None:
    contents = (store / name).read_bytes()
    (store / name).write_bytes(contents[:5] + bytes([contents[5] ^ 1]) + contents[6:])
    with pytest.raises(CorruptStoreError, match=name):
        load_dataset("Pendulums", root=store.parent.parent, verify="size")[0]


@pytest.mark.parametrize("verify", ["sha256", "size"])
@pytest.mark.parametrize("name", ["J_s/c/1/0/0", "flags/c/2", "statistics/state_mean/c/0"])
def test_missing_and_truncated_files_are_found_when_opening(store: Path, name: str, verify: Any) -> None:
    contents = (store / name).read_bytes()
    (store / name).write_bytes(contents[:-1])
    with pytest.raises(CorruptStoreError, match=name):
        open_store(store, verify=verify)
    (store / name).unlink()
    with pytest.raises(CorruptStoreError, match=name):
        open_store(store, verify=verify)


def test_an_unlisted_array(store: Path) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    del manifest["files"]["reward/zarr.json"]
    edit(store / "manifest.json", **manifest)
    with pytest.raises(CorruptStoreError, match=r"does not list reward/zarr\.json"):
        open_store(store)


def test_verify_must_be_known(store: Path) -> None:
    with pytest.raises(InvalidSettingError, match="'never'"):
        open_store(store, verify="never")  # type: ignore[arg-type]
