"""What `evaluate` costs: seconds and peak memory of judging a model on 10,000 rows, each in a process of its own.

Seconds are those of reading the rows and judging, under all truths; memory is the process's, with all that it imports.
Training is not among them: a model is trained before, for a few steps.

    python benchmarks/local_graphs.py data --root data/benchmark --tasks CheetahRun
    python benchmarks/evaluation_cost.py --root data/benchmark [--json FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from provenance import made_with

from dynamic_sparsity.learners import Benchmark, evaluate, get_budget, make_learner, read_evaluation_rows
from dynamic_sparsity.loaders import open_dataset, store_path
from dynamic_sparsity.storage.atomic import publish

LEARNERS = ("ridge none", "mlp none", "hinges none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data/benchmark"), help="of stores (default: %(default)s)")
    parser.add_argument("--task", default="CheetahRun")
    parser.add_argument("--policy", default="noise")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/evaluation_cost.json"), help="the record")
    parser.add_argument("--one", choices=LEARNERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments)))
        return
    rows = []
    for learner in LEARNERS:
        command = [sys.executable, __file__, "--one", learner, "--task", arguments.task, "--policy", arguments.policy]
        command += ["--root", str(arguments.root), "--rows", str(arguments.rows)]
        finished = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(finished.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    record = {**made_with("jax", "numpy"), "cores": os.cpu_count(), "task": arguments.task, "rows": rows}
    publish(arguments.json, [json.dumps(record, indent=1).encode(), b"\n"])


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train a model and judge it.

    Args:
        arguments: Of the command.
    """
    path = store_path(arguments.root, arguments.task, arguments.policy)
    budget = dataclasses.replace(get_budget("mini"), steps=20)
    benchmark = Benchmark.read(path, budget)
    learner = make_learner(*arguments.one.split())
    (model,) = learner.fit(benchmark.allowed(learner.supervision), budget, [0])
    busy = os.getloadavg()[0]
    began, cpu = time.perf_counter(), time.process_time()
    # No split but train has so many rows.
    judged = read_evaluation_rows(open_dataset(path, split="train"), limit=arguments.rows)
    read = time.perf_counter() - began
    result = evaluate(model, judged, validation=open_dataset(path, split="validation"))
    return {
        "learner": arguments.one,
        "judged_rows": result["data"]["rows"],
        "validation_rows": len(open_dataset(path, split="validation")),
        "seconds": round(time.perf_counter() - began, 1),
        "of_these_reading": round(read, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "load_before": round(busy, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
