"""What transformers over scalars share: each state and action is a token, each effect is read from its own."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.learners.networks.likelihood import next_state

__all__ = ["ScalarTokens"]


class ScalarTokens(eqx.Module):
    """Embeds scalars, each with weights of its own, and reads the change of each state from the token of its place.

    Attributes:
        weight: Of each scalar, shape (ds + da, units).
        bias: Likewise; it also says which scalar a token is.
        heads: Of each effect, shape (ds, units).
        head_bias: shape (ds,).
        change_scale: Of `Scale`.
    """

    weight: jax.Array
    bias: jax.Array
    heads: jax.Array
    head_bias: jax.Array
    change_scale: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, inputs: int, units: int, change_scale: Sequence[float], key: jax.Array):
        """Make initial weights.

        Args:
            inputs: ds + da.
            units: Of a token.
            change_scale: Of `Scale`.
            key: Random.
        """
        one, two, three = jax.random.split(key, 3)
        self.change_scale = tuple(change_scale)
        ds = len(self.change_scale)
        self.weight = jax.random.normal(one, (inputs, units), jnp.float32)
        self.bias = jax.random.normal(two, (inputs, units), jnp.float32)
        self.heads = jax.random.normal(three, (ds, units), jnp.float32) / units**0.5
        self.head_bias = jnp.zeros(ds, jnp.float32)

    def embed(self, x: jax.Array) -> jax.Array:
        """Return tokens, (ds + da,) -> (ds + da, units)."""
        return x[:, None] * self.weight + self.bias

    def read(self, tokens: jax.Array) -> jax.Array:
        """Return the change of each state in its standard deviations, (ds + da, units) -> (ds,)."""
        return jnp.sum(tokens[: len(self.change_scale)] * self.heads, axis=1) + self.head_bias

    def next_state(self, x: jax.Array, tokens: jax.Array) -> jax.Array:
        """Return the normalised next state, shape (ds,).

        Args:
            x: Normalised (state, action), shape (ds + da,).
            tokens: Of the last layer, shape (ds + da, units).
        """
        return next_state(x, self.read(tokens), self.change_scale)
