"""Transitions with Jacobians per second, against everything a user might use instead; one run, interleaved.

    python benchmarks/jacobians.py [TASK …] [--batch 128] [--json PATH] [--plot PATH]

All in float64 on the same states: the plain converged step; `vmap(jacfwd(env.step))` of Playground's own step, as the
paper does it (stock solver); our reference engine (forward differentiation of the converged step); the residual engine;
MuJoCo C's `mjd_transitionFD`, centred, substeps chained, converged options, on as many processes as there are cores.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dynamic_sparsity.generation import runtime

SECONDS_OF_C = 1.0
ENGINES = ("step", "naive", "reference", "residual")


def transition_by_mujoco_c(arguments: tuple[str, Any, Any, int, float]) -> int:
    """Counts how many rows one process linearises in a given time; runs in a process of its own, without JAX."""
    import mujoco
    import numpy as np

    path, states, actions, substeps, seconds = arguments
    model = mujoco.MjModel.from_binary_path(path)
    data = mujoco.MjData(model)
    dx = 2 * model.nv
    a, b = np.zeros((dx, dx)), np.zeros((dx, model.nu))
    done, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        row = done % len(states)
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = states[row, : model.nq], states[row, model.nq :], actions[row]
        chained = np.eye(dx, dx + model.nu)
        for _ in range(substeps):
            mujoco.mjd_transitionFD(model, data, 1e-6, True, a, b, None, None)
            chained = a @ chained
            chained[:, dx:] += b
            mujoco.mj_step(model, data)
        done += 1
    return done


def programs(task: str) -> dict[str, Callable[[Any, Any], Any]]:
    """The functions to compare, each of a state (ds,) and an action (da,)."""
    import jax
    import jax.numpy as jnp
    from mujoco import mjx

    from dynamic_sparsity.generation import dynamics, jacobians

    physics = dynamics.load_physics(task)
    environment = dynamics.load_environment(task)
    nq = physics.task.nq
    empty = mjx.make_data(physics.mj_model, impl="jax")
    initial = runtime.jit(environment.reset)(jax.random.PRNGKey(0))

    def at(data: Any, state: Any) -> Any:
        return data.replace(qpos=state[:nq], qvel=state[nq:])

    def step(state: Any, action: Any) -> Any:
        final, _ = dynamics.control_step(physics, at(empty, state), action)
        return final.qpos, final.qvel

    def naive(state: Any, action: Any) -> Any:
        def next_state(state: Any, action: Any) -> Any:
            data = environment.step(initial.replace(data=at(initial.data, state)), action).data
            return jnp.concatenate([data.qpos, data.qvel])

        return jax.jacfwd(next_state, argnums=(0, 1))(state, action)

    def engine(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
        def row(state: Any, action: Any) -> Any:
            result = function(physics, at(empty, state), action)
            return result.data.qpos, result.data.qvel, result.J_s, result.J_a

        return row

    return {
        "step": step,
        "naive": naive,
        "reference": engine(jacobians.differentiate),
        "residual": engine(jacobians.linearise),
    }


def measure(task: str, batch: int, repetitions: int, engines: tuple[str, ...]) -> dict[str, Any]:
    """One record of the comparison."""
    import jax
    import mujoco
    from states import varied_states

    from dynamic_sparsity.generation import dynamics

    physics = dynamics.load_physics(task)
    states, actions = varied_states(physics, batch)
    compiled, record = {}, {"task": task, "batch": batch, "precision": "float64", "device": _device()}
    for name, function in programs(task).items():
        if name in engines:
            began = time.perf_counter()
            program = runtime.jit(jax.vmap(function)).lower(states, actions).compile()
            record["compile_s" if name == "residual" else f"{name}_compile_s"] = time.perf_counter() - began
            compiled[name] = program
    memory = compiled["residual"].memory_analysis()
    sizes = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    record["peak_bytes"] = sum(int(getattr(memory, size)) for size in sizes)
    times: dict[str, list[float]] = {name: [] for name in compiled}
    per_second: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.mjb")
        mujoco.mj_saveModel(physics.mj_model, path, None)
        workers = os.cpu_count() or 1
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            job = (path, states, actions, physics.task.substeps, SECONDS_OF_C)
            pool.map(transition_by_mujoco_c, [(*job[:-1], 0.05)] * workers)
            for repetition in range(repetitions + 1):
                for name, program in compiled.items():
                    began = time.perf_counter()
                    jax.block_until_ready(program(states, actions))
                    if repetition:
                        times[name].append(time.perf_counter() - began)
                if repetition:
                    per_second.append(sum(pool.map(transition_by_mujoco_c, [job] * workers, 1)) / SECONDS_OF_C)
    for name in compiled:
        record[f"{name}_per_s"] = batch / statistics.median(times[name])
    record["mujoco_c_per_s"] = statistics.median(per_second)
    return record


def _device() -> str:
    import jax

    kind = jax.devices()[0].device_kind
    return f"{kind}, {os.cpu_count()} cores" if kind == "cpu" else kind


def table(records: list[dict[str, Any]]) -> str:
    """The records as text, with geometric means of the ratios."""
    lines = [
        f"{'task':22s}{'batch':>6s}{'step/s':>10s}{'naive/s':>10s}{'reference/s':>12s}{'residual/s':>11s}{'C/s':>9s}"
        f"{'÷ naive':>9s}{'÷ C':>7s}{'cost ÷ step':>12s}{'compile s':>10s}{'MB':>7s}"
    ]
    ratios: dict[str, list[float]] = {"naive": [], "c": [], "step": []}
    for r in records:
        residual = r["residual_per_s"]
        of = {"naive": residual / r.get("naive_per_s", float("nan")), "c": residual / r["mujoco_c_per_s"]}
        of["step"] = r["step_per_s"] / residual
        for name, value in of.items():
            ratios[name].append(value)
        lines.append(
            f"{r['task']:22s}{r['batch']:6d}{r['step_per_s']:10,.0f}{r.get('naive_per_s', float('nan')):10,.0f}"
            f"{r.get('reference_per_s', float('nan')):12,.0f}{residual:11,.0f}{r['mujoco_c_per_s']:9,.0f}"
            f"{of['naive']:9.1f}{of['c']:7.2f}{of['step']:12.2f}{r['compile_s']:10.1f}{r['peak_bytes'] / 1e6:7.1f}"
        )
    means = {name: statistics.geometric_mean(values) for name, values in ratios.items()}
    lines.append(f"{'geometric mean':80s}{means['naive']:9.1f}{means['c']:7.2f}{means['step']:12.2f}")
    return "\n".join(lines)


def plot(records: list[dict[str, Any]], path: Path) -> None:
    """Bars of transitions with Jacobians per second, one group per task, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    shown = {
        "naive": "vmap(jacfwd(env.step))",
        "mujoco_c": "MuJoCo C finite differences, all cores",
        "reference": "ours, reference engine",
        "residual": "ours, residual engine",
    }
    colours = ("#999999", "#E69F00", "#56B4E9", "#0072B2")
    figure, axes = plt.subplots(figsize=(max(6, 1.1 * len(records) + 2), 4.5), layout="constrained")
    for index, ((name, label), colour) in enumerate(zip(shown.items(), colours, strict=True)):
        values = [record.get(f"{name}_per_s", np.nan) for record in records]
        axes.bar(np.arange(len(records)) + 0.2 * (index - 1.5), values, 0.2, label=label, color=colour)
    axes.set_yscale("log")
    axes.set_xticks(range(len(records)), [record["task"] for record in records], rotation=30, ha="right")
    axes.set_ylabel("transitions with Jacobians per second")
    axes.set_title(f"float64, {records[0]['device']}")
    axes.legend(fontsize=8, ncols=2)
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="tasks; the paper's eight by default")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--engines", default=",".join(ENGINES), help=f"which of {', '.join(ENGINES)}")
    parser.add_argument("--json", type=Path, help="write the records here")
    parser.add_argument("--plot", type=Path, help="write a picture here")
    options = parser.parse_args()
    runtime.configure()
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from dynamic_sparsity.generation.tasks import PAPER_TASKS, get_task

    records = []
    for name in options.tasks or PAPER_TASKS:
        record = measure(get_task(name).name, options.batch, options.repetitions, tuple(options.engines.split(",")))
        packages = ("jax", "jaxlib", "mujoco", "mujoco-mjx", "playground")
        record["versions"] = {package: importlib.metadata.version(package) for package in packages}
        record["date"] = datetime.date.today().isoformat()
        records.append(record)
        print(table(records[-1:]).splitlines()[1], flush=True)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(records, indent=1) + "\n")
    print(table(records))
    if options.plot:
        plot(records, options.plot)


if __name__ == "__main__":
    main()
