"""Choose the learners' settings on the validation split: one setting per learner for all tasks; test is never opened.

Every candidate is trained once per task and seed under the protocol, with seeds that the leaderboard does not use. The
choice is the candidate with the highest average precision among those whose error of the next state is no worse (within
2 %, geometric mean over tasks) than that of the perceptron without a term; if none is, the one with the least error.
First the protocol's learning rate is chosen, the one with which that perceptron errs least. What FILE holds already is
not trained again.

    dynamic-sparsity generate TASK ... --episodes 20
    python benchmarks/choose_settings.py TASK ... [--root data] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import datetime
import json
import math
import platform
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.learners import Benchmark, Model, TrainingData, evaluate, get_budget, make_learner
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.leaderboard.page import TOLERANCE
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner, train
from dynamic_sparsity.loaders import store_path
from dynamic_sparsity.storage.atomic import publish

LEARNING_RATES = (1e-3, 2e-3, 4e-3, 8e-3)
WEIGHTS = tuple({"weight": weight} for weight in (0.03, 0.1, 0.3, 1.0))
GATES: tuple[dict[str, Any], ...] = (
    *({"price": price, "grace": 0.3, "score": "influence"} for price in (0.005, 0.02, 0.05)),
    {"price": 0.02, "grace": 0.0, "score": "influence"},
    {"price": 0.02, "grace": 0.3, "score": "probability"},
)
CANDIDATES: dict[str, tuple[dict[str, Any], ...]] = {
    "ridge none": tuple({"penalty": penalty} for penalty in (1e-8, 1e-6, 1e-4)),
    **{f"mlp {term}": WEIGHTS for term in ("mse", "mae", "l1", "sae")},
    "gated l0": GATES,
    "codebook l0": (*(gates | {"graphs": 8} for gates in GATES), GATES[1] | {"graphs": 16}),
    "codebook mask": tuple({"graphs": graphs} for graphs in (8, 16, 32)),
}
"""By entry of the leaderboard."""

REFERENCE = "mlp none"
Run = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder of the stores (default: %(default)s)")
    parser.add_argument("--protocol", default="mini", help="whose budget to spend (default: %(default)s)")
    parser.add_argument("--seeds", default="100", help="of the trainings, with commas (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/settings.json"), help="the record")
    arguments = parser.parse_args()
    budget = get_budget(arguments.protocol)
    known = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    record = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: version(name) for name in ("numpy", "jax", "equinox", "optax")},
        "tasks": arguments.tasks,
        "split": "validation",
        "seeds": [int(seed) for seed in arguments.seeds.split(",")],
        "protocol": dataclasses.asdict(budget),
        "cpu_seconds": known.get("cpu_seconds", 0.0),
        "learning_rate": None,
        "chosen": {},
        "runs": known.get("runs", []),
    }
    paths = [store_path(arguments.root, task, "noise") for task in arguments.tasks]
    for path in paths:
        benchmark = Benchmark.read(path, budget)
        for rate in LEARNING_RATES:
            _measure(record, arguments.json, benchmark, REFERENCE, [{}], rate)
    rate = min(LEARNING_RATES, key=lambda rate: _means(_found(record, REFERENCE, {}, rate))[0])
    record["learning_rate"] = rate
    for path in paths:
        benchmark = Benchmark.read(path, budget)
        for entry, candidates in CANDIDATES.items():
            _measure(record, arguments.json, benchmark, entry, candidates, rate)
    for entry, candidates in CANDIDATES.items():
        record["chosen"][entry] = _choice(record, entry, candidates, rate)
    _write(arguments.json, record)
    page = _page(record)
    publish(arguments.json.with_suffix(".md"), [page.encode()])
    print(page)


def _measure(
    record: dict[str, Any],
    path: Path,
    benchmark: Benchmark,
    entry: str,
    candidates: Sequence[dict[str, Any]],
    rate: float,
) -> None:
    """Train and evaluate the candidates of one entry on one task, except those that the record has."""
    for seed in record["seeds"]:
        missing = [one for one in candidates if not _found(record, entry, one, rate, benchmark.path, seed)]
        started = time.process_time()
        budget = dataclasses.replace(benchmark.budget, learning_rate=rate)
        for settings, model in _trained(entry, missing, benchmark, budget, seed):
            found = evaluate(model, benchmark.validation)
            run = {"entry": entry, "settings": settings, "learning_rate": rate, "task": benchmark.path.parent.name}
            run |= {
                "seed": seed,
                "nmse": found["next_state"]["nmse"],
                "average_precision": found["structure"]["all"]["average_precision"],
                "relative_sparsity": found["sparsity"]["relative"],
            }
            record["runs"].append({name: _rounded(value) for name, value in run.items()})
            print(*(f"{name} {value}" for name, value in record["runs"][-1].items()), sep=", ", flush=True)
        if missing:
            record["cpu_seconds"] = round(record["cpu_seconds"] + time.process_time() - started, 1)
            _write(path, record)


class _Tuned(eqx.Module):
    """A network and the numbers it is trained with, so that one compiled program can train all candidates."""

    network: Any
    numbers: dict[str, jax.Array]


def _trained(
    entry: str, candidates: Sequence[dict[str, Any]], benchmark: Benchmark, budget: Budget, seed: int
) -> Iterator[tuple[dict[str, Any], Model]]:
    """Each candidate's model, those of one shape through one program."""
    learners = [make_learner(*entry.split(), **settings) for settings in candidates]
    shapes = [settings.get("graphs") for settings in candidates]
    for shape in dict.fromkeys(shapes):
        chosen = [place for place, own in enumerate(shapes) if own == shape]
        data = benchmark.allowed(learners[chosen[0]].supervision, learners[chosen[0]].uses)
        models = _trained_alike([learners[place] for place in chosen], data, budget, seed)
        yield from zip([candidates[place] for place in chosen], models, strict=True)


