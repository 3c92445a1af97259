"""What each part of a control step with Jacobians costs, per physics substep.

    python benchmarks/parts.py [TASK …] [--batch 128] [--json PATH] [--markdown PATH]

Each part is a program of its own on the same states (`states.varied_states`); the least of many repetitions counts.
Parts share work when compiled together, so that they need not add up.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from outputs import write
from provenance import made_with, sentence

from dynamic_sparsity.generation import jax_runtime

REPETITIONS = 15
PARTS = {
    "forward": "forces, contacts and the converged acceleration",
    "simple": "derivatives of springs, dampers, actuators, tendons",
    "limits": "derivatives of limits, and of all rows by velocity",
    "contacts": "derivatives of the contacts that push, by position",
    "rigid": "derivatives of inverse dynamics, batch last",
    "solve": "the linear system, all columns",
}
WHOLES = {"step": "the plain converged step", "with_jacobians": "the step with Jacobians"}


def least(function: Callable[..., Any], *arguments: Any) -> float:
    """Seconds of the fastest call."""
    import jax

    program = jax_runtime.jit(function).lower(*arguments).compile()
    jax.block_until_ready(program(*arguments))
    times = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        times.append(time.perf_counter() - began)
    return min(times)


def measure(task: str, batch: int) -> dict[str, Any]:
    """Microseconds per row and substep of every part, of the whole step, and of the step with Jacobians."""
    import jax
    import jax.numpy as jnp
    from mujoco import mjx
    from states import varied_states

    from dynamic_sparsity.generation.jacobians import constraint_rows, contact_forces, engines, residual
    from dynamic_sparsity.generation.physics import linear_algebra, manifold
    from dynamic_sparsity.generation.physics.model import load_physics
    from dynamic_sparsity.generation.physics.step import control_step, forward

    physics = load_physics(task)
    m, nq, nv = physics.mjx_model, physics.task.nq, physics.task.nv
    states, actions = varied_states(physics, batch)
    empty = mjx.make_data(physics.mj_model, impl="jax")

    def at(state: Any, action: Any) -> Any:
        return empty.replace(qpos=state[:nq], qvel=state[nq:], ctrl=action)

    def evaluated(state: Any, action: Any) -> Any:
        return forward(physics, at(state, action))

    def rows(r: Any) -> Any:
        return constraint_rows.constraint_rows(physics, r.data, r.zones, r.data._impl.efc_force)

    def simple(r: Any) -> Any:
        basis = manifold.basis(physics.blocks, r.data.qpos)
        tendons = residual._tendon_displacements(physics, r.data, basis)
        return residual._spring_and_actuator_derivatives(physics, r.data, basis, tendons)

    results = jax_runtime.jit(jax.vmap(evaluated))(states, actions)
    inputs = jax_runtime.jit(jax.vmap(lambda r: residual.row_inputs(physics, r, r.data.qacc)))(results)
    last = jax.tree_util.tree_map(lambda x: jnp.moveaxis(x, 0, -1), inputs)
    matrix = jnp.broadcast_to(2 * jnp.eye(nv), (batch, nv, nv))
    right = jnp.ones((batch, nv, 2 * nv + physics.task.nu))
    seconds = {
        "forward": least(jax.vmap(lambda s, a: forward(s, a).data.qacc), states, actions),
        "simple": least(jax.vmap(simple), results),
        "rigid": least(lambda x: residual.rigid_blocks(physics, x), last),
        "solve": least(jax.vmap(linear_algebra.solve_positive_definite), matrix, right),
    }
    if results.problem is not None:
        seconds["limits"] = least(
            jax.vmap(lambda r: constraint_rows.limit_derivatives(m, r.data, rows(r), None)), results
        )
        if results.data._impl.contact.dim.size:
            top = residual._topology(physics)

            def by_contacts(r: Any) -> Any:
                return contact_forces.by_contacts(top, m, contact_forces.contact_row(m, r.data, rows(r)))

            seconds["contacts"] = least(jax.vmap(by_contacts), results)

    def state(data: Any) -> Any:
        return data.qpos, data.qvel

    def outcome(result: Any) -> Any:
        return state(result.data), result.J_s, result.J_a

    substeps = physics.task.substeps
    whole = {
        "step": least(jax.vmap(lambda s, a: state(control_step(physics, at(s, a), a)[0])), states, actions),
        "with_jacobians": least(
            jax.vmap(lambda s, a: outcome(engines.implicit_jacobian(physics, at(s, a), a))), states, actions
        ),
    }
    scale = 1e6 / batch
    record: dict[str, Any] = {name: value * scale for name, value in seconds.items()}
    record |= {name: value * scale / substeps for name, value in whole.items()}
    return {"task": task, "batch": batch, "substeps": substeps, "nv": nv, "microseconds_per_row_and_substep": record}


def markdown(records: list[dict[str, Any]]) -> str:
    """The records as a page."""
    meanings = "\n".join(f"- *{name}*: {meaning}" for name, meaning in {**PARTS, **WHOLES}.items())
    columns = [*PARTS, *WHOLES]
    lines = [["task", "batch", "substeps", *columns], ["---", *["---:"] * (len(columns) + 2)]]
    for record in records:
        values = record["microseconds_per_row_and_substep"]
        shown = (f"{values[name]:.2f}" if name in values else "–" for name in columns)
        lines.append([record["task"], str(record["batch"]), str(record["substeps"]), *shown])
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return (
        f"# What each part costs\n\nMicroseconds per row and substep, float64, {records[0]['device']}. "
        f"{sentence(records[0])}. Made by\n`benchmarks/parts.py`. Parts share work when compiled together, "
        f"so that they need not add up.\n\n{meanings}\n\n{rows}\n"
    )


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="tasks; the paper's eight by default")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--json", type=Path, help="write the records here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    options = parser.parse_args()
    jax_runtime.configure()
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests/helpers"))
    import jax

    from dynamic_sparsity.generation.tasks import PAPER_TASKS, get_task

    columns = [*PARTS, *WHOLES]
    print("µs per row and substep\n" + f"{'':18s}" + "".join(f"{name:>16s}" for name in columns))
    records = []
    for task in options.tasks or PAPER_TASKS:
        record = measure(get_task(task).name, options.batch)
        record["device"] = f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores"
        record |= made_with("jax", "mujoco-mjx")
        records.append(record)
        values = record["microseconds_per_row_and_substep"]
        print(f"{task:18s}" + "".join(f"{values.get(name, 0):16.2f}" for name in columns), flush=True)
        write(records, markdown(records), options.json, options.markdown)


if __name__ == "__main__":
    main()
