"""What a model is worth to a planner: returns of the cross-entropy method with learned models, by those with the truth.

One planner, the same starts, seeds and numbers of candidates for all. The true simulator is MuJoCo C with the converged
solver. Models are those that `train-learner --models DIR` keeps. The score is a function of the state, not the task's
own reward, so that a model of the state is all that a planner needs. Ridge regression, which has no file, is fitted to
the same data: what an affine model is worth.

    python benchmarks/planning.py --root data --models DIR [--tasks TASK,...] [--learners mlp-none,hinges-none]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from provenance import SIMULATOR, made_with

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.physics.model import load_physics
from dynamic_sparsity.generation.verification.mujoco_steps import Stepper
from dynamic_sparsity.learners import Benchmark, get_budget
from dynamic_sparsity.learners.planning import Planner, Score, relative_return, returns
from dynamic_sparsity.learners.references.baselines import Ridge
from dynamic_sparsity.learners.runs.saved_networks import load_model
from dynamic_sparsity.loaders import open_dataset, store_path
from dynamic_sparsity.storage.atomic import publish

SCORES: dict[str, Score] = {
    "PendulumSwingup": lambda state: np.cos(state[:, 0]),
    "CartpoleBalance": lambda state: np.cos(state[:, 1]) - 0.1 * state[:, 0] ** 2,
    "PointMass": lambda state: -np.hypot(state[:, 0], state[:, 1]),
    "CheetahRun": lambda state: np.clip(state[:, 9], None, 10.0),
}
"""The pendulum's and the pole's height, the distance from the target, the speed forward."""

HORIZON = 25
"""Control steps that a plan looks ahead: 0.25 to 0.5 s."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of the stores (default: %(default)s)")
    parser.add_argument("--models", type=Path, required=True, help="of train-learner --models")
    parser.add_argument("--tasks", default=",".join(SCORES), help="with commas between (default: %(default)s)")
    parser.add_argument("--learners", default="mlp-none,residual-mlp-none,hinges-none", help="<learner>-<loss>, …")
    parser.add_argument("--policy", default="noise", help="that acted in the data of the training")
    parser.add_argument("--protocol", default="mini")
    parser.add_argument("--seeds", default="0", help="of models and of the planner, with commas between")
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--steps", type=int, default=50, help="of an episode")
    parser.add_argument("--candidates", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/planning.json"), help="the record")
    parser.add_argument("--markdown", type=Path, default=Path("benchmarks/results/planning.md"), help="the table")
    arguments = parser.parse_args()
    jax_runtime.configure()
    rows = []
    planner = Planner(HORIZON, arguments.candidates, arguments.iterations, max(1, arguments.candidates // 8))
    for task in arguments.tasks.split(","):
        for seed in map(int, arguments.seeds.split(",")):
            rows += measure(task, seed, planner, arguments)
            settings = {name: getattr(arguments, name) for name in ("starts", "steps", "candidates", "iterations")}
            record = {**made_with(*SIMULATOR), **settings, "horizon": HORIZON, "rows": rows}
            publish(arguments.json, [json.dumps(record, indent=1).encode(), b"\n"])
            publish(arguments.markdown, [page(record).encode()])


def page(record: dict[str, Any]) -> str:
    """Return the table: the share of what the true simulator gains over chance, with the range over starts.

    Args:
        record: What `main` writes.
    """
    rows = record["rows"]
    tasks, models = (list(dict.fromkeys(row[name] for row in rows)) for name in ("task", "model"))
    cells = {}
    for task in tasks:
        for model in models:
            mine = [row for row in rows if (row["task"], row["model"]) == (task, model) and row["relative"] is not None]
            each = [share for row in mine for share in row["relative_by_start"]]
            mean = np.mean([row["relative"] for row in mine]) if mine else None
            cells[task, model] = "–" if mean is None else f"{mean:.2f} ({min(each):.2f} to {max(each):.2f})"
    lines = [f"| {model} | " + " | ".join(cells[task, model] for task in tasks) + " |" for model in models]
    seeds = len({row["seed"] for row in rows})
    return "\n".join(
        [
            "# Planning with learned models",
            "",
            f"Written by `benchmarks/planning.py` on {record['date']}: {record['candidates']} candidates, "
            f"{record['iterations']} iterations, {record['horizon']} steps ahead; {record['starts']} starts of "
            f"{record['steps']} steps, {seeds} {'seed' if seeds == 1 else 'seeds'}.",
            "(R − R_random) / (R_simulator − R_random): 1 plans as well as with MuJoCo C, 0 as chance; in parentheses "
            "from the least to the most over starts, each by the mean gain of the simulator.",
            "Few starts tell large differences only.",
            "",
            "| model | " + " | ".join(tasks) + " |",
            "| --- |" + " ---: |" * len(tasks),
            *lines,
            "",
        ]
    )


def measure(task: str, seed: int, planner: Planner, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return rows of the table for one task and seed.

    Args:
        task: Its name.
        seed: Of the models and of the planner.
        planner: The same for all.
        arguments: Of the command.
    """
    test = open_dataset(store_path(arguments.root, task, arguments.policy), split="test")
    chosen = np.linspace(0, len(test) - 1, arguments.starts).astype(np.int64)
    starts, da = test.with_columns(["state"])[chosen]["state"], test.metadata["sizes"]["da"]
    folder = arguments.models / arguments.protocol / task / arguments.policy
    with Stepper(load_physics(task), os.cpu_count() or 1) as stepper:

        def simulate(state: Any, action: Any) -> Any:
            return stepper.steps(state, action).next_state.astype(np.float32)

        known = {name: load_model(folder / f"{name}-{seed}.npz") for name in arguments.learners.split(",")}
        steps = {"simulator": simulate, "ridge": affine(test.store.path, arguments.protocol)}
        steps |= {name: saved.model.predict for name, saved in known.items()}
        given = (simulate, SCORES[task], starts, arguments.steps, da, seed)
        chance = returns(None, simulate, *given)
        found: dict[str, Any] = {}
        for name, predict in steps.items():
            began = time.process_time()
            found[name] = returns(planner, predict, *given)
            print(f"{task}, {name}: {found[name].mean():.3g}, {time.process_time() - began:.0f} s of CPU", flush=True)
    rows = []
    for name, values in found.items():
        share = relative_return(values, chance, found["simulator"])
        row: dict[str, Any] = {"task": task, "seed": seed, "model": name, "horizon": planner.horizon}
        row["train_sha256"] = (known[name].data or {}).get("settings_sha256") if name in known else None
        row |= {"return": round(float(values.mean()), 4), "relative": None if share is None else round(share, 3)}
        gain = found["simulator"].mean() - chance.mean()
        row["relative_by_start"] = [] if share is None else [round(float(one), 3) for one in (values - chance) / gain]
        rows.append({**row, "random": round(float(chance.mean()), 4)})
    return rows


def affine(store: Path, protocol: str) -> Any:
    """Return the step of ridge regression on a store's train split.

    Args:
        store: The store.
        protocol: Whose rows to take.
    """
    benchmark = Benchmark.read(store, get_budget(protocol))
    (model,) = Ridge().fit(benchmark.allowed("transitions"), benchmark.budget, [0])
    return model.predict


if __name__ == "__main__":
    main()
