"""Choose how an ensemble of networks says which edges there are, on the validation split alone; test is never opened.

Networks are trained with transitions only. From their derivatives, scores of edges are made in several ways. Each way's
threshold is chosen on one half of the episodes of validation and judged on the other, and the other way round; figures
are means of both. What FILE holds already is not made again.

    python benchmarks/local_graphs.py data --root data/benchmark
    python benchmarks/edge_scores.py TASK ... --root data/benchmark [--json FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from numpy.typing import NDArray
from provenance import made_with, sentence

from dynamic_sparsity.learners import Benchmark, get_budget, make_learner, read_evaluation_rows
from dynamic_sparsity.learners.evaluation import EvaluationRows
from dynamic_sparsity.learners.measures import TRUTHS, Reference
from dynamic_sparsity.learners.measures.judging import choose_threshold, judge_graph
from dynamic_sparsity.learners.networks.beliefs import fit_patterns, log_odds
from dynamic_sparsity.loaders import open_dataset, store_path
from dynamic_sparsity.storage.atomic import publish

Floats = NDArray[np.float32]

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "residual-mlp": ("residual-mlp", {}),
    "smooth, 1": ("hinges", {"hinges": 0, "members": 1}),
    "8 hinges, 1": ("hinges", {"hinges": 8, "members": 1}),
    "smooth, 6": ("hinges", {"hinges": 0, "members": 6}),
    "8 hinges, 6": ("hinges", {"hinges": 8, "members": 6}),
    "16 hinges, 6": ("hinges", {"hinges": 16, "members": 6}),
    "8 hinges, 12": ("hinges", {"hinges": 8, "members": 12}),
    "16 hinges, 12": ("hinges", {"hinges": 16, "members": 12}),
}
"""Learner and settings by what they are: hinges, and how many members."""

MEASURES = ("local_graph_skill", "when_skill", "beyond_contact")
SIZE = TRUTHS["T2"].threshold or 0.0
ROWS = 2_000
"""Of validation, at most."""


def estimates(every: Floats, shrunk: bool = True) -> tuple[Floats, Floats]:
    """Return the mean over members and its standard error, or the members' standard deviation if it is not `shrunk`."""
    members = every.shape[1]
    return every.mean(1), every.std(1) / (max(1, members - 1) ** 0.5 if shrunk else 1.0)


def odds(every: Floats, train: Floats, noise: float = 0.0, shrunk: bool = True) -> Floats:
    """Return log odds of a derivative of `SIZE`, seen with those of rows of train unless noise is 0."""
    found = log_odds(*estimates(every, shrunk), np.float32(SIZE))
    return fit_patterns(log_odds(*estimates(train, shrunk), np.float32(SIZE)), noise)(found) if noise else found


SCORES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "size of the mean derivative": lambda every, train: np.abs(every.mean(1)),
    "… minus half a standard deviation": lambda every, train: np.abs(every.mean(1)) - 0.5 * every.std(1),
    "median size": lambda every, train: np.median(np.abs(every), axis=1),
    "odds, by the standard deviation": lambda every, train: odds(every, train, shrunk=False),
    "odds, by the standard error": odds,
    "… patterns, noise 1": lambda every, train: odds(every, train, 1.0),
    "… patterns, noise 3": lambda every, train: odds(every, train, 3.0),
    "… patterns, noise 10": lambda every, train: odds(every, train, 10.0),
    "… patterns, noise 30": lambda every, train: odds(every, train, 30.0),
}
"""(derivatives of rows, of rows of train), both (rows, members, entries), dimensionless -> scores (rows, entries)."""

