"""`train-learner`, `evaluate` and `leaderboard`: what they read, write and print."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from dynamic_sparsity.cli.arguments import output_file, output_folder
from dynamic_sparsity.cli.own_function import failures_of, function_at
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.evaluation import evaluate as judge
from dynamic_sparsity.learners.interface import Learner
from dynamic_sparsity.learners.leaderboard import entries_of, read_entries, to_csv
from dynamic_sparsity.learners.leaderboard_page import leaderboard_page
from dynamic_sparsity.learners.protocol import get_budget
from dynamic_sparsity.learners.results import Benchmark, result_document, result_path, run_learner, write_result
from dynamic_sparsity.loaders import store_path
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.untrusted.console import PlainConsole, progress
from dynamic_sparsity.untrusted.names import inside, is_name

LEARNER_SEED_MAX = 2**31 - 1
"""Largest seed that JAX takes with numbers of 32 bits."""

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")


def parse_seeds(text: str) -> list[int]:
    """Read seeds such as 0,1,2.

    Raises:
        InvalidSettingError: It is not a list of integers with commas between.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,10}", word) and int(word) <= LEARNER_SEED_MAX for word in words):
        raise InvalidSettingError(
            f"seeds are {text[:80]!r}; they must be integers from 0 to {LEARNER_SEED_MAX} with commas between, as in "
            "0,1,2"
        )
    return list(dict.fromkeys(int(word) for word in words))


def train(
    tasks: Sequence[str],
    learners: Sequence[str],
    loss: str | None,
    weight: float | None,
    *,
    protocol: str,
    seeds: str,
    root: Path,
    policy: str,
    dynamics: str,
    out: Path,
    models: Path | None,
    again: bool,
    stream: bool,
) -> None:
    """Train learners on tasks, judge them, and keep the results."""
    from dynamic_sparsity.learners.registry import all_learners, make_learner

    budget, numbers = get_budget(protocol), parse_seeds(seeds)
    output_folder(out)
    output_folder(models, "--models")
    if not tasks or not learners:
        raise InvalidSettingError("name a task and a learner: `train-learner CartpoleBalance --learner mlp`")
    everything = list(learners) == ["all"]
    if everything and (loss is not None or weight is not None):
        raise InvalidSettingError("--loss and --weight belong to one learner; leave them out with --learner all")
    output_folder(out)
    output_folder(models, "--models")
    chosen = all_learners() if everything else [make_learner(name, loss, weight=weight) for name in learners]
    for task in tasks:
        path = store_path(root, task, policy, dynamics)
        if not path.is_dir():
            Benchmark.read(path, budget)  # says what is missing before anything is trained
    console = PlainConsole()
    with progress(console, transient=True) as bars:
        bar = bars.add_task("Training", total=len(tasks) * len(chosen))
        for task in tasks:
            benchmark: Benchmark | None = None
            for learner in chosen:
                label = f"{task}, {learner.name} {learner.loss}"
                bars.update(bar, description=label)
                names = {"learner": learner.name, "loss": learner.loss, "protocol": {"name": budget.name}}
                data = {"result": {"data": {"task": task, "policy": policy}}}
                missing = [n for n in numbers if again or not result_path(out, names | data | {"seed": n}).exists()]
                if missing and benchmark is None:
                    benchmark = Benchmark.read(store_path(root, task, policy, dynamics), budget)
                if missing and benchmark is not None:
                    keep = _keeper(models, task, learner, benchmark) if models else None
                    for result in run_learner(benchmark, learner, missing, keep, stream=stream):
                        write_result(out, result)
                        console.print(f"{label}, seed {result['seed']}: {summary(result)}")
                else:
                    console.print(f"{label}: its results are there already (--again trains anew)")
                bars.advance(bar)


