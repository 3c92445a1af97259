"""Which one of several processes this is, as torch and JAX know it: a rank of a training run, a DataLoader's worker."""

from __future__ import annotations

import sys
from abc import ABCMeta
from dataclasses import dataclass

from dynamic_sparsity.errors import InvalidSettingError

__all__ = ["Ranks", "found_ranks", "given_ranks", "part_of_process", "register"]


@dataclass(frozen=True)
class Ranks:
    """One of the processes that train together.

    Attributes:
        rank: Its number.
        world_size: Their number.
    """

    rank: int
    world_size: int


def given_ranks(rank: int | None, world_size: int | None) -> Ranks | None:
    """Check what a caller says; None if nothing is said.

    Args:
        rank: The process's number, from 0.
        world_size: The number of processes.

    Raises:
        InvalidSettingError: One of them lacks, or they do not fit.
    """
    if rank is None and world_size is None:
        return None
    if rank is None or world_size is None or not 0 <= rank < world_size:
        said = f"rank is {rank} and world_size is {world_size}"
        raise InvalidSettingError(f"{said}; give both, with 0 ≤ rank < world_size")
    return Ranks(rank, world_size)


def found_ranks() -> Ranks | None:
    """Return what torch.distributed says of this process, or else jax.distributed; None if neither is initialised.

    Neither is imported: a program that has not does not use it.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return Ranks(int(distributed.get_rank()), int(distributed.get_world_size()))
    jax = sys.modules.get("jax")
    # Not in a worker: a forked one would begin to talk to the accelerator.
    if jax is not None and _worker() is None and jax.distributed.is_initialized():
        return Ranks(int(jax.process_index()), int(jax.process_count()))
    return None


def part_of_process(given: Ranks | None, remembered: Ranks | None) -> tuple[int, int]:
    """Return which part of the rows this process reads: its rank's, and of that its DataLoader worker's.

    Args:
        given: What the caller said of the rank.
        remembered: What was found where the stream was made; a worker that was spawned does not know its rank.

    Returns:
        Index and number of parts.
    """
    worker = _worker()
    ranks = given or found_ranks() or (remembered if worker is not None else None) or Ranks(0, 1)
    number, workers = worker or (0, 1)
    return ranks.rank * workers + number, ranks.world_size * workers


def _worker() -> tuple[int, int] | None:
    """Return the number of this worker of a torch DataLoader and how many there are; None in other processes."""
    data = sys.modules.get("torch.utils.data")
    info = None if data is None else data.get_worker_info()
    return None if info is None else (int(info.id), int(info.num_workers))


def register(kind: type) -> None:
    """Tell torch, where it is loaded, that objects of a class are iterated over, so that its DataLoader does it.

    Args:
        kind: The class.
    """
    data = sys.modules.get("torch.utils.data")
    iterable = getattr(data, "IterableDataset", None)
    if isinstance(iterable, ABCMeta) and not issubclass(kind, iterable):
        iterable.register(kind)
