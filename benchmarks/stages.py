"""What each stage of `generate` costs: CPU time per row, in one process with one core.

    python benchmarks/stages.py [TASK …] [--json PATH] [--markdown PATH]

Stages run one after the other on one unit of the default size, and are measured in CPU time, so that what else the
machine does matters little. `generate` runs them side by side, in as many processes as there are cores.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from generate import cached_engine
from outputs import write
from provenance import SIMULATOR, made_with, sentence

from dynamic_sparsity.generation import jax_runtime

TASKS = ("CartpoleBalance", "ReacherHard", "FingerSpin", "CheetahRun", "WalkerRun")
STAGES = {
    "engine": "next states and Jacobians alone, as `benchmarks/jacobians.py` calls them",
    "steps": "with the reset, the policy, masks, features and flags, observation and reward",
    "recorded": "with rows copied to the store's columns",
    "checked": "with MuJoCo C's step of every row, the default of `generate`",
    "write": "packing, hashing, writing and syncing these columns",
    "seal": "checking every byte, and statistics",
}


def measure(task: str, repetitions: int) -> dict[str, Any]:
    """One record."""
    import jax
    import numpy as np

    from dynamic_sparsity.generation.jobs.store_attributes import store_sizes
    from dynamic_sparsity.generation.jobs.unit_runner import SimulationUnitRunner, finish_columns
    from dynamic_sparsity.generation.physics import constraint_solver
    from dynamic_sparsity.generation.settings import Settings
    from dynamic_sparsity.schemas import row_arrays
    from dynamic_sparsity.storage import writer

    runner = SimulationUnitRunner()
    count = runner.describe(Settings(task, episodes=10**6))["settings"]["unit_episodes"]
    settings = Settings(task, episodes=count)
    length = settings.episode_length
    episodes = runner._prepare(settings)
    episodes.compile(count)
    specs = row_arrays(store_sizes(episodes.physics), settings.dynamics)
    unchecked = runner._prepare(replace(settings, check_with_mujoco=False))
    unchecked.compile(count)
    columns = episodes.simulate(0, count)
    table = finish_columns(columns, specs, settings, 0)
    flat = {spec.name: columns[spec.name].reshape(-1, *columns[spec.name].shape[2:]) for spec in specs}
    program = cached_engine(task, count)
    states = columns["state"].astype(np.float64).swapaxes(0, 1).copy()
    actions = columns["action"].astype(np.float64).swapaxes(0, 1).copy()
    jax.block_until_ready(program(states[0], actions[0]))

    def engine() -> None:
        for state, action in zip(states, actions, strict=True):
            jax.block_until_ready(program(state, action))

    def steps() -> None:
        now, plan = episodes._start(0, count)
        for index in range(length):
            now, step = episodes._step(index, now, plan, constraint_solver.MAX_ITERATIONS)
            jax.block_until_ready(step.task)

    spent: dict[str, list[float]] = {name: [] for name in STAGES}
    # What is written over, unit after unit, as `generate` does.
    memory: Any = {}
    unchecked_memory: Any = {}
    episodes.simulate(0, count, memory=memory)
    unchecked.simulate(0, count, memory=unchecked_memory)
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            store = settings.store_path(Path(folder))
            writer.create_store(store, runner.describe(settings))
            stages: dict[str, Callable[[], Any]] = {
                "engine": engine,
                "steps": steps,
                "recorded": lambda: unchecked.simulate(0, count, memory=unchecked_memory),
                "checked": lambda: episodes.simulate(0, count, memory=memory),
                "write": lambda store=store: writer.write_unit(store, 0, flat, table),
                "seal": lambda store=store: writer.finalize(store),
            }
            for name, stage in stages.items():
                began = time.process_time()
                stage()
                spent[name].append((time.process_time() - began) / (count * length) * 1e6)
    return {
        "task": task,
        "batch": count,
        "bytes_per_row": sum(values.nbytes for values in flat.values()) / (count * length),
        "device": f"{jax.devices()[0].device_kind}, one core",
        "cpu_microseconds_per_row": {name: round(min(times), 3) for name, times in spent.items()},
    }


def markdown(records: list[dict[str, Any]]) -> str:
    """The records as a page."""
    header = ["task", "batch", "bytes a row", *STAGES, "write and seal ÷ all", "the same, unchecked"]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for record in records:
        values = record["cpu_microseconds_per_row"]
        writing = values["write"] + values["seal"]
        shares = [f"{writing / (values[name] + writing):.2f}" for name in ("checked", "recorded")]
        shown = [f"{values[name]:.2f}" for name in STAGES]
        lines.append([record["task"], str(record["batch"]), f"{record['bytes_per_row']:.0f}", *shown, *shares])
    meanings = "\n".join(f"- *{name}*: {meaning}" for name, meaning in STAGES.items())
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return (
        f"# What each stage of `generate` costs\n\nCPU microseconds per row, {records[0]['device']}; bytes unpacked. "
        f"{sentence(records[0])}.\nMade by `benchmarks/stages.py`.\n\n{meanings}\n\n{rows}\n"
    )


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS, help=f"tasks; {', '.join(TASKS)} by default")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the records here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    os.environ["NPROC"] = "1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    jax_runtime.configure()
    records = []
    for task in options.tasks:
        records.append(measure(task, options.repetitions) | made_with(*SIMULATOR))
        print(json.dumps(records[-1]), flush=True)
    print(page := markdown(records))
    write(records, page, options.json, options.markdown)


if __name__ == "__main__":
    main()
