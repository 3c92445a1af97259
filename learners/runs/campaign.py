"""Runs of the benchmark: learners trained on several stores, and a model of the user's own evaluated on one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.budgets import Budget, get_budget
from dynamic_sparsity.learners.interface import Learner
from dynamic_sparsity.learners.runs.own_function import failures_of, function_at, takes_data
from dynamic_sparsity.learners.runs.own_learner import OwnLearner
from dynamic_sparsity.learners.runs.results import is_kept, result_document, write_result
from dynamic_sparsity.learners.runs.run_learner import Benchmark, judge, run_learner
from dynamic_sparsity.schemas.naming import StoreLocation, parse_store_path, store_path
from dynamic_sparsity.untrusted.names import inside, is_name

__all__ = ["LearnerProgress", "evaluate_model", "train_learners"]

SAVED_MODEL_SUFFIX = ".npz"


class LearnerProgress(Protocol):
    """Receives the progress of `train_learners`; every call names the task and the learner."""

    def on_started(self, task: str, learner: Learner) -> None:
        """Report that a learner is begun on a task.

        Args:
            task: Name of the task.
            learner: The learner.
        """

    def on_steps(self, steps: int) -> None:
        """Report gradient steps of the learner that was started last.

        Args:
            steps: Just done.
        """

    def on_result(self, task: str, learner: Learner, result: dict[str, Any]) -> None:
        """Report that the result of one seed is on disk.

        Args:
            task: Name of the task.
            learner: The learner.
            result: The result, JSON data.
        """

    def on_skipped(self, task: str, learner: Learner) -> None:
        """Report that all results of a learner on a task exist already.

        Args:
            task: Name of the task.
            learner: The learner.
        """

    def on_finished(self, task: str, learner: Learner) -> None:
        """Report that a learner is done with a task.

        Args:
            task: Name of the task.
            learner: The learner.
        """


def train_learners(
    stores: Sequence[StoreLocation],
    learners: Sequence[Learner],
    budget: Budget,
    seeds: Sequence[int],
    out: Path,
    progress: LearnerProgress,
    *,
    models: Path | None = None,
    again: bool = False,
    stream: bool = False,
    test_policies: Sequence[str] = (),
    sigma: str | None = None,
    simulate: Callable[..., Any] | None = None,
) -> None:
    """Train learners on stores, evaluate them, and write the results. Results that exist are not made again.

    Args:
        stores: Where the data are.
        learners: What to train.
        budget: The protocol's variant.
        seeds: Seeds of the training, ≥ 0.
        out: Folder of all results.
        progress: Receives the progress of the run.
        models: Folder for the trained networks; None to discard them.
        again: Train anew although there is a result.
        stream: Read rows while training, for data larger than memory.
        test_policies: Other policies on whose data of the same root to judge as well.
        sigma: The policy whose data of the same root give the standard deviations of the truths; None: each its own.
        simulate: The true step of the stores' task, to see which causes are irrelevant; None not to.

    Raises:
        DynamicSparsityError: A store is missing, damaged or has no rows, or a learner refuses its data.
    """
    for store in stores:
        _benchmarks(store, budget, test_policies, sigma)  # raises what is missing before anything is trained
    for store in stores:
        benchmarks = [
            dataclasses.replace(one, simulate=simulate) for one in _benchmarks(store, budget, test_policies, sigma)
        ]
        benchmark, *others = benchmarks
        for learner in learners:
            progress.on_started(store.task, learner)
            missing = [
                seed
                for seed in seeds
                if again
                or not all([is_kept(out, _expected(benchmark, learner, seed, one)) for one in benchmarks])
                or _lacks_model(models, learner, benchmark, seed)
            ]
            if missing:
                keep = None if models is None else _model_writer(models, learner, benchmark)
                made = run_learner(
                    benchmark, learner, missing, keep, stream=stream, others=others, on_steps=progress.on_steps
                )
                for result in made:
                    write_result(out, result)
                    progress.on_result(store.task, learner, result)
            else:
                progress.on_skipped(store.task, learner)
            progress.on_finished(store.task, learner)


def _policies(store: StoreLocation, test_policies: Sequence[str]) -> list[str]:
    """Return the policies of the data to judge on, that of the training first."""
    return list(dict.fromkeys([store.policy, *test_policies]))


def _benchmarks(
    store: StoreLocation, budget: Budget, test_policies: Sequence[str], sigma: str | None
) -> list[Benchmark]:
    """Open the data of the training, and what else is to be judged on."""
    root = store.path.parent.parent
    from_sigma = None if sigma is None else store_path(root, store.task, sigma, store.dynamics)
    paths = [store_path(root, store.task, policy, store.dynamics) for policy in _policies(store, test_policies)]
    return [Benchmark.read(path, budget, from_sigma) for path in paths]


def _expected(benchmark: Benchmark, learner: Learner, seed: int, judged: Benchmark) -> dict[str, Any]:
    """Return what the result of a run will say of its origin."""
    learner = learner.of_task(dict(benchmark.dataset.metadata))
    return {
        "protocol": dataclasses.asdict(benchmark.budget),
        "learner": learner.name,
        "loss": learner.loss,
        "seed": seed,
        "settings": learner.settings(),
        "trained_on": benchmark.about,
        "result": {"data": judged.about},
    }


def _model_writer(models: Path, learner: Any, benchmark: Benchmark) -> Callable[[int, Any], None] | None:
    """Return what keeps trained networks; None for learners that have none: these train in no time."""
    from dynamic_sparsity.learners.networks.training import NetworkLearner, NetworkModel
    from dynamic_sparsity.learners.runs.saved_networks import save_model

    if not isinstance(learner, NetworkLearner):
        return None
    known = learner.of_task(dict(benchmark.dataset.metadata))
    about, budget = benchmark.about, benchmark.budget

    def keep(seed: int, model: Any) -> None:
        if isinstance(model, NetworkModel):
            save_model(
                _model_path(models, learner, benchmark, seed), model, known, benchmark.sizes, budget, seed, about
            )

    return keep


def _model_path(models: Path, learner: Learner, benchmark: Benchmark, seed: int) -> Path:
    file = f"{learner.name}-{learner.loss}-{seed}{SAVED_MODEL_SUFFIX}"
    return inside(models, f"{benchmark.budget.name}/{benchmark.about['task']}/{benchmark.about['policy']}/{file}")


def _lacks_model(models: Path | None, learner: Learner, benchmark: Benchmark, seed: int) -> bool:
    """Return whether a network is to be kept that is not: it is trained again, though its result is there."""
    if models is None or learner.supervision == "oracle" or _model_writer(models, learner, benchmark) is None:
        return False
    return not _model_path(models, learner, benchmark, seed).exists()


def evaluate_model(
    model: str,
    store: Path,
    budget: Budget | None,
    seeds: Sequence[int],
    *,
    name: str | None = None,
    supervision: str = "transitions",
    adaptive: bool = False,
    test_policies: Sequence[str] = (),
    sigma: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Evaluate a saved model, or train and evaluate what a user's function returns.

    Args:
        model: A file that `save_model` wrote, or FILE.py:FUNCTION or package.module:FUNCTION, a function
            (data, budget, seed) that returns a model, or a function without arguments that returns a trained one.
        store: Where the data are.
        budget: The protocol's variant; None for that of the saved model, or mini.
        seeds: Seeds of the function's training, ≥ 0; not used for a saved model.
        name: Name of the function for the leaderboard; None for its own.
        supervision: What the function may see, one of `SUPERVISIONS`.
        adaptive: Whether the function's causal graph is meant to depend on the state.
        test_policies: Other policies on whose data of the same root to judge as well.
        sigma: The policy whose data of the same root give the standard deviations of the truths; None: each its own.

    Yields:
        Results, JSON data: one for a saved model, else one per seed; of each, one per policy judged on.

    Raises:
        InvalidSettingError: The function, or a model that it returned, fails; or a saved model is of another task, of
            other sizes or of another budget.
        UnknownNameError: There is no such function or supervision.
        DynamicSparsityError: A file is missing or damaged.
    """
    if Path(model).suffix == SAVED_MODEL_SUFFIX:
        yield from _judge_saved(Path(model), parse_store_path(store), budget, test_policies, sigma)
        return
    learner = _own_learner(model, name, supervision, adaptive)
    benchmark, *others = _benchmarks(parse_store_path(store), budget or get_budget("mini"), test_policies, sigma)
    # Methods of the model that the function returned are called in here, too.
    with failures_of(f"evaluating {model}"):
        yield from run_learner(benchmark, learner, seeds, others=others)


