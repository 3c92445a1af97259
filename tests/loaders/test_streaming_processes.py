"""A stream in another process, and what it knows without its rows: names, statistics, its position."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamed_pendulums import REPO, make_pendulums, publish_pendulums

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.testing import HubServer, Repository

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pendulums(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def snapshot(root: Path) -> dict[str, Repository]:
    return publish_pendulums(root)


def joined(batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def test_a_position_that_is_none(published: HubServer) -> None:
    batches = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["step"]).batches(16)
    state = batches.state_dict()
    for wrong in ({"epoch": -1}, {"batch": "1"}, {"group": None}, {"carried": True}, {"row": 3}):
        with pytest.raises(InvalidSettingError, match=f"{next(iter(wrong))}"):
            batches.load_state_dict({**state, **wrong})


def test_a_stream_knows_what_a_data_set_knows(published: HubServer, root: Path) -> None:
    request: dict[str, Any] = {"split": "train", "columns": ["state", "action", "step"]}
    dataset = load_dataset("Pendulums", root=root, **request)
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, **request)
    for name in ("state_names", "tangent_names", "action_names", "origins", "metadata"):
        assert getattr(stream, name) == getattr(dataset, name)
    batch = next(stream.batches(16, shuffle=False))
    expected = dataset.normalize(dataset[:16])
    for name, values in stream.normalize(batch).items():
        np.testing.assert_array_equal(values, expected[name])
        np.testing.assert_array_equal(stream.denormalize(batch)[name], dataset.denormalize(dataset[:16])[name])
    np.testing.assert_array_equal(stream.sparsity()["zero_share_s"], dataset.sparsity()["zero_share_s"])
    with pytest.raises(InvalidSettingError, match="to_torch"):
        stream[3]


def test_a_pickled_stream_goes_on(published: HubServer) -> None:
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["state"])
    batches, rows = stream.batches(16, seed=2), iter(stream)
    for _ in range(5):
        next(batches), next(rows)
    again, others = pickle.loads(pickle.dumps(batches)), pickle.loads(pickle.dumps(rows))
    assert again.dataset._sources[0].copy.path != stream._sources[0].copy.path
    np.testing.assert_array_equal(joined(list(again))["state"], joined(list(batches))["state"])
    np.testing.assert_array_equal(next(others)["state"], next(rows)["state"])
