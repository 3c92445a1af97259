"""Which tasks of robots are verified: a small store of each is generated, verified deeply and loaded; docs/robots.md.

    python benchmarks/robots.py [TASK …] [--episodes N] [--length N] [--sample N] [--data DIR] [--json PATH] …

A record of `--json` says of one task how many rows MuJoCo C confirms, and how far the Jacobians are from central
differences: those of MuJoCo C, and where C steps elsewhere, those of our own step. Tasks that are measured replace
their records; the others' are kept. Stores that lie in `--data` already are taken as they are. `--page` is a page of
which the part between two marks is made from all records. Without tasks, only the page is made.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from outputs import replace_part
from provenance import SIMULATOR, made_with, sentence

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.tasks import ROBOTS, Task

RECORDS = Path(__file__).parent / "results" / "robots.json"
PAGE = Path(__file__).parents[1] / "docs" / "robots.md"
BEGIN, END = "<!-- made by benchmarks/robots.py -->", "<!-- end -->"
UNCOUNTED = ("padding", "nonfinite")


def measure(name: str, folder: Path, episodes: int, length: int, sample: int) -> dict[str, Any]:
    """One record."""
    import numpy as np

    from dynamic_sparsity import load_dataset
    from dynamic_sparsity.generation.environments import playground
    from dynamic_sparsity.generation.jobs.generate import generate
    from dynamic_sparsity.generation.settings import Settings
    from dynamic_sparsity.generation.verification.deep import verify_deep
    from dynamic_sparsity.schemas import FLAG_BITS
    from dynamic_sparsity.storage.verify import verify_store

    began = time.perf_counter()
    store = generate(Settings(name, episodes=episodes, episode_length=length, batch=episodes), folder)
    generated = time.perf_counter()
    damage = verify_store(store)
    data = load_dataset(name, root=folder)
    rows = data[:]
    bits = {flag: (rows["flags"] & (1 << FLAG_BITS[flag])) != 0 for flag in FLAG_BITS}
    counted = ~np.any([bits[flag] for flag in UNCOUNTED], axis=0)
    report = verify_deep(store, sample)
    return {
        "task": name,
        "device": f"cpu, {os.cpu_count()} cores",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "engine": data.metadata["provenance"]["jacobians"],
        "overrides": playground.OVERRIDES.get(name, {}),
        "rows": int(counted.sum()),
        "rows_in_contact": int(np.sum(counted & (rows["contact_force"] > 0).any(axis=1))),
        "rows_confirmed_by_c": int(np.sum(counted & ~bits["differs_from_mujoco"])),
        "rows_drawn": report.sampled,
        "comparisons": [one.as_json() for one in report.comparisons],
        "problems": [str(problem).replace(str(store), name) for problem in (*damage, *report.problems)],
        "seconds": {"generate": generated - began, "verify": time.perf_counter() - generated},
        **made_with(*SIMULATOR),
    }


def _errors(record: dict[str, Any], oracle: int) -> str:
    """Median and 99th percentile of the errors against one oracle, and how many rows they are of."""
    found = record["comparisons"][oracle : oracle + 1]
    if not found or not found[0]["rows_compared"]:
        return "–"
    error = found[0]["relative_error"]
    return f"{error['0.5']:.0e} / {error['0.99']:.0e} ({found[0]['rows_compared']})"


def _overrides(task: Task) -> str:
    from dynamic_sparsity.generation.environments import playground

    given = playground.OVERRIDES.get(task.name, {})
    return ", ".join(f"`{key}={value}`" for key, value in given.items()) or "–"


def _verdict(record: dict[str, Any] | None) -> str:
    if record is None:
        return "not yet measured by the script"
    if not record["problems"]:
        return "yes"
    return "no: " + record["problems"][0].partition(": ")[2].partition(". To fix")[0]


def table(records: dict[str, dict[str, Any]]) -> str:
    """The part of the page between its marks."""
    header = [
        "task", "ds", "dx", "da", "memory", "set otherwise than in Playground", "rows confirmed by C",
        "error against C", "against our own step", "verified",
    ]  # fmt: skip
    lines = [header, ["---", "---:", "---:", "---:", *["---"] * 6]]
    for task in ROBOTS.values():
        record = records.get(task.name)
        memory = f"last control, {task.memory}" if task.memory else "–"
        cells = [f"`{task.name}`", str(task.ds), str(task.dx), str(task.da), memory, _overrides(task)]
        if record is None:
            cells += ["–", "–", "–"]
        else:
            share = 100 * record["rows_confirmed_by_c"] / max(1, record["rows"])
            cells += [f"{share:.0f} %", _errors(record, 0), _errors(record, 1)]
        lines.append([*cells, _verdict(record)])
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    if not records:
        return rows
    newest = max(records.values(), key=lambda one: one["date"])
    note = (
        "Errors are relative, of [J_s | J_a] in the Frobenius norm: median / 99th percentile (rows compared). "
        f"{sentence(newest)}."
    )
    return f"{rows}\n\n{note}"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="tasks to measure")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--sample", type=int, default=48)
    parser.add_argument("--data", type=Path, help="folder of the stores (default: a temporary one)")
    parser.add_argument("--json", type=Path, default=RECORDS, help="default: %(default)s")
    parser.add_argument("--page", type=Path, default=PAGE, help="default: %(default)s")
    options = parser.parse_args()
    if options.tasks:
        jax_runtime.configure()
    for name in options.tasks:
        with tempfile.TemporaryDirectory() as folder:
            record = measure(name, options.data or Path(folder), options.episodes, options.length, options.sample)
        print(json.dumps(record), flush=True)
        # Read again: others may have been measured meanwhile.
        found = json.loads(options.json.read_text()) if options.json.exists() else []
        kept = {one["task"]: one for one in found} | {name: record}
        options.json.write_text(json.dumps([kept[task] for task in sorted(kept)], indent=1) + "\n")
    records = {one["task"]: one for one in json.loads(options.json.read_text())} if options.json.exists() else {}
    replace_part(options.page, BEGIN, END, table(records))


if __name__ == "__main__":
    sys.exit(main())
