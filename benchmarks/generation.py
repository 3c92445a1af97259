"""The whole of `generate` against the engine alone, in one run, interleaved; and what the batch does to both.

    python benchmarks/generation.py [TASK …] [--batch N …] [--units 3] [--repetitions 3] [--json PATH]

*Engine*: the compiled control step with Jacobians (`jacobians.transition` for a batch), called on the very states and
actions that the run went through, step by step, each batch as it ran; nothing is copied to the host. *Generate*: reset,
policy, engine, masks, contacts and flags, observations and rewards, MuJoCo C's contact counts, copying, packing,
hashing, writing and fsync, for as many units as are asked for, without compilation, and with and without sealing. Both
in rows per second of wall time and per second of CPU time: on a machine that does other things meanwhile the latter is
the one to trust. *Write*: packing, hashing, writing and fsync of one unit that is in memory already, and nothing else.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dynamic_sparsity.generation import runtime

TASKS = ("CartpoleBalance", "ReacherHard", "FingerSpin", "CheetahRun")


def engine(task: str, batch: int) -> Callable[[Any, Any], Any]:
    """The engine alone: states (B, ds) and actions (B, da) to next states and Jacobians."""
    import jax
    from mujoco import mjx

    from dynamic_sparsity.generation import dynamics, jacobians

    physics = dynamics.load_physics(task)
    empty = mjx.make_data(physics.mj_model, impl="jax")
    nq = physics.task.nq

    def row(state: Any, action: Any) -> Any:
        result = jacobians.transition(physics, empty.replace(qpos=state[:nq], qvel=state[nq:]), action)
        return result.data.qpos, result.data.qvel, result.J_s, result.J_a

    return runtime.jit(jax.vmap(row))


def timed(function: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def timed_write(workshop: Any, settings: Any, simulated: int) -> tuple[float, float]:
    """Wall and CPU seconds of writing one unit from memory."""
    from dynamic_sparsity.generation.metadata import store_sizes
    from dynamic_sparsity.generation.workshop import finish
    from dynamic_sparsity.schemas import row_arrays
    from dynamic_sparsity.storage import writer

    episodes = workshop._prepare(settings)
    columns = episodes.simulate(0, simulated)
    specs = row_arrays(store_sizes(episodes.physics), settings.dynamics)
    table = finish(columns, specs, settings, 0)
    flat = {spec.name: columns[spec.name].reshape(-1, *columns[spec.name].shape[2:]) for spec in specs}
    with tempfile.TemporaryDirectory() as folder:
        store = settings.store_path(Path(folder))
        writer.create_store(store, workshop.describe(settings))
        return timed(lambda: writer.write_unit(store, 0, flat, table))


def measure(task: str, batch: int | None, units: int, length: int, repetitions: int) -> dict[str, Any]:
    """One record."""
    import jax
    import numpy as np

    from dynamic_sparsity.generation import schedule
    from dynamic_sparsity.generation.executors.in_process import InProcess
    from dynamic_sparsity.generation.settings import Settings
    from dynamic_sparsity.generation.units import plan_units
    from dynamic_sparsity.generation.workshop import Workshop
    from dynamic_sparsity.loaders.loading import open_dataset
    from dynamic_sparsity.storage import writer

    workshop = Workshop()
    described = workshop.describe(Settings(task, episodes=10**6, episode_length=length, batch=batch))
    simulated = described["settings"]["unit_episodes"]
    settings = Settings(task, episodes=units * simulated, episode_length=length, batch=batch)
    rows = settings.episodes * length
    began = time.perf_counter()
    workshop._prepare(settings).compile(simulated)
    compile_s = time.perf_counter() - began
    program = engine(task, simulated)
    times: dict[str, list[tuple[float, float]]] = {"engine": [], "generate": [], "seal": [], "write": []}
    for repetition in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            store = settings.store_path(Path(folder))
            attributes = workshop.describe(settings)
            writer.create_store(store, attributes)
            planned = plan_units(settings, store, attributes)

            def make(planned: list[Any] = planned) -> None:
                with InProcess(workshop) as executor:
                    schedule.work(executor, iter(planned), lambda event: None)

            times["generate"].append(timed(make))
            times["seal"].append(timed(lambda store=store: writer.finalize(store)))
            data = open_dataset(store)[:]
            shape = (units, simulated, length, -1)
            states = data["state"].astype(np.float64).reshape(shape)
            actions = data["action"].astype(np.float64).reshape(shape)
            stored = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())

        times["write"].append(timed_write(workshop, settings, simulated))

        def alone(states: Any = states, actions: Any = actions) -> None:
            for unit in range(units):
                for step in range(length):
                    jax.block_until_ready(program(states[unit, :, step], actions[unit, :, step]))

        if not repetition:
            jax.block_until_ready(program(states[0, :, 0], actions[0, :, 0]))
        times["engine"].append(timed(alone))

    def per_s(name: str, which: int) -> float:
        return rows / statistics.median(one[which] for one in times[name])

    def share(which: int, *parts: str) -> float:
        pairs = zip(times["engine"], *(times[part] for part in parts), strict=True)
        return statistics.median(alone[which] / sum(one[which] for one in others) for alone, *others in pairs)

    return {
        "task": task,
        "batch": simulated,
        "units": units,
        "rows": rows,
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1),
        "engine_per_s": per_s("engine", 0),
        "generate_per_s": per_s("generate", 0),
        "write_per_s": rows / units / statistics.median(wall for wall, _ in times["write"]),
        "engine_per_cpu_s": per_s("engine", 1),
        "generate_per_cpu_s": per_s("generate", 1),
        "generate_over_engine": share(0, "generate"),
        "generate_over_engine_cpu": share(1, "generate"),
        "with_sealing_over_engine": share(0, "generate", "seal"),
        "compile_s": compile_s,
        "bytes_per_row": stored / rows,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def table(records: list[dict[str, Any]]) -> str:
    """The records as text."""
    lines = [
        f"{'task':22s}{'batch':>6s}{'engine/s':>10s}{'generate/s':>11s}{'write/s':>11s}{'ratio':>7s}{'sealed':>7s}"
        f"{'by CPU':>7s}{'CPU µs/row':>11s}{'load':>6s}{'MB':>7s}"
    ]
    lines += [
        f"{r['task']:22s}{r['batch']:6d}{r['engine_per_s']:10,.0f}{r['generate_per_s']:11,.0f}{r['write_per_s']:11,.0f}"
        f"{r['generate_over_engine']:7.2f}{r['with_sealing_over_engine']:7.2f}{r['generate_over_engine_cpu']:7.2f}"
        f"{1e6 / r['generate_per_cpu_s']:11.1f}{r['load']:6.1f}{r['peak_bytes'] / 1e6:7.0f}"
        for r in records
    ]
    return "\n".join(lines)


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=TASKS, help=f"tasks; {', '.join(TASKS)} by default")
    parser.add_argument(
        "--batch", type=int, nargs="*", default=[None], help="episodes side by side; several to compare"
    )
    parser.add_argument("--units", type=int, default=4)
    parser.add_argument("--episode-length", type=int, default=1000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the records here")
    options = parser.parse_args()
    runtime.configure()
    records: list[dict[str, Any]] = []
    for task in options.tasks:
        for batch in options.batch:
            record = measure(task, batch, options.units, options.episode_length, options.repetitions)
            packages = ("jax", "jaxlib", "mujoco", "mujoco-mjx", "playground")
            record["versions"] = {package: importlib.metadata.version(package) for package in packages}
            record["date"] = datetime.date.today().isoformat()
            records.append(record)
            print(table(records[-1:]).splitlines()[1], flush=True)
            if options.json:
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps(records, indent=1) + "\n")
    print(table(records))


if __name__ == "__main__":
    main()
