"""What a model and a learner are. Anything with these methods can be evaluated and entered into the leaderboard."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Rows, Scale
from dynamic_sparsity.learners.data.training_stream import RowStream
from dynamic_sparsity.learners.measures.train_split import References

__all__ = ["SUPERVISIONS", "Learner", "Model", "Predictor", "TrainingData", "allowed_by"]

Floats = NDArray[np.floating[Any]]

SUPERVISIONS = ("transitions", "structure", "Jacobian")
"""What a learner is trained with: transitions (s, a, s') only; also the true masks; also the true Jacobians."""


class Predictor(Protocol):
    """What `evaluate` needs: a model of the task in physical units. All arguments and results are batches of n rows."""

    def predict(self, state: NDArray[np.float32], action: NDArray[np.float32]) -> Floats:
        """Return next states.

        Args:
            state: float32, shape (n, ds), MuJoCo's units.
            action: float32, shape (n, da).

        Returns:
            shape (n, ds).
        """
        ...


class Model:
    """A trained model. Only `predict` must be overridden; a model that has no Jacobian or edge score returns None.

    Attributes:
        scores_are_derivatives: Whether its edge scores have the units of a Jacobian, as a size of derivatives has; they
            are made dimensionless by the standard deviations of whoever judges.
    """

    scores_are_derivatives = False

    def predict(self, state: NDArray[np.float32], action: NDArray[np.float32]) -> Floats:
        """Return next states.

        Args:
            state: float32, shape (n, ds), MuJoCo's units.
            action: float32, shape (n, da).

        Returns:
            shape (n, ds).
        """
        raise NotImplementedError(f"{type(self).__name__} must define predict(state, action)")

    def jacobian(self, state: NDArray[np.float32], action: NDArray[np.float32]) -> Floats | None:
        """Return the derivatives of `predict`, [∂s'/∂s | ∂s'/∂a], row = effect.

        Args:
            state: float32, shape (n, ds).
            action: float32, shape (n, da).

        Returns:
            shape (n, ds, ds + da), in physical units; None if the model has none.
        """
        return None

    def edge_score(self, state: NDArray[np.float32], action: NDArray[np.float32]) -> Floats | None:
        """Return how much the model believes in each edge of each row's causal graph; by default its Jacobian decides.

        Args:
            state: float32, shape (n, ds).
            action: float32, shape (n, da).

        Returns:
            shape (n, ds, ds + da), larger where an edge is more probable; None if the model has none.
        """
        return None

    def edge_belief(
        self, state: NDArray[np.float32], action: NDArray[np.float32], size: NDArray[np.float32]
    ) -> Floats | None:
        """Return how much the model believes that each derivative is at least of a size, which is what makes an edge.

        A model that has this is asked instead of for `edge_score`, under each truth for its own sizes.

        Args:
            state: float32, shape (n, ds).
            action: float32, shape (n, da).
            size: float32 > 0, shape (1, ds, ds + da), in physical units.

        Returns:
            shape (n, ds, ds + da), larger where it is more probable; None if the model has none.
        """
        return None


@dataclass(frozen=True)
class TrainingData:
    """What a learner may see.

    Attributes:
        train: Rows of the train split, with Jacobians and graphs only if the learner's `supervision` allows them;
            if they are streamed, a sample of them.
        scale: Means and standard deviations of the train split.
        stream: All of them, batch by batch; None if they are in memory.
        references: What train says under each truth, for those that look it up.
        on_steps: To be called with the number of gradient steps just done, for a bar.
    """

    train: Rows
    scale: Scale
    stream: RowStream | None = None
    references: References | None = None
    on_steps: Callable[[int], None] = lambda steps: None


def allowed_by(supervision: str) -> tuple[str, ...]:
    """Return the fields of `Rows` that a supervision allows beside transitions.

    Args:
        supervision: One of `SUPERVISIONS`, or "oracle".
    """
    return {"transitions": (), "Jacobian": ("graph", "jacobian")}.get(supervision, ("graph",))


class Learner(ABC):
    """A way to make models. Those of this package are frozen dataclasses of their settings.

    Attributes:
        name: For tables.
        adaptive: Whether its causal graph is meant to depend on the state.
        streams: Whether it can learn from `TrainingData.stream`.
    """

    name = ""
    adaptive = False
    streams = False

    def settings(self) -> dict[str, Any]:
        """Return what decides its numbers beside data, budget and seed, as JSON data."""
        return dataclasses.asdict(self) if dataclasses.is_dataclass(self) else {}

    def of_task(self, metadata: dict[str, Any]) -> Learner:
        """Return the learner with what it must know of the task beside its rows; by default nothing.

        Args:
            metadata: Of the data set it will learn from.
        """
        return self

    @property
    def loss(self) -> str:
        """The variant's name, for tables."""
        return "none"

    @property
    @abstractmethod
    def supervision(self) -> str:
        """One of `SUPERVISIONS`."""

    @property
    def uses(self) -> tuple[str, ...]:
        """What is read for it of what its supervision allows: "graph", "jacobian"; by default all."""
        return allowed_by(self.supervision)

    @abstractmethod
    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int]) -> list[Model]:
        """Train one model per seed.

        Args:
            data: Of the train split.
            budget: Steps, widths and sizes of batches that every learner has to keep to.
            seeds: Of initial weights, batches and whatever else is random; ≥ 0.

        Returns:
            A model per seed; the same arguments give the same models on the same platform.
        """
