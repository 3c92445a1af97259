"""Streaming from the Hub: the same rows, in an order that depends on the arguments only, and a state to go on from."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamed_pendulums import REPO, make_pendulums, publish_pendulums

from dynamic_sparsity import load_dataset
from dynamic_sparsity.errors import CorruptStoreError, HubError, HubNotFoundError, InvalidSettingError, UnknownNameError
from dynamic_sparsity.loaders.hub.shard_window import Receiver
from dynamic_sparsity.loaders.row_reader import RowReader
from dynamic_sparsity.testing import Fault, HubServer, Repository


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pendulums(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def snapshot(root: Path) -> dict[str, Repository]:
    return publish_pendulums(root)


def joined(batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def in_order(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    order = np.lexsort((rows["step"], rows["episode"]))
    return {name: values[order] for name, values in rows.items()}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done with large files is done with small ones."""
    monkeypatch.setattr("dynamic_sparsity.loaders.hub.shard_window.PART_BYTES_MAX", 3000)
    monkeypatch.setattr("dynamic_sparsity.loaders.hub.shard_window.REUSED_BYTES_MIN", 0)
    monkeypatch.setattr("dynamic_sparsity.loaders.hub.range_request.DIRECT_BYTES_MIN", 1)


REQUESTS: list[dict[str, Any]] = [
    {},
    {"split": "test", "columns": ["J_s", "episode", "step"]},
    {"split": "train", "coordinates": "ambient"},
    {"exclude_flags": ["active_set_changed"], "columns": ["state", "step", "episode", "truncated"]},
]


@pytest.mark.slow
@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_same_rows_in_small_parts(
    request_: dict[str, Any], published: HubServer, root: Path, small_parts: None
) -> None:
    test_same_rows(request_, published, root)


@pytest.mark.fast_sample(4)
@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_same_rows(request_: dict[str, Any], published: HubServer, root: Path) -> None:
    expected = load_dataset("Pendulums", root=root, **request_)[:]
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, **request_)
    for batch_size in (7, 1000):
        found = joined(list(stream.batches(batch_size, shuffle=False)))
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
    shuffled = joined(list(stream.batches(7, seed=1, buffer_shards=1)))
    assert any(not np.array_equal(shuffled[name], expected[name]) for name in ("episode", "step"))
    for name, values in in_order(expected).items():
        np.testing.assert_array_equal(in_order(shuffled)[name], values, err_msg=name)
    rows = list(stream)
    assert len(rows) == len(expected["step"]) and rows[5]["step"] == expected["step"][5]
    stream.close()


@pytest.mark.slow
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [64, 100])
def test_goes_on_where_it_stopped(batch_size: int, drop_last: bool, published: HubServer) -> None:
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["state"])
    options: dict[str, Any] = {"seed": 4, "epochs": 2, "buffer_shards": 1, "drop_last": drop_last}
    reference, states = [], []
    running = stream.batches(batch_size, **options)
    states.append(running.state_dict())
    for batch in running:
        reference.append(batch["state"])
        states.append(json.loads(json.dumps(running.state_dict())))
    sizes = [len(batch) for batch in reference]
    assert sum(sizes) == (2 * 391 if not drop_last else 2 * (391 - 391 % batch_size))
    assert {*sizes} <= {batch_size, 391 % batch_size}
    assert not np.array_equal(reference[0], reference[len(reference) // 2])
    for number, state in enumerate(states):
        again = stream.batches(batch_size, **options)
        again.load_state_dict(state)
        rest = [batch["state"] for batch in again]
        assert len(rest) == len(reference) - number
        for found, expected in zip(rest, reference[number:], strict=True):
            np.testing.assert_array_equal(found, expected)
    with pytest.raises(InvalidSettingError, match="seed"):
        stream.batches(batch_size, **{**options, "seed": 5}).load_state_dict(states[1])


@pytest.mark.slow
def test_parts_are_disjoint_and_whole(published: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["episode", "step", "state"])
    chunks, chunk_rows = len(stream.chunks), stream.metadata["chunk_rows"]
    assert chunks > len(stream.shards)
    for parts in (3, chunks):
        read = [list(stream.batches(16, rank=index, world_size=parts)) for index in range(parts)]
        found = joined([batch for part in read for batch in part])
        assert (
            len(set(zip(found["episode"].tolist(), found["step"].tolist(), strict=True))) == 391 == len(found["step"])
        )
        sizes = [sum(len(batch["step"]) for batch in part) for part in read]
        assert max(sizes) - min(sizes) <= 2 * chunk_rows and min(sizes) > 0
    for options in ({"part": (0, chunks + 1)}, {"rank": 1, "world_size": chunks + 1}):
        with pytest.raises(InvalidSettingError, match=f"{chunks} chunks, too few for {chunks + 1} parts"):
            stream.batches(16, **options)
    # A part of a shard costs only its own pieces, where that saves bytes.
    monkeypatch.setattr("dynamic_sparsity.loaders.hub.transfer_plan.LEAST_BYTES_SAVED", 0)
    monkeypatch.setattr("dynamic_sparsity.loaders.hub.transfer_plan.GAP_BYTES_MAX", 0)
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["J_s"])
    sent = []
    for parts in (1, chunks):
        published.requests.clear()
        list(stream.batches(16, part=(0, parts), shuffle=False))
        sent.append(published.bytes_sent())
    assert 0 < sent[1] < sent[0] / len(stream.shards)


def test_no_epoch_is_silently_empty(published: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["step"])
    with pytest.raises(InvalidSettingError, match="no full batch of 400 rows"):
        list(stream.batches(400, drop_last=True, epochs=None))
    assert list(stream.batches(400, epochs=0)) == []
    monkeypatch.setattr(
        RowReader, "fetch", lambda self, rows, columns: {"flags": np.full(rows.size, 0xFFFF, np.uint16)}
    )
    flagged = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["step"], exclude_flags=["nonfinite"])
    with pytest.raises(InvalidSettingError, match=r"part 1 of 3 of .* has no rows without the flags nonfinite"):
        list(flagged.batches(16, part=(1, 3)))


