"""How many episodes are simulated side by side, if nobody says.

The larger the batch, the less the work per control step that does not depend on it (on a CPU, handing arrays from
program to program, about 0.3 ms; on a GPU, launching kernels) matters, and the more memory a unit of work needs. Bits
depend on the batch, so the default depends on nothing but the task, its dynamics' cost and the kind of device: it is
the same on every machine and on every day. What one device has room for is `rows_at_once`'s matter.

On a GPU the batch is the least with which launches take no longer than the work on rows, by the costs in
`gpu_costs.json`: launches, bytes and operations of the compiled programs of each group, and what these take on an
H100 by the estimate of `benchmarks/gpu_program.py`, which writes that file. None of this was measured on a GPU.

Source: `benchmarks/jacobians.py --batch 16 64 256 …` and `benchmarks/generate.py --batch …`; results are kept in
`benchmarks/results/`.
"""

from __future__ import annotations

import json
import math
import statistics
from functools import cache
from pathlib import Path
from typing import Final

from dynamic_sparsity.generation.tasks import Task

CHEAP: Final = frozenset({"acrobot", "cartpole", "pendulum", "point_mass"})
"""Groups whose transition takes a core about 5 µs; those of all others take 20 µs to 1 ms."""

LIGHT_ROW_BYTES: Final = 512
"""Rows up to this size are made faster than they are handed on, unless many are handed on at once."""

CPU_BATCH: Final = 64
CPU_BATCH_LIGHT: Final = 512
CPU_BATCH_CHEAP: Final = 1024

CPU_UNIT_BYTES: Final = 2**29
ACCELERATOR_UNIT_BYTES: Final = 2**33
"""Most bytes of a unit's rows, which are in host memory until they are written; two units are, for each device."""

ACCELERATOR_BYTES: Final = 2**35
"""Most bytes on the device that a batch may need, by the compiled programs' count; two units are at work on each."""

_COSTS: Final = Path(__file__).parent / "gpu_costs.json"


def default_batch(task: Task, row_bytes: int, episode_length: int, backend: str) -> int:
    """Return how many episodes to simulate side by side: enough to saturate the device, as far as memory allows.

    Args:
        task: The task.
        row_bytes: Bytes of one row of the store.
        episode_length: Rows of an episode.
        backend: JAX's backend: "cpu", "gpu" or "tpu".
    """
    on_cpu = backend == "cpu"
    light = CPU_BATCH_LIGHT if row_bytes <= LIGHT_ROW_BYTES else CPU_BATCH
    saturated = (CPU_BATCH_CHEAP if task.group in CHEAP else light) if on_cpu else saturating_batch(task, row_bytes)
    room = (CPU_UNIT_BYTES if on_cpu else ACCELERATOR_UNIT_BYTES) // (row_bytes * episode_length)
    batch = max(1, min(saturated, room))
    return 1 << (batch.bit_length() - 1)


def saturating_batch(task: Task, row_bytes: int) -> int:
    """Return the least power of two with which a GPU's launches take no longer than its work, as far as it fits.

    Args:
        task: The task; of dynamics that were not counted, costs are taken in proportion to the bytes of a row.
        row_bytes: Bytes of one row of the store.
    """
    costs = _costs()
    if task.group in costs:
        launches, row, held = (costs[task.group][name] for name in ("launch_s", "row_s", "held_bytes"))
    else:
        launches = statistics.median(one["launch_s"] for one in costs.values())
        row, held = (
            row_bytes * statistics.median(one[name] / one["row_bytes"] for one in costs.values())
            for name in ("row_s", "held_bytes")
        )
    wanted = 1 << math.ceil(math.log2(max(1.0, launches / row)))
    return min(wanted, 1 << (max(1, int(ACCELERATOR_BYTES / held)).bit_length() - 1))


@cache
def _costs() -> dict[str, dict[str, float]]:
    """Return what the programs of each group cost: seconds by launches, seconds and bytes by row."""
    found: dict[str, dict[str, float]] = json.loads(_COSTS.read_text(encoding="utf-8"))
    return found
