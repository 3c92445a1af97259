import multiprocessing
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from pendulum_rows import LENGTHS, ROWS, Arrays, make_root

from dynamic_sparsity.errors import CorruptStoreError, InvalidSettingError, UnknownNameError
from dynamic_sparsity.loaders import JacobianDataset, load_dataset
from dynamic_sparsity.loaders import coordinates as conversion
from dynamic_sparsity.testing import make_store


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_root(tmp_path_factory.mktemp("data"))
    make_store(root / "Pendulums/noise-stock.zarr", stock=True, actions=0, episodes=3)
    return root


@pytest.fixture(scope="module")
def dataset(root: Path) -> JacobianDataset:
    return load_dataset("Pendulums", root=root)


@pytest.fixture(scope="module")
def truth(dataset: JacobianDataset) -> Arrays:
    """All rows without padding, read by zarr-python."""
    group: Any = zarr.open_group(dataset.store.path, mode="r")
    columns = {name: group[name][:] for name in dataset.columns}
    return {name: values[columns["step"] >= 0] for name, values in columns.items()}


def assert_same(found: Arrays, expected: Arrays) -> None:
    assert list(found) == list(expected)
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)
        assert values.dtype == expected[name].dtype and values.shape == expected[name].shape


KEYS: list[Any] = [
    0, -1, np.int32(5), np.array(7), True, slice(None), slice(3, 90), slice(None, None, -7), slice(5, 5),
    slice(200, 999), [], [4], [5, 5, -1, 0], np.arange(ROWS)[::-1], np.arange(12, dtype=np.uint8).reshape(3, 4),
    np.zeros((2, 0), int), np.arange(ROWS) % 3 == 0, np.zeros(ROWS, bool), ..., (), (slice(2, 4),), None,
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key)[:40])
def test_keys_mean_what_they_mean_to_numpy(dataset: JacobianDataset, truth: Arrays, key: Any) -> None:
    expected = {name: np.asarray(values[key]) for name, values in truth.items()}
    found = dataset[key]
    assert_same(found, expected)
    assert all(values.flags.writeable for values in found.values())


@pytest.mark.parametrize(
    "key", [ROWS, -ROWS - 1, [0, ROWS], "state", 1.0, [0.5], (0, 0), np.zeros(3, bool), {}], ids=repr
)
def test_keys_that_numpy_refuses(dataset: JacobianDataset, key: Any) -> None:
    with pytest.raises(IndexError):
        np.zeros(ROWS)[key]
    with pytest.raises(IndexError):
        dataset[key]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_random_keys(dataset: JacobianDataset, truth: Arrays, data: st.DataObject) -> None:
    integers = st.integers(-ROWS, ROWS - 1)
    key = data.draw(st.one_of(integers, st.slices(ROWS), st.lists(integers, max_size=30)))
    assert_same(dataset[key], {name: np.asarray(values[key]) for name, values in truth.items()})


def test_dtypes_and_shapes(dataset: JacobianDataset) -> None:
    row = dataset[3]
    assert row["J_s"].shape == (18, 18) and row["state"].shape == (19,) and row["reward"].shape == ()
    expected = {"J_s": "float32", "mask_s": "uint8", "done": "uint8", "flags": "uint16", "episode": "int32"}
    assert {name: row[name].dtype.name for name in expected} == expected
    assert len(dataset.state_names) == 19 and len(dataset.tangent_names) == 18 and len(dataset.action_names) == 2
    assert "208 rows" in repr(dataset) and "Pendulums" in repr(dataset)


def test_iteration_gives_every_row_once(dataset: JacobianDataset, truth: Arrays) -> None:
    rows = list(dataset)
    assert len(rows) == len(dataset) == ROWS
    assert_same({name: np.stack([row[name] for row in rows]) for name in truth}, truth)


