"""The whole of `generate` against the engine alone, in one run, interleaved; and what the batch does to both.

    python benchmarks/generate.py [TASK …] [--batch N …] [--workers N] [--repetitions 3] [--json PATH]

*Engine*: the compiled control step with Jacobians (`engines.transition` for a batch) in one process with all cores,
as `benchmarks/jacobians.py` calls it, on the very states and actions that the run went through, step by step, each
batch as it ran; nothing is copied to the host. *Engine, all*: the same in as many processes as `generate` has workers,
each with its share of the cores: the most that the engine can do here, with no core left for anything else.
*Generate*: reset, policy, engine, masks, contacts and flags, observations and rewards, MuJoCo C's contact counts,
copying, packing, hashing, writing and fsync, by the workers of the command's default executor, two units for each,
without their start and compilation; with and without sealing. *Write*: packing, hashing, writing and fsync of one unit
that is in memory already, in one process. All in rows per second of wall time.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from provenance import SIMULATOR, made_with

from dynamic_sparsity.generation import jax_runtime

TASKS = ("CartpoleBalance", "ReacherHard", "FingerSpin", "CheetahRun")


def engine(task: str, batch: int) -> Callable[[Any, Any], Any]:
    """The engine alone: states (B, ds) and actions (B, da) to next states and Jacobians."""
    import jax
    from mujoco import mjx

    from dynamic_sparsity.generation.jacobians import engines
    from dynamic_sparsity.generation.physics.model import load_physics

    physics = load_physics(task)
    empty = mjx.make_data(physics.mj_model, impl="jax")
    nq = physics.task.nq

    def row(state: Any, action: Any) -> Any:
        result = engines.transition(physics, empty.replace(qpos=state[:nq], qvel=state[nq:]), action)
        return result.data.qpos, result.data.qvel, result.J_s, result.J_a

    return jax_runtime.jit(jax.vmap(row))


def timed(function: Callable[[], Any]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


cached_engine = functools.cache(engine)


def engine_alone(task: str, batch: int, folder: str) -> None:
    """The engine on the rows that `keep_rows` left in a folder."""
    import jax

    jax_runtime.configure()
    program = cached_engine(task, batch)
    states, actions = (np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in ("states", "actions"))
    for state, action in zip(states, actions, strict=True):
        jax.block_until_ready(program(state, action))


def keep_rows(store: Path, batch: int, length: int, folder: Path) -> None:
    """Leaves the states and actions of a store in a folder, control step by control step."""
    from dynamic_sparsity.loaders.load import open_dataset

    data = open_dataset(store)[:]
    for name in ("state", "action"):
        values = data[name].astype(np.float64).reshape(-1, batch, length, data[name].shape[-1])
        np.save(folder / f"{name}s.npy", values.swapaxes(1, 2).reshape(-1, batch, values.shape[-1]))


def timed_write(runner: Any, settings: Any, simulated: int) -> float:
    """Seconds of writing one unit from memory."""
    from dynamic_sparsity.generation.jobs.store_attributes import store_sizes
    from dynamic_sparsity.generation.jobs.unit_runner import finish_columns
    from dynamic_sparsity.schemas import row_arrays
    from dynamic_sparsity.storage import writer

    episodes = runner._prepare(settings)
    columns = episodes.simulate(0, simulated)
    specs = row_arrays(store_sizes(episodes.physics), settings.dynamics)
    table = finish_columns(columns, specs, settings, 0)
    flat = {spec.name: columns[spec.name].reshape(-1, *columns[spec.name].shape[2:]) for spec in specs}
    with tempfile.TemporaryDirectory() as folder:
        store = settings.store_path(Path(folder))
        writer.create_store(store, runner.describe(settings))
        return timed(lambda: writer.write_unit(store, 0, flat, table))


def measure(task: str, batch: int | None, workers: int | None, length: int, repetitions: int) -> dict[str, Any]:
    """One record."""
    import jax

    from dynamic_sparsity.generation.executors.processes import ProcessExecutor, share_of_cores
    from dynamic_sparsity.generation.executors.protocol import UNITS_AT_ONCE
    from dynamic_sparsity.generation.jobs.unit_runner import SimulationUnitRunner
    from dynamic_sparsity.generation.settings import Settings

    runner = SimulationUnitRunner()
    times: dict[str, list[float]] = {name: [] for name in ("engine", "engine_all", "generate", "seal", "write")}
    with ExitStack() as stack:
        executor = stack.enter_context(ProcessExecutor(workers))
        described = executor.describe(Settings(task, episodes=10**6, episode_length=length, batch=batch))
        count, simulated = executor.capacity // UNITS_AT_ONCE, described["settings"]["unit_episodes"]
        settings = Settings(task, episodes=2 * count * simulated, episode_length=length, batch=batch)
        rows = settings.episodes * length
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        began = time.perf_counter()
        make(executor, settings, folder / "first")
        compile_s = time.perf_counter() - began
        keep_rows(settings.store_path(folder / "first"), simulated, length, folder)
        job = (task, simulated, str(folder))
        with changed_environment(share_of_cores(count)):
            pool = stack.enter_context(ProcessPoolExecutor(count, multiprocessing.get_context("spawn")))
            list(pool.map(engine_alone, *zip(*[job] * count, strict=True)))
        engine_alone(*job)
        for repetition in range(repetitions):
            root = folder / str(repetition)
            generated, sealed = make(executor, settings, root)
            times["generate"].append(generated)
            times["seal"].append(sealed)
            stored = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
            shutil.rmtree(root)
            times["write"].append(timed_write(runner, settings, simulated))
            times["engine"].append(timed(lambda: engine_alone(*job)))
            together = timed(lambda: list(pool.map(engine_alone, *zip(*[job] * count, strict=True))))
            times["engine_all"].append(together / count)

    def per_s(name: str) -> float:
        return rows / statistics.median(times[name])

    def share(engine: str, *parts: str) -> float:
        pairs = zip(times[engine], *(times[part] for part in parts), strict=True)
        return statistics.median(alone / sum(others) for alone, *others in pairs)

    return {
        "task": task,
        "batch": simulated,
        "workers": count,
        "rows": rows,
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1),
        "engine_per_s": per_s("engine"),
        "engine_all_per_s": per_s("engine_all"),
        "generate_per_s": per_s("generate"),
        "write_per_s": rows / (2 * count) / statistics.median(times["write"]),
        "generate_over_engine": share("engine", "generate"),
        "with_sealing_over_engine": share("engine", "generate", "seal"),
        "generate_over_engine_all": share("engine_all", "generate"),
        "compile_s": compile_s,
        "bytes_per_row": stored / rows,
    }


def make(executor: Any, settings: Any, root: Path) -> tuple[float, float]:
    """Makes a store; returns seconds until the last unit is written, and of sealing."""
    from dynamic_sparsity.generation.jobs import scheduler
    from dynamic_sparsity.generation.jobs.units import plan_units
    from dynamic_sparsity.storage import writer

    store, attributes = settings.store_path(root), executor.describe(settings)
    writer.create_store(store, attributes)
    planned = plan_units(settings, store, attributes)
    made = timed(lambda: scheduler.run_units(executor, iter(planned), lambda event: None))
    return made, timed(lambda: writer.finalize(store))


@contextmanager
def changed_environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the processes that are started meanwhile."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def table(records: list[dict[str, Any]]) -> str:
    """The records as text."""
    lines = [
        f"{'task':22s}{'batch':>6s}{'workers':>8s}{'engine/s':>10s}{'all/s':>11s}{'generate/s':>11s}{'write/s':>11s}"
        f"{'÷ engine':>9s}{'sealed':>7s}{'÷ all':>7s}{'load':>6s}"
    ]
    lines += [
        f"{r['task']:22s}{r['batch']:6d}{r['workers']:8d}{r['engine_per_s']:10,.0f}{r['engine_all_per_s']:11,.0f}"
        f"{r['generate_per_s']:11,.0f}{r['write_per_s']:11,.0f}{r['generate_over_engine']:9.2f}"
        f"{r['with_sealing_over_engine']:7.2f}{r['generate_over_engine_all']:7.2f}{r['load']:6.1f}"
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
    parser.add_argument("--workers", type=int, help="processes of `generate`; its own default if not given")
    parser.add_argument("--episode-length", type=int, default=1000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the records here")
    options = parser.parse_args()
    jax_runtime.configure()
    records: list[dict[str, Any]] = []
    for task in options.tasks:
        for batch in options.batch:
            record = measure(task, batch, options.workers, options.episode_length, options.repetitions)
            records.append(record | made_with(*SIMULATOR))
            print(table(records[-1:]).splitlines()[1], flush=True)
            if options.json:
                options.json.parent.mkdir(parents=True, exist_ok=True)
                options.json.write_text(json.dumps(records, indent=1) + "\n")
    print(table(records))


if __name__ == "__main__":
    main()
