"""Learners of dynamics and of their local causal graphs, and the benchmark that evaluates them.

`evaluate` and the interface need NumPy only; `make_learner` and the learners behind it need the extra `learners`.
"""

from typing import TYPE_CHECKING, Any

from dynamic_sparsity.learners.budgets import BUDGETS, SEEDS, Budget, get_budget
from dynamic_sparsity.learners.evaluation import evaluate, read_evaluation_rows
from dynamic_sparsity.learners.interface import Learner, Model, TrainingData
from dynamic_sparsity.learners.runs.run_learner import Benchmark, run_learner

if TYPE_CHECKING:
    from dynamic_sparsity.learners.registry import make_learner

__all__ = [
    "BUDGETS",
    "SEEDS",
    "Benchmark",
    "Budget",
    "Learner",
    "Model",
    "TrainingData",
    "evaluate",
    "get_budget",
    "make_learner",
    "read_evaluation_rows",
    "run_learner",
]


def __getattr__(name: str) -> Any:
    """Import what needs JAX when it is used."""
    if name == "make_learner":
        from dynamic_sparsity.learners.registry import make_learner

        return make_learner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