def evaluate(
    task: str,
    model: str,
    *,
    name: str | None,
    supervision: str,
    adaptive: bool,
    protocol: str,
    seeds: str,
    root: Path,
    policy: str,
    dynamics: str,
    out: Path | None,
) -> None:
    """Judge a saved model, or one that a function trains, and print or keep the result."""
    budget, numbers = get_budget(protocol), parse_seeds(seeds)
    output_folder(out)
    learner = None if Path(model).suffix == ".npz" else _own_learner(model, name, supervision, adaptive)
    path = store_path(root, task, policy, dynamics)
    console = PlainConsole()
    if learner is None:
        from dynamic_sparsity.learners.models import load_model

        saved = load_model(Path(model))
        benchmark = Benchmark.read(path, budget)
        if saved.sizes != benchmark.sizes:
            raise InvalidSettingError(
                f"{model} is a model of {saved.sizes[0]} states and {saved.sizes[1]} actions; {task} has "
                f"{benchmark.sizes[0]} and {benchmark.sizes[1]}"
            )
        document = result_document(
            learner=saved.learner.name,
            loss=saved.learner.loss,
            seed=saved.seed,
            supervision=saved.learner.supervision,
            adaptive=saved.learner.adaptive,
            settings=saved.learner.settings(),
            budget=saved.budget,
            result=judge(saved.model, benchmark.test, validation=benchmark.validation),
        )
        _report(console, document, out)
        return
    benchmark = Benchmark.read(path, budget)
    # What the function returned is called here, too.
    with failures_of(f"judging {model}"):
        for document in run_learner(benchmark, learner, numbers):
            _report(console, document, out)


def _own_learner(place: str, name: str | None, supervision: str, adaptive: bool) -> Learner:
    """A function of the user's own as a learner, before anything is read."""
    fit = function_at(place)
    from dynamic_sparsity.learners.own import OwnLearner

    called = name or str(getattr(fit, "__name__", ""))
    if not is_name(called):
        raise InvalidSettingError(
            f"the learner's name is {called!r}; give one with --name: letters, digits, '_', '.' and '-'"
        )
    return OwnLearner(called, fit, supervision, adaptive)


def leaderboard(source: Path, out: Path, csv: Path | None, figure: Path | None) -> None:
    """Write the tables and the figure."""
    output_file(out, "--out")
    output_file(csv, "--csv")
    output_file(figure, "--figure", FIGURE_SUFFIXES)
    console, complaints = PlainConsole(), PlainConsole(stderr=True, soft_wrap=True)
    entries = read_entries(source, lambda error: complaints.print(f"Left out: {error}", style="yellow"))
    if figure is not None:
        from dynamic_sparsity.learners.figures import draw_figure_8

        draw_figure_8(entries, figure)
        console.print(f"{figure}: Figure 8")
    link = None if figure is None else Path(os.path.relpath(figure, out.parent)).as_posix()
    publish(out, [leaderboard_page(entries, link).encode()])
    console.print(f"{out}: {len(entries)} results")
    if csv is not None:
        publish(csv, [to_csv(entries).encode()])
        console.print(f"{csv}: the same, a line per result")


def summary(document: dict[str, Any]) -> str:
    """The result in a line."""
    result = document["result"]
    rows = (result["structure"] or {}).get("all", {})
    parts = [f"error of s' {result['next_state']['nmse']:.3g}"]
    for title, value in (
        ("average precision", rows.get("average_precision")),
        ("F1", rows.get("f1")),
        ("relative sparsity", result["sparsity"]["relative"]),
    ):
        parts.append(f"{title} {'–' if value is None else f'{value:.3g}'}")
    return ", ".join(parts)


def _report(console: PlainConsole, document: dict[str, Any], out: Path | None) -> None:
    (entry,) = entries_of([document])
    table = Table(title=f"{entry.task}, {entry.name}, seed {entry.seed}", show_header=False)
    shown = ("nmse", "open_loop_nmse", "jacobian_error", "relative_sparsity", "average_precision", "auroc", "f1")
    for column in (*shown, "hamming", "average_precision_switch", "edge_auroc", "contact_auroc"):
        value = getattr(entry, column)
        table.add_row(column, "–" if value is None else f"{value:.4g}")
    console.print(table)
    if out is not None:
        console.print(f"{write_result(out, document)}: the whole result")


def _keeper(models: Path, task: str, learner: Any, benchmark: Benchmark) -> Callable[[int, Any], None]:
    from dynamic_sparsity.learners.models import save_model

    def keep(seed: int, model: Any) -> None:
        path = inside(models, f"{task}/{learner.name}-{learner.loss}-{seed}.npz")
        save_model(path, model, learner, benchmark.sizes, benchmark.budget, seed)

    return keep
