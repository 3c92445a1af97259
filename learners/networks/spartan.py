"""SPARTAN: a transformer whose attention is sampled, with as few paths as its error allows."""

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
from dynamic_sparsity.learners.networks.likelihood import normalised_change
from dynamic_sparsity.learners.networks.tokens import ScalarTokens
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner

__all__ = ["SPARTAN", "SparseTransformer"]

LAYERS = 3
OPEN = 3.0
"""Added to the logits of attention, so that it begins open."""


class SparseTransformer(eqx.Module):
    """Layers of hard attention with residual paths; the mask multiplies the softmax's numerator.

    Attributes:
        tokens: Of the scalars.
        queries: Of each layer, (units,) -> (units,).
        keys: Likewise.
        values: Likewise.
        perceptrons: Likewise, of two hidden layers.
        log_price: Of a path, learned by the constraint on the error.
        allowed: Mean squared error that is allowed, learned while all attention is open.
    """

    tokens: ScalarTokens
    queries: list[eqx.nn.Linear]
    keys: list[eqx.nn.Linear]
    values: list[eqx.nn.Linear]
    perceptrons: list[eqx.nn.MLP]
    log_price: jax.Array
    allowed: jax.Array

    def __init__(self, inputs: int, units: int, price: float, change_scale: Sequence[float], key: jax.Array):
        """Make initial weights.

        Args:
            inputs: ds + da.
            units: Of a token, and of hidden layers.
            price: Of a path, to begin with.
            change_scale: Of `Scale`.
            key: Random.
        """
        first, *rest = jax.random.split(key, 1 + 4 * LAYERS)
        f32 = jnp.float32
        self.tokens = ScalarTokens(inputs, units, change_scale, first)
        parts = [[eqx.nn.Linear(units, units, dtype=f32, key=one) for one in rest[place::4]] for place in range(3)]
        self.queries, self.keys, self.values = parts
        self.perceptrons = [eqx.nn.MLP(units, units, units, 2, dtype=f32, key=one) for one in rest[3::4]]
        self.log_price = jnp.log(jnp.float32(price))
        self.allowed = jnp.ones((), f32)

    def attend(self, x: jax.Array, key: jax.Array | None, shut: jax.Array | float = 1.0) -> tuple[jax.Array, jax.Array]:
        """Return the last tokens, and how many paths lead from each scalar to each token.

        Args:
            x: Normalised (state, action), shape (ds + da,).
            key: Random, to sample attention; None: attention that is more probable than not is open, and paths are the
                expected number.
            shut: 0 to leave all attention open.

        Returns:
            Shapes (ds + da, units) and (ds + da, ds + da).
        """
        tokens = self.tokens.embed(x)
        paths = jnp.eye(len(tokens), dtype=jnp.float32)
        for place in range(LAYERS):
            match = jax.vmap(self.queries[place])(tokens) @ jax.vmap(self.keys[place])(tokens).T
            match = match / tokens.shape[1] ** 0.5
            logits = match + OPEN
            if key is None:
                mask, counted = (logits > 0).astype(jnp.float32), jax.nn.sigmoid(logits)
            else:
                sampled = bernoulli_straight_through(logits, jax.random.fold_in(key, place))
                mask = counted = 1.0 - shut * (1.0 - sampled)
            seen = (mask * jax.nn.softmax(match, axis=1)) @ jax.vmap(self.values[place])(tokens)
            tokens = tokens + seen
            tokens = tokens + jax.vmap(self.perceptrons[place])(tokens)
            paths = paths + counted @ paths
        return tokens, paths

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state, (ds + da,) -> (ds,)."""
        return self.tokens.next_state(x, self.attend(x, None)[0])

    def edges(self, x: jax.Array) -> jax.Array:
        """Return the expected number of paths from each cause to each effect, shape (ds, ds + da)."""
        return self.attend(x, None)[1][: len(self.tokens.change_scale)]


@dataclass(frozen=True)
class SPARTAN(NetworkLearner):
    """Sparse transformer world model: the fewest expected paths at the error of the fully connected model.

    Differs from the paper: Adam's rate, batches and steps are those of the protocol; a quarter of its width, in place
    of 512; the allowed error is that of the same network before attention may close, in the first part of one training,
    and not of a second model; the price follows the constraint by Adam's steps; the change of the state is predicted;
    one token per scalar of the state.

    Attributes:
        price: Of the mean number of paths between two tokens, to begin with.
        grace: Share of the training in which all attention is open.
        slack: How much more than the allowed error is allowed, a factor.

    Source:
        Lei, Schölkopf, Posner (2024), SPARTAN: a sparse transformer learning local causation, arXiv 2411.06890.
    """

    name = "spartan"
    adaptive = True
    price: float = 0.01
    grace: float = 0.4
    slack: float = 1.1

    def __post_init__(self) -> None:
        """Raise InvalidSettingError if a setting is out of range."""
        if not (self.price > 0 and self.slack > 0 and 0 <= self.grace <= 1):
            raise InvalidSettingError(
                f"price is {self.price}, slack {self.slack} and grace {self.grace}; the first two must be above 0, "
                "the last in [0, 1]"
            )

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> SparseTransformer:
        """See `NetworkLearner.network`."""
        return SparseTransformer(sum(sizes), max(8, budget.width // 4), self.price, scale.change_scale, key)

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        shut = (progress >= self.grace).astype(jnp.float32)
        attend = jax.vmap(network.attend, (0, 0, None))
        tokens, paths = attend(batch.x, jax.random.split(key, len(batch.x)), shut)
        truth = normalised_change(batch, network.tokens.change_scale)
        error = jnp.mean((jax.vmap(network.tokens.read)(tokens) - truth) ** 2)
        stop = jax.lax.stop_gradient
        # The gradients of these two are the steps of the allowed error and of the price, not of a loss.
        follow = (1.0 - shut) * (network.allowed - stop(error)) ** 2
        dual = shut * network.log_price * stop(error - self.slack * network.allowed)
        few = jnp.mean(paths[:, : truth.shape[1]])
        total: jax.Array = error + shut * jnp.exp(stop(network.log_price)) * few + follow + dual
        return total
