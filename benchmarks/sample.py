"""How soon the sample in the package gives rows: `python benchmarks/sample.py [--json PATH]`.

Each of several processes imports the package, opens a task's sample and reads its first row, then all of its rows:
wall and processor time of each. A figure is the median over processes; the fastest of them is said too, as wall time
on a busy machine says more about the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from provenance import made_with

PROGRAM = """
import json, time
marks = [(time.perf_counter(), time.process_time())]
def mark():
    marks.append((time.perf_counter(), time.process_time()))
from dynamic_sparsity import load_dataset
mark()
rows = load_dataset("{task}", sample=True, policy="{policy}")
first = rows[0]
mark()
everything = rows[:]
mark()
wall, processor = ([b[side] - a[side] for a, b in zip(marks, marks[1:])] for side in (0, 1))
print(json.dumps({{"wall": wall, "processor": processor, "rows": len(rows), "columns": len(first)}}))
"""
STEPS = ("import", "open and first row", "all rows")
FLOOR_S = 0.5
"""Until the first row of a sample is there, once the package is imported."""


def measure(task: str, policy: str, processes: int) -> dict[str, Any]:
    """One record.

    Args:
        task: Its name.
        policy: That acted.
        processes: How many are started, one after the other.
    """
    program = PROGRAM.format(task=task, policy=policy)
    found = []
    for _ in range(processes):
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout))
    seconds = {
        step: {
            "wall_s": statistics.median(one["wall"][number] for one in found),
            "fastest_wall_s": min(one["wall"][number] for one in found),
            "processor_s": statistics.median(one["processor"][number] for one in found),
        }
        for number, step in enumerate(STEPS)
    }
    return {"task": task, "policy": policy, "rows": found[0]["rows"], "seconds": seconds}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["CheetahRun", "CartpoleBalance", "WalkerRun"], metavar="TASK")
    parser.add_argument("--policy", default="noise")
    parser.add_argument("--processes", type=int, default=11, help="for each task (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the record")
    arguments = parser.parse_args()
    records = []
    for task in arguments.tasks:
        record = measure(task, arguments.policy, arguments.processes)
        records.append(record)
        shown = ", ".join(f"{step} {times['wall_s']:.3f} s" for step, times in record["seconds"].items())
        reached = record["seconds"][STEPS[1]]["wall_s"] <= FLOOR_S
        print(f"{task}: {shown}; first row within {FLOOR_S} s: {'reached' if reached else 'MISSED'}", flush=True)
    if arguments.json:
        about = {"cores": os.cpu_count(), "processes": arguments.processes, **made_with("numpy", "zarr")}
        arguments.json.write_text(json.dumps({"records": records, **about}, indent=1) + "\n")


if __name__ == "__main__":
    main()
