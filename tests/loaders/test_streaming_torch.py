"""Streams as torch's DataLoader reads them: workers, ranks, epochs, positions."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamed_pendulums import REPO, make_pendulums, publish_pendulums

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.streaming import StreamingDataset
from dynamic_sparsity.testing import HubServer, Repository

torch = pytest.importorskip("torch", reason="torch is large; it is installed by the extra of its name")

COLUMNS = ["state", "episode", "step", "flags"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pendulums(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def snapshot(root: Path) -> dict[str, Repository]:
    return publish_pendulums(root)


@pytest.fixture
def stream(snapshot: dict[str, Repository], hub: HubServer) -> Iterator[StreamingDataset]:
    hub.repositories.update(deepcopy(snapshot))
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=COLUMNS)
    yield stream
    stream.close()


@pytest.fixture(scope="module")
def truth(root: Path) -> dict[str, np.ndarray]:
    return load_dataset("Pendulums", root=root, columns=COLUMNS)[:]


def places(batches: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Episode and step of each row, in the order in which rows come."""
    return [
        (int(episode), int(step))
        for batch in batches
        for episode, step in zip(batch["episode"].reshape(-1), batch["step"].reshape(-1), strict=True)
    ]


def test_the_data_loader_takes_the_stream_itself(stream: StreamingDataset, truth: dict[str, np.ndarray]) -> None:
    assert isinstance(stream, torch.utils.data.IterableDataset)
    batches = list(torch.utils.data.DataLoader(stream, batch_size=50))
    for name, values in truth.items():
        found = torch.cat([batch[name] for batch in batches]).numpy()
        np.testing.assert_array_equal(found, values, err_msg=name)
        assert found.dtype == values.dtype


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_share_the_rows(context: str, stream: StreamingDataset, truth: dict[str, np.ndarray]) -> None:
    expected = sorted(zip(truth["episode"].tolist(), truth["step"].tolist(), strict=True))
    options: dict[str, Any] = {"num_workers": 2, "multiprocessing_context": context}
    assert sorted(places(list(torch.utils.data.DataLoader(stream, batch_size=50, **options)))) == expected
    batches = stream.to_torch(32, seed=1)
    loader = torch.utils.data.DataLoader(batches, batch_size=None, persistent_workers=True, **options)
    orders = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        orders.append(places(list(loader)))
        assert sorted(orders[-1]) == expected
    assert orders[0] == orders[2] != orders[1]


def test_more_workers_than_chunks(stream: StreamingDataset) -> None:
    chunks = len(stream.chunks)
    loader = torch.utils.data.DataLoader(stream.to_torch(8, world_size=chunks, rank=1), batch_size=None, num_workers=2)
    with pytest.raises(InvalidSettingError, match=rf"{chunks} chunks, too few for {2 * chunks} parts"):
        list(loader)


@pytest.mark.parametrize("batch_size", [32, None])
def test_epochs_and_positions(batch_size: int | None, stream: StreamingDataset) -> None:
    rows = stream.to_torch(batch_size, seed=3)
    with pytest.raises(InvalidSettingError, match="StatefulDataLoader"):
        rows.state_dict()
    first = places(list(rows))
    assert places(list(rows)) == first
    rows.set_epoch(1)
    second = places(list(rows))
    assert second != first and sorted(second) == sorted(first)
    done = []
    for number, batch in enumerate(rows):
        done += places([batch])
        if number == 8:
            break
    state = json.loads(json.dumps(rows.state_dict()))
    again = stream.to_torch(batch_size, seed=3)
    again.load_state_dict(state)
    assert done + places(list(again)) == second
    # An iteration that is over continues with the next epoch.
    rows.load_state_dict(again.state_dict())
    third = places(list(rows))
    rows.set_epoch(2)
    assert places(list(rows)) == third not in (first, second)
    with pytest.raises(InvalidSettingError, match="seed"):
        stream.to_torch(batch_size, seed=4).load_state_dict(state)


def test_a_pickled_stream(stream: StreamingDataset, truth: dict[str, np.ndarray]) -> None:
    again = pickle.loads(pickle.dumps(stream))
    np.testing.assert_array_equal(np.stack([row["state"] for row in again]), truth["state"])
    assert again._sources[0].copy.path != stream._sources[0].copy.path
    batches = pickle.loads(pickle.dumps(stream.to_torch(16, seed=2)))
    assert places(list(batches)) == places(list(stream.to_torch(16, seed=2)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # torchdata's, of torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_stateful_data_loader(stream: StreamingDataset) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def loader() -> Any:
        return stateful(stream.to_torch(16, seed=5), batch_size=None, num_workers=2)

    expected = places(list(loader()))
    begun = loader()
    running = iter(begun)
    done = places([next(running) for _ in range(7)])
    state = begun.state_dict()
    again = loader()
    again.load_state_dict(state)
    assert done + places(list(again)) == expected
