"""Make the benchmark's data, and its table: every learner on every dynamics, several seeds, noise and expert.

What exists is not made again, so an interrupted run resumes; a result is written as soon as it is there. Learners that
nothing random is in have one seed. Standard deviations of the truths are those of the mixture. Which causes are
irrelevant is what MuJoCo C says.

    python benchmarks/local_graphs.py data --root data/benchmark
    python benchmarks/local_graphs.py run --root data/benchmark --out results/learners [--tasks TASK,...]
    dynamic-sparsity leaderboard results/learners --benchmark results/benchmark
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.physics.model import load_physics
from dynamic_sparsity.generation.verification.mujoco_steps import Stepper
from dynamic_sparsity.learners import Learner, get_budget, make_learner
from dynamic_sparsity.learners.networks.training import NetworkLearner
from dynamic_sparsity.learners.runs.campaign import train_learners
from dynamic_sparsity.schemas.naming import parse_store_path, store_path

DYNAMICS = (
    *("FingerSpin", "BallInCup", "CheetahRun", "FingerTurnEasy", "CartpoleBalance", "WalkerRun", "SwimmerSwimmer6"),
    *("ReacherHard", "HopperHop", "PendulumSwingup", "AcrobotSwingup", "PointMass", "ReacherEasy", "FishSwim"),
    "HumanoidRun",
)
"""One task for each dynamics, the paper's first."""

POLICIES = ("noise", "expert")
SIGMA = "mixture"
EPISODES, EPISODE_LENGTH = 500, 100
"""Of each store: 50 episodes of test."""

LEARNERS = (
    *("hold", "ridge", "full", "empty", "union", "majority", "contact-bit", "active-set-lookup true"),
    *("active-set-lookup predicted", "nearest-neighbour", "mlp none", "residual-mlp", "hinges", "gated l0"),
    *("graph-network", "coda", "pcmi", "elden", "spartan", "ncd", "fcdl", "mlp sae", "mlp mae", "gated mask"),
    *("codebook l0", "codebook mask", "cdl"),
)
"""The cheap ones first."""


class Log:
    """Prints a line per result."""

    def on_started(self, task: str, learner: Learner) -> None:
        """Note the time."""
        self.began = time.process_time()

    def on_steps(self, steps: int) -> None:
        """Say nothing."""

    def on_result(self, task: str, learner: Learner, result: dict[str, Any]) -> None:
        """Print the headline."""
        data, found = result["result"]["data"], (result["result"]["truths"] or {}).get("T2", {})
        shown = {name: found.get(name) for name in ("local_graph_skill", "when_skill", "beyond_contact")}
        numbers = ", ".join(f"{name} {'–' if value is None else f'{value:.3f}'}" for name, value in shown.items())
        where = f"{task} {result['trained_on']['policy']}→{data['policy']}"
        print(f"{where}, {learner.name} {learner.loss}, seed {result['seed']}: {numbers}", flush=True)

    def on_skipped(self, task: str, learner: Learner) -> None:
        """Say nothing."""

    def on_finished(self, task: str, learner: Learner) -> None:
        """Print what it took, if anything was done."""
        if time.process_time() - self.began > 1:
            print(f"  {learner.name} {learner.loss}: {time.process_time() - self.began:.0f} s of CPU", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("data", "run"))
    parser.add_argument("--root", type=Path, default=Path("data/benchmark"), help="of stores (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("results/learners"), help="of results (default: %(default)s)")
    parser.add_argument("--tasks", default=",".join(DYNAMICS), help="with commas between")
    parser.add_argument("--policies", default=",".join(POLICIES), help="that acted in the data of the training")
    parser.add_argument("--learners", default=",".join(LEARNERS), help="with commas between, as 'mlp sae'")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="of the trainings (default: %(default)s)")
    parser.add_argument("--protocol", default="mini", help="whose budget to spend (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.stage == "data":
        make_data(arguments.tasks.split(","), arguments.root)
        return
    jax_runtime.configure()
    learners = [make_learner(*name.split()) for name in arguments.learners.split(",")]
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    for task in arguments.tasks.split(","):
        for policy in arguments.policies.split(","):
            store = parse_store_path(store_path(arguments.root, task, policy))
            with Stepper(load_physics(task), os.cpu_count() or 1) as stepper:
                # Two calls, in each of which data are read once.
                for chosen in (False, True):
                    train_learners(
                        [store],
                        [learner for learner in learners if isinstance(learner, NetworkLearner) is chosen],
                        get_budget(arguments.protocol),
                        seeds if chosen else seeds[:1],
                        arguments.out,
                        Log(),
                        test_policies=POLICIES,
                        sigma=SIGMA,
                        simulate=lambda state, action, stepper=stepper: stepper.steps(state, action).next_state,
                    )


def make_data(tasks: list[str], root: Path) -> None:
    """Generate the stores, one policy after the other.

    Args:
        tasks: Names.
        root: Folder of all stores.
    """
    for policy in (*POLICIES, SIGMA):
        command = [sys.executable, "-m", "dynamic_sparsity.cli", "generate", *tasks, "--policy", policy]
        command += ["--episodes", str(EPISODES), "--episode-length", str(EPISODE_LENGTH), "--no-mujoco-check"]
        subprocess.run([*command, "--out", str(root)], check=True)


if __name__ == "__main__":
    main()