def test_columns(root: Path) -> None:
    assert list(load_dataset("Pendulums", root=root, columns=["reward", "J_s", "reward"])[0]) == ["reward", "J_s"]
    assert list(load_dataset("Pendulums", root=root, columns="flags")[:2]) == ["flags"]
    with pytest.raises(UnknownNameError, match="no column 'jacobian'; there is 'state'"):
        load_dataset("Pendulums", root=root, columns=["jacobian"])


def test_a_store_without_actions(root: Path) -> None:
    dataset = load_dataset("Pendulums", root=root, dynamics="stock", coordinates="ambient")
    assert "qacc_warmstart" in dataset.columns and "J_a" not in dataset.columns
    assert set(dataset.mask()) == {"mask_s"}


@pytest.mark.parametrize(
    "options", [{"split": "dev"}, {"coordinates": "polar"}, {"exclude_flags": ["bad"]}, {"dynamics": "fast"}]
)
def test_unknown_names(root: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UnknownNameError, match=str(next(iter(options.values()))).strip("[]'")):
        load_dataset("Pendulums", root=root, **options)


def test_splits_are_disjoint_and_complete(root: Path, dataset: JacobianDataset) -> None:
    parts = [load_dataset("Pendulums", root=root, split=split) for split in ("train", "validation", "test")]
    rows = np.concatenate([part.rows for part in parts])
    assert sorted(rows.tolist()) == dataset.rows.tolist()
    episodes = [set(part.episodes["index"].tolist()) for part in parts]
    assert sum(map(len, episodes)) == len(set().union(*episodes)) == 12
    for number, part in enumerate(parts):
        assert (part.episodes["split"] == number).all()


def test_normalizing_keeps_tensors_and_gradients(dataset):
    torch = pytest.importorskip("torch")
    rows = dataset[:8]
    state = torch.from_numpy(rows["state"]).requires_grad_()
    found = dataset.normalize({"state": state})["state"]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.detach(), dataset.normalize(rows)["state"], atol=1e-4)
    found.sum().backward()
    assert torch.isfinite(state.grad).all() and (state.grad != 0).any()


def test_excluded_flags(root: Path, dataset: JacobianDataset, truth: Arrays) -> None:
    bit = 1 << dataset.metadata["flag_bits"]["active_set_changed"]
    without = load_dataset("Pendulums", root=root, exclude_flags=("active_set_changed", "nonfinite"))
    kept = truth["flags"] & bit == 0
    assert 0 < len(without) == kept.sum() < ROWS
    assert_same(without[:], {name: values[kept] for name, values in truth.items()})
    for window in without.windows(2):
        assert np.diff(window["step"]) == 1 and np.ptp(window["episode"]) == 0


def test_episodes(root: Path, dataset: JacobianDataset, truth: Arrays) -> None:
    for number in (0, 2, 5, -1):
        index = int(dataset.episodes["index"][number])
        episode = dataset.episode(number)
        assert_same(episode, {name: values[truth["episode"] == index] for name, values in truth.items()})
        assert len(episode["step"]) == LENGTHS.get(index, 20)
        np.testing.assert_array_equal(episode["next_state"][:-1], episode["state"][1:])
    test = load_dataset("Pendulums", root=root, split="test")
    assert np.unique(test.episode(0)["episode"]).tolist() == [test.episodes["index"][0]]
    with pytest.raises(IndexError):
        dataset.episode(12)


def test_selection(dataset: JacobianDataset, truth: Arrays) -> None:
    large = truth["reward"] > 0.5
    chosen = dataset.select(large)
    assert_same(chosen[:], {name: values[large] for name, values in truth.items()})
    again = pickle.loads(pickle.dumps(chosen.select([3, 1, 1]).select(slice(None, None, -1))))
    assert_same(again[:], {name: values[large][[1, 1, 3]] for name, values in truth.items()})
    assert len(dataset.select(slice(0, 0))) == 0 and list(dataset.select([]).batches(4)) == []
    assert len(chosen.episodes["index"]) == len(np.unique(truth["episode"][large]))
    assert np.unique(chosen.episode(0)["episode"]).size == 1
    for key in (3, [[0, 1]]):
        with pytest.raises(IndexError, match="one dimension"):
            dataset.select(key)
    with pytest.raises(IndexError):
        dataset.select(large[:-1])


