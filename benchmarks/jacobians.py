"""Transitions with Jacobians per second, against everything a user might use instead; one run, interleaved.

    python benchmarks/jacobians.py [TASK …] [--batch N …] [--json PATH] [--markdown PATH] [--plot PATH]

All in float64 on the same states: the plain converged step; `vmap(jacfwd(env.step))` of Playground's own step, as the
paper does it (stock solver), of robots by their controls, `jacfwd(mjx_env.step)`; our reference engine (forward
differentiation of the converged step); the residual engine; MuJoCo C's `mjd_transitionFD`, centred, substeps chained,
converged options, on as many processes as there are cores.
Several batches show where throughput saturates (`--engines step,residual` leaves out what is slow).

The residual engine's compile time is that of a first run; the others' programs may come from JAX's persistent cache.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from jacobians_table import ENGINES, cells, markdown, plot, table, text
from provenance import SIMULATOR, made_with

from dynamic_sparsity.generation import jax_runtime

SECONDS_OF_C = 1.0
DRAWN = 4096
"""Different states at most; larger batches have each of them several times."""


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


def near_keyframe(physics: Any, count: int) -> tuple[Any, Any]:
    """States a while after a robot was dropped near its keyframe, and controls near those of the keyframe."""
    import mujoco
    import numpy as np

    model, rng = physics.mj_model, np.random.default_rng(0)
    data = mujoco.MjData(model)
    states, actions = np.empty((count, model.nq + model.nv)), np.empty((count, model.nu))
    for row in range(count):
        mujoco.mj_resetDataKeyframe(model, data, 0)
        mujoco.mj_integratePos(model, data.qpos, 0.03 * rng.normal(size=model.nv), 1.0)
        data.ctrl[:] = actions[row] = model.key_ctrl[0] + 0.1 * rng.normal(size=model.nu)
        mujoco.mj_step(model, data, int(rng.integers(40, 120)))
        states[row] = np.concatenate([data.qpos, data.qvel])
    return states, actions


@contextmanager
def mujoco_c(physics: Any, states: Any, actions: Any) -> Iterator[Callable[[], float]]:
    """Processes as many as cores, and a function that has them all differentiate rows, giving rows per second."""
    import mujoco

    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(workers) as pool:
        path = str(Path(folder) / "model.mjb")
        mujoco.mj_saveModel(physics.mj_model, path, None)
        job = (path, states, actions, physics.task.substeps)
        pool.map(transition_by_mujoco_c, [(*job, 0.05)] * workers)
        jobs = [(*job, SECONDS_OF_C)] * workers
        yield lambda: sum(pool.map(transition_by_mujoco_c, jobs, 1)) / SECONDS_OF_C


def programs(task: str) -> dict[str, Callable[[Any, Any], Any]]:
    """The functions to compare, each of a state (ds,) and an action (da,)."""
    import jax
    import jax.numpy as jnp
    from mujoco import mjx
    from mujoco_playground._src import mjx_env

    from dynamic_sparsity.generation.environments.loading import load_environment
    from dynamic_sparsity.generation.jacobians import engines
    from dynamic_sparsity.generation.physics.model import load_physics
    from dynamic_sparsity.generation.physics.step import control_step
    from dynamic_sparsity.generation.tasks import ROBOTS

    physics = load_physics(task)
    environment = load_environment(task)
    nq, robot = physics.task.nq, task in ROBOTS
    empty = mjx.make_data(physics.mj_model, impl="jax")
    if robot:
        playground_empty = mjx.make_data(environment.mj_model, impl="jax")
    else:
        initial = jax_runtime.jit(environment.reset)(jax.random.PRNGKey(0))

    def at(data: Any, state: Any) -> Any:
        return data.replace(qpos=state[:nq], qvel=state[nq:])

    def step(state: Any, action: Any) -> Any:
        final, _ = control_step(physics, at(empty, state), action)
        return final.qpos, final.qvel

    def naive(state: Any, action: Any) -> Any:
        def next_state(state: Any, action: Any) -> Any:
            if robot:
                data = at(playground_empty, state)
                data = mjx_env.step(environment.mjx_model, data, action, environment.n_substeps)
            else:
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
        "reference": engine(engines.autodiff_jacobian),
        "residual": engine(engines.implicit_jacobian),
    }


@contextmanager
def empty_compilation_cache() -> Iterator[None]:
    """Compiles as on a machine that has never done so."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    usual = jax.config.jax_compilation_cache_dir
    with tempfile.TemporaryDirectory() as folder:
        compilation_cache.set_cache_dir(folder)
        compilation_cache.reset_cache()
        try:
            yield
        finally:
            compilation_cache.set_cache_dir(usual)
            compilation_cache.reset_cache()


