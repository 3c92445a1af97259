"""CDL: one static graph, by how much worse an effect is predicted without a cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.data.training_stream import dimensionless
from dynamic_sparsity.learners.interface import TrainingData
from dynamic_sparsity.learners.networks.likelihood import (
    Layers,
    gaussian_surprise,
    next_state,
    normalised_change,
    with_and_without,
)
from dynamic_sparsity.learners.networks.training import INFLUENCE_ROWS, Batch, NetworkLearner, NetworkModel

__all__ = ["CDL", "MaximumOfCauses"]

UNITS = 64


class MaximumOfCauses(eqx.Module):
    """Features of each cause for each effect, their maximum over causes, and a perceptron per effect behind it.

    Attributes:
        features: (ds · (ds + da), 1) -> (…, 64).
        heads: (ds, 64) -> (ds, 2), mean and log standard deviation of the change.
        information: By how many nats each cause betters each effect's prediction, shape (ds, ds + da); not trained.
        change_scale: Of `Scale`.
    """

    features: Layers
    heads: Layers
    information: jax.Array
    change_scale: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, inputs: int, change_scale: Sequence[float], key: jax.Array):
        """Make initial weights.

        Args:
            inputs: ds + da.
            change_scale: Of `Scale`.
            key: Random.
        """
        one, two = jax.random.split(key)
        self.change_scale = tuple(change_scale)
        ds = len(self.change_scale)
        self.features = Layers(ds * inputs, (1, UNITS, UNITS), one)
        self.heads = Layers(ds, (UNITS, UNITS, UNITS, 2), two)
        self.information = jnp.zeros((ds, inputs), jnp.float32)

    def predicted(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Return mean and log standard deviation of each effect's change, shape (ds, 2).

        Args:
            x: Normalised (state, action), shape (ds + da,).
            mask: 1 where effect i may see cause j, shape (ds, ds + da).
        """
        ds, inputs = mask.shape
        found = jax.nn.relu(self.features(jnp.tile(x, ds)[:, None])).reshape(ds, inputs, UNITS)
        # Features are at least 0, so that a cause that is hidden adds nothing to the maximum.
        return self.heads(jnp.max(found * mask[:, :, None], axis=1))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state from all causes, (ds + da,) -> (ds,)."""
        every = jnp.ones(self.information.shape, jnp.float32)
        return next_state(x, self.predicted(x, every)[:, 0], self.change_scale)

    def edges(self, x: jax.Array) -> jax.Array:
        """Return the information of each cause about each effect, the same for every row, shape (ds, ds + da)."""
        return self.information


@dataclass(frozen=True)
class CDL(NetworkLearner):
    """Causal dynamics learning by conditional mutual information; static by construction.

    Differs from the paper: Adam's rate, batches and steps are those of the protocol; the information is measured once,
    after the training, over 1,024 rows of train, and not by a moving average; so there is no third term of the loss,
    the likelihood behind the graph of the moment; next states are predicted from all causes; a dropped cause may also
    be an action; all scalars of the state are variables.

    Source:
        Wang et al. (2022), Causal dynamics learning for task-independent state abstraction, arXiv 2206.13452.
    """

    name = "cdl"
    adaptive = False

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> MaximumOfCauses:
        """See `NetworkLearner.network`."""
        return MaximumOfCauses(sum(sizes), scale.change_scale, key)

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        truth = normalised_change(batch, network.change_scale)
        return with_and_without(network.predicted, batch.x, truth, key)

    def model(self, network: Any, data: TrainingData) -> NetworkModel:
        """See `NetworkLearner.model`."""
        chosen = np.linspace(0, len(data.train) - 1, min(INFLUENCE_ROWS, len(data.train))).astype(np.int64)
        arrays = dimensionless(data.train[chosen], data.scale)
        found = _information(network, jnp.asarray(arrays["x"]), jnp.asarray(arrays["y"]))
        return NetworkModel(eqx.tree_at(lambda one: one.information, network, found), data.scale)


@eqx.filter_jit
def _information(network: MaximumOfCauses, x: jax.Array, y: jax.Array) -> jax.Array:
    """Return how much the mean surprise of each effect grows without each cause, at least 0, shape (ds, ds + da)."""
    ds, inputs = network.information.shape
    truth = (y - x[:, :ds]) / jnp.asarray(network.change_scale, jnp.float32)

    def surprise(mask: jax.Array) -> jax.Array:
        return jnp.mean(gaussian_surprise(jax.vmap(network.predicted, (0, None))(x, mask), truth), axis=0)

    every = jnp.ones((ds, inputs), jnp.float32)
    without = jax.lax.map(lambda cause: surprise(every.at[:, cause].set(0.0)), jnp.arange(inputs))
    return jnp.maximum(without.T - surprise(every)[:, None], 0.0)
