"""Every dynamics generated, verified, and held against MuJoCo C: the evidence behind the data, as a table.

    python benchmarks/verification.py [TASK …] [--policies noise …] [--root DIR] [--json PATH] [--markdown PATH]

Makes the default store of each task and policy (or resumes it), runs `verify` and `verify --deep` on it, and reports
the quantiles of the relative error, the solver's iterations and residuals, and in how many rows MuJoCo C steps
elsewhere. By default, one task of each group of dynamics, with the policies noise, expert and mixture.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from provenance import SIMULATOR, made_with, sentence

from dynamic_sparsity.generation import jax_runtime


def check(task: str, policy: str, root: Path, sample: int) -> dict[str, Any]:
    """Generates and verifies one store."""
    from dynamic_sparsity import load_dataset
    from dynamic_sparsity.generation.jobs.generate import generate
    from dynamic_sparsity.generation.settings import Settings
    from dynamic_sparsity.generation.verification.deep import verify_deep
    from dynamic_sparsity.schemas import FLAG_BITS
    from dynamic_sparsity.storage.verify import verify_store

    path = generate(Settings(task, policy=policy), root)
    problems = [str(problem) for problem in verify_store(path)]
    report = verify_deep(path, sample)
    problems += [str(problem) for problem in report.problems]
    columns = ["flags", "solver_iterations", "solver_residual", "state", "next_state", "J_s", "J_a", "reward"]
    dataset = load_dataset(task, root=root, policy=policy, columns=[*columns, "mujoco_difference"])
    rows = dataset[:]
    floats = [rows[name].reshape(len(dataset), -1) for name in ("state", "next_state", "J_s", "J_a", "reward")]
    finite = np.isfinite(np.concatenate(floats, axis=1)).all(axis=1)
    flagged = (rows["flags"] >> FLAG_BITS["nonfinite"]) & 1 == 1
    statistics = dataset.store.statistics
    return {
        "task": task,
        "policy": policy,
        "rows": len(dataset),
        "sampled": report.sampled,
        "hard": report.hard,
        "differs_from_mujoco": int(np.sum((rows["flags"] >> FLAG_BITS["differs_from_mujoco"]) & 1)),
        "mujoco_difference_max": float(np.nanmax(rows["mujoco_difference"])),
        "problems": problems,
        "unflagged_nonfinite": int(np.sum(~finite & ~flagged)),
        "iterations_median": float(np.median(rows["solver_iterations"])),
        "iterations_max": int(rows["solver_iterations"].max()),
        "residual_max": float(rows["solver_residual"].max()),
        "contact_mismatch": float(np.mean((rows["flags"] >> FLAG_BITS["contact_mismatch"]) & 1)),
        "rows_contact": int(statistics["rows_contact"]),
        "zeros_J_s": int(np.sum(statistics["zero_share_s"] == 1)),
        "zeros_J_a": int(np.sum(statistics["zero_share_a"] == 1)),
        "comparisons": [
            {
                "oracle": one.oracle,
                "compared": len(one.errors),
                "other_contacts": len(one.other_step),
                "near_switch": one.near_switch,
                "relative_error": {str(q): value for q, value in one.quantiles().items()},
            }
            for one in report.comparisons
        ],
    }


def markdown(records: list[dict[str, Any]], note: str) -> str:
    """The records as a page."""
    columns = (
        "task", "policy", "rows", "C steps elsewhere", "largest difference", "sampled (hard)", "C: n", "median", "99 %",
        "max", "near a switch", "own: n", "max", "iterations: median / max", "largest residual",
        "always zero in J_s / J_a", "unflagged NaN",
    )  # fmt: skip
    lines = [
        "# Every dynamics against MuJoCo C, store by store",
        "",
        f"Made by `benchmarks/verification.py`. {note}",
        "",
        "*C steps elsewhere*: rows, of all, whose next state MuJoCo C does not reach within 1e-6 (1 + |s|), which are",
        "flagged; *largest difference*: of next states, in the same unit, over all rows.",
        "Then, of a sample, half of it hard rows (contacts, limits, switches, high speeds), the relative error of",
        "[J_s | J_a], stored in float32, in the Frobenius norm. *C*: rows that MuJoCo C steps alike, against its",
        "central differences. *own*: rows that it steps elsewhere, against central differences of our own step. Rows",
        "near a switch of a contact or limit, where the differences themselves disagree, are left out and counted.",
        "",
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
    ]
    for r in records:
        first = r["comparisons"][0]
        own = r["comparisons"][1] if len(r["comparisons"]) > 1 else None
        error = {float(q): f"{value:.0e}" for q, value in first["relative_error"].items()}
        cells = [
            r["task"],
            r["policy"],
            f"{r['rows']:,}",
            r["differs_from_mujoco"],
            f"{r['mujoco_difference_max']:.0e}",
            f"{r['sampled']} ({r['hard']})",
            first["compared"],
            *(error.get(q, "–") for q in (0.5, 0.99, 1.0)),
            sum(one["near_switch"] for one in r["comparisons"]),
            own["compared"] if own else 0,
            f"{own['relative_error']['1.0']:.0e}" if own and own["relative_error"] else "–",
            f"{r['iterations_median']:g} / {r['iterations_max']}",
            f"{r['residual_max']:.0e}",
            f"{r['zeros_J_s']} / {r['zeros_J_a']}",
            r["unflagged_nonfinite"],
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Checks and reports; exit code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="tasks; one of each group of dynamics by default")
    parser.add_argument("--policies", nargs="+", default=["noise", "expert", "mixture"])
    parser.add_argument("--root", type=Path, help="keep the stores here")
    parser.add_argument("--sample", type=int, default=100, help="rows to compute again")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    jax_runtime.configure()
    from dynamic_sparsity.generation.tasks import get_task, group_representatives

    # What the records say stays true as long as the stores do, so an interrupted run resumes with the next one.
    records = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    done = {(record["task"], record.get("policy")) for record in records}
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.tasks or group_representatives().values():
            for policy in options.policies:
                task = get_task(name).name
                if (task, policy) in done:
                    continue
                records.append(check(task, policy, options.root or Path(temporary), options.sample))
                print(json.dumps(records[-1]), flush=True)
                if options.json:
                    options.json.write_text(json.dumps(records, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(records, f"{sentence(made_with(*SIMULATOR))}; CPU."))
    wrong = [
        f"{record['task']} {record['policy']}"
        for record in records
        if record["problems"] or record["unflagged_nonfinite"]
    ]
    print(f"{len(records) - len(wrong)} of {len(records)} stores right" + (f"; wrong: {wrong}" if wrong else ""))
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
