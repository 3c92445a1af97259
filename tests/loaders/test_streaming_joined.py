"""Streaming several policies as one data set: all rows of all, once, with their origin; shared out by chunks."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_root import publish_root
from streamed_pendulums import REPO

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import HubNotFoundError, InvalidSettingError, UnknownNameError
from dynamic_sparsity.testing import HubServer, Repository, make_store

pytestmark = pytest.mark.slow

POLICIES = ["expert", "noise"]
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_store(root / "Pendulums/noise.zarr", episodes=20, early={3: 11}, quaternion=True)
    make_store(root / "Pendulums/expert.zarr", episodes=7, policy="expert", quaternion=True)
    make_store(root / "Pendulums/other.zarr", episodes=3, policy="other")
    return root


@pytest.fixture(scope="module")
def snapshot(root: Path) -> dict[str, Repository]:
    return publish_root(root, REPO)


def joined(batches: list[Arrays]) -> Arrays:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def in_order(rows: Arrays) -> Arrays:
    order = np.lexsort((rows["step"], rows["episode"], rows["origin"]))
    return {name: values[order] for name, values in rows.items()}


def assert_equal(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
        assert found[name].dtype == values.dtype


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"split": "train", "columns": ["J_s", "episode", "step"], "coordinates": "ambient"},
        {"exclude_flags": ["active_set_changed"], "columns": ["state", "step", "episode"]},
    ],
    ids=str,
)
def test_the_rows_of_all_policies(request_: dict[str, Any], published: HubServer, root: Path) -> None:
    here = load_dataset("Pendulums", root=root, policy=POLICIES, **request_)
    expected = here[:]
    stream = load_dataset("Pendulums", repo_id=REPO, policy=POLICIES, streaming=True, **request_)
    assert stream.columns == here.columns and stream.origins == here.origins
    assert set(expected["origin"].tolist()) == {0, 1}
    assert len(stream) >= len(expected["step"])
    for batch_size in (7, 1000):
        assert_equal(joined(list(stream.batches(batch_size, shuffle=False))), expected)
    shuffled = joined(list(stream.batches(7, seed=1, buffer_shards=3)))
    assert not np.array_equal(shuffled["origin"], expected["origin"])
    assert_equal(in_order(shuffled), in_order(expected))
    for name, values in here.statistics["state"].items():
        np.testing.assert_array_equal(stream.statistics["state"][name], values)
    stream.close()


def test_policies_are_mixed_by_the_seed(published: HubServer) -> None:
    stream = load_dataset("Pendulums", repo_id=REPO, policy=POLICIES, streaming=True, columns=["episode", "step"])
    orders = [joined(list(stream.batches(16, seed=seed, epochs=2))) for seed in (3, 3, 4)]
    assert_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0]["episode"], orders[2]["episode"])
    half = len(stream)
    assert not np.array_equal(orders[0]["episode"][:half], orders[0]["episode"][half:])
    # The shards of both policies are drawn from one lot: neither comes as a whole before the other.
    changes = np.flatnonzero(np.diff(orders[0]["origin"][:half]))
    assert changes.size > 2


def test_parts_are_cut_by_the_chunks_of_all(published: HubServer) -> None:
    stream = load_dataset("Pendulums", repo_id=REPO, policy=POLICIES, streaming=True, columns=["episode", "step"])
    alone = [load_dataset("Pendulums", repo_id=REPO, policy=name, streaming=True) for name in POLICIES]
    chunks = len(stream.chunks)
    assert chunks == sum(len(one.chunks) for one in alone) and len(stream) == 391 + 140
    for parts in (2, chunks):
        read = [joined(list(stream.batches(16, part=(index, parts)))) for index in range(parts)]
        keys = [tuple(row) for part in read for row in np.stack([part["episode"], part["step"]], axis=1).tolist()]
        assert len(keys) == len(set(keys)) == len(stream)
        sizes = [len(part["step"]) for part in read]
        assert min(sizes) > 0 and max(sizes) - min(sizes) <= 2 * stream.metadata["chunk_rows"]
    with pytest.raises(InvalidSettingError, match=f"{chunks} chunks, too few for {chunks + 1} parts"):
        stream.batches(16, part=(0, chunks + 1))


def test_goes_on_where_it_stopped(published: HubServer) -> None:
    stream = load_dataset("Pendulums", repo_id=REPO, policy=POLICIES, streaming=True, columns=["episode", "step"])
    options: dict[str, Any] = {"seed": 4, "epochs": 2, "buffer_shards": 1}
    running, reference, states = stream.batches(64, **options), [], []
    for batch in running:
        reference.append(batch)
        states.append(json.loads(json.dumps(running.state_dict())))
    again = pickle.loads(pickle.dumps(stream))
    for number in (0, 5, len(states) - 1):
        rest = again.batches(64, **options)
        rest.load_state_dict(states[number])
        for found, expected in zip(rest, reference[number + 1 :], strict=True):
            assert_equal(found, expected)
    for policies in (POLICIES[::-1], POLICIES[:1], "expert"):
        other = load_dataset("Pendulums", repo_id=REPO, policy=policies, streaming=True, columns=["episode", "step"])
        with pytest.raises(InvalidSettingError, match="manifest_sha256"):
            other.batches(64, **options).load_state_dict(states[0])


def test_one_policy_in_a_list_has_its_origin(published: HubServer, root: Path) -> None:
    stream = load_dataset("Pendulums", repo_id=REPO, policy=["noise"], streaming=True, columns=["step"])
    expected = load_dataset("Pendulums", root=root, policy=["noise"], columns=["step"])[:]
    assert_equal(joined(list(stream.batches(100, shuffle=False))), expected)


def test_what_cannot_be_joined(published: HubServer) -> None:
    options: dict[str, Any] = {"repo_id": REPO, "streaming": True}
    with pytest.raises(InvalidSettingError, match="can't be joined"):
        load_dataset("Pendulums", policy=["noise", "other"], **options)
    with pytest.raises(HubNotFoundError, match="no stranger policy"):
        load_dataset("Pendulums", policy=["noise", "stranger"], **options)
    with pytest.raises(UnknownNameError, match="J_x"):
        load_dataset("Pendulums", policy=POLICIES, columns=["J_x"], **options)
    with pytest.raises(InvalidSettingError, match=r"policy is \[\]"):
        load_dataset("Pendulums", policy=[], **options)
    with pytest.raises(InvalidSettingError, match="give repo_id"):
        load_dataset("Pendulums", root=".", policy=POLICIES, streaming=True)
