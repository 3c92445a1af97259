"""A network whose causes are gated, effect by effect, by a second network that sees the state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.errors import UnknownNameError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.networks.effectwise import (
    EffectNetworks,
    GateLearner,
    bernoulli_straight_through,
    binary_cross_entropy,
    check_gates,
    price_schedule,
)
from dynamic_sparsity.learners.networks.training import Batch

__all__ = ["Gated", "GatedNetwork"]

OPEN = 2.0
"""Initial logit of the gates: open, but not so far that they can't close."""


class GatedNetwork(eqx.Module):
    """Gates g(s, a) in {0, 1}^(ds × (ds + da)), and effect networks behind them.

    Attributes:
        gates: Logits of the gates being open, (ds + da,) -> (ds · (ds + da),).
        effects: Predict the change of the state behind the gates.
    """

    gates: eqx.nn.MLP
    effects: EffectNetworks

    def __init__(self, inputs: int, width: int, change_scale: Sequence[float], key: jax.Array):
        """Make initial weights.

        Args:
            inputs: ds + da.
            width: Units per hidden layer of the gates; a quarter of it per effect.
            change_scale: Of `EffectNetworks`.
            key: Random.
        """
        one, two = jax.random.split(key)
        self.gates = eqx.nn.MLP(inputs, len(change_scale) * inputs, width, 2, jax.nn.elu, dtype=jnp.float32, key=one)
        self.effects = EffectNetworks(inputs, max(4, width // 4), change_scale, two)

    def logits(self, x: jax.Array) -> jax.Array:
        """Return the logits of the gates being open.

        Args:
            x: Normalised (state, action), float32, shape (ds + da,).

        Returns:
            float32, shape (ds, ds + da).
        """
        return self.gates(x).reshape(self.effects.first.shape[:2]) + OPEN

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state, each gate open or closed as is more probable, (ds + da,) -> (ds,)."""
        return self.effects(x, (self.logits(x) > 0).astype(jnp.float32))

    def edges(self, x: jax.Array) -> jax.Array:
        """Return the probabilities of the gates.

        Args:
            x: Normalised (state, action), float32, shape (ds + da,).

        Returns:
            float32, shape (ds, ds + da).
        """
        return self.effects.with_own(jax.nn.sigmoid(self.logits(x)))


@dataclass(frozen=True)
class Gated(GateLearner):
    """Straight-through Bernoulli gates, trained either by their price or by the true masks.

    Attributes:
        term: "l0": from transitions only; the expected share of open gates is added to the loss. "mask": the gates
            learn the true masks by cross entropy, and the effect networks the next state behind them.
        price: Of all gates being open, for "l0", beside the mean squared error of the change.
        grace: Share of the training before open gates cost anything, for "l0".
        score: Of an edge, for "l0": "influence": probability times influence (see `NetworkModel`); "probability".
    """

    name = "gated"
    adaptive = True
    term: str = "l0"
    price: float = 0.02
    grace: float = 0.0
    score: str = "influence"

    def __post_init__(self) -> None:
        """Raise UnknownNameError or InvalidSettingError if a setting is not legal."""
        if self.term not in ("l0", "mask"):
            raise UnknownNameError(f"there is no loss {self.term!r} of the gated learner; there is 'l0' and 'mask'")
        check_gates(self.price, self.grace, self.score)

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> GatedNetwork:
        """See `NetworkLearner.network`."""
        return GatedNetwork(sum(sizes), budget.width, scale.change_scale, key)

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        logits = jax.vmap(network.logits)(batch.x)
        if self.term == "mask" and batch.graph is not None:
            mask = jax.lax.stop_gradient((logits > 0).astype(jnp.float32))
            extra = binary_cross_entropy(logits, batch.graph)
        else:
            mask = bernoulli_straight_through(logits, key)
            extra = self.price * price_schedule(progress, self.grace) * jnp.mean(jax.nn.sigmoid(logits))
        total: jax.Array = network.effects.error(batch, mask) + extra
        return total
