"""Entering a function of one's own as a learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dynamic_sparsity.errors import InvalidSettingError, UnknownNameError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.interface import SUPERVISIONS, Learner, Model, TrainingData
from dynamic_sparsity.untrusted.names import check_name

__all__ = ["OwnLearner"]


class OwnLearner(Learner):
    """A function (data, budget, seed) -> model, with what must be known about it."""

    def __init__(
        self,
        name: str,
        function: Callable[[TrainingData, Budget, int], Any],
        supervision: str = "transitions",
        adaptive: bool = False,
        trains_here: bool = True,
    ):
        """Make a learner of a function.

        Args:
            name: For the leaderboard.
            function: Given `TrainingData`, `Budget` and a seed, returns an object with `predict`, and perhaps
                `jacobian` and `edge_score`; see `Model`.
            supervision: What it is trained with, one of `SUPERVISIONS`; its data has no more than that.
            adaptive: Whether its causal graph is meant to depend on the state.
            trains_here: Whether the function trains, within the budget; if not, its model comes from elsewhere.

        Raises:
            UnknownNameError: There is no such supervision.
            InvalidSettingError: The name can't be that of a file.
        """
        if supervision not in SUPERVISIONS:
            legal = ", ".join(map(repr, SUPERVISIONS))
            raise UnknownNameError(f"supervision is {supervision!r}; it can be {legal}")
        self.name = check_name(name, "the learner's name", InvalidSettingError)
        self.adaptive = adaptive
        self._supervision = supervision
        self._function = function
        self._trains_here = trains_here

    @property
    def supervision(self) -> str:
        """What the learner is trained with, as its author states."""
        return self._supervision

    def settings(self) -> dict[str, Any]:
        """Return what is known: whether the model was trained before, by a loop of its own."""
        return {} if self._trains_here else {"trained": "elsewhere"}

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int]) -> list[Model]:
        """See `Learner.fit`."""
        return [self._function(data, budget, seed) for seed in seeds]
