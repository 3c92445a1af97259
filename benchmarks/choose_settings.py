"""Choose the learners' settings on the validation split: one setting per learner for all tasks; test is never opened.

Every candidate is trained once per task and seed under the protocol, with seeds that the leaderboard does not use. The
choice is the candidate with the least mean, over tasks, of log(error of s') + log(1 - average precision): a setting may
give up one per cent of the one for more than one per cent of the other. First the protocol's learning rate is chosen,
by the plain perceptron, then everything else. What FILE holds already is not trained again.

    dynamic-sparsity generate TASK ... --episodes 20
    python benchmarks/choose_settings.py TASK ... [--root data] [--json FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dynamic_sparsity.learners import Benchmark, evaluate, get_budget, make_learner
from dynamic_sparsity.learners.protocol import Budget
from dynamic_sparsity.loaders import store_path
from dynamic_sparsity.storage.atomic import publish

LEARNING_RATES = (1e-3, 2e-3, 4e-3, 8e-3)
WEIGHTS = tuple({"weight": weight} for weight in (0.03, 0.1, 0.3, 1.0))
GATES: tuple[dict[str, Any], ...] = (
    *({"price": price} for price in (0.005, 0.02, 0.05)),
    {"price": 0.02, "grace": 0.0},
    {"price": 0.02, "score": "probability"},
)
CANDIDATES: dict[str, tuple[dict[str, Any], ...]] = {
    "ridge none": tuple({"penalty": penalty} for penalty in (1e-8, 1e-6, 1e-4)),
    **{f"mlp {term}": WEIGHTS for term in ("mse", "mae", "l1", "sae")},
    "gated l0": GATES,
    "codebook l0": (*GATES, {"price": 0.02, "graphs": 16}),
    "codebook mask": tuple({"graphs": graphs} for graphs in (8, 16, 32)),
}
"""By entry of the leaderboard. Settings that are not named keep their defaults."""

REFERENCE = "mlp none"
LEAST_MISS = 1e-3
"""1 - average precision below this counts as this: learners that are told the masks miss next to nothing."""

Run = dict[str, Any]


class Tasks:
    """The task at hand; a `Benchmark` reads no more than what it is asked for."""

    def __init__(self, root: Path, budget: Budget):
        self.root, self.budget = root, budget
        self._read: dict[str, Benchmark] = {}

    def __getitem__(self, task: str) -> Benchmark:
        if task not in self._read:
            self._read = {task: Benchmark.read(store_path(self.root, task, "noise"), self.budget)}
        return self._read[task]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of the stores (default: %(default)s)")
    parser.add_argument("--protocol", default="mini", help="whose budget to spend (default: %(default)s)")
    parser.add_argument("--seeds", default="100", help="of the trainings, with commas (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/settings.json"), help="the record")
    arguments = parser.parse_args()
    budget = get_budget(arguments.protocol)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    record = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: version(name) for name in ("numpy", "jax", "equinox", "optax")},
        "tasks": arguments.tasks,
        "split": "validation",
        "seeds": seeds,
        "protocol": dataclasses.asdict(budget),
        "learning_rate": None,
        "chosen": {},
        "runs": json.loads(arguments.json.read_text())["runs"] if arguments.json.exists() else [],
    }
    tasks = Tasks(arguments.root, budget)

    def measure(rate: float, candidates: dict[str, tuple[dict[str, Any], ...]]) -> None:
        for task in arguments.tasks:
            for entry, settings in candidates.items():
                for one in settings:
                    _measure(record, arguments.json, tasks, task, entry, one, rate, seeds)

    for rate in LEARNING_RATES:
        measure(rate, {REFERENCE: ({},)})
    rate = min(LEARNING_RATES, key=lambda rate: _loss(record["runs"], REFERENCE, {}, rate, record))
    record["learning_rate"] = rate
    measure(rate, CANDIDATES)
    for entry, settings in CANDIDATES.items():
        losses = [_loss(record["runs"], entry, one, rate, record) for one in settings]
        record["chosen"][entry] = settings[losses.index(min(losses))]
    _write(arguments.json, record)
    page = _page(record)
    publish(arguments.json.with_suffix(".md"), [page.encode()])
    print(page)


def _measure(
    record: dict[str, Any],
    path: Path,
    tasks: Tasks,
    task: str,
    entry: str,
    settings: dict[str, Any],
    rate: float,
    seeds: list[int],
) -> None:
    """Train and judge one candidate on one task, unless the record has it."""
    missing = [seed for seed in seeds if not _found(record["runs"], entry, settings, rate, [task], [seed])]
    if not missing:
        return
    benchmark, learner = tasks[task], make_learner(*entry.split(), **settings)
    started = time.process_time()
    budget = dataclasses.replace(benchmark.budget, learning_rate=rate)
    models = learner.fit(benchmark.allowed(learner.supervision), budget, missing)
    for seed, model in zip(missing, models, strict=True):
        found = evaluate(model, benchmark.validation)
        run = {"entry": entry, "settings": settings, "learning_rate": rate, "task": task, "seed": seed}
        run |= {
            "nmse": found["next_state"]["nmse"],
            "average_precision": found["structure"]["all"]["average_precision"],
            "relative_sparsity": found["sparsity"]["relative"],
            "cpu_seconds": round((time.process_time() - started) / len(missing), 2),
        }
        record["runs"].append({name: _rounded(value) for name, value in run.items()})
        print(*(f"{name} {value}" for name, value in record["runs"][-1].items()), sep=", ", flush=True)
    _write(path, record)


def _found(
    runs: list[Run], entry: str, settings: dict[str, Any], rate: float, tasks: list[str], seeds: list[int]
) -> list[Run]:
    return [
        run
        for run in runs
        if (run["entry"], run["settings"], run["learning_rate"]) == (entry, settings, rate)
        and run["task"] in tasks
        and run["seed"] in seeds
    ]


def _loss(runs: list[Run], entry: str, settings: dict[str, Any], rate: float, record: dict[str, Any]) -> float:
    """What the choice makes least: mean over tasks and seeds of log(error) + log(1 - average precision)."""
    chosen = _found(runs, entry, settings, rate, record["tasks"], record["seeds"])
    losses = [math.log(run["nmse"]) + math.log(max(1 - run["average_precision"], LEAST_MISS)) for run in chosen]
    return sum(losses) / len(losses)


def _page(record: dict[str, Any]) -> str:
    """The candidates as a table, in Markdown."""
    runs, rate = record["runs"], record["learning_rate"]
    lines = [
        "# Settings, chosen on the validation split",
        "",
        f"Written by `benchmarks/choose_settings.py`: protocol {record['protocol']['name']}, tasks "
        f"{', '.join(record['tasks'])}, seeds {', '.join(map(str, record['seeds']))}. Means over tasks and seeds of the "
        "validation split; errors are geometric means, relative to that of `mlp none` at the chosen learning rate. "
        "*Loss* is what the choice makes least: the mean of log(error) + log(1 - average precision).",
        "",
        "| learner | setting | error / MLP's | average precision | relative sparsity | loss | |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    reference = _means(_found(runs, REFERENCE, {}, rate, record["tasks"], record["seeds"]))[0]
    candidates = [(REFERENCE, {}, one, f"learning rate {one:g}", one == rate) for one in LEARNING_RATES]
    for entry, settings in CANDIDATES.items():
        for one in settings:
            named = ", ".join(f"{name} {value}" for name, value in one.items())
            candidates.append((entry, one, rate, named, one == record["chosen"][entry]))
    for entry, settings, own_rate, named, chosen in candidates:
        error, precision, sparsity = _means(_found(runs, entry, settings, own_rate, record["tasks"], record["seeds"]))
        loss = _loss(runs, entry, settings, own_rate, record)
        lines.append(
            f"| {entry} | {named} | {math.exp(error - reference):.3f} | {precision:.4f} | {sparsity:.2g} | {loss:.3f} "
            f"| {'chosen' if chosen else ''} |"
        )
    return "\n".join(lines) + "\n"


def _means(runs: list[Run]) -> tuple[float, float, float]:
    """Means of log(error), average precision and relative sparsity."""
    errors = sum(math.log(run["nmse"]) for run in runs)
    precision = sum(run["average_precision"] for run in runs)
    sparsity = sum(run["relative_sparsity"] for run in runs)
    return errors / len(runs), precision / len(runs), sparsity / len(runs)


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _write(path: Path, record: dict[str, Any]) -> None:
    """A line per run, so that the record can be read and compared."""
    runs = ",\n".join("  " + json.dumps(run) for run in record["runs"])
    head = json.dumps({name: value for name, value in record.items() if name != "runs"}, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    publish(path, [f'{head[:-2]},\n "runs": [\n{runs}\n ]\n}}\n'.encode()])


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
