"""Train and evaluate learners on a task."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Rows, Scale, columns_of, positions_of, read_rows, rows_of
from dynamic_sparsity.learners.data.training_stream import RowStream
from dynamic_sparsity.learners.evaluation import EvaluationRows, evaluate, read_evaluation_rows
from dynamic_sparsity.learners.interface import Learner, TrainingData, allowed_by
from dynamic_sparsity.learners.measures.train_split import References, read_references
from dynamic_sparsity.learners.runs.results import result_document
from dynamic_sparsity.loaders import JacobianDataset, open_dataset

__all__ = ["Benchmark", "judge", "run_learner"]

SAMPLE_ROWS = 1024  # in memory of a streamed split: what trained networks need of it


@dataclass(frozen=True)
class Benchmark:
    """One task's data as the protocol wants it, each part read once, when it is first needed.

    Attributes:
        path: The store.
        budget: The protocol's variant.
        dataset: Rows of the train split that may be learned from; `allowed` gives a learner what it may see of them.
        sigma: Of the truths: the store whose train split has the standard deviations; None for this one.
        simulate: The true step, to see which causes are irrelevant; None not to.
    """

    path: Path
    budget: Budget
    dataset: JacobianDataset
    sigma: Path | None = None
    simulate: Callable[..., Any] | None = None

    @staticmethod
    def read(path: str | Path, budget: Budget, sigma: Path | None = None) -> Benchmark:
        """Open a store.

        Args:
            path: The store.
            budget: How many rows of it.
            sigma: The store that σ of the truths is taken from, the same for all policies; None for this one.

        Raises:
            DynamicSparsityError: The store is missing or damaged, or has no rows to learn from.
        """
        train = open_dataset(path, split="train")
        return Benchmark(Path(path), budget, train.select(positions_of(train, budget.train_rows)), sigma)

    @cached_property
    def scale(self) -> Scale:
        """Of the train split."""
        return Scale.of(self.dataset)

    @property
    def about(self) -> dict[str, str]:
        """Task, policy, dynamics, and hash of the data's settings."""
        store = self.dataset.store
        digest = str(self.dataset.metadata["settings_sha256"])
        return {"task": store.task, "policy": store.policy, "dynamics": store.dynamics, "settings_sha256": digest}

    @cached_property
    def references(self) -> References:
        """What the train split says about each truth."""
        of_sigma = open_dataset(self.sigma or self.path, split="train")
        found = read_references(open_dataset(self.path, split="train"), Scale.of(of_sigma))
        about = {"sigma_sha256": str(of_sigma.metadata["settings_sha256"])}
        return dataclasses.replace(found, about=found.about | about)

    @cached_property
    def validation(self) -> EvaluationRows:
        """Rows to choose by."""
        return self._evaluation_rows("validation")

    @cached_property
    def test(self) -> EvaluationRows:
        """Rows to evaluate on."""
        return self._evaluation_rows("test")

    def _evaluation_rows(self, split: str) -> EvaluationRows:
        dataset = open_dataset(self.path, split=split)
        return read_evaluation_rows(dataset, limit=self.budget.judged_rows, horizon=self.budget.horizon)

    @property
    def sizes(self) -> tuple[int, int]:
        """ds and da."""
        sizes = self.dataset.metadata["sizes"]
        return sizes["ds"], sizes["da"]

    @cached_property
    def _transitions(self) -> Rows:
        return rows_of(self.dataset.with_columns(columns_of(jacobian=False, graph=False))[:])

    @cached_property
    def _jacobian(self) -> NDArray[np.float32]:
        columns = self.dataset.with_columns(["J_s", "J_a"], coordinates="ambient")[:]
        return np.concatenate([columns["J_s"], columns["J_a"]], axis=2)

    @cached_property
    def _graph(self) -> NDArray[np.bool_]:
        columns = self.dataset.with_columns(["mask_s", "mask_a"], coordinates="ambient")[:]
        return np.concatenate([columns["mask_s"], columns["mask_a"]], axis=2) > 0

    def allowed(self, supervision: str, uses: Sequence[str] | None = None, *, stream: bool = False) -> TrainingData:
        """Return what a learner of that supervision may see of train.

        Args:
            supervision: One of `SUPERVISIONS`, or "oracle".
            uses: Of "graph" and "jacobian", what the learner uses; None for all that the supervision allows.
            stream: Leave the rows in the store, to be read while the learner learns; only a sample is in memory.
        """
        allowed = allowed_by(supervision)
        jacobian, graph = (name in allowed and (uses is None or name in uses) for name in ("jacobian", "graph"))
        if stream:
            rows = read_rows(self.dataset, jacobian=jacobian, graph=graph, limit=SAMPLE_ROWS)
            return TrainingData(rows, self.scale, RowStream(self.dataset, self.scale, jacobian=jacobian, graph=graph))
        rows = dataclasses.replace(
            self._transitions,
            jacobian=self._jacobian if jacobian else None,
            graph=self._graph if graph else None,
        )
        looked_up = self.references if "references" in (uses or ()) and supervision != "transitions" else None
        return TrainingData(rows, self.scale, references=looked_up)


