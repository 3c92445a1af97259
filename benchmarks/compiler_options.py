"""Kinematics with and without XLA's CPU fusion emitters, interleaved in one run: why `jax_runtime.jit` sets an option.

python benchmarks/compiler_options.py [TASK …]
"""

from __future__ import annotations

import statistics
import sys
import time

from dynamic_sparsity.generation import jax_runtime

jax_runtime.configure()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from mujoco import mjx  # noqa: E402

from dynamic_sparsity.generation.physics.model import load_physics  # noqa: E402

BATCH, REPETITIONS = 64, 9


def main() -> None:
    """Prints milliseconds per batch and their ratio."""
    if jax_runtime.compiler_options() is None:
        print("This backend or version of XLA has no such option.")
        return
    for name in sys.argv[1:] or ["SwimmerSwimmer6", "CheetahRun", "WalkerRun", "HumanoidRun"]:
        physics = load_physics(name)
        empty = mjx.make_data(physics.mj_model, impl="jax")
        rng = np.random.default_rng(0)
        positions = physics.mj_model.qpos0 + 0.1 * rng.normal(size=(BATCH, physics.task.nq))

        def kinematics(qpos, physics=physics, empty=empty):
            data = mjx.kinematics(physics.mjx_model, empty.replace(qpos=qpos))
            return data.xpos, data.geom_xpos, data.ximat

        function = jax.vmap(kinematics)
        programs = [
            jax.jit(function, compiler_options=options).lower(positions).compile()
            for options in ({"xla_cpu_use_fusion_emitters": True}, jax_runtime.FUSION_EMITTERS_OFF)
        ]
        times: list[list[float]] = [[], []]
        for _ in range(REPETITIONS):
            for program, record in zip(programs, times, strict=True):
                began = time.perf_counter()
                jax.block_until_ready(program(positions))
                record.append(1e3 * (time.perf_counter() - began))
        on, off = (statistics.median(record) for record in times)
        print(f"{name:16s} emitters on {on:7.2f} ms, off {off:6.2f} ms per {BATCH} states: {on / off:.1f} x")


if __name__ == "__main__":
    main()
