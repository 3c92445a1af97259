"""Make `results/` again: data of all 25 tasks, noise and, where there is a policy, expert; tables, figures, the page.

    python benchmarks/results.py [--data DIR] [--out results] [--report report] [--episodes N] [TASK …]

Stores that exist already are kept, and so are the studies of stores that have not changed.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from dynamic_sparsity.generation.tasks import TASKS
from dynamic_sparsity.policies import available

# Both dynamics side by side, with the experts, as in the paper; for a few tasks only, as stock stores cost as much as
# converged ones.
STOCK = ("CartpoleBalance", "FingerSpin", "ReacherHard")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="tasks to do (default: all 25)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the stores (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of results (default: %(default)s)")
    parser.add_argument("--report", type=Path, help="folder for the HTML page (default: none is made)")
    parser.add_argument("--episodes", type=int, default=10, help="of 1,000 steps, per store (default: %(default)s)")
    parser.add_argument("--no-generate", action="store_true", help="take the stores that are there, make none")
    arguments = parser.parse_args()
    tasks = arguments.tasks or list(TASKS)
    experts = [task for task in tasks if task in available()]
    stock = [task for task in experts if task in STOCK]
    if not arguments.no_generate:
        expert = ("--policy", "expert")
        for chosen, options in ((tasks, ()), (experts, expert), (stock, (*expert, "--dynamics", "stock"))):
            if chosen:
                episodes = ("--episodes", str(arguments.episodes))
                _run("generate", *chosen, *options, *episodes, "--out", str(arguments.data))
    stores = [
        store
        for task in tasks
        for store in sorted((arguments.data / task).glob("*.zarr"))
        if (store / "manifest.json").is_file()
    ]
    _run("analyze", *map(str, stores), "--out", str(arguments.out), "--format", "png", "--overwrite")
    if arguments.report:
        words = ("--results", str(arguments.out), "--out", str(arguments.report))
        _run("report", str(arguments.data), *words)


def _run(*words: str) -> None:
    print("$ dynamic-sparsity", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "dynamic_sparsity.cli", *words], check=True)


if __name__ == "__main__":
    main()
