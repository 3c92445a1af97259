"""Sharing chunks among processes: whole, disjoint, balanced; and which process this is."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.streaming.parts import Chunks, check_part, chunks_with_rows, part_of_shards
from dynamic_sparsity.loaders.streaming.processes import Ranks, found_ranks, given_ranks, part_of_process


def test_chunks_with_rows() -> None:
    starts, lengths = np.asarray([0, 20, 40, 60, 80, 200]), np.asarray([20, 1, 0, 20, 20, 1])
    assert chunks_with_rows(starts, lengths, 16).tolist() == [0, 1, 3, 4, 5, 6, 12]
    assert chunks_with_rows(starts[:0], lengths[:0], 16).tolist() == []


@pytest.mark.parametrize("seed", range(5))
def test_parts_are_whole_disjoint_and_balanced(seed: int) -> None:
    generator = np.random.default_rng(seed)
    per_shard, chunk_rows = int(generator.integers(1, 9)), 16
    chunks = np.flatnonzero(generator.random(40) < 0.6)
    shards = generator.permutation(np.unique(chunks // per_shard))
    for parts in range(1, chunks.size + 1):
        found = []
        for index in range(parts):
            own = part_of_shards(Chunks.of_store(chunks, chunk_rows, per_shard * chunk_rows), shards, (index, parts))
            assert len({rows.shard for rows in own}) == len(own)
            covered = [
                rows.shard * per_shard + chunk
                for rows in own
                for chunk in range(rows.start // chunk_rows, rows.stop // chunk_rows)
            ]
            found.append([chunk for chunk in covered if chunk in chunks])
        sizes = [len(part) for part in found]
        assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
        assert sorted(chunk for part in found for chunk in part) == chunks.tolist()
        # The parts follow each other in the order of the shards, so that few shards are read by two of them.
        order = [chunk // per_shard for part in found for chunk in part]
        assert list(dict.fromkeys(order)) == shards.tolist()


def test_parts_of_stores_with_other_chunks() -> None:
    small, large = Chunks.of_store(np.arange(6), 16, 32), Chunks.of_store(np.asarray([0, 2, 3]), 64, 128)
    chunks, shards = Chunks.of_several([small, large], [0, 3]), np.asarray([4, 0, 3, 2, 1])
    assert len(chunks) == 9 and chunks.shard.tolist() == [0, 0, 1, 1, 2, 2, 3, 4, 4]
    found = [part_of_shards(chunks, shards, (index, 3)) for index in range(3)]
    assert [[(rows.shard, rows.start, rows.stop) for rows in part] for part in found] == [
        [(4, 0, 128), (0, 0, 16)],
        [(0, 16, 32), (3, 0, 64), (2, 0, 16)],
        [(2, 16, 32), (1, 0, 32)],
    ]


def test_too_many_parts() -> None:
    check_part((4, 5), 5, "the split")
    with pytest.raises(InvalidSettingError, match=r"5 chunks, too few for 6 parts.*num_workers"):
        check_part((0, 6), 5, "the split")
    with pytest.raises(InvalidSettingError, match="the split has no rows"):
        check_part((0, 1), 0, "the split")
    with pytest.raises(InvalidSettingError, match=r"part is \(2, 2\)"):
        check_part((2, 2), 5, "the split")


class Process:
    """What torch and JAX say of a process, without either."""

    def __init__(self, patch: pytest.MonkeyPatch):
        """Say nothing: neither is loaded.

        Args:
            patch: Undoes it.
        """
        self.patch = patch
        for name in ("torch.distributed", "torch.utils.data", "jax"):
            patch.delitem(sys.modules, name, raising=False)

    def of_torch(self, rank: int | None, worker: tuple[int, int] | None = None) -> None:
        """Be a rank of 3, or of none, and a worker, or none."""
        distributed = SimpleNamespace(
            is_available=lambda: True,
            is_initialized=lambda: rank is not None,
            get_rank=lambda: rank,
            get_world_size=lambda: 3,
        )
        info = None if worker is None else SimpleNamespace(id=worker[0], num_workers=worker[1])
        self.patch.setitem(sys.modules, "torch.distributed", distributed)
        self.patch.setitem(sys.modules, "torch.utils.data", SimpleNamespace(get_worker_info=lambda: info))

    def of_jax(self, index: int | None) -> None:
        """Be a process of 4; not initialised for None, when to ask for the index would begin to use the devices."""

        def process_index() -> int:
            assert index is not None, "jax must not be asked before it is initialised"
            return index

        distributed = SimpleNamespace(is_initialized=lambda: index is not None)
        jax = SimpleNamespace(distributed=distributed, process_index=process_index, process_count=lambda: 4)
        self.patch.setitem(sys.modules, "jax", jax)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(monkeypatch)


def test_alone(process: Process) -> None:
    assert found_ranks() is None and part_of_process(None, None) == (0, 1)
    process.of_torch(None)
    process.of_jax(None)
    assert found_ranks() is None and part_of_process(None, None) == (0, 1)


def test_ranks_and_workers(process: Process) -> None:
    process.of_jax(3)
    assert found_ranks() == Ranks(3, 4)
    process.of_torch(2)
    assert found_ranks() == Ranks(2, 3) and part_of_process(None, None) == (2, 3)
    process.of_torch(2, worker=(1, 2))
    assert part_of_process(None, None) == (5, 6)
    assert part_of_process(Ranks(0, 2), None) == (1, 4)
    parts = set()
    for rank in range(3):
        for worker in range(2):
            process.of_torch(rank, worker=(worker, 2))
            parts.add(part_of_process(None, None))
    assert parts == {(number, 6) for number in range(6)}


def test_a_spawned_worker_goes_by_what_was_found_before(process: Process) -> None:
    process.of_torch(None, worker=(1, 2))
    process.of_jax(3)  # which a worker does not ask
    assert part_of_process(None, Ranks(1, 3)) == (3, 6)
    # What was pickled by a rank and is read by a process that is none is whole.
    process.of_torch(None)
    process.of_jax(None)
    assert part_of_process(None, Ranks(1, 3)) == (0, 1)


@pytest.mark.parametrize("ranks", [(1, None), (None, 2), (2, 2), (-1, 2)], ids=str)
def test_ranks_that_do_not_fit(ranks: tuple[int | None, int | None]) -> None:
    assert given_ranks(None, None) is None and given_ranks(1, 2) == Ranks(1, 2)
    with pytest.raises(InvalidSettingError, match=f"rank is {ranks[0]} and world_size is {ranks[1]}"):
        given_ranks(*ranks)
