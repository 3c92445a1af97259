"""Loops of programs that end with the last row of a batch: counts from stores, and the bytes of a store's row."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
from gpu_hlo import Operation
from provenance import SIMULATOR, made_with

TRIPS = Path(__file__).parent / "results/gpu_trips.json"
MEASURED_ROWS = 20_000


def expected_largest(histogram: dict[str, int], batch: float) -> float:
    """The expected largest of so many independent draws."""
    total, below, expected = sum(histogram.values()), 0, 0.0
    for value, count in sorted((int(value), count) for value, count in histogram.items()):
        expected += value * (((below + count) / total) ** batch - (below / total) ** batch)
        below += count
    return expected


def loop_trips(trips: dict[str, Any] | None, batch: int) -> Callable[[Operation], float]:
    """How often the loops of a group's programs run that end with their last row."""
    from dynamic_sparsity.generation import target
    from dynamic_sparsity.generation.physics.batch_last import ACTIVE
    from dynamic_sparsity.generation.physics.constraint_solver import _CHUNKS, CHUNKS
    from dynamic_sparsity.generation.physics.newton_for_many import NEWTON

    def often(operation: Operation) -> float:
        if trips is None:
            return 1.0
        last = operation.scope.rsplit("/while", 1)[0].rsplit("/", 1)[-1]
        many = trips["share_with_many"]
        if NEWTON in last:
            rows = max(1.0, many * batch) if CHUNKS in operation.scope else batch
            return expected_largest(trips["iterations"], rows)
        if CHUNKS in last:
            return max(math.ceil(_CHUNKS * many) if many * batch >= 1 else 0, 1 - (1 - many) ** batch)
        if ACTIVE in last:
            return expected_largest(trips["in_touch"], batch) * math.ceil(batch / target.means().active_rows)
        return 1.0

    return often


def measure(task: str, root: Path) -> dict[str, Any]:
    """How many Newton iterations stored rows took, and how many contact points MuJoCo C finds in a sample of them."""
    import numpy as np

    from dynamic_sparsity.generation.physics.contact_slots import FEW_SLOTS
    from dynamic_sparsity.generation.physics.model import load_physics
    from dynamic_sparsity.generation.verification.finite_differences import MujocoOracle
    from dynamic_sparsity.loaders.load import load_dataset

    physics = load_physics(task)
    data = load_dataset(task, root=root, columns=["state", "solver_iterations"])
    iterations = np.bincount(data[:]["solver_iterations"])
    chosen = np.sort(np.random.default_rng(0).choice(len(data), min(MEASURED_ROWS, len(data)), replace=False))
    states = data[chosen]["state"].astype(np.float64)
    in_touch = np.bincount(MujocoOracle(physics).contact_counts(states))
    few = sum(FEW_SLOTS.get(physics.task.group, {0: 10**6}).values())
    return {
        "task": task,
        "policy": "noise",
        "rows": len(data),
        "iterations": {str(value): int(count) for value, count in enumerate(iterations) if count},
        "sampled": len(states),
        "in_touch": {str(value): int(count) for value, count in enumerate(in_touch) if count},
        "share_with_many": float(in_touch[few + 1 :].sum() / len(states)),
        **made_with(*SIMULATOR),
    }


def row_bytes(task: str) -> int:
    """Bytes of a row of a task's store."""
    from dynamic_sparsity.generation.jobs.store_attributes import store_sizes
    from dynamic_sparsity.generation.physics.model import load_physics
    from dynamic_sparsity.schemas import row_arrays

    sizes = store_sizes(load_physics(task), True)
    return sum(
        math.prod(spec.shape(sizes, 1)) * numpy.dtype(spec.dtype).itemsize for spec in row_arrays(sizes, "converged")
    )
