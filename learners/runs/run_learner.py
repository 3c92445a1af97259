"""Train and evaluate learners on a task, and keep the results as JSON files with their provenance."""

from __future__ import annotations

import dataclasses
import json
import platform
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import CorruptResultError, InvalidSettingError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Rows, Scale, columns_of, positions_of, read_rows, rows_of
from dynamic_sparsity.learners.data.training_stream import RowStream
from dynamic_sparsity.learners.evaluation import EvaluationRows, evaluate, read_evaluation_rows
from dynamic_sparsity.learners.interface import Learner, TrainingData, allowed_by
from dynamic_sparsity.learners.measures.train_split import References, read_references
from dynamic_sparsity.learners.runs.provenance import git_commit, package_versions
from dynamic_sparsity.learners.runs.result_files import RESULT_FORMAT, check_result, read_result
from dynamic_sparsity.loaders import JacobianDataset, open_dataset
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.untrusted.names import check_name, inside

__all__ = [
    "RESULT_FORMAT",
    "Benchmark",
    "judge",
    "read_results",
    "result_document",
    "run_learner",
    "write_result",
]

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
        from_sigma = None if self.sigma is None else Scale.of(open_dataset(self.sigma, split="train"))
        return read_references(open_dataset(self.path, split="train"), from_sigma)

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


def result_document(
    *,
    learner: str,
    loss: str,
    seed: int,
    supervision: str,
    adaptive: bool,
    budget: Budget,
    result: dict[str, Any],
    trained_on: dict[str, str] | None = None,
    settings: dict[str, Any] | None = None,
    data_input: str = "memory",
    cost: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Return a result with all that must be known to compare it.

    Args:
        learner: Name of the learner.
        loss: Name of its variant.
        seed: Of the training.
        supervision: One of `SUPERVISIONS`, or "oracle".
        adaptive: Whether its causal graph is meant to depend on the state.
        budget: Of the training.
        result: What `evaluate` returned.
        trained_on: "policy" and "settings_sha256" of the data of the training; None: those judged on.
        settings: Of the learner.
        data_input: "memory", or "stream": the rows were read while training, in another order.
        cost: Seconds for reading, and per seed for training and, therein, for waiting for streamed rows.
    """
    return {
        "format": RESULT_FORMAT,
        "learner": learner,
        "loss": loss,
        "seed": seed,
        "supervision": supervision,
        "adaptive": adaptive,
        "settings": settings or {},
        "protocol": dataclasses.asdict(budget),
        "input": data_input,
        "trained_on": trained_on or {key: result["data"][key] for key in ("policy", "settings_sha256")},
        "result": result,
        "cost": cost or {},
        "provenance": {
            "packages": package_versions(),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "git_commit": git_commit(),
        },
    }


def result_path(root: Path, result: dict[str, Any]) -> Path:
    """Return where a result belongs: `ROOT/<protocol>/<Task>/<policy>/<learner>-<loss>-<seed>.json`.

    The policy is that of the training; if the model was judged on data of another, `-on-<policy>` follows the seed.

    Args:
        root: Folder of all results.
        result: The document.

    Raises:
        CorruptResultError: One of these can't be the name of a file, or the path leads out of the folder.
    """
    data = result["result"]["data"]
    trained = (result.get("trained_on") or data)["policy"]
    other = "" if trained == data["policy"] else f"-on-{check_name(data['policy'], 'a policy', CorruptResultError)}"
    parts = {
        "protocol": result["protocol"]["name"],
        "task": data["task"],
        "policy": trained,
        "file": f"{result['learner']}-{result['loss']}-{result['seed']}{other}.json",
    }
    names = [check_name(name, f"a result's {what}", CorruptResultError) for what, name in parts.items()]
    return inside(root, "/".join(names), CorruptResultError)


def write_result(root: Path, result: dict[str, Any]) -> Path:
    """Keep a result; an older one of the same learner, loss, seed and task is replaced.

    Args:
        root: Folder of all results.
        result: The document; CorruptResultError if it is none.

    Returns:
        The file.
    """
    path = result_path(root, check_result(result, "a result"))
    publish(path, [json.dumps(result, indent=1, allow_nan=False).encode(), b"\n"])
    return path


def read_results(root: Path, skipped: Callable[[CorruptResultError], None] | None = None) -> list[dict[str, Any]]:
    """Read all results below a folder.

    Args:
        root: The folder.
        skipped: Called for each file that is left out because it can't be read; None: such a file is an error.

    Raises:
        InvalidSettingError: There is none.
        CorruptResultError: A file there is damaged, incomplete, or has another version of the format.
    """
    found = []
    for path in sorted(root.rglob("*.json")):
        try:
            document = read_result(path)
        except CorruptResultError as error:
            if skipped is None:
                raise
            skipped(error)
            continue
        if document is not None:
            found.append(document)
    if not found:
        raise InvalidSettingError(
            f"there are no results below {root}; make some with "
            f"`{shlex.join(['dynamic-sparsity', 'train-learner', 'CheetahRun', '--out', str(root)])}`"
        )
    return found
