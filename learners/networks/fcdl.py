"""FCDL: each sample is quantised to one of a few codes, and each code has a graph."""

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
from dynamic_sparsity.learners.networks.likelihood import gaussian_surprise, normalised_change
from dynamic_sparsity.learners.networks.ncd import MaskedEffects
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner

__all__ = ["FCDL", "QuantisedGraphs"]

CODE = 16
"""Size of a code."""


class QuantisedGraphs(eqx.Module):
    """An encoder, a codebook, a decoder of codes into graphs, and effects behind them.

    Attributes:
        encoder: (ds + da,) -> (16,).
        codes: shape (graphs, 16).
        decoder: (16,) -> (ds · (ds + da),), logits of edges.
        effects: Behind the graph.
    """

    encoder: eqx.nn.MLP
    codes: jax.Array
    decoder: eqx.nn.MLP
    effects: MaskedEffects

    def __init__(self, inputs: int, width: int, graphs: int, change_scale: Sequence[float], key: jax.Array):
        """Make initial weights.

        Args:
            inputs: ds + da.
            width: Units of the hidden layers of the encoder and of the effects.
            graphs: Number of codes.
            change_scale: Of `Scale`.
            key: Random.
        """
        keys, f32 = jax.random.split(key, 4), jnp.float32
        self.encoder = eqx.nn.MLP(inputs, CODE, width, 2, jax.nn.leaky_relu, dtype=f32, key=keys[0])
        self.codes = jax.random.normal(keys[1], (graphs, CODE), f32)
        self.decoder = eqx.nn.MLP(CODE, len(change_scale) * inputs, 32, 1, jax.nn.leaky_relu, dtype=f32, key=keys[2])
        self.effects = MaskedEffects(inputs, width, change_scale, keys[3])

    def quantise(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the encoder's output and the nearest code.

        Args:
            x: Normalised (state, action), shape (ds + da,).
        """
        output = self.encoder(x)
        return output, self.codes[jnp.argmin(jnp.sum((self.codes - output) ** 2, axis=1))]

    def logits(self, code: jax.Array) -> jax.Array:
        """Return the logits of a code's edges, shape (ds, ds + da).

        Args:
            code: shape (16,).
        """
        return self.decoder(code).reshape(len(self.effects.change_scale), -1)

    def with_own(self, mask: jax.Array) -> jax.Array:
        """Return a mask with 1 for each effect's own present value.

        Args:
            mask: shape (…, ds, ds + da).
        """
        return jnp.maximum(mask, jnp.eye(mask.shape[-2], mask.shape[-1], dtype=jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state behind the edges that are more probable than not, (ds + da,) -> (ds,)."""
        logits = self.logits(self.quantise(x)[1])
        return self.effects.next_state(x, self.with_own((logits > 0).astype(jnp.float32)))

    def edges(self, x: jax.Array) -> jax.Array:
        """Return the probabilities of edges, shape (ds, ds + da).

        Args:
            x: Normalised (state, action), shape (ds + da,).
        """
        return self.with_own(jax.nn.sigmoid(self.logits(self.quantise(x)[1])))


@dataclass(frozen=True)
class FCDL(NetworkLearner):
    """Fine-grained causal dynamics learning with quantisation.

    Differs from the paper: Adam's rate, batches and steps are those of the protocol; hidden layers have its width in
    place of 128; encoder and effects share no features; no batch normalisation; the codebook is learned by its loss,
    and not by a moving average; all scalars of the state are variables.

    Attributes:
        graphs: Number of codes.
        price: Of the mean probability of an edge, beside the mean negative log likelihood of an effect.
        commitment: Of the encoder's distance from its code.

    Source:
        Hwang et al. (2024), Fine-grained causal dynamics learning with quantization, arXiv 2406.03234.
    """

    name = "fcdl"
    adaptive = True
    graphs: int = 16
    price: float = 0.001
    commitment: float = 0.25

    def __post_init__(self) -> None:
        """Raise InvalidSettingError if a setting is out of range."""
        if self.graphs < 1:
            raise InvalidSettingError(f"graphs is {self.graphs}; it must be at least 1")
        if not (self.price >= 0 and self.commitment >= 0):
            raise InvalidSettingError(
                f"price is {self.price} and commitment is {self.commitment}; both must be at least 0"
            )

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> QuantisedGraphs:
        """See `NetworkLearner.network`."""
        return QuantisedGraphs(sum(sizes), budget.width, self.graphs, scale.change_scale, key)

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        output, code = jax.vmap(network.quantise)(batch.x)
        stop = jax.lax.stop_gradient
        # The decoder's gradient passes by the choice of the code.
        logits = jax.vmap(network.logits)(output + stop(code - output))
        mask = network.with_own(bernoulli_straight_through(logits, key))
        predicted = jax.vmap(network.effects)(batch.x, mask)
        surprise = gaussian_surprise(predicted, normalised_change(batch, network.effects.change_scale))
        codebook = jnp.mean((code - stop(output)) ** 2) + self.commitment * jnp.mean((output - stop(code)) ** 2)
        return jnp.mean(surprise) + self.price * jnp.mean(jax.nn.sigmoid(logits)) + codebook
