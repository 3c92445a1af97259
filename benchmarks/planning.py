"""What a model is worth to a planner: returns of the cross-entropy method with learned models, by those with the truth.

One planner, the same starts, seeds and numbers of candidates for all. The true simulator is MuJoCo C with the converged
solver. Models are those that `train-learner --models DIR` keeps. The score is a function of the state, not the task's
own reward, so that a model of the state is all that a planner needs.

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
from dynamic_sparsity.learners.planning import Planner, Score, relative_return, returns
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
    arguments = parser.parse_args()
    jax_runtime.configure()
    rows = []
    planner = Planner(HORIZON, arguments.candidates, arguments.iterations, max(1, arguments.candidates // 8))
    for task in arguments.tasks.split(","):
        for seed in map(int, arguments.seeds.split(",")):
            rows += measure(task, seed, planner, arguments)
            record = {**made_with(*SIMULATOR), "starts": arguments.starts, "steps": arguments.steps, "rows": rows}
            publish(arguments.json, [json.dumps(record, indent=1).encode(), b"\n"])


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
        steps = {"simulator": simulate} | {name: saved.model.predict for name, saved in known.items()}
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
        rows.append({**row, "random": round(float(chance.mean()), 4)})
    return rows


if __name__ == "__main__":
    main()