def test_nothing_is_kept(published: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[weakref.ref[Any]] = []

    def receive(self: Receiver, *arguments: Any) -> dict[str, np.ndarray]:
        found = original(self, *arguments)
        fetched.extend(weakref.ref(values) for values in found.values())
        return found

    original = Receiver.receive
    monkeypatch.setattr(Receiver, "receive", receive)
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["J_s"])
    folder = stream._sources[0].copy.path
    most = 0
    for _ in stream.batches(10, buffer_shards=1):
        most = max(most, sum(reference() is not None for reference in fetched))
        assert not [path for path in (folder / "J_s/c").rglob("*") if path.is_file()]
    assert len(fetched) == 5 and 1 <= most <= 2
    assert not [reference for reference in fetched if reference() is not None]
    stream.close()
    assert not folder.exists()


def test_memory_is_used_again(published: HubServer, small_parts: None) -> None:
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["J_s"])
    for _ in range(3):
        list(stream.batches(10, buffer_shards=1))
    assert 1 <= sum(map(len, stream._sources[0].receiver._spare.values())) <= 2


def test_a_whole_copy_in_the_cache_is_used(published: HubServer, root: Path) -> None:
    path = load_dataset("Pendulums", repo_id=REPO, columns=["J_s"]).store.path
    damaged = (path / "J_s/c/1/0/0").resolve()
    content = bytearray(damaged.read_bytes())
    content[700] ^= 1
    damaged.write_bytes(content)
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["J_s"])
    published.requests.clear()
    found = joined(list(stream.batches(50, shuffle=False)))
    np.testing.assert_array_equal(found["J_s"], load_dataset("Pendulums", root=root, columns=["J_s"])[:]["J_s"])
    assert {seen.path.split("/J_s/")[-1] for seen in published.requests} == {"c/1/0/0"}


def test_small_files_come_with_the_index(published: HubServer, root: Path) -> None:
    request: dict[str, Any] = {"columns": ["flags", "step"]}
    expected = load_dataset("Pendulums", root=root, **request)[:]
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, **request)
    for _ in range(2):
        found = joined(list(stream.batches(7, shuffle=False)))
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert not [seen.path for seen in published.requests if "/c/" in seen.path]
    # One that is damaged after it was unpacked is fetched.
    damaged = stream._sources[0].copy.path / "flags/c/1"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    np.testing.assert_array_equal(joined(list(stream.batches(7, shuffle=False)))["flags"], expected["flags"])
    assert [seen.path.split("/flags/")[-1] for seen in published.requests if "/c/" in seen.path] == ["c/1"]
    published.requests.clear()
    here = load_dataset("Pendulums", repo_id=REPO, **request)
    np.testing.assert_array_equal(here[:]["flags"], expected["flags"])
    assert not [seen.path for seen in published.requests if "/c/" in seen.path]