def _trained_alike(learners: list[Any], data: TrainingData, budget: Budget, seed: int) -> list[Model]:
    if not isinstance(learners[0], NetworkLearner):
        return [learner.fit(data, budget, [seed])[0] for learner in learners]
    waiting = iter(learners)

    def make(key: jax.Array) -> _Tuned:
        learner = next(waiting)
        numbers = {name: getattr(learner, name, None) for name in ("weight", "price", "grace")}
        known = {name: jnp.float32(value) for name, value in numbers.items() if value is not None}
        return _Tuned(learner.network(data.train.sizes, data.scale, budget, key), known)

    def loss(tuned: _Tuned, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        learner = copy.copy(learners[0])
        for name, value in tuned.numbers.items():
            # Past the checks of a frozen learner, which a traced number can't pass.
            object.__setattr__(learner, name, jax.lax.stop_gradient(value))
        found: jax.Array = learner.objective(tuned.network, batch, key, progress)
        return found

    trained = train(make, loss, data, budget, [seed] * len(learners))
    return [learner.model(tuned.network, data) for learner, tuned in zip(learners, trained, strict=True)]


def _found(
    record: dict[str, Any], entry: str, settings: dict[str, Any], rate: float, store: Path | None = None, seed: int = -1
) -> list[Run]:
    """Runs of a candidate, on the record's tasks and seeds or on one of each."""
    tasks, seeds = (record["tasks"], record["seeds"]) if store is None else ([store.parent.name], [seed])
    return [
        run
        for run in record["runs"]
        if (run["entry"], run["settings"], run["learning_rate"]) == (entry, settings, rate)
        and run["task"] in tasks
        and run["seed"] in seeds
    ]


def _choice(record: dict[str, Any], entry: str, candidates: Sequence[dict[str, Any]], rate: float) -> dict[str, Any]:
    """The candidate of the highest average precision at no worse error than the reference's."""
    reference = _means(_found(record, REFERENCE, {}, rate))[0]
    means = [_means(_found(record, entry, one, rate)) for one in candidates]
    able = [place for place, mean in enumerate(means) if mean[0] <= reference + math.log(TOLERANCE)]
    if not able:
        return candidates[min(range(len(means)), key=lambda place: means[place][0])]
    return candidates[max(able, key=lambda place: (means[place][1], -means[place][0]))]


def _page(record: dict[str, Any]) -> str:
    """The candidates as a table, in Markdown."""
    rate = record["learning_rate"]
    lines = [
        "# Settings, chosen on the validation split",
        "",
        f"Written by `benchmarks/choose_settings.py`: protocol {record['protocol']['name']}, tasks "
        f"{', '.join(record['tasks'])}, seeds {', '.join(map(str, record['seeds']))}. Means over tasks and seeds, of "
        "the validation split; errors are geometric means, relative to that of `mlp none` at the chosen learning "
        f"rate. Chosen is the highest average precision at an error of at most {TOLERANCE}, else the least error.",
        "",
        "| learner | setting | error / MLP's | average precision | relative sparsity | |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    reference = _means(_found(record, REFERENCE, {}, rate))[0]
    candidates = [(REFERENCE, {}, one, f"learning rate {one:g}", one == rate) for one in LEARNING_RATES]
    for entry, settings in CANDIDATES.items():
        for one in settings:
            named = ", ".join(f"{name} {value}" for name, value in one.items())
            candidates.append((entry, one, rate, named, one == record["chosen"][entry]))
    for entry, settings, own_rate, named, chosen in candidates:
        error, precision, sparsity = _means(_found(record, entry, settings, own_rate))
        lines.append(
            f"| {entry} | {named} | {math.exp(error - reference):.3f} | {precision:.4f} | {sparsity:.2g} "
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
    main()
