"""Parts of what brings bytes from the Hub: long answers, work in threads, and which rows a copy holds."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dynamic_sparsity.errors import IncompleteStoreError
from dynamic_sparsity.loaders.hub import range_request as ranges
from dynamic_sparsity.loaders.hub.transfer import in_threads
from dynamic_sparsity.loaders.store.partial import PARTIAL_FILE, PartialLedger
from dynamic_sparsity.testing import make_store


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection; the first one's waits are limited, as the HTTP client does it."""
    here, there = socket.socketpair()
    here.settimeout(10)
    with here, there:
        yield here, there


def test_a_long_answer_comes_in_one_call(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    sent = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8)
    found = np.zeros_like(sent)
    sender = threading.Thread(target=lambda: [there.sendall(part.data) for part in np.array_split(sent, 7)])
    sender.start()
    assert ranges._receive_all(here, found) == sent.size
    sender.join()
    np.testing.assert_array_equal(found, sent)


def test_an_answer_that_breaks_off(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    there.sendall(b"half of it")
    there.close()
    found = np.zeros(100, np.uint8)
    assert ranges._receive_all(here, found) == 10
    assert found[:10].tobytes() == b"half of it"
    assert ranges._receive_all(here, found[10:]) == 0


def test_an_answer_that_does_not_come(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = ends
    monkeypatch.setattr(ranges, "RANGE_TIMEOUT_S", 1)
    there.sendall(b"some")
    found = np.zeros(100, np.uint8)
    assert ranges._receive_all(here, found) == 4
    with pytest.raises(TimeoutError, match="nothing came"):
        ranges._receive_all(here, found[4:])


def test_the_first_error_stops_what_has_not_begun() -> None:
    done = []

    def work(item: int) -> None:
        if item == 1:
            raise ValueError("of item 1")
        done.append(item)

    with pytest.raises(ValueError, match="of item 1"):
        in_threads(work, range(1000), threads=1)
    assert done[:1] == [0] and len(done) < 1000
    in_threads(work, [0, 2, 3], threads=2)


@pytest.mark.parametrize("marked", [0, 2**24])
def test_which_rows_are_there(marked: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamic_sparsity.loaders.store.partial.ROWS_MARKED_MAX", marked)
    store = make_store(tmp_path / "Pendulums/noise.zarr")
    ranges = [[0, 3], [3, 5], [20, 31], [9, 10]]
    document = {"split": "test", "rows": 40, "shard_rows": 16, "ranges": ranges}
    (store / PARTIAL_FILE).write_text(str(document).replace("'", '"'))
    ledger = PartialLedger(store, {})
    there = {row for start, stop in ranges for row in range(start, stop)}
    for start in range(40):
        for stop in range(start + 1, 41):
            assert ledger.holds(start, stop) == bool(there & set(range(start, stop))), (start, stop)
    for rows in [
        slice(0, 0),
        np.array([], int),
        np.array([30, 0]),
        *(slice(a, b) for a in range(40) for b in range(a, 41)),
    ]:
        asked = set(np.arange(40)[rows].tolist())
        if asked <= there:
            ledger.require(rows)
        else:
            with pytest.raises(IncompleteStoreError):
                ledger.require(rows)
    assert [ledger.shard_ranges(shard).tolist() for shard in range(4)] == [[[0, 5], [9, 10]], [[4, 15]], [], []]