CHOSEN = "8 hinges, 6", "… patterns, noise 10"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", metavar="TASK")
    parser.add_argument("--root", type=Path, default=Path("data/benchmark"), help="of stores (default: %(default)s)")
    parser.add_argument("--policy", default="noise", help="that acted in the data")
    parser.add_argument(
        "--sigma", default="mixture", help="policy whose data have the σ of the truths, as in the table"
    )
    parser.add_argument("--protocol", default="mini", help="whose budget to spend (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=100, help="of the trainings, not one of the table's")
    parser.add_argument("--networks", default=";".join(NETWORKS), help="with semicolons between")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/edge_scores.json"), help="the record")
    arguments = parser.parse_args()
    rows = json.loads(arguments.json.read_text())["rows"] if arguments.json.exists() else []
    budget = get_budget(arguments.protocol)
    about = {
        "policy": arguments.policy,
        "sigma": arguments.sigma,
        "protocol": dataclasses.asdict(budget),
        "seed": arguments.seed,
    }
    record = {**made_with("jax", "equinox", "numpy"), **about, "truth": "T2", "split": "validation"}
    for task in arguments.tasks:
        sigma = store_path(arguments.root, task, arguments.sigma)
        benchmark = Benchmark.read(store_path(arguments.root, task, arguments.policy), budget, sigma)
        for network in arguments.networks.split(";"):
            if not any((row["task"], row["network"]) == (task, network) for row in rows):
                rows += measure(benchmark, network, arguments.seed)
                write(arguments.json, record, rows)
    write(arguments.json, record, rows)


def write(path: Path, record: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write the record, a line per row, and its page.

    Args:
        path: `….json`.
        record: What goes for all rows.
        rows: Of `measure`.
    """
    networks, scores = list(NETWORKS), list(SCORES)
    order = sorted(rows, key=lambda row: (row["task"], networks.index(row["network"]), scores.index(row["score"])))
    lines = ",\n".join("  " + json.dumps(row) for row in order)
    head = json.dumps(record, indent=1)
    publish(path, [f'{head[:-2]},\n "rows": [\n{lines}\n ]\n}}\n'.encode()])
    publish(path.with_suffix(".md"), [page({**record, "rows": order}).encode()])


def measure(benchmark: Benchmark, network: str, seed: int) -> list[dict[str, Any]]:
    """Train networks and judge all scores of their edges.

    Args:
        benchmark: The task's data.
        network: A key of `NETWORKS`.
        seed: Of the training.
    """
    name, settings = NETWORKS[network]
    began = time.process_time()
    data = benchmark.allowed("transitions")
    (model,) = make_learner(name, **settings).fit(data, benchmark.budget, [seed])
    seconds = round(time.process_time() - began, 1)
    validation = read_evaluation_rows(open_dataset(benchmark.path, split="validation"), limit=ROWS)
    chosen = data.train[np.linspace(0, len(data.train) - 1, 1024).astype(np.int64)]
    references = benchmark.references
    own = np.ones((1, *validation.rows.jacobian.shape[1:]), np.float32)
    units = references.scale.dimensionless(model.scale.dimensional(own)).reshape(-1)
    train, every = (units * derivatives(model, rows) for rows in (chosen, validation.rows))
    error = (model.predict(validation.rows.state, validation.rows.action) - validation.rows.next_state) ** 2
    truth = references.by_truth["T2"]
    given = (validation, truth, *truth.truth.of(validation.rows, references.scale))
    nmse = float((error / validation.scale.output_std**2).mean())
    rows = []
    for score, function in SCORES.items():
        if every.shape[1] == 1 and score != "size of the mean derivative":
            continue
        found = judged(function(every, train), *given)
        row = {"task": benchmark.about["task"], "network": network, "score": score, **found}
        rows.append(row | {"nmse": float(f"{nmse:.4g}"), "cpu_seconds": seconds})
        print(row, flush=True)
    return rows


@eqx.filter_jit
def _derivatives(network: Any, x: jax.Array) -> jax.Array:
    function = getattr(network, "each", None) or (lambda one: network(one)[None])
    found: jax.Array = jax.lax.map(jax.jacfwd(function), x, batch_size=256)
    return found


def derivatives(model: Any, rows: Any) -> Floats:
    """Return the derivatives of all members, dimensionless, shape (rows, members, entries)."""
    found = np.asarray(_derivatives(model.network, model.scale.inputs(rows.state, rows.action)))
    return found.reshape(*found.shape[:2], -1)


def judged(
    scores: Floats, validation: EvaluationRows, reference: Reference, edges: NDArray[Any], counted: NDArray[Any]
) -> dict[str, float | None]:
    """Return measures, means over both ways of choosing on one half of the episodes and judging on the other."""
    half = validation.moments.episode <= np.median(np.unique(validation.moments.episode))
    found = []
    for chosen in (half, ~half):
        given = (edges[chosen], counted[chosen], validation.moments[chosen], reference)
        other = (edges[~chosen], counted[~chosen], validation.moments[~chosen], reference)
        found.append(judge_graph(scores[~chosen], *other, choose_threshold(scores[chosen], *given)))
    values = {name: [one[name] for one in found if one[name] is not None] for name in MEASURES}
    return {name: round(float(np.mean(value)), 4) if value else None for name, value in values.items()}


def page(record: dict[str, Any]) -> str:
    """Return the record as tables, in Markdown."""
    lines = [
        "# How derivatives become edges, chosen on the validation split",
        "",
        f"Written by `benchmarks/edge_scores.py` ({sentence(record)}): protocol {record['protocol']['name']}, data of "
        f"{record['policy']}, σ of {record['sigma']}, seed {record['seed']}, truth {record['truth']}.",
        "A network is named by its hinges and members; each is taught with transitions only.",
        "Thresholds are chosen on one half of the episodes of validation and judged on the other, both ways.",
        "",
    ]
    for task in dict.fromkeys(row["task"] for row in record["rows"]):
        lines += [f"## {task}", "", "| network | score | skill | when | beyond contact | nmse | s of CPU | |"]
        lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |")
        for row in record["rows"]:
            if row["task"] == task:
                values = ["–" if row[name] is None else f"{row[name]:.3f}" for name in MEASURES]
                taken = "taken" if (row["network"], row["score"]) == CHOSEN else ""
                values += [f"{row['nmse']:.2g}", f"{row['cpu_seconds']:.0f}", taken]
                lines.append("| " + " | ".join([row["network"], row["score"], *values]) + " |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
