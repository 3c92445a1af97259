"""The paper's multilayer perceptron, with its terms on the Jacobian."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.interface import Model, TrainingData
from dynamic_sparsity.learners.networks.losses import DEFAULT_WEIGHTS, check_loss, jacobian_term, supervision_of
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner

__all__ = ["MLP", "MLPNetwork", "ResidualMLP", "UntrainedMLP"]


class MLPNetwork(eqx.Module):
    """Two hidden layers with ELU; optionally the normalised state added to the output.

    Attributes:
        layers: The layers, (ds + da,) -> (ds,).
        residual: Whether the layers predict the change of the state.
    """

    layers: eqx.nn.MLP
    residual: bool = eqx.field(static=True)

    def __init__(self, ds: int, inputs: int, width: int, residual: bool, key: jax.Array):
        """Draw initial weights as Equinox does: uniform, ±1/√(units before).

        Args:
            ds: Size of the state.
            inputs: ds + da.
            width: Units per hidden layer.
            residual: Predict the change of the state.
            key: Random.
        """
        self.layers = eqx.nn.MLP(inputs, ds, width, 2, jax.nn.elu, dtype=jnp.float32, key=key)
        self.residual = residual

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state, (ds + da,) -> (ds,)."""
        y: jax.Array = self.layers(x)
        return y + x[: y.shape[0]] if self.residual else y


@dataclass(frozen=True)
class MLP(NetworkLearner):
    """Mean squared error of the normalised next state, plus one term on the Jacobian.

    Attributes:
        term: "none", "mse", "mae", "l1" or "sae"; see `losses`.
        weight: Of the term; None for its default.

    Source:
        Pandaram et al. (2025), arXiv 2511.08086, question 4.
    """

    name = "mlp"
    term: str = "none"
    weight: float | None = None
    residual = False

    def __post_init__(self) -> None:
        """Raise UnknownNameError or InvalidSettingError if a setting is not legal."""
        check_loss(self.term)
        if self.weight is not None and not 0 <= self.weight < math.inf:
            raise InvalidSettingError(f"weight is {self.weight}; it must be a finite number, at least 0")

    @property
    def effective_weight(self) -> float:
        """Of the term."""
        return DEFAULT_WEIGHTS[self.term] if self.weight is None else self.weight

    def settings(self) -> dict[str, Any]:
        """See `Learner.settings`."""
        return super().settings() | {"weight": self.effective_weight}

    @property
    def loss(self) -> str:
        """The term."""
        return self.term

    @property
    def supervision(self) -> str:
        """Depends on the term."""
        return supervision_of(self.term)

    @property
    def uses(self) -> tuple[str, ...]:
        """No more than the term needs."""
        return {"mse": ("jacobian",), "mae": ("jacobian",), "sae": ("graph",)}.get(self.term, ())

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> MLPNetwork:
        """See `NetworkLearner.network`."""
        return MLPNetwork(sizes[0], sum(sizes), budget.width, self.residual, key)

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        error = jnp.mean((jax.vmap(network)(batch.x) - batch.y) ** 2)
        if self.term == "none":
            return error
        jacobian = jax.vmap(jax.jacfwd(network))(batch.few)
        return error + self.effective_weight * jacobian_term(self.term, jacobian, batch.jacobian, batch.few_graph)


@dataclass(frozen=True)
class UntrainedMLP(MLP):
    """The same network with its initial weights: where the paper's comparison of sparsity starts."""

    @property
    def loss(self) -> str:
        """No training at all."""
        return "untrained"

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int]) -> list[Model]:
        """See `Learner.fit`."""
        return super().fit(data, replace(budget, steps=0), seeds)


@dataclass(frozen=True)
class ResidualMLP(MLP):
    """The same network, but it predicts the change of the state, as the learners with adaptive structure do."""

    name = "residual-mlp"
    residual = True