def _judge_saved(
    file: Path, store: StoreLocation, budget: Budget | None, test_policies: Sequence[str], sigma: str | None
) -> Iterator[dict[str, Any]]:
    """Judge a network from a file, with the threshold chosen on the data of its training, where they are."""
    from dynamic_sparsity.learners.runs.saved_networks import load_model

    saved = load_model(file)
    if budget not in (None, saved.budget):
        raise InvalidSettingError(
            f"{file} is of the protocol {saved.budget.name!r}, and is to be judged under {budget.name!r}; leave "
            "--protocol out to judge it under its own"
        )
    if saved.data is not None and saved.data["task"] != store.task:
        raise InvalidSettingError(
            f"{file} is a model of {saved.data['task']}, and {store.path} of {store.task}; judge it on data of its own "
            "task"
        )
    benchmarks = _benchmarks(store, saved.budget, test_policies, sigma)
    benchmark = benchmarks[0]
    trained = saved.data or benchmark.about
    if saved.sizes != benchmark.sizes:
        raise InvalidSettingError(
            f"{file} is a model of {saved.sizes[0]} states and {saved.sizes[1]} actions; {store.path} has "
            f"{benchmark.sizes[0]} and {benchmark.sizes[1]}"
        )
    chosen_on = _of_settings(trained, benchmarks, sigma) or benchmark
    for judged in benchmarks:
        yield result_document(
            learner=saved.learner.name,
            loss=saved.learner.loss,
            seed=saved.seed,
            supervision=saved.learner.supervision,
            adaptive=saved.learner.adaptive,
            settings=saved.learner.settings(),
            budget=saved.budget,
            trained_on={key: trained[key] for key in ("policy", "settings_sha256")},
            threshold_from=chosen_on.about["settings_sha256"],
            result=judge(saved.model, chosen_on, judged),
        )


def _of_settings(trained: Mapping[str, str], benchmarks: Sequence[Benchmark], sigma: str | None) -> Benchmark | None:
    """Return the data that a model was trained on, of those judged on or below the same root; None without them."""
    known = list(benchmarks)
    path, budget = benchmarks[0].path, benchmarks[0].budget
    beside = store_path(path.parent.parent, trained["task"], trained["policy"], trained["dynamics"])
    if beside.exists():
        known += _benchmarks(parse_store_path(beside), budget, (), sigma)
    return next((one for one in known if one.about["settings_sha256"] == trained["settings_sha256"]), None)


def _own_learner(place: str, name: str | None, supervision: str, adaptive: bool) -> Learner:
    """Make a learner of a user's function, before any data are read."""
    function = function_at(place)
    called = name or str(getattr(function, "__name__", ""))
    if not is_name(called):
        raise InvalidSettingError(
            f"the learner's name is {called!r}; give one with --name: letters, digits, '_', '.' and '-'"
        )
    return OwnLearner(called, function, supervision, adaptive, takes_data(function))
