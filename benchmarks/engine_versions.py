"""The engine's speed beside that of an earlier commit: `python benchmarks/engine_versions.py COMMIT [GROUP …]`.

Transitions with Jacobians per second, float64, on the same states. Each side is a process of its own with its own
sources (of the earlier commit: a worktree in a temporary folder); they take turns, so that a noisy machine is noisy for
both. The ratio is the median over pairs of turns, and its interval half of the pairs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
ROUND_S = 1.0
"""A turn lasts about so long."""


def serve(task: str, states_file: str) -> None:
    """Compile a task's engine, then run it as often as each line of standard input says, and print the seconds."""
    import time

    import jax
    import numpy as np
    from mujoco import mjx

    from dynamic_sparsity.generation import jax_runtime
    from dynamic_sparsity.generation.jacobians import engines
    from dynamic_sparsity.generation.physics.model import load_physics

    jax_runtime.configure()
    # Its name until the packages of `generation` were renamed.
    jacobian = getattr(engines, "implicit_jacobian", None) or engines.linearise  # type: ignore[attr-defined]
    physics = load_physics(task)
    nq = physics.task.nq
    empty = mjx.make_data(physics.mj_model, impl="jax")

    def row(state: Any, action: Any) -> Any:
        result = jacobian(physics, empty.replace(qpos=state[:nq], qvel=state[nq:]), action)
        return result.data.qpos, result.data.qvel, result.J_s, result.J_a

    with np.load(states_file) as file:
        states, actions = file["states"], file["actions"]
    program = jax_runtime.jit(jax.vmap(row)).lower(states, actions).compile()
    jax.block_until_ready(program(states, actions))
    print("ready", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            jax.block_until_ready(program(states, actions))
        print(time.perf_counter() - began, flush=True)


@contextlib.contextmanager
def sources_of(commit: str) -> Iterator[Path]:
    """A worktree of a commit, removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "before"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", place, commit], cwd=PROJECT, check=True)
        try:
            yield place
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", place], cwd=PROJECT, check=True)


@contextlib.contextmanager
def side(sources: Path, task: str, states_file: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that serves a task with the sources below a folder, compiled and warm."""
    command = [sys.executable, __file__, "--serve", task, str(states_file)]
    environment = os.environ | {"PYTHONPATH": str(sources / "src")}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            while process.stdout.readline().strip() != "ready":
                if process.poll() is not None:
                    raise SystemExit(f"the process of {sources} ended with {process.returncode}")
            yield process
        finally:
            process.kill()


def turn(process: subprocess.Popen[str], repetitions: int) -> float:
    """Seconds of so many runs."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{repetitions}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def compare(task: str, group: str, before: Path, batch: int, turns: int) -> dict[str, Any]:
    """One record: rows per second of both sides, and the ratio of now to before."""
    import numpy as np
    from states import varied_states

    from dynamic_sparsity.generation.physics.model import load_physics

    states, actions = varied_states(load_physics(task), batch)
    with tempfile.TemporaryDirectory() as folder:
        states_file = Path(folder) / "states.npz"
        np.savez(states_file, states=states, actions=actions)
        with side(before, task, states_file) as old, side(PROJECT, task, states_file) as new:
            repetitions = max(1, round(ROUND_S / turn(new, 1)))
            pairs = [(turn(old, repetitions), turn(new, repetitions)) for _ in range(turns)]
    low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
    rows = batch * repetitions
    return {
        "group": group,
        "task": task,
        "batch": batch,
        "before_per_s": rows / statistics.median(a for a, _ in pairs),
        "now_per_s": rows / statistics.median(b for _, b in pairs),
        "ratio": middle,
        "ratio_quartiles": [low, high],
    }


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        return serve(*sys.argv[2:])
    sys.path.insert(0, str(PROJECT / "tests/helpers"))
    from provenance import SIMULATOR, made_with

    from dynamic_sparsity.generation import jax_runtime, tasks

    jax_runtime.configure()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the earlier state of the sources")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="dynamics (default: all)")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--turns", type=int, default=9, help="of each side, about a second each")
    parser.add_argument("--json", type=Path, help="add the records to this file")
    arguments = parser.parse_args()
    representatives = tasks.group_representatives()
    kept = json.loads(arguments.json.read_text())["records"] if arguments.json and arguments.json.exists() else []
    with sources_of(arguments.commit) as before:
        for group in arguments.groups or sorted(representatives):
            record = compare(representatives[group], group, before, arguments.batch, arguments.turns)
            kept = [other for other in kept if other["group"] != group] + [record]
            print(f"{group}: {record['ratio']:.3f} of before ({record['now_per_s']:,.0f} rows/s)", flush=True)
            ratios = [record["ratio"] for record in kept]
            document = {
                "what": "the engine's rows per second as a multiple of those of an earlier commit, interleaved",
                "before": arguments.commit,
                "cores": os.cpu_count(),
                "geometric_mean": math.exp(statistics.fmean(map(math.log, ratios))),
                "records": sorted(kept, key=lambda other: other["group"]),
                **made_with(*SIMULATOR),
            }
            if arguments.json:
                arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    print(f"geometric mean {document['geometric_mean']:.3f}")


if __name__ == "__main__":
    main()
