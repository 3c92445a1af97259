"""Several stores as one data set."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dynamic_sparsity import concatenate, load_dataset
from dynamic_sparsity.errors import InvalidSettingError, StoreNotFoundError, UnknownNameError
from dynamic_sparsity.loaders import JacobianDataset
from dynamic_sparsity.loaders.row_source import Batch
from dynamic_sparsity.testing import make_store

EARLY = {2: 7, 5: 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_store(root / "Pendulums/noise.zarr", quaternion=True, early=EARLY)
    # Episodes of another length, chunks of another size.
    make_store(root / "Pendulums/expert.zarr", quaternion=True, policy="expert", seed=7, episode_length=32, episodes=11)
    make_store(root / "Pendulums/noise-stock.zarr", quaternion=True, stock=True, chunk_rows=8, episodes=3)
    make_store(root / "Others/noise.zarr", task="Others")
    make_store(root / "Pendulums/simple.zarr", policy="simple")
    return root


@pytest.fixture(scope="module")
def parts(root: Path) -> list[JacobianDataset]:
    return [load_dataset("Pendulums", root=root, policy=policy) for policy in ("noise", "expert")]


@pytest.fixture(scope="module")
def joined(root: Path) -> JacobianDataset:
    return load_dataset("Pendulums", root=root, policy=["noise", "expert"])


def expected(parts: list[JacobianDataset]) -> Batch:
    """The rows of data sets, one after the other."""
    batches, before = [], 0
    for number, part in enumerate(parts):
        batch = part[:]
        batch["episode"] = batch["episode"] + np.int32(before)
        before += part.metadata["episodes"]
        batches.append(batch | {"origin": np.full(len(part), number, np.int32)})
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def assert_same(found: Any, truth: Batch) -> None:
    assert set(found) == set(truth)
    for name, values in found.items():
        np.testing.assert_array_equal(values, truth[name], err_msg=name)
        assert values.dtype == truth[name].dtype, name


@pytest.mark.slow
def test_rows(joined: JacobianDataset, parts: list[JacobianDataset]) -> None:
    truth = expected(parts)
    assert len(joined) == sum(map(len, parts)) == len(truth["state"])
    assert_same(joined[:], truth)
    order = np.random.default_rng(0).permutation(len(joined))[:99]
    assert_same(joined[order], {name: values[order] for name, values in truth.items()})
    assert_same(joined[len(parts[0]) - 1], {name: values[len(parts[0]) - 1] for name, values in truth.items()})
    assert_same(joined[:0], {name: values[:0] for name, values in truth.items()})
    last = joined.with_columns("origin")[-1]
    assert_same(last, {"origin": truth["origin"][-1]})
    assert "2 data sets joined" in repr(joined)


@pytest.mark.slow
def test_where_rows_are_from(joined: JacobianDataset) -> None:
    assert [(one["policy"], one["seed"], one["episodes"]) for one in joined.origins] == [
        ("noise", 0, 12),
        ("expert", 7, 11),
    ]
    assert joined.metadata["settings"]["seed"] == [0, 7]
    assert joined.store.policy == "noise-and-expert"
    policies = joined.metadata["policies"]
    found = {policies[number] for number in joined.select(joined[:]["origin"] == 1).episodes["policy"]}
    assert found == {"expert"}


@pytest.mark.slow
def test_splits_are_kept(root: Path, joined: JacobianDataset, parts: list[JacobianDataset]) -> None:
    pieces = [
        load_dataset("Pendulums", root=root, policy=["noise", "expert"], split=split)
        for split in ("train", "validation", "test")
    ]
    assert [piece.split for piece in pieces] == ["train", "validation", "test"]
    rows = np.concatenate([piece.rows for piece in pieces])
    np.testing.assert_array_equal(np.sort(rows), joined.rows)
    for piece in pieces:
        index = piece.metadata["splits"].index(piece.split)
        assert (piece.episodes["split"] == index).all()
    mixed = concatenate([pieces[0], pieces[2]])
    assert mixed.split is None
    assert len(mixed) == len(pieces[0]) + len(pieces[2])


@pytest.mark.parametrize("shuffle", ["rows", "blocks", False])
def test_batches(joined: JacobianDataset, parts: list[JacobianDataset], shuffle: Any) -> None:
    truth = expected(parts)
    names = ("state", "J_s", "origin", "episode")
    batches = list(joined.with_columns(names).batches(50, seed=1, shuffle=shuffle))
    found = {name: np.concatenate([batch[name] for batch in batches]) for name in names}
    order = np.lexsort(found["state"].T)
    expectation = np.lexsort(truth["state"].T)
    for name in names:
        np.testing.assert_array_equal(found[name][order], truth[name][expectation])


def test_windows_do_not_cross(joined: JacobianDataset, parts: list[JacobianDataset]) -> None:
    windows = joined.windows(6)
    assert len(windows) == sum(len(part.windows(6)) for part in parts)
    batch = windows[:]
    assert (batch["origin"] == batch["origin"][:, :1]).all()
    assert (batch["episode"] == batch["episode"][:, :1]).all()
    assert (np.diff(batch["step"], axis=1) == 1).all()


@pytest.mark.slow
def test_windows_do_not_cross_between_equal_pieces(parts: list[JacobianDataset]) -> None:
    twice = concatenate([parts[0].select(slice(0, 10)), parts[0].select(slice(10, 20))])
    assert len(twice.windows(10)) == 2
    assert len(parts[0].select(slice(0, 20)).windows(10)) == 11


def test_episodes(joined: JacobianDataset, parts: list[JacobianDataset]) -> None:
    table = joined.episodes
    np.testing.assert_array_equal(table["index"], np.arange(23))
    np.testing.assert_array_equal(table["seed"], [0] * 12 + [7] * 11)
    for number in (0, 2, 11, 12, 22):
        part, own = (parts[0], number) if number < 12 else (parts[1], number - 12)
        episode = joined.episode(number)
        np.testing.assert_array_equal(episode["J_s"], part.episode(own)["J_s"])
        assert (episode["episode"] == number).all()


def test_statistics_are_those_of_all_rows(root: Path, joined: JacobianDataset) -> None:
    train = load_dataset("Pendulums", root=root, policy=["noise", "expert"], split="train")[:]
    train["delta"] = train["next_state"].astype(np.float64) - train["state"]
    for column, found in joined.statistics.items():
        values = train[column].astype(np.float64)
        assert found["count"] == len(values)
        for measure in ("mean", "std", "min", "max"):
            np.testing.assert_allclose(found[measure], getattr(values, measure)(axis=0), rtol=1e-9, atol=1e-12)
    sparsity, rows = joined.sparsity(), joined[:]
    assert sparsity["rows_all"] == len(joined)
    np.testing.assert_allclose(sparsity["zero_share_s"], (rows["mask_s"] == 0).mean(axis=0), atol=1e-12)
    normal = joined.normalize({"state": rows["state"]})["state"]
    np.testing.assert_allclose(joined.denormalize({"state": normal})["state"], rows["state"], atol=1e-4)


def test_other_dynamics(root: Path) -> None:
    both = load_dataset("Pendulums", root=root, dynamics=["converged", "stock"])
    assert [one["dynamics"] for one in both.origins] == ["converged", "stock"]
    assert both.store.dynamics == "stock"
    lone = load_dataset("Pendulums", root=root)
    assert set(both.columns) - {"origin"} <= set(lone.columns)
    assert len(both) == len(lone) + 60


def test_joined_sets_are_joined_again(joined: JacobianDataset, parts: list[JacobianDataset], root: Path) -> None:
    stock = load_dataset("Pendulums", root=root, dynamics="stock")
    some = joined.select(np.arange(len(joined))[::-3])
    again = concatenate([stock, some, parts[1]])
    assert [one["dynamics"] for one in again.origins] == ["stock", "converged", "converged", "converged"]
    found = again[:]
    truth = some[:]
    inside = slice(len(stock), len(stock) + len(some))
    np.testing.assert_array_equal(found["J_s"][inside], truth["J_s"])
    np.testing.assert_array_equal(found["origin"][inside], truth["origin"] + 1)
    np.testing.assert_array_equal(found["episode"][inside], truth["episode"] + 3)
    np.testing.assert_array_equal(found["state"][inside.stop :], parts[1][:]["state"])


def test_coordinates_and_flags(root: Path) -> None:
    options: dict[str, Any] = {"root": root, "coordinates": "ambient", "exclude_flags": ["active_set_changed"]}
    ambient = load_dataset("Pendulums", policy=["noise", "expert"], columns=["J_s", "mask_s"], **options)
    alone = load_dataset("Pendulums", policy="expert", columns=["J_s", "mask_s"], **options)
    assert ambient.columns == ("J_s", "mask_s", "origin")
    np.testing.assert_array_equal(ambient[-len(alone) :]["J_s"], alone[:]["J_s"])
    assert ambient.mask(1e-6)["mask_s"].shape == ambient[:]["mask_s"].shape
    tangent = load_dataset("Pendulums", root=root)
    with pytest.raises(InvalidSettingError, match="coordinates"):
        concatenate([ambient, tangent])


def test_unlike_data_are_refused(root: Path, joined: JacobianDataset) -> None:
    for other in (load_dataset("Others", root=root), load_dataset("Pendulums", root=root, policy="simple")):
        with pytest.raises(InvalidSettingError, match=r"another (task|state_names) can't be joined"):
            concatenate([joined, other])
    with pytest.raises(InvalidSettingError, match="at least one"):
        concatenate([])
    with pytest.raises(InvalidSettingError, match="can't be joined"):
        concatenate([joined, joined[:]])  # type: ignore[list-item]
    with pytest.raises(InvalidSettingError, match="policy"):
        load_dataset("Pendulums", root=root, policy=[])
    with pytest.raises(StoreNotFoundError, match="absent"):
        load_dataset("Pendulums", root=root, policy=["noise", "absent"])
    with pytest.raises(UnknownNameError):
        load_dataset("Pendulums", root=root, policy=["noise", "expert"], columns=["nothing"])


def _rows_in_child(dataset: JacobianDataset, answer: Any) -> None:
    answer.send(dataset[[0, -1]]["state"])


@pytest.mark.slow
def test_pickled_in_a_spawned_process(joined: JacobianDataset) -> None:
    selected = joined.select(slice(5, None))
    assert_same(pickle.loads(pickle.dumps(selected))[:], selected[:])
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_rows_in_child, args=(selected, there))
    process.start()
    found: NDArray[Any] = here.recv()
    process.join()
    np.testing.assert_array_equal(found, selected[[0, -1]]["state"])


def test_hdf5(joined: JacobianDataset, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    read = JacobianDataset.from_hdf5(joined.to_hdf5(tmp_path / "joined.h5"))
    assert_same(read[:], joined[:])
    assert read.origins == joined.origins
    assert len(read.windows(6)) == len(joined.windows(6))
    assert_same(read.store.statistics, joined.store.statistics)


def test_other_libraries(joined: JacobianDataset) -> None:
    some = joined.select(slice(180, 260))
    truth = some[:]
    xarray = pytest.importorskip("xarray")
    found = some.to_xarray()
    assert isinstance(found, xarray.Dataset)
    assert_same({name: found[name].values for name in some.columns}, truth)
    pytest.importorskip("datasets")
    table = some.to_hf().with_format("numpy")
    np.testing.assert_array_equal(np.asarray(table["origin"]), truth["origin"])


@pytest.mark.slow
def test_torch(joined: JacobianDataset) -> None:
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(joined.to_torch(), batch_size=64)
    found = torch.cat([batch["origin"] for batch in loader])
    np.testing.assert_array_equal(found.numpy(), joined[:]["origin"])
