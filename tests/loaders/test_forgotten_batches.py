"""Batches that their user leaves before the end, and forgets: the garbage collector may end them at any moment."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dynamic_sparsity import load_dataset
from dynamic_sparsity.loaders.streaming import StreamingDataset
from dynamic_sparsity.testing import HubServer, make_store

Batches = Iterator[dict[str, Any]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one store of many shards, so that there is always something left to fetch."""
    root = tmp_path_factory.mktemp("data")
    make_store(root / "Pendulums/noise.zarr", episodes=20, chunk_rows=8, shard_rows=40)
    return root


def from_disk(root: Path) -> Batches:
    return load_dataset("Pendulums", root=root).batches(8, epochs=None, prefetch=True)


def from_the_hub(root: Path) -> Batches:
    return iter(load_dataset("Pendulums", repo_id="org/name", streaming=True).batches(8, epochs=None))


@pytest.mark.slow
@pytest.mark.parametrize("opened", [from_disk, from_the_hub])
def test_nobody_waits_for_their_threads(
    opened: Callable[[Path], Batches], root: Path, published: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`threading` holds a lock while it starts and joins threads; the collector may interrupt it there."""
    batches = opened(root)
    next(batches)
    cycle: list[Any] = [batches]
    cycle.append(cycle)
    joined: list[str] = []
    here, join = threading.current_thread(), threading.Thread.join

    def recorded(thread: threading.Thread, timeout: float | None = None) -> None:
        if threading.current_thread() is here:
            joined.append(thread.name)
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", recorded)
    del batches, cycle
    gc.collect()
    assert joined == []


@pytest.mark.slow
def test_a_closed_stream_fetches_no_more(published: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch, begun, ended = StreamingDataset.fetch, [], []

    def slow(dataset: StreamingDataset, shards: Any) -> Any:
        begun.append(shards)
        found = fetch(dataset, shards)
        time.sleep(0.1)
        ended.append(shards)
        return found

    monkeypatch.setattr(StreamingDataset, "fetch", slow)
    stream = load_dataset("Pendulums", repo_id="org/name", streaming=True).batches(8, epochs=None)
    next(stream)
    stream.close()
    assert begun
    assert begun == ended
