"""Every dynamics against MuJoCo C, on the states that data is made of: noise and experts' episodes.

    python benchmarks/mujoco_agreement.py [TASK …] [--rows N] [--policies noise …] [--jacobians N] [--json PATH]

Generates rows in memory, as `generate` does, and steps every one of them with MuJoCo C: the share whose next state C
confirms within 1e-6 (1 + |s|), the quantiles of the difference, and the rows that are not confirmed though nothing says
so. Of some rows, half drawn at random and half among those with contacts, limits or switches, the Jacobian is held
against C's central differences. By default, one task of each group of dynamics, and its expert where there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from provenance import SIMULATOR, made_with, sentence

from dynamic_sparsity.generation import jax_runtime

EPISODES = 16
QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
UNCHECKABLE = ("nonfinite", "padding", "not_converged")


def jacobian_errors(physics: Any, rows: dict[str, Any], count: int, rng: np.random.Generator) -> dict[str, list[Any]]:
    """Relative errors of up to `count` rows: half at random, half of the hard ones; and how many are at a switch."""
    from dynamic_sparsity.generation.verification import finite_differences as oracle

    everything = np.arange(len(rows["state"]))
    hard = np.flatnonzero((rows["active_changes"] > 0) | (rows["active_any"] != 0).any(axis=1))
    drawn = [rng.choice(pool, min(count // 2, len(pool)), replace=False) for pool in (everything, hard)]
    reference, errors, switch, bound = oracle.MujocoOracle(physics), [], 0, 0
    for row in np.unique(np.concatenate(drawn)):
        state, action = rows["state"][row].astype(np.float64), rows["action"][row].astype(np.float64)
        truth = reference.reference(state, action)
        if truth.disagreement > oracle.AGREEMENT:
            switch += 1
            continue
        own = np.concatenate([rows["J_s"][row], rows["J_a"][row]], axis=1).astype(np.float64)
        errors.append(oracle.relative_error(own, truth.nearest(own)))
        bound += bool(np.abs(action).max() > 1 - 1e-5)
    return {"errors": errors, "near_switch": [switch], "near_bound": [bound]}


def check(task: str, policy: str, rows: int, jacobians: int) -> dict[str, Any]:
    """One record."""
    from dynamic_sparsity.generation.rollout.episodes import Episodes
    from dynamic_sparsity.generation.settings import Settings
    from dynamic_sparsity.generation.verification import mujoco_steps
    from dynamic_sparsity.schemas import FLAG_BITS, MUJOCO_TOLERANCE

    settings = Settings(task, policy=policy)
    episodes, length = Episodes.prepare(settings), settings.episode_length
    physics = episodes.physics
    rng = np.random.default_rng(0)
    blocks = max(1, round(rows / (EPISODES * length)))
    differences, wrong_count, flagged = [], [], []
    sample: dict[str, list[Any]] = {"errors": [], "near_switch": [], "near_bound": []}
    seconds = {"simulate": 0.0, "mujoco": 0.0}
    with mujoco_steps.Stepper(physics, os.cpu_count() or 1) as stepper:
        memory: dict[str, Any] = {}
        for block in range(blocks):
            began = time.perf_counter()
            memory = episodes.simulate(block * EPISODES, EPISODES, memory=memory)
            flat = {
                name: value.reshape((value.shape[0] * value.shape[1], *value.shape[2:]))
                for name, value in memory.items()
            }
            seconds["simulate"] += time.perf_counter() - began
            began = time.perf_counter()
            made = stepper.steps(flat["state"], flat["action"])
            seconds["mujoco"] += time.perf_counter() - began
            differences.append(mujoco_steps.difference(flat["next_state"], made.next_state))
            bits = sum(1 << FLAG_BITS[name] for name in UNCHECKABLE)
            flagged.append((flat["flags"] & bits) != 0)
            wrong_count.append((flat["flags"] >> FLAG_BITS["contact_mismatch"]) & 1 == 1)
            for name, value in jacobian_errors(physics, flat, jacobians // blocks, rng).items():
                sample[name] += value
    difference, excluded = np.concatenate(differences), np.concatenate(flagged)
    same = difference < MUJOCO_TOLERANCE
    kept = difference[~excluded]
    return {
        "task": task,
        "group": physics.task.group,
        "policy": policy,
        "rows": len(difference),
        "confirmed": float(np.mean(same[~excluded])),
        "not_confirmed": int(np.sum(~same & ~excluded)),
        "not_finite_or_converged": int(excluded.sum()),
        "contact_mismatch": float(np.mean(np.concatenate(wrong_count))),
        "difference": {str(q): float(np.quantile(kept, q)) for q in QUANTILES},
        "jacobians": len(sample["errors"]),
        "near_switch": int(sum(sample["near_switch"])),
        "near_bound": int(sum(sample["near_bound"])),
        "relative_error": {str(q): float(np.quantile(sample["errors"], q)) for q in QUANTILES},
        "rows_per_second": {name: round(len(difference) / max(value, 1e-9)) for name, value in seconds.items()},
    }


def markdown(records: list[dict[str, Any]], note: str) -> str:
    """The records as a page."""
    columns = (
        "group", "policy", "rows", "confirmed", "not confirmed", "not finite", "difference: median", "99.9 %", "max",
        "Jacobians", "at a switch", "error: median", "99 %", "99.9 %", "max",
    )  # fmt: skip
    lines = [
        "# Every dynamics against MuJoCo C's own step",
        "",
        f"Made by `benchmarks/mujoco_agreement.py`, which says what is compared. {note}",
        "",
        "*confirmed*: MuJoCo C reaches the same next state within 1e-6 (1 + |s|); the stored one is float32, whose own",
        "rounding is 6e-8. *error*: of [J_s | J_a] against central differences of MuJoCo C, in the Frobenius norm.",
        "",
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
    ]
    for r in records:
        cells = [
            r["group"],
            r["policy"],
            f"{r['rows']:,}",
            f"{100 * r['confirmed']:.4f} %",
            r["not_confirmed"],
            r["not_finite_or_converged"],
            *(f"{r['difference'][q]:.0e}" for q in ("0.5", "0.999", "1.0")),
            r["jacobians"],
            r["near_switch"],
            *(f"{r['relative_error'][q]:.0e}" for q in ("0.5", "0.99", "0.999", "1.0")),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compares and reports; exit code 1 if fewer than 99.9 % of the rows of a record are confirmed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="tasks; one of each group by default")
    parser.add_argument("--policies", nargs="+", default=["noise", "expert"])
    parser.add_argument("--rows", type=int, default=100_000, help="rows per record, rounded to whole blocks")
    parser.add_argument("--jacobians", type=int, default=200, help="rows whose Jacobian is compared")
    parser.add_argument("--json", type=Path, help="records that are there already are kept")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    jax_runtime.configure()
    from dynamic_sparsity.generation.tasks import TASKS, get_task, group_representatives
    from dynamic_sparsity.policies import files

    usual = [
        next((name for name in TASKS if TASKS[name].group == group and name in files.available()), first)
        for group, first in group_representatives().items()
    ]
    document: dict[str, Any] = {"records": []}
    if options.json and options.json.exists():
        document = json.loads(options.json.read_text())
    for name in options.tasks or usual:
        task = get_task(name).name
        for policy in options.policies:
            if policy != "noise" and task not in files.available():
                continue
            if any((r["task"], r["policy"]) == (task, policy) for r in document["records"]):
                continue
            record = check(task, policy, options.rows, options.jacobians)
            print(json.dumps(record), flush=True)
            document["records"].append(record)
            document |= made_with(*SIMULATOR)
            if options.json:
                options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(document["records"], f"{sentence(document)}; CPU."))
    short = [f"{r['task']} {r['policy']}" for r in document["records"] if r["confirmed"] < 0.999]
    print(f"{len(document['records'])} records" + (f"; too few rows confirmed: {short}" if short else ""))
    raise SystemExit(bool(short))


if __name__ == "__main__":
    main()