def measure(task: str, batch: int, repetitions: int, engines: tuple[str, ...]) -> dict[str, Any]:
    """One record of the comparison."""
    import jax
    import numpy as np
    from states import varied_states

    from dynamic_sparsity.generation.physics.model import load_physics
    from dynamic_sparsity.generation.tasks import ROBOTS

    physics = load_physics(task)
    draw = near_keyframe if task in ROBOTS else varied_states
    # A GPU's batches have more rows than are worth drawing.
    states, actions = (np.resize(x, (batch, x.shape[1])) for x in draw(physics, min(batch, DRAWN)))
    compiled, record = {}, {"task": task, "batch": batch, "precision": "float64", "device": _device()}
    for name, function in programs(task).items():
        if name in engines:
            began = time.perf_counter()
            with empty_compilation_cache() if name == "residual" else nullcontext():
                program = jax_runtime.jit(jax.vmap(function)).lower(states, actions).compile()
            record["compile_s" if name == "residual" else f"{name}_compile_s"] = time.perf_counter() - began
            compiled[name] = program
    memory = compiled["residual"].memory_analysis()
    sizes = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    record["peak_bytes"] = sum(int(getattr(memory, size)) for size in sizes)
    times: dict[str, list[float]] = {name: [] for name in compiled}
    per_second: list[float] = []
    with mujoco_c(physics, states, actions) if "mujoco_c" in engines else nullcontext() as by_c:
        for repetition in range(repetitions + 1):
            for name, program in compiled.items():
                began = time.perf_counter()
                jax.block_until_ready(program(states, actions))
                if repetition:
                    times[name].append(time.perf_counter() - began)
            if repetition and by_c:
                per_second.append(by_c())
    for name in compiled:
        record[f"{name}_per_s"] = batch / statistics.median(times[name])
    if per_second:
        record["mujoco_c_per_s"] = statistics.median(per_second)
    return record


def _device() -> str:
    import jax

    kind = jax.devices()[0].device_kind
    return f"{kind}, {os.cpu_count()} cores" if kind == "cpu" else kind


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="tasks; the paper's eight by default")
    parser.add_argument("--batch", type=int, nargs="+", default=[256], help="rows at a time; several to compare")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--engines", default=",".join(ENGINES), help=f"which of {', '.join(ENGINES)}")
    parser.add_argument("--json", type=Path, help="write the records here")
    parser.add_argument("--add", action="store_true", help="keep records of other tasks and batches that --json has")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--plot", type=Path, help="write a picture here")
    options = parser.parse_args()
    jax_runtime.configure()
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests/helpers"))
    from dynamic_sparsity.generation.tasks import PAPER_TASKS, get_task

    kept = json.loads(options.json.read_text()) if options.add and options.json and options.json.exists() else []
    found = {(one["task"], one["batch"]): one for one in kept}
    for name, batch in itertools.product(options.tasks or PAPER_TASKS, options.batch):
        record = measure(get_task(name).name, batch, options.repetitions, tuple(options.engines.split(",")))
        record |= made_with(*SIMULATOR)
        found[record["task"], batch] = record
        records = list(found.values())
        print(text([cells(record)]), flush=True)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(records, indent=1) + "\n")
    print(text(table(records)))
    if options.markdown:
        options.markdown.write_text(markdown(records))
    if options.plot:
        plot(records, options.plot)


if __name__ == "__main__":
    main()
