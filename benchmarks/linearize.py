"""Steps with Jacobians per second of any model: `linearize`, MuJoCo C's differences, and plain `jax.jacfwd` of MJX.

    python benchmarks/linearize.py [MODEL.xml|MODEL.mjb …] [--batch N] [--repetitions N] [--without-naive] [--json PATH]

The models are those of `MODELS` here, and those given. One physics step, float64, the same states for all, interleaved;
medians.

- *linearize*: the converged step with A and B.
- *mujoco_c*: `mjd_transitionFD`, centred, with the same converged options, a thread for each core.
- *naive*: `vmap(jacfwd(mjx.step))` by (qpos, qvel, ctrl) with the model's own options, as one would write it first.
- *step*: the converged step alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import mujoco
import numpy as np
from mujoco import mjx
from provenance import SIMULATOR, made_with

from dynamic_sparsity import linearize
from dynamic_sparsity.generation import jax_runtime

SETTLE = 50
"""Physics steps by MuJoCo C before a state is used, so that contacts act."""

MODELS = {
    "two-legged hopper": """
<mujoco><option timestep="0.005"/><worldbody><geom type="plane" size="9 9 .1"/>
  <body pos="0 0 .75"><freejoint/><geom type="capsule" size=".08 .15" euler="0 90 0" mass="4"/>
    <body pos=".1 .1 0"><joint name="hip_l" axis="0 1 0" damping=".5" range="-90 90"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.3" size=".03" mass=".6"/>
      <body pos="0 0 -.3"><joint name="knee_l" axis="0 1 0" damping=".5" range="0 150"/>
        <geom type="capsule" fromto="0 0 0 0 0 -.3" size=".025" mass=".3"/></body></body>
    <body pos=".1 -.1 0"><joint name="hip_r" axis="0 1 0" damping=".5" range="-90 90"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.3" size=".03" mass=".6"/>
      <body pos="0 0 -.3"><joint name="knee_r" axis="0 1 0" damping=".5" range="0 150"/>
        <geom type="capsule" fromto="0 0 0 0 0 -.3" size=".025" mass=".3"/></body></body></body></worldbody>
  <actuator><motor joint="hip_l" gear="40" ctrlrange="-1 1"/><motor joint="knee_l" gear="40" ctrlrange="-1 1"/>
    <motor joint="hip_r" gear="40" ctrlrange="-1 1"/><motor joint="knee_r" gear="40" ctrlrange="-1 1"/></actuator>
</mujoco>"""
}  # fmt: skip


def states(model: mujoco.MjModel, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, velocities and controls a while after falls from near the first keyframe, or from zero."""
    rng = np.random.default_rng(0)
    data = mujoco.MjData(model)
    qpos, qvel = np.empty((count, model.nq)), np.empty((count, model.nv))
    low, high = np.where(model.actuator_ctrllimited[:, None], model.actuator_ctrlrange, [-1.0, 1.0]).T
    ctrl = low + (high - low) * rng.uniform(0.3, 0.7, size=(count, model.nu))
    for row in range(count):
        mujoco.mj_resetData(model, data)
        if model.nkey:
            mujoco.mj_resetDataKeyframe(model, data, 0)
        mujoco.mj_integratePos(model, data.qpos, 0.1 * rng.normal(size=model.nv), 1.0)
        data.ctrl[:] = ctrl[row]
        mujoco.mj_step(model, data, SETTLE + row % SETTLE)
        qpos[row], qvel[row] = data.qpos, data.qvel
    return qpos, qvel, ctrl


def by_mujoco_c(model: mujoco.MjModel, rows: tuple[np.ndarray, ...]) -> Callable[[], None]:
    """A function that differentiates all rows with MuJoCo C, on all cores."""
    cores = os.cpu_count() or 1
    pool = ThreadPoolExecutor(cores)
    places = [mujoco.MjData(model) for _ in range(cores)]
    dx = 2 * model.nv
    outputs = [(np.zeros((dx, dx)), np.zeros((dx, model.nu))) for _ in range(cores)]

    def some(worker: int) -> None:
        data, (a, b) = places[worker], outputs[worker]
        for qpos, qvel, ctrl in zip(*(x[worker::cores] for x in rows), strict=True):
            data.qpos[:], data.qvel[:], data.ctrl[:] = qpos, qvel, ctrl
            mujoco.mjd_transitionFD(model, data, 1e-6, True, a, b, None, None)

    return lambda: list(pool.map(some, range(cores)))


def naive(model: mujoco.MjModel) -> Callable[..., Any]:
    """Plain forward differentiation of MJX's step."""
    device_model, empty = mjx.put_model(model, impl="jax"), mjx.make_data(model, impl="jax")

    def step(qpos: Any, qvel: Any, ctrl: Any) -> tuple[Any, Any]:
        data = mjx.step(device_model, empty.replace(qpos=qpos, qvel=qvel, ctrl=ctrl))
        return data.qpos, data.qvel

    program: Callable[..., Any] = jax_runtime.jit(jax.vmap(jax.jacfwd(step, argnums=(0, 1, 2))))
    return program


def measure(name: str, model: mujoco.MjModel, batch: int, repetitions: int, with_naive: bool) -> dict[str, Any]:
    """One record of the comparison."""
    rows = states(model, batch)
    linearized = linearize(model, checked_rows=0)
    agreement = linearized.compare_with_mujoco(*rows)
    functions: dict[str, Callable[[], Any]] = {
        "step": lambda: linearized.next_state(*rows),
        "linearize": lambda: linearized(*rows),
        "mujoco_c": by_mujoco_c(linearized.model, rows),
    }
    if with_naive:
        program = naive(model)
        functions["naive"] = lambda: program(*rows)
    times: dict[str, list[float]] = {which: [] for which in functions}
    for repetition in range(repetitions + 1):
        for which, function in functions.items():
            began = time.perf_counter()
            jax.block_until_ready(function())
            if repetition:
                times[which].append(time.perf_counter() - began)
    record = {
        "model": name, "nv": model.nv, "nu": model.nu, "batch": batch, "engine": linearized.engine,
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores",
        "rows_in_contact": int((agreement.contacts > 0).any(axis=1).sum()),
        "largest_difference_from_c": float(agreement.difference.max()),
    }  # fmt: skip
    return record | {f"{which}_per_s": batch / statistics.median(taken) for which, taken in times.items()}


def load(path: Path) -> mujoco.MjModel:
    """A model of an MJCF file, or a compiled one (.mjb)."""
    if path.suffix == ".mjb":
        return mujoco.MjModel.from_binary_path(str(path))
    return mujoco.MjModel.from_xml_path(str(path))


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL", help="models beside those of `MODELS`")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--without-naive", action="store_true", help="leave out MJX's own, slow to compile")
    parser.add_argument("--json", type=Path, help="write the records here")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    named = {name: mujoco.MjModel.from_xml_string(xml) for name, xml in MODELS.items()}
    named |= {path.stem: load(path) for path in options.models}
    records = []
    for name, model in named.items():
        record = measure(name, model, options.batch, options.repetitions, not options.without_naive)
        records.append(record | made_with(*SIMULATOR))
        print(json.dumps(records[-1]), flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
