"""ELDEN's local dependencies: the partial derivatives of an ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.networks.ensembles import Ensemble, side_by_side
from dynamic_sparsity.learners.networks.mlp import MLPNetwork
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner

__all__ = ["ELDEN", "MeanDerivatives"]


class MeanDerivatives(Ensemble):
    """Perceptrons side by side; an edge is as strong as their derivatives are large."""

    def edges(self, x: jax.Array) -> jax.Array:
        """Return the mean over members of the absolute derivative, dimensionless, shape (ds, ds + da)."""
        return jnp.mean(jnp.abs(jax.jacfwd(self.each)(x)), axis=0)


@dataclass(frozen=True)
class ELDEN(NetworkLearner):
    """An ensemble of perceptrons with a price of their derivatives; an edge is where these are large.

    Differs from the paper: Adam's rate, batches and steps are those of the protocol, and its width is shared among the
    members; the price is put on a few rows of each batch; no inputs are mixed; the members' disagreement, which there
    drives exploration, is not used, as nothing is explored; all scalars of the state are variables.

    Attributes:
        members: Of the ensemble.
        price: Of the mean absolute derivative of the change, beside its mean squared error.

    Source:
        Hu et al. (2023), ELDEN: exploration via local dependencies, arXiv 2310.08702.
    """

    name = "elden"
    adaptive = True
    members: int = 5
    price: float = 0.001

    def __post_init__(self) -> None:
        """Raise InvalidSettingError if a setting is out of range."""
        if self.members < 1 or not self.price >= 0:
            raise InvalidSettingError(
                f"members is {self.members} and price is {self.price}; they must be at least 1 and 0"
            )

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> MeanDerivatives:
        """See `NetworkLearner.network`."""

        def member(key: jax.Array) -> MLPNetwork:
            return MLPNetwork(sizes[0], sum(sizes), max(8, budget.width // 2), False, key)

        return MeanDerivatives(side_by_side(member, self.members, key), tuple(scale.change_scale))

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        error: jax.Array = network.error(batch)
        return error + self.price * jnp.mean(jnp.abs(jax.vmap(jax.jacfwd(network.changes))(batch.few)))