def test_other_columns_of_the_same_rows(root: Path, dataset: JacobianDataset, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(len(dataset))[:30]
    some = dataset.select(order)
    other, ambient = some.with_columns(["J_s", "step"]), some.with_columns("J_s", coordinates="ambient")
    assert other.columns == ("J_s", "step") and some.columns == dataset.columns
    assert_same(other[:], {name: some[:][name] for name in other.columns})
    assert (other.coordinates, ambient.coordinates) == ("tangent", "ambient")
    expected = load_dataset("Pendulums", root=root, coordinates="ambient")[order]["J_s"]
    np.testing.assert_array_equal(ambient[:]["J_s"], expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ambient))[4:7]["J_s"], expected[4:7])
    file = JacobianDataset.from_hdf5(some.to_hdf5(tmp_path / "some.h5")).select(slice(5, 20))
    np.testing.assert_array_equal(file.with_columns("step", coordinates="ambient")[:]["step"], other[5:20]["step"])
    sized = load_dataset("Pendulums", root=root, verify="size").with_columns("step")
    assert sized.store.ledger.mode == "size"  # type: ignore[attr-defined]
    with pytest.raises(UnknownNameError, match="no column 'jacobian'"):
        some.with_columns("jacobian")
    written = load_dataset("Pendulums", root=root, coordinates="ambient").to_hdf5(tmp_path / "ambient.h5")
    with pytest.raises(InvalidSettingError, match="holds ambient coordinates"):
        JacobianDataset.from_hdf5(written).with_columns("J_s", coordinates="tangent")


def test_ambient_coordinates(root: Path, dataset: JacobianDataset) -> None:
    ambient = load_dataset("Pendulums", root=root, coordinates="ambient", columns=("J_a", "mask_s"))
    stored, joints = dataset[:], dataset.metadata["joints"]
    J_s, J_a = conversion.to_ambient(stored["J_s"], stored["J_a"], stored["state"], stored["next_state"], joints)
    mask_s, _ = conversion.masks_to_ambient(stored["mask_s"], stored["mask_a"], joints)
    assert_same(ambient[:], {"J_a": J_a, "mask_s": mask_s})
    assert ambient[5]["mask_s"].shape == (19, 19)
    np.testing.assert_array_equal(ambient.mask(1e-3)["mask_s"], np.abs(J_s) >= 1e-3)


def test_masks_for_other_thresholds(dataset: JacobianDataset, truth: Arrays) -> None:
    for threshold in (1e-9, 1e-3, 0.5):
        masks = dataset.mask(threshold)
        np.testing.assert_array_equal(masks["mask_s"], np.abs(truth["J_s"]) >= threshold)
        np.testing.assert_array_equal(masks["mask_a"], np.abs(truth["J_a"]) >= threshold)
    relative = dataset.mask(0.1, [3, -1], relative=True)
    size = np.abs(truth["J_a"][[3, -1]])
    np.testing.assert_array_equal(relative["mask_a"], size >= 0.1 * size.max(axis=(1, 2), keepdims=True))
    assert dataset.mask(indices=4)["mask_s"].shape == (18, 18)
    assert dataset.mask(indices=[])["mask_s"].shape == (0, 18, 18)
    with pytest.raises(InvalidSettingError, match="greater than 0"):
        dataset.mask(0)