def run_learner(
    benchmark: Benchmark,
    learner: Learner,
    seeds: Sequence[int],
    keep: Callable[[int, Any], None] | None = None,
    *,
    stream: bool = False,
    others: Sequence[Benchmark] = (),
    on_steps: Callable[[int], None] = lambda steps: None,
) -> Iterator[dict[str, Any]]:
    """Train a learner once per seed and evaluate it.

    Args:
        benchmark: The task.
        learner: Whom to train.
        seeds: ≥ 0.
        keep: Called with seed and model, for example to store it.
        stream: Read the rows while training, if the learner can learn so, rather than all of them before.
        others: The same task with other policies, to judge on as well, thresholds as chosen on the data of training.
        on_steps: Called with the number of gradient steps just done.

    Yields:
        The result of each seed, and of each of the others, JSON data; see docs/benchmark.md.

    Raises:
        DynamicSparsityError: A split of the store has no rows, or the learner refuses its data.
    """
    learner = learner.of_task(dict(benchmark.dataset.metadata))
    benchmark.validation, benchmark.test  # noqa: B018 - what is missing must be missed before the training
    started = time.perf_counter()
    data = benchmark.allowed(learner.supervision, learner.uses, stream=stream and learner.streams)
    data = dataclasses.replace(data, on_steps=on_steps)
    cost = {"read_seconds": time.perf_counter() - started}
    started = time.perf_counter()
    models = learner.fit(data, benchmark.budget, seeds)
    cost["train_seconds"] = (time.perf_counter() - started) / max(1, len(seeds))
    if data.stream is not None:
        cost["wait_seconds"] = data.stream.waited_seconds / max(1, len(seeds))
    for seed, model in zip(seeds, models, strict=True):
        if keep is not None:
            keep(seed, model)
        for judged in (benchmark, *others):
            if hasattr(model, "reveal"):
                model.reveal(benchmark.validation.rows)
                model.reveal(judged.test.rows)
            yield result_document(
                learner=learner.name,
                loss=learner.loss,
                seed=seed,
                supervision=learner.supervision,
                adaptive=learner.adaptive,
                settings=learner.settings(),
                budget=benchmark.budget,
                data_input="memory" if data.stream is None else "stream",
                cost=cost,
                trained_on={key: benchmark.about[key] for key in ("policy", "settings_sha256")},
                result=judge(model, benchmark, judged),
            )


def judge(model: Any, trained: Benchmark, judged: Benchmark) -> dict[str, Any]:
    """Evaluate a model on the test split of some data.

    Args:
        model: See `evaluate`.
        trained: The data of the training, on whose validation split thresholds are chosen.
        judged: The data to judge on; may be the same.
    """
    return evaluate(
        model,
        judged.test,
        validation=trained.validation,
        references=judged.references,
        validation_references=trained.references,
        simulate=judged.simulate,
    )
