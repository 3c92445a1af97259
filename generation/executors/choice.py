"""Choosing an executor by name, as the command line does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dynamic_sparsity.errors import InvalidSettingError

if TYPE_CHECKING:
    from dynamic_sparsity.generation.executors.protocol import Executor

__all__ = ["EXECUTORS", "make_executor"]

EXECUTORS: Final = ("local", "ray")
WORKERS_MAX: Final = 4096


def make_executor(name: str = "local", workers: int | None = None, ray_address: str | None = None) -> Executor:
    """Make the executor that runs units of work.

    Args:
        name: "local" for processes on this machine, "ray" for actors on a cluster.
        workers: Number of processes or actors; None for one per GPU, or one per core where there is none.
        ray_address: Cluster to join, "auto" or HOST:PORT; None for RAY_ADDRESS, or a cluster started on this machine.

    Returns:
        The executor; no worker is started yet.

    Raises:
        InvalidSettingError: There is no such executor, or an argument does not fit it.
        MissingDependencyError: A package that it needs is not installed.
    """
    if name not in EXECUTORS:
        raise InvalidSettingError(f"executor is {name!r}; it must be one of: {', '.join(EXECUTORS)}.")
    if workers is not None and not 1 <= workers <= WORKERS_MAX:
        raise InvalidSettingError(f"workers is {workers}; it must be at least 1 and at most {WORKERS_MAX}.")
    if ray_address is not None and name != "ray":
        raise InvalidSettingError("--ray-address needs --executor ray.")
    if name == "ray":
        from dynamic_sparsity.generation.executors.ray_actors import RayExecutor

        return RayExecutor(ray_address, workers)
    from dynamic_sparsity.generation.executors.processes import ProcessExecutor

    return ProcessExecutor(workers)
