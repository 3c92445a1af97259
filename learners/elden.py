"""ELDEN's local dependencies: the partial derivatives of an ensemble."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.data import Scale
from dynamic_sparsity.learners.likelihood import normalised_change
from dynamic_sparsity.learners.mlp import MLPNetwork
from dynamic_sparsity.learners.protocol import Budget
from dynamic_sparsity.learners.training import Batch, NetworkLearner

__all__ = ["ELDEN", "Ensemble"]


class Ensemble(eqx.Module):
    """Perceptrons side by side; their mean predicts.

    Attributes:
        members: A network whose weights have the members as first dimension; each predicts the change.
        change_scale: Of `Scale`.
        edges_are_derivatives: That `edges` have their units.
    """

    members: MLPNetwork
    change_scale: tuple[float, ...] = eqx.field(static=True)
    edges_are_derivatives: bool = eqx.field(default=True, static=True)

    def changes(self, x: jax.Array) -> jax.Array:
        """Return the change of the state by each member, in standard deviations, (ds + da,) -> (members, ds)."""
        every: jax.Array = eqx.filter_vmap(lambda member: member(x))(self.members)
        return every

    def each(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state by each member, (ds + da,) -> (members, ds)."""
        scale = jnp.asarray(self.change_scale, jnp.float32)
        return x[: len(self.change_scale)] + scale * self.changes(x)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state, (ds + da,) -> (ds,)."""
        return jnp.mean(self.each(x), axis=0)

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

    @property
    def supervision(self) -> str:
        """Transitions only."""
        return "transitions"

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> Ensemble:
        """See `NetworkLearner.network`."""

        def member(key: jax.Array) -> MLPNetwork:
            return MLPNetwork(sizes[0], sum(sizes), max(8, budget.width // 2), False, key)

        return Ensemble(eqx.filter_vmap(member)(jax.random.split(key, self.members)), tuple(scale.change_scale))

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        truth = normalised_change(batch, network.change_scale)
        error = jnp.mean((jax.vmap(network.changes)(batch.x) - truth[:, None]) ** 2)
        return error + self.price * jnp.mean(jnp.abs(jax.vmap(jax.jacfwd(network.changes))(batch.few)))
