"""A few causal graphs, each with its own region of states: a learned switch picks the graph of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.errors import InvalidSettingError, UnknownNameError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.networks.effectwise import (
    EffectNetworks,
    GateLearner,
    bernoulli_straight_through,
    check_gates,
    price_schedule,
)
from dynamic_sparsity.learners.networks.training import Batch

__all__ = ["Codebook", "CodebookNetwork"]

OPEN = 2.0
"""Initial logit of the edges of every graph, with a normal deviate added that makes the graphs different."""

DEFAULT_GRAPHS = {"l0": 8, "mask": 32}
"""Graphs by term."""


class CodebookNetwork(eqx.Module):
    """A switch k(s, a), a graph per k, and effect networks behind the graph.

    Attributes:
        switch: Logits of the graphs, (ds + da,) -> (k,).
        graphs: Logits of the graphs' edges, float32, shape (k, ds, ds + da).
        effects: Predict the change of the state behind a graph.
    """

    switch: eqx.nn.MLP
    graphs: jax.Array
    effects: EffectNetworks

    def __init__(self, graphs: int, inputs: int, width: int, change_scale: Sequence[float], key: jax.Array):
        """Make initial weights.

        Args:
            graphs: How many there are.
            inputs: ds + da.
            width: Units per hidden layer of the switch; a quarter of it per effect.
            change_scale: Of `EffectNetworks`.
            key: Random.
        """
        one, two, three = jax.random.split(key, 3)
        self.switch = eqx.nn.MLP(inputs, graphs, width, 2, jax.nn.elu, dtype=jnp.float32, key=one)
        shape = (graphs, len(change_scale), inputs)
        self.graphs = OPEN + jax.random.normal(two, shape, jnp.float32)
        self.effects = EffectNetworks(inputs, max(4, width // 4), change_scale, three)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state behind the most probable graph, (ds + da,) -> (ds,)."""
        mask = (self.graphs[jnp.argmax(self.switch(x))] > 0).astype(jnp.float32)
        return self.effects(x, mask)

    def edges(self, x: jax.Array) -> jax.Array:
        """Return the probabilities of edges.

        Args:
            x: Normalised (state, action), float32, shape (ds + da,).

        Returns:
            float32, shape (ds, ds + da).
        """
        edges = jnp.einsum("k,kij->ij", jax.nn.softmax(self.switch(x)), jax.nn.sigmoid(self.graphs))
        return self.effects.with_own(edges)


@dataclass(frozen=True)
class Codebook(GateLearner):
    """Graphs and switch learned together, from the price of edges or from the true masks.

    Attributes:
        term: "l0": from transitions only; the expected share of edges is added to the loss. "mask": switch and graphs
            are a mixture of Bernoulli distributions, fitted to the true masks by maximum likelihood.
        price: Of all edges, for "l0", beside the mean squared error of the change.
        graphs: How many there are; None for the term's default.
        grace: Share of the training before edges cost anything, for "l0".
        score: Of an edge, for "l0": "influence": probability times influence (see `NetworkModel`); "probability".

    Source:
        In the spirit of Hwang et al. (2024), Fine-Grained Causal Dynamics Learning with Quantization, arXiv 2406.03234.
    """

    name = "codebook"
    adaptive = True
    term: str = "l0"
    price: float = 0.02
    graphs: int | None = None
    grace: float = 0.3
    score: str = "probability"

    def __post_init__(self) -> None:
        """Raise UnknownNameError or InvalidSettingError if a setting is not legal."""
        if self.term not in ("l0", "mask"):
            raise UnknownNameError(f"there is no loss {self.term!r} of the codebook learner; there is 'l0' and 'mask'")
        if self.graphs is not None and self.graphs < 1:
            raise InvalidSettingError(f"graphs is {self.graphs}; it must be at least 1")
        check_gates(self.price, self.grace, self.score)

    @property
    def graph_count(self) -> int:
        """How many graphs there are."""
        return DEFAULT_GRAPHS[self.term] if self.graphs is None else self.graphs

    def settings(self) -> dict[str, Any]:
        """See `Learner.settings`."""
        return super().settings() | {"graphs": self.graph_count}

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> CodebookNetwork:
        """See `NetworkLearner.network`."""
        return CodebookNetwork(self.graph_count, sum(sizes), budget.width, scale.change_scale, key)

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        switch = jax.vmap(network.switch)(batch.x)
        if batch.graph is not None and self.term == "mask":
            mask = jax.lax.stop_gradient((network.graphs[jnp.argmax(switch, 1)] > 0).astype(jnp.float32))
            error: jax.Array = network.effects.error(batch, mask)
            return error + mixture_surprise(switch, network.graphs, batch.graph)
        one, two = jax.random.split(key)
        weights = _choose(switch, one)
        mask = bernoulli_straight_through(jnp.einsum("bk,kij->bij", weights, network.graphs), two)
        edges = jnp.einsum("bk,kij->bij", weights, jax.nn.sigmoid(network.graphs))
        price = self.price * price_schedule(progress, self.grace)
        total: jax.Array = network.effects.error(batch, mask) + price * jnp.mean(edges)
        return total


def mixture_surprise(switch: jax.Array, graphs: jax.Array, truth: jax.Array) -> jax.Array:
    """Return the negative log likelihood of graphs under a mixture of Bernoulli graphs, nats per entry.

    Args:
        switch: Logits of the mixture's components, shape (rows, k).
        graphs: Logits of their edges, shape (k, ds, ds + da).
        truth: 0 or 1, float32, shape (rows, ds, ds + da).
    """
    fit = jnp.einsum("bij,kij->bk", truth, graphs) - jnp.sum(jax.nn.softplus(graphs), axis=(1, 2))
    likelihood = jax.nn.logsumexp(jax.nn.log_softmax(switch) + fit, axis=1)
    return -jnp.mean(likelihood) / (truth.shape[1] * truth.shape[2])


def _choose(switch: jax.Array, key: jax.Array) -> jax.Array:
    """Sample one graph per row, with the gradient of the softmax: (rows, k) -> (rows, k), one 1 per row."""
    noise = jax.random.gumbel(key, switch.shape, jnp.float32)
    soft = jax.nn.softmax(switch + noise)
    hard = jax.nn.one_hot(jnp.argmax(soft, axis=1), switch.shape[1], dtype=jnp.float32)
    return soft + jax.lax.stop_gradient(hard - soft)
