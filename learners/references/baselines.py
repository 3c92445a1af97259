"""Baselines that know nothing, or everything: what a learner's numbers are to be read against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Rows, Scale
from dynamic_sparsity.learners.interface import Learner, Model, TrainingData

__all__ = ["AffineModel", "GlobalGraph", "Hold", "Ridge", "fit_ridge"]

Floats = NDArray[np.floating[Any]]
Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]


class AffineModel(Model):
    """The same affine map for every row, and perhaps the same graph."""

    def __init__(self, scale: Scale, weights: Floats, bias: Floats, scores: Floats | None = None):
        """Store weights and bias of the change of the state, normalised: weights @ x + bias.

        Args:
            scale: Of the data.
            weights: shape (ds, ds + da), between the normalised input and the change by `output_std`.
            bias: shape (ds,).
            scores: Edge score of every row, shape (ds, ds + da); None to let the Jacobian decide.
        """
        self.scale, self.weights, self.bias, self.scores = scale, weights, bias, scores

    def predict(self, state: Float32, action: Float32) -> Floats:
        """See `Model.predict`."""
        change = self.scale.inputs(state, action) @ self.weights.T + self.bias
        return np.asarray(state + change * self.scale.output_std, np.float32)

    def jacobian(self, state: Float32, action: Float32) -> Floats:
        """See `Model.jacobian`."""
        ds = len(self.bias)
        jacobian = self.scale.dimensional(self.weights.astype(np.float32)[None])[0]
        jacobian[:, :ds] += np.eye(ds, dtype=np.float32)
        return np.broadcast_to(jacobian, (len(state), *jacobian.shape))

    def edge_score(self, state: Float32, action: Float32) -> Floats | None:
        """See `Model.edge_score`."""
        return None if self.scores is None else np.broadcast_to(self.scores, (len(state), *self.scores.shape))


def fit_ridge(rows: Rows, scale: Scale, penalty: float, graph: Bools | None = None) -> tuple[Floats, Floats]:
    """Fit a ridge regression of the change of the state on the normalised input, in float64.

    Args:
        rows: n transitions.
        scale: Of the data.
        penalty: On the squared weights, per row.
        graph: Causes that each effect may use, bool, shape (ds, ds + da); None for all.

    Returns:
        Weights (ds, ds + da) and bias (ds,), for `AffineModel`.
    """
    inputs = scale.inputs(rows.state, rows.action).astype(np.float64)
    change = (rows.next_state.astype(np.float64) - rows.state) / scale.output_std
    mean, centre = inputs.mean(0), change.mean(0)
    centred = inputs - mean
    square, product = centred.T @ centred / len(rows), centred.T @ (change - centre) / len(rows)
    weights = np.zeros((change.shape[1], inputs.shape[1]))
    for effect in range(len(weights)):
        causes = np.arange(inputs.shape[1]) if graph is None else np.flatnonzero(graph[effect])
        if causes.size:
            system = square[np.ix_(causes, causes)] + penalty * np.eye(causes.size)
            weights[effect, causes] = np.linalg.solve(system, product[causes, effect])
    return weights, centre - weights @ mean


@dataclass(frozen=True)
class Hold(Learner):
    """Zero-order hold: the next state is the state."""

    name = "hold"

    @property
    def supervision(self) -> str:
        """Nothing is learned."""
        return "transitions"

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int]) -> list[Model]:
        """See `Learner.fit`."""
        ds, da = data.train.sizes
        return [AffineModel(data.scale, np.zeros((ds, ds + da)), np.zeros(ds)) for _ in seeds]


@dataclass(frozen=True)
class Ridge(Learner):
    """Linear ridge regression of the change of the state; the same for every seed.

    Attributes:
        penalty: On the squared weights of the normalised input, per row.
    """

    name = "ridge"
    penalty: float = 0.0001

    def __post_init__(self) -> None:
        """Raise InvalidSettingError if the penalty is not positive."""
        if not self.penalty > 0:
            raise InvalidSettingError(f"penalty is {self.penalty}; it must be positive")

    @property
    def supervision(self) -> str:
        """Transitions only."""
        return "transitions"

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int]) -> list[Model]:
        """See `Learner.fit`."""
        return [AffineModel(data.scale, *fit_ridge(data.train, data.scale, self.penalty)) for _ in seeds]


@dataclass(frozen=True)
class GlobalGraph(Ridge):
    """Ridge regression behind one true graph for all rows: the best that is possible without looking at the state.

    Attributes:
        kind: "union": edges that are there in any row of train. "majority": those in at least half of them; the edge
            score is their share of rows, so that the ranking is the best of any constant one.
    """

    name = "global-graph"
    kind: str = "union"

    def __post_init__(self) -> None:
        """Raise InvalidSettingError if a setting is not legal."""
        super().__post_init__()
        if self.kind not in ("union", "majority"):
            raise InvalidSettingError(f"kind is {self.kind!r}; it can be 'union' or 'majority'")

    @property
    def loss(self) -> str:
        """The kind."""
        return self.kind

    @property
    def supervision(self) -> str:
        """It reads the masks of train."""
        return "structure"

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int]) -> list[Model]:
        """See `Learner.fit`."""
        if data.train.graph is None:
            raise InvalidSettingError("the global graph is that of the training rows, which were read without masks")
        share = data.train.graph.mean(0)
        graph = share > 0 if self.kind == "union" else share >= 0.5
        weights, bias = fit_ridge(data.train, data.scale, self.penalty, graph)
        scores = graph.astype(np.float32) if self.kind == "union" else share.astype(np.float32)
        return [AffineModel(data.scale, weights, bias, scores) for _ in seeds]
