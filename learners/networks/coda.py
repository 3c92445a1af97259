"""CoDA's attention mask: two blocks of softmax attention, whose product says what looked at what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.networks.likelihood import normalised_change
from dynamic_sparsity.learners.networks.tokens import ScalarTokens
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner

__all__ = ["AttentionBlocks", "CoDA"]

BLOCKS = 2


class AttentionBlocks(eqx.Module):
    """Blocks of one attention head without a residual path, each with a perceptron behind it.

    Attributes:
        tokens: Of the scalars.
        queries: Of each block, (units,) -> (units,).
        keys: Likewise.
        values: Perceptrons of one hidden layer, likewise.
    """

    tokens: ScalarTokens
    queries: list[eqx.nn.Linear]
    keys: list[eqx.nn.Linear]
    values: list[eqx.nn.MLP]

    def __init__(self, inputs: int, units: int, change_scale: Sequence[float], key: jax.Array):
        """Make initial weights.

        Args:
            inputs: ds + da.
            units: Of a token, and of hidden layers.
            change_scale: Of `Scale`.
            key: Random.
        """
        first, *rest = jax.random.split(key, 1 + 3 * BLOCKS)
        f32 = jnp.float32
        self.tokens = ScalarTokens(inputs, units, change_scale, first)
        self.queries = [eqx.nn.Linear(units, units, dtype=f32, key=one) for one in rest[::3]]
        self.keys = [eqx.nn.Linear(units, units, dtype=f32, key=one) for one in rest[1::3]]
        self.values = [eqx.nn.MLP(units, units, units, 1, dtype=f32, key=one) for one in rest[2::3]]

    def attend(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the last tokens, shape (ds + da, units), and the product of the attentions, (ds + da, ds + da)."""
        tokens = self.tokens.embed(x)
        product = jnp.eye(len(tokens), dtype=jnp.float32)
        for query, key, value in zip(self.queries, self.keys, self.values, strict=True):
            match = jax.vmap(query)(tokens) @ jax.vmap(key)(tokens).T / tokens.shape[1] ** 0.5
            attention = jax.nn.softmax(match, axis=1)
            tokens, product = attention @ jax.vmap(value)(tokens), attention @ product
        return tokens, product

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state, (ds + da,) -> (ds,)."""
        return self.tokens.next_state(x, self.attend(x)[0])

    def edges(self, x: jax.Array) -> jax.Array:
        """Return how much each effect attended to each cause, 1 for its own present value, shape (ds, ds + da)."""
        product = self.attend(x)[1] + jnp.eye(len(x), dtype=jnp.float32)
        return jnp.minimum(product[: len(self.tokens.change_scale)], 1.0)


@dataclass(frozen=True)
class CoDA(NetworkLearner):
    """Counterfactual data augmentation's model of local independence, by attention; no price of edges.

    Differs from the paper: Adam's rate, batches and steps are those of the protocol; a quarter of its width, in place
    of 512; the mask is not made symmetric, as effects and causes are different things here; the change of the state is
    predicted; all scalars of the state are variables. Only the mask is taken: no data are augmented.

    Source:
        Pitis, Creager, Garg (2020), Counterfactual data augmentation using locally factored dynamics, arXiv 2007.02863.
    """

    name = "coda"
    adaptive = True

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> AttentionBlocks:
        """See `NetworkLearner.network`."""
        return AttentionBlocks(sum(sizes), max(8, budget.width // 4), scale.change_scale, key)

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        found = jax.vmap(lambda x: network.tokens.read(network.attend(x)[0]))(batch.x)
        return jnp.mean((found - normalised_change(batch, network.tokens.change_scale)) ** 2)
