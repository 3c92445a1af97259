"""Runs of the benchmark: learners trained on several stores, and a model of the user's own evaluated on one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.evaluation import evaluate
from dynamic_sparsity.learners.interface import Learner
from dynamic_sparsity.learners.own import OwnLearner
from dynamic_sparsity.learners.own_function import failures_of, function_at
from dynamic_sparsity.learners.protocol import Budget
from dynamic_sparsity.learners.results import Benchmark, result_document, result_path, run_learner, write_result
from dynamic_sparsity.schemas.naming import StoreLocation
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

    Raises:
        DynamicSparsityError: A store is missing, damaged or has no rows, or a learner refuses its data.
    """
    for store in stores:
        if not store.path.is_dir():
            Benchmark.read(store.path, budget)  # raises what is missing before anything is trained
    for store in stores:
        benchmark: Benchmark | None = None
        for learner in learners:
            progress.on_started(store.task, learner)
            missing = [seed for seed in seeds if again or not _path(out, budget, store, learner, seed).exists()]
            if missing:
                benchmark = benchmark or Benchmark.read(store.path, budget)
                keep = None if models is None else _model_writer(models, store.task, learner, benchmark)
                for result in run_learner(benchmark, learner, missing, keep, stream=stream):
                    write_result(out, result)
                    progress.on_result(store.task, learner, result)
            else:
                progress.on_skipped(store.task, learner)
            progress.on_finished(store.task, learner)


def _path(out: Path, budget: Budget, store: StoreLocation, learner: Learner, seed: int) -> Path:
    """Return where the result of a run will be."""
    return result_path(
        out,
        {
            "protocol": {"name": budget.name},
            "learner": learner.name,
            "loss": learner.loss,
            "seed": seed,
            "result": {"data": {"task": store.task, "policy": store.policy}},
        },
    )


def _model_writer(models: Path, task: str, learner: Any, benchmark: Benchmark) -> Callable[[int, Any], None]:
    from dynamic_sparsity.learners.models import save_model

    def keep(seed: int, model: Any) -> None:
        path = inside(models, f"{task}/{learner.name}-{learner.loss}-{seed}{SAVED_MODEL_SUFFIX}")
        save_model(path, model, learner, benchmark.sizes, benchmark.budget, seed)

    return keep


def evaluate_model(
    model: str,
    store: Path,
    budget: Budget,
    seeds: Sequence[int],
    *,
    name: str | None = None,
    supervision: str = "transitions",
    adaptive: bool = False,
) -> Iterator[dict[str, Any]]:
    """Evaluate a saved model, or train and evaluate what a user's function returns.

    Args:
        model: A file that `save_model` wrote, or FILE.py:FUNCTION or package.module:FUNCTION, a function
            (data, budget, seed) that returns a model.
        store: Where the data are.
        budget: The protocol's variant.
        seeds: Seeds of the function's training, ≥ 0; not used for a saved model.
        name: Name of the function for the leaderboard; None for its own.
        supervision: What the function may see, one of `SUPERVISIONS`.
        adaptive: Whether the function's causal graph is meant to depend on the state.

    Yields:
        Results, JSON data: one for a saved model, else one per seed.

    Raises:
        InvalidSettingError: The function, or a model that it returned, fails; or a saved model has other sizes.
        UnknownNameError: There is no such function or supervision.
        DynamicSparsityError: A file is missing or damaged.
    """
    if Path(model).suffix == SAVED_MODEL_SUFFIX:
        yield _judge_saved(Path(model), store, budget)
        return
    learner = _own_learner(model, name, supervision, adaptive)
    benchmark = Benchmark.read(store, budget)
    # Methods of the model that the function returned are called in here, too.
    with failures_of(f"evaluating {model}"):
        yield from run_learner(benchmark, learner, seeds)


def _judge_saved(file: Path, store: Path, budget: Budget) -> dict[str, Any]:
    from dynamic_sparsity.learners.models import load_model

    saved = load_model(file)
    benchmark = Benchmark.read(store, budget)
    if saved.sizes != benchmark.sizes:
        raise InvalidSettingError(
            f"{file} is a model of {saved.sizes[0]} states and {saved.sizes[1]} actions; {store} has "
            f"{benchmark.sizes[0]} and {benchmark.sizes[1]}"
        )
    return result_document(
        learner=saved.learner.name,
        loss=saved.learner.loss,
        seed=saved.seed,
        supervision=saved.learner.supervision,
        adaptive=saved.learner.adaptive,
        settings=saved.learner.settings(),
        budget=saved.budget,
        result=evaluate(saved.model, benchmark.test, validation=benchmark.validation),
    )


def _own_learner(place: str, name: str | None, supervision: str, adaptive: bool) -> Learner:
    """Make a learner of a user's function, before any data are read."""
    function = function_at(place)
    called = name or str(getattr(function, "__name__", ""))
    if not is_name(called):
        raise InvalidSettingError(
            f"the learner's name is {called!r}; give one with --name: letters, digits, '_', '.' and '-'"
        )
    return OwnLearner(called, function, supervision, adaptive)
