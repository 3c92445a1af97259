"""The same control steps with Jacobians on this machine's device and on its CPU: how far apart are they?

    python benchmarks/device_agreement.py [TASK …] [--rows 256] [--json PATH]

Both in float64 on the same states and actions. Programs for a GPU do some things differently (`generation/target.py`);
where JAX has a CPU only, the program that is meant for a GPU runs on it, so that its numbers are tested without one.
Relative errors are of each row's largest entry; *same bits* is the share of rows whose stored float32 numbers agree.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from provenance import SIMULATOR, made_with

from dynamic_sparsity.generation import jax_runtime, target


def results(task: str, states: Any, actions: Any, kind: str, device: Any) -> dict[str, Any]:
    """Next states, Jacobians and constraint forces of a batch, of a program for a kind of device, on a device."""
    import jax
    import numpy as np
    from mujoco import mjx

    from dynamic_sparsity.generation.jacobians import engines
    from dynamic_sparsity.generation.physics.model import load_physics

    physics = load_physics(task)
    empty = mjx.make_data(physics.mj_model, impl="jax")
    nq = physics.task.nq

    def row(state: Any, action: Any) -> Any:
        found = engines.transition(physics, empty.replace(qpos=state[:nq], qvel=state[nq:]), action)
        return {
            "next_state": jax.numpy.concatenate([found.data.qpos, found.data.qvel]),
            "J_s": found.J_s,
            "J_a": found.J_a,
            "contact_force": found.info.features.force,
            "iterations": found.info.iterations,
            "residual": found.info.residual,
        }

    with target.compiling_for(kind), jax.default_device(device):
        found = jax_runtime.jit(jax.vmap(row))(states, actions)
    return {name: np.asarray(value) for name, value in found.items()}


def compare(task: str, rows: int) -> dict[str, Any]:
    """One record."""
    import jax
    import numpy as np
    from states import varied_states

    from dynamic_sparsity.generation.physics.model import load_physics

    states, actions = varied_states(load_physics(task), rows)
    device, cpu = jax.devices()[0], jax.devices("cpu")[0]
    kind = "gpu" if device.platform == "cpu" else device.platform
    ours, theirs = results(task, states, actions, kind, device), results(task, states, actions, "cpu", cpu)
    record = {"task": task, "rows": rows, "device": device.device_kind, "program_for": kind}
    for name in ("next_state", "J_s", "J_a", "contact_force"):
        a, b = (side[name].reshape(rows, -1) for side in (ours, theirs))
        if not a.size:
            continue
        scale = np.maximum(np.abs(b).max(axis=1, keepdims=True), 1e-300)
        record[f"{name}_error"] = float((np.abs(a - b) / scale).max())
        record[f"{name}_same_bits"] = float((a.astype(np.float32) == b.astype(np.float32)).all(axis=1).mean())
    record["residual_max"] = float(max(side["residual"].max() for side in (ours, theirs)))
    return record | made_with(*SIMULATOR)


def main() -> None:
    """Compares and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="tasks; one of each group by default")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--json", type=Path, help="write the records here")
    options = parser.parse_args()
    jax_runtime.configure()
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests/helpers"))
    from dynamic_sparsity.generation.tasks import get_task, group_representatives

    records = []
    for name in options.tasks or group_representatives().values():
        records.append(compare(get_task(name).name, options.rows))
        print({key: value for key, value in records[-1].items() if key != "versions"}, flush=True)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
