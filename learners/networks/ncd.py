"""NCD: a graph per sample, of a network beside the one that predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.networks.effectwise import bernoulli_straight_through
from dynamic_sparsity.learners.networks.likelihood import Layers, gaussian_surprise, next_state, normalised_change
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner

__all__ = ["NCD", "GraphOfSample", "MaskedEffects"]


class MaskedEffects(eqx.Module):
    """A perceptron per effect that is shown its unmasked causes and its row of the mask: mean and spread of the change.

    Attributes:
        layers: (ds, 2 · (ds + da)) -> (ds, 2).
        change_scale: Of `Scale`.
    """

    layers: Layers
    change_scale: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, inputs: int, width: int, change_scale: Sequence[float], key: jax.Array):
        """Make initial weights.

        Args:
            inputs: ds + da.
            width: Units of the two hidden layers.
            change_scale: Of `Scale`.
            key: Random.
        """
        self.change_scale = tuple(change_scale)
        self.layers = Layers(len(self.change_scale), (2 * inputs, width, width, 2), key)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Return mean and log standard deviation of each effect's change, shape (ds, 2).

        Args:
            x: Normalised (state, action), shape (ds + da,).
            mask: shape (ds, ds + da).
        """
        return self.layers(jnp.concatenate([mask * x, mask], axis=1))

    def next_state(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Return the normalised next state, shape (ds,); arguments as of the call.

        Args:
            x: Normalised (state, action), shape (ds + da,).
            mask: shape (ds, ds + da).
        """
        return next_state(x, self(x, mask)[:, 0], self.change_scale)


class GraphOfSample(eqx.Module):
    """A network that gives each sample a graph, and effects behind it.

    Attributes:
        graph: Logits of edges, (ds + da,) -> (ds · (ds + da),).
        effects: Behind the graph.
    """

    graph: eqx.nn.MLP
    effects: MaskedEffects

    def __init__(self, inputs: int, width: int, change_scale: Sequence[float], key: jax.Array):
        """Make initial weights.

        Args:
            inputs: ds + da.
            width: Units of the two hidden layers of both parts.
            change_scale: Of `Scale`.
            key: Random.
        """
        one, two = jax.random.split(key)
        entries = len(change_scale) * inputs
        self.graph = eqx.nn.MLP(inputs, entries, width, 2, jax.nn.leaky_relu, dtype=jnp.float32, key=one)
        self.effects = MaskedEffects(inputs, width, change_scale, two)

    def logits(self, x: jax.Array) -> jax.Array:
        """Return the logits of edges, shape (ds, ds + da).

        Args:
            x: Normalised (state, action), shape (ds + da,).
        """
        return self.graph(x).reshape(len(self.effects.change_scale), -1)

    def with_own(self, mask: jax.Array) -> jax.Array:
        """Return a mask with 1 for each effect's own present value.

        Args:
            mask: shape (…, ds, ds + da).
        """
        return jnp.maximum(mask, jnp.eye(mask.shape[-2], mask.shape[-1], dtype=jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state behind the edges that are more probable than not, (ds + da,) -> (ds,)."""
        return self.effects.next_state(x, self.with_own((self.logits(x) > 0).astype(jnp.float32)))

    def edges(self, x: jax.Array) -> jax.Array:
        """Return the probabilities of edges, shape (ds, ds + da).

        Args:
            x: Normalised (state, action), shape (ds + da,).
        """
        return self.with_own(jax.nn.sigmoid(self.logits(x)))


@dataclass(frozen=True)
class NCD(NetworkLearner):
    """Neural causal dynamics: sample-wise graphs, straight-through, with a price of edges.

    Differs from the paper: Adam's rate, batches and steps are those of the protocol; hidden layers have its width in
    place of 128; no batch normalisation in the network of graphs; all scalars of the state are variables.

    Attributes:
        price: Of the mean probability of an edge, beside the mean negative log likelihood of an effect.

    Source:
        Hwang et al. (2023), On discovery of local independence over continuous variables via neural contextual
        decomposition, arXiv 2405.07220, in the form that Hwang et al. (2024), arXiv 2406.03234, compare with.
    """

    name = "ncd"
    adaptive = True
    price: float = 0.001

    def __post_init__(self) -> None:
        """Raise InvalidSettingError if the price is negative."""
        if not self.price >= 0:
            raise InvalidSettingError(f"price is {self.price}; it must be at least 0")

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> GraphOfSample:
        """See `NetworkLearner.network`."""
        return GraphOfSample(sum(sizes), budget.width, scale.change_scale, key)

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        logits = jax.vmap(network.logits)(batch.x)
        mask = network.with_own(bernoulli_straight_through(logits, key))
        output = jax.vmap(network.effects)(batch.x, mask)
        surprise = gaussian_surprise(output, normalised_change(batch, network.effects.change_scale))
        return jnp.mean(surprise) + self.price * jnp.mean(jax.nn.sigmoid(logits))