@pytest.mark.parametrize("split", [None, "test"])
@pytest.mark.slow
def test_offline(split: str | None, published: HubServer, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was downloaded is streamed without any request; what was not is an error at once, not after some tries."""
    from huggingface_hub import constants

    # Of files this small all would be fetched whole.
    monkeypatch.setattr("dynamic_sparsity.loaders.hub.transfer_plan.LEAST_BYTES_SAVED", 0)
    monkeypatch.setattr("dynamic_sparsity.loaders.hub.transfer_plan.GAP_BYTES_MAX", 0)
    request: dict[str, Any] = {"split": split, "columns": ["state", "J_s", "mask_s"]}
    path = load_dataset("Pendulums", repo_id=REPO, **request).store.path
    whole = [file for file in (path / "J_s/c").rglob("*") if file.is_symlink()]
    assert bool(whole) == (split is None)
    published.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("there is nothing to wait for"))
    expected = load_dataset("Pendulums", root=root, **request)[:]
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, **request)
    found = joined(list(stream.batches(7, shuffle=False)))
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    for other in ({"columns": ["J_a"]}, {"split": "train"} if split else {"columns": None}):
        with pytest.raises(HubNotFoundError, match=r"not in the cache.*dynamic-sparsity download"):
            list(load_dataset("Pendulums", repo_id=REPO, streaming=True, **request | other).batches(7))
    with pytest.raises(HubNotFoundError, match="not in the cache"):
        load_dataset("Pendulums", repo_id=REPO, streaming=True, revision="v3.0.0")
    assert not published.requests


def test_whole_files_in_the_cache_serve_any_split(published: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamic_sparsity.loaders.hub.transfer_plan.LEAST_BYTES_SAVED", 0)
    load_dataset("Pendulums", repo_id=REPO, columns=["J_s"])
    published.requests.clear()
    rows = list(load_dataset("Pendulums", repo_id=REPO, split="test", columns=["J_s"], streaming=True))
    assert len(rows) > 0
    assert not [seen.path for seen in published.requests if "/J_s/" in seen.path]


def test_buffer_is_small_where_shards_are_large(published: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["J_s"])
    assert stream.batches(10).settings.buffer_shards == 2
    monkeypatch.setattr("dynamic_sparsity.loaders.streaming.dataset.BUFFER_BYTES", 1000)
    assert stream.batches(10).settings.buffer_shards == 1
    assert stream.batches(10, buffer_shards=3).settings.buffer_shards == 3


@pytest.mark.parametrize("parts", ["whole", "small"])
def test_faults(
    parts: str, published: HubServer, root: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if parts == "small":
        request.getfixturevalue("small_parts")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["J_s"])
    published.faults = [
        Fault("drop", "J_s/c/1", "GET", 2),
        Fault("status", "J_s/c/2", "GET", status=429, retry_after=1),
        Fault("corrupt", "J_s/c/3", "GET"),
        Fault("truncate", "J_s/c/0", "GET"),
    ]
    found = joined(list(stream.batches(50, shuffle=False)))
    assert all(fault.times == 0 for fault in published.faults)
    np.testing.assert_array_equal(found["J_s"], load_dataset("Pendulums", root=root, columns=["J_s"])[:]["J_s"])
    published.faults = [Fault("corrupt", "J_s/c/3", "GET", times=100)]
    rows = 0
    with pytest.raises(CorruptStoreError, match="J_s/c/3"):
        for batch in stream.batches(10, shuffle=False, buffer_shards=1):
            rows += len(batch["J_s"])
    assert rows <= 3 * 80


def test_bytes_behind_the_end_of_a_truncated_file(published: HubServer) -> None:
    repository = load_dataset("Pendulums", repo_id=REPO, streaming=True)._sources[0].copy.repository
    path = "Pendulums/noise.zarr/J_s/c/0/0/0"
    content = published.content(REPO, path)
    out = np.zeros(len(content) // 4, np.uint8)
    published.faults = [Fault("truncate", "J_s/c/0", "GET", 2)]
    repository.receive(path, len(content) - out.size, out)
    assert out.tobytes() == content[-out.size :]
    published.faults = [Fault("truncate", "J_s/c/0", "GET", 100)]
    with pytest.raises(HubError, match=f"gave 0 of {out.size} bytes"):
        repository.receive(path, len(content) - out.size, out)


def test_bad_settings(published: HubServer) -> None:
    with pytest.raises(UnknownNameError, match="J_x"):
        load_dataset("Pendulums", repo_id=REPO, streaming=True, columns=["J_x"])
    stream = load_dataset("Pendulums", repo_id=REPO, streaming=True)
    assert "391 rows" in repr(stream) and len(stream) == 391
    for options in ({"batch_size": 0}, {"buffer_shards": 0}, {"part": (2, 2)}, {"seed": -1}):
        with pytest.raises(InvalidSettingError):
            stream.batches(**{"batch_size": 4, **options})