def test_statistics_normalise_the_train_split(root: Path) -> None:
    train = load_dataset("Pendulums", root=root, split="train")
    batch = train[:] | {"delta": train[:]["next_state"] - train[:]["state"]}
    normalized = train.normalize(batch)
    for name in ("state", "action", "next_state", "delta", "reward"):
        assert train.statistics[name]["count"] == len(train)
        np.testing.assert_allclose(train.statistics[name]["min"], batch[name].min(axis=0), rtol=1e-6)
        np.testing.assert_allclose(normalized[name].mean(axis=0), 0, atol=1e-4)
        constant = train.statistics[name]["std"] == 0
        np.testing.assert_allclose(normalized[name].std(axis=0)[()], np.where(constant, 0, 1), atol=1e-4)
        assert normalized[name].dtype == np.float32
    assert normalized["J_s"] is batch["J_s"]
    for name, values in train.denormalize(normalized).items():
        np.testing.assert_allclose(values, batch[name], rtol=1e-4, atol=1e-5)


def test_constant_dimensions_are_not_divided_by_zero(root: Path) -> None:
    dataset = load_dataset("Pendulums", root=root)
    dataset.statistics["state"]["std"][0] = 0
    assert np.isfinite(dataset.normalize(dataset[:5])["state"]).all()


def test_sparsity(dataset: JacobianDataset, truth: Arrays) -> None:
    summary = dataset.sparsity()
    np.testing.assert_allclose(summary["zero_share_s"], (truth["mask_s"] == 0).mean(axis=0))
    assert summary["mean_zero_share_a"] == pytest.approx((truth["mask_a"] == 0).mean())
    assert summary["rows_all"] == summary["rows_contact"] + summary["rows_free"] == ROWS


@pytest.mark.slow
def test_pickles_carry_no_data(dataset: JacobianDataset, truth: Arrays) -> None:
    dataset[:]
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 20_000
    copy = pickle.loads(pickled)
    assert copy.store.verified == dataset.store.verified
    assert_same(copy[:], truth)


def _digest_of_rows(dataset: JacobianDataset, rows: Sequence[int]) -> float:
    return float(sum(values.astype(np.float64)[np.isfinite(values)].sum() for values in dataset[list(rows)].values()))


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # JAX warns where another test has imported it
@pytest.mark.slow
def test_other_processes_read_the_same(dataset: JacobianDataset, method: str) -> None:
    if method == "fork" and sys.platform != "linux":
        pytest.skip("fork is safe on Linux only")
    parts = [range(number, ROWS, 2) for number in range(2)]
    expected = [_digest_of_rows(dataset, part) for part in parts]
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.starmap_async(_digest_of_rows, [(dataset, part) for part in parts]).get(timeout=900)
    assert found == expected


def test_flipped_bit_in_a_shard(root: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(root / "Pendulums", tmp_path / "Pendulums")
    shard = tmp_path / "Pendulums/noise.zarr/J_s/c/2/0/0"
    contents = bytearray(shard.read_bytes())
    contents[1000] ^= 1
    shard.write_bytes(contents)
    dataset = load_dataset("Pendulums", root=tmp_path)
    assert dataset[0]["J_s"].any()
    with pytest.raises(CorruptStoreError, match=r"J_s/c/2/0/0.*dynamic-sparsity verify"):
        dataset[-1]


def test_as_torchs_fetcher_calls_it(dataset: JacobianDataset, truth: Arrays) -> None:
    indices = [5, 0, 7]
    samples = dataset.__getitems__(indices)
    assert isinstance(samples, list) and len(samples) == 3
    for sample, index in zip(samples, indices, strict=True):
        assert_same(sample, dataset[index])


@pytest.mark.slow
def test_torch_data_loader(dataset: JacobianDataset, truth: Arrays) -> None:
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(dataset, batch_size=50, num_workers=0)
    batches = list(loader)
    assert len(batches) == -(-ROWS // 50)
    np.testing.assert_array_equal(torch.cat([batch["J_s"] for batch in batches]).numpy(), truth["J_s"])
    whole = torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(dataset), 50, False)
    batches = list(torch.utils.data.DataLoader(dataset, sampler=whole, batch_size=None))
    np.testing.assert_array_equal(torch.cat([batch["reward"] for batch in batches]).numpy(), truth["reward"])
