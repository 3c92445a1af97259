"""How long learners wait for their rows: waiting by training time, for each learner, with rows in memory and streamed.

memory: all rows of TASK's train split are read (only the columns that the learner looks at), made dimensionless and
handed to the device; batches are drawn there. Waiting is all of that, once for the protocol's three seeds, as
`train-learner` does, and the drawing, which is measured by a training of one number on the same batches.
stream: a made-up store of CheetahRun's shape, with so many rows that none is read twice, is forgotten by the operating
system's cache before each training, as if it were larger than memory. Waiting is the time for which the network had
nothing to do because the next rows were not there yet.

Compilation counts as neither: the second of two trainings through one program is measured.

    python benchmarks/input_pipeline.py TASK ... [--root data] [--protocol mini] [--json PATH]
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from example_store import write_example_store

from dynamic_sparsity.learners import SEEDS, Benchmark, Learner, TrainingData, get_budget, make_learner
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.networks.training import Batch, device_rows, train
from dynamic_sparsity.loaders import store_path

ENTRIES = ("mlp none", "mlp l1", "mlp sae", "mlp mae", "residual-mlp none", "gated l0", "gated mask", "codebook l0")
ENTRIES += ("codebook mask", "oracle none")
"""Every way to train a network; mlp mse costs what mlp mae does."""

LEAVES = {
    "mlp l1": ("few", "x", "y"),
    "mlp sae": ("few", "x", "y", "few_graph"),
    "mlp mae": ("few", "x", "y", "jacobian"),
    "gated mask": ("x", "y", "graph"),
    "codebook mask": ("x", "y", "graph"),
    "oracle none": ("x", "y", "graph"),
}
"""Fields of a batch that the loss looks at, where these are more than x and y."""

STREAM_STEPS = 1000

FLOOR = 0.1
"""No learner should wait for more than this share of its training."""


class Laps(list[int]):
    """Seeds that note, whenever one of them is asked for and at the end, what the time is."""

    def __init__(self, before: Callable[[], float] = lambda: 0.0):
        super().__init__([0, 1])
        self.before = before
        self.times: list[float] = []
        self.noted: list[float] = []

    def __iter__(self) -> Iterator[int]:
        for seed in list.__iter__(self):
            self.noted.append(self.before())
            self.times.append(time.perf_counter())
            yield seed
        self.times.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        """Of the second training, which compiles nothing."""
        return self.times[2] - self.times[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of the stores (default: %(default)s)")
    parser.add_argument("--protocol", default="mini", help="whose budget to spend (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the results")
    arguments = parser.parse_args()
    budget = get_budget(arguments.protocol)
    record: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "packages": {name: version(name) for name in ("numpy", "jax", "equinox")},
        "protocol": dataclasses.asdict(budget),
        "floor": FLOOR,
        "memory": {},
        "stream": {},
    }
    for task in arguments.tasks:
        path = store_path(arguments.root, task, "noise")
        record["memory"][task] = {entry: _in_memory(path, entry, budget) for entry in ENTRIES}
    with tempfile.TemporaryDirectory() as folder:
        steps = min(STREAM_STEPS, budget.steps)
        # Half as many again as a training reads: some are of the validation and test splits.
        rows = int(1.5 * steps * budget.batch_rows)
        path = write_example_store(Path(folder), rows)
        long = dataclasses.replace(budget, train_rows=rows, steps=steps)
        record["stream"] = {entry: _streamed(path, entry, long) for entry in ENTRIES}
        record["stream_rows"], record["stream_steps"] = rows, steps
    record["worst"] = {
        "memory": max(found["share"] for by_entry in record["memory"].values() for found in by_entry.values()),
        "stream": max(found["share"] for found in record["stream"].values()),
    }
    print(f"worst: {record['worst']}, floor: {FLOOR}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


def _in_memory(path: Path, entry: str, budget: Budget) -> dict[str, float]:
    """Waiting and training of one learner that trains alone, rows and columns read for it."""
    learner = make_learner(*entry.split())
    started = time.perf_counter()
    benchmark = Benchmark.read(path, budget)
    data = benchmark.allowed(learner.supervision, learner.uses)
    jax.block_until_ready(device_rows(data))  # as `train` will do
    read = time.perf_counter() - started
    trained = _seconds(learner, data, budget)
    drawing = _seconds_of_drawing(data, budget, LEAVES.get(entry, ("x", "y")))
    runs = len(SEEDS)
    found = _shown(path.parent.name, entry, read + runs * drawing, read + runs * trained)
    single = (read + drawing) / (read + trained)
    return (
        found
        | {name: round(value, 4) for name, value in (("read_seconds", read), ("drawing_seconds", drawing))}
        | {"share_of_a_single_training": round(single, 4)}
    )


def _streamed(path: Path, entry: str, budget: Budget) -> dict[str, float]:
    """Waiting and training of one learner whose rows are read from a disk while it learns."""
    learner = make_learner(*entry.split())
    data = Benchmark.read(path, budget).allowed(learner.supervision, learner.uses, stream=True)
    stream = data.stream
    if stream is None:
        raise SystemExit(f"{entry} can't learn from a stream")

    def before() -> float:
        forget(path)
        return stream.waited_seconds

    laps = Laps(before)
    learner.fit(data, budget, laps)
    return _shown("streamed", entry, stream.waited_seconds - laps.noted[1], laps.seconds)


def forget(store: Path) -> None:
    """Drop a store's files from the operating system's cache, where it can be asked to."""
    for path in store.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def _seconds(learner: Learner, data: TrainingData, budget: Budget) -> float:
    """Of one training, once compiled."""
    laps = Laps()
    learner.fit(data, budget, laps)
    return laps.seconds


class _One(eqx.Module):
    weight: jax.Array


def _seconds_of_drawing(data: TrainingData, budget: Budget, leaves: Sequence[str]) -> float:
    """Of a training that adds up the numbers of its batches, and does next to nothing else.

    Args:
        data: What a learner is given.
        budget: Of the training.
        leaves: Fields of `Batch` that the learner's loss looks at; the compiled program draws no others.
    """

    def make(key: jax.Array) -> _One:
        return _One(jnp.zeros(()))

    def loss(network: _One, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        return network.weight * sum(jnp.sum(getattr(batch, leaf)) for leaf in leaves)

    laps = Laps()
    train(make, loss, data, budget, laps)
    return laps.seconds


def _shown(where: str, entry: str, waited: float, trained: float) -> dict[str, float]:
    share = waited / trained
    print(f"{where}, {entry}: waited {waited:.3f} s of {trained:.2f} s, {100 * share:.1f} %", flush=True)
    return {
        "waited_seconds": round(waited, 4),
        "training_seconds": round(trained, 4),
        "share": round(share, 4),
    }


if __name__ == "__main__":
    main()
