"""How many episodes are simulated side by side, if nobody says.

The larger the batch, the less the work per control step that does not depend on it (handing arrays from program to
program, about 0.3 ms) matters, and the more memory a unit of work needs. Bits depend on the batch, so the default
depends on nothing but the task, its dynamics' cost and the kind of device: it is the same on every machine and on
every day.

Source: `benchmarks/jacobians.py --batch 16 64 256 …` and `benchmarks/generate.py --batch …`; results are kept in
`benchmarks/results/`.
"""

from __future__ import annotations

from typing import Final

from dynamic_sparsity.generation.tasks import Task

CHEAP: Final = frozenset({"acrobot", "cartpole", "pendulum", "point_mass"})
"""Groups whose transition takes a core about 5 µs; those of all others take 20 µs to 1 ms."""

LIGHT_ROW_BYTES: Final = 512
"""Rows up to this size are made faster than they are handed on, unless many are handed on at once."""

CPU_BATCH: Final = 64
CPU_BATCH_LIGHT: Final = 512
CPU_BATCH_CHEAP: Final = 1024
ACCELERATOR_BATCH: Final = 4096
"""Episodes at which `generate` saturates; the engine alone does sooner."""

CPU_UNIT_BYTES: Final = 2**29
ACCELERATOR_UNIT_BYTES: Final = 2**32
"""Most bytes of a unit's rows, which are in host memory until they are written; two units are, for each device."""


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
    saturated = (CPU_BATCH_CHEAP if task.group in CHEAP else light) if on_cpu else ACCELERATOR_BATCH
    room = (CPU_UNIT_BYTES if on_cpu else ACCELERATOR_UNIT_BYTES) // (row_bytes * episode_length)
    batch = max(1, min(saturated, room))
    return 1 << (batch.bit_length() - 1)
