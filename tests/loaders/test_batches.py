"""Batches and windows of a data set: which rows they hold, in which order, and that they repeat."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pendulum_rows import LENGTHS, ROWS, Arrays, make_root

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders import JacobianDataset, load_dataset
from dynamic_sparsity.loaders.windows import window_starts


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def dataset(root: Path) -> JacobianDataset:
    return load_dataset("Pendulums", root=root)


def _identity(batch: Arrays) -> NDArray[np.int64]:
    return batch["episode"].astype(np.int64) * 1000 + batch["step"]


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("shuffle", ["rows", "blocks", False])
def test_batches_cover_every_row_once_and_repeat(dataset: JacobianDataset, shuffle: Any, prefetch: bool) -> None:
    def order(**options: Any) -> NDArray[np.int64]:
        batches = list(dataset.batches(32, shuffle=shuffle, prefetch=prefetch, **options))
        assert [len(batch["state"]) for batch in batches[:6]] == [32] * 6
        return np.concatenate([_identity(batch) for batch in batches])

    in_order = _identity(dataset[:])
    first = order(seed=1)
    assert sorted(first.tolist()) == in_order.tolist()
    np.testing.assert_array_equal(order(seed=1), first)
    assert order(drop_last=True).size == ROWS // 32 * 32
    twice = order(seed=1, epochs=2)
    np.testing.assert_array_equal(twice[:ROWS], first)
    assert sorted(twice[ROWS:].tolist()) == in_order.tolist()
    if shuffle is False:
        np.testing.assert_array_equal(first, in_order)
    else:
        assert (first != in_order).any() and (order(seed=2) != first).any() and (twice[ROWS:] != first).any()


def test_batches_can_be_left_early(dataset: JacobianDataset) -> None:
    for prefetch in (False, True):
        batches = dataset.batches(8, epochs=None, prefetch=prefetch)
        assert [len(next(batches)["state"]) for _ in range(60)].count(8) >= 58
        batches.close()  # type: ignore[attr-defined]


def test_endless_epochs_without_a_batch(dataset: JacobianDataset) -> None:
    with pytest.raises(InvalidSettingError, match=f"{ROWS} rows give no batch of {ROWS + 1}"):
        next(dataset.batches(ROWS + 1, drop_last=True, epochs=None))


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"shuffle": "all"}, {"shuffle": True}, {"epochs": -1}, {"seed": -1}]
)
def test_wrong_batch_settings(dataset: JacobianDataset, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettingError, match=next(iter(options))):
        dataset.batches(**{"batch_size": 4, **options})


def test_errors_of_the_thread_arrive(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset("Pendulums", root=root)
    monkeypatch.setattr(dataset, "_fetch", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(dataset.batches(4, prefetch=True))


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (5, 1), (5, 3), (20, 1), (21, 1), (3, 40)])
def test_windows_stay_inside_episodes(dataset: JacobianDataset, length: int, stride: int) -> None:
    windows = dataset.windows(length, stride)
    expected = sum(len(range(0, LENGTHS.get(index, 20) - length + 1, stride)) for index in range(12))
    assert len(windows) == expected and str(expected) in repr(windows)
    for window in windows:
        assert window["state"].shape == (length, 19)
        assert (np.diff(window["step"]) == 1).all() and np.ptp(window["episode"]) == 0
        assert window["step"][0] % stride == 0
    if expected:
        batch = pickle.loads(pickle.dumps(windows))[[0, -1]]
        np.testing.assert_array_equal(batch["J_s"][1], windows[expected - 1]["J_s"])
        np.testing.assert_array_equal(windows.__getitems__([0])[0]["J_s"], batch["J_s"][0])
    with pytest.raises(IndexError):
        windows[expected]


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0)])
def test_wrong_window_settings(dataset: JacobianDataset, arguments: tuple[int, int]) -> None:
    with pytest.raises(InvalidSettingError, match="at least 1"):
        dataset.windows(*arguments)


def test_windows_of_no_rows() -> None:
    assert window_starts(np.empty(0, np.int64), np.empty(0, np.int64), 3, 1).size == 0
