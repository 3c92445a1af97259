"""The part that state-adaptive learners share: one small network per effect, which sees only the causes it is shown."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.networks.likelihood import next_state, normalised_change
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner

__all__ = [
    "EffectNetworks",
    "GateLearner",
    "bernoulli_straight_through",
    "binary_cross_entropy",
    "check_gates",
    "price_schedule",
]


class EffectNetworks(eqx.Module):
    """ds networks of two hidden layers with ELU, side by side; network i predicts the change of effect i.

    A cause that is masked is shown at its mean, 0. An effect's own present value always passes: the output is the
    change. All weights are float32.

    Attributes:
        first: Weights of the first layers, shape (ds, ds + da, hidden).
        first_bias: Shape (ds, hidden).
        shown: Weights of the mask in the first layers, shape (ds, ds + da, hidden).
        second: Weights of the second layers, shape (ds, hidden, hidden).
        second_bias: Shape (ds, hidden).
        third: Weights of the outputs, shape (ds, hidden).
        third_bias: Shape (ds,).
        change_scale: Standard deviation of each effect's change, by that of the effect, ds numbers.
    """

    first: jax.Array
    first_bias: jax.Array
    shown: jax.Array
    second: jax.Array
    second_bias: jax.Array
    third: jax.Array
    third_bias: jax.Array
    change_scale: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, inputs: int, hidden: int, change_scale: Sequence[float], key: jax.Array):
        """Draw initial weights: normal, variance 1 / units before; the last layer a tenth of that.

        Args:
            inputs: Number of causes, ds + da.
            hidden: Units per hidden layer of each effect's network.
            change_scale: Standard deviation of each effect's change, by that of the effect, ds numbers.
            key: Random.
        """
        keys = jax.random.split(key, 3)
        ds, self.change_scale = len(change_scale), tuple(change_scale)

        def normal(key: jax.Array, *shape: int) -> jax.Array:
            return jax.random.normal(key, shape, jnp.float32) / jnp.sqrt(jnp.float32(shape[1]))

        self.first = normal(keys[0], ds, inputs, hidden)
        self.second = normal(keys[1], ds, hidden, hidden)
        self.third = 0.1 * normal(keys[2], ds, hidden)
        self.first_bias = jnp.zeros((ds, hidden), jnp.float32)
        self.shown = jnp.zeros((ds, inputs, hidden), jnp.float32)
        self.second_bias = jnp.zeros((ds, hidden), jnp.float32)
        self.third_bias = jnp.zeros(ds, jnp.float32)

    def change(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Return the predicted change of the state of one row, in standard deviations of the change; float32, (ds,).

        Args:
            x: Normalised (state, action), float32, shape (ds + da,).
            mask: 1 where effect i may see cause j, 0 elsewhere, float32, shape (ds, ds + da).
        """
        # Without `shown`, a masked cause could not be distinguished from one at its mean.
        seen = jnp.einsum("ij,ijh->ih", mask * x, self.first) + jnp.einsum("ij,ijh->ih", mask, self.shown)
        hidden = jax.nn.elu(seen + self.first_bias)
        hidden = jax.nn.elu(jnp.einsum("ih,ihk->ik", hidden, self.second) + self.second_bias)
        return jnp.einsum("ih,ih->i", hidden, self.third) + self.third_bias

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Return the normalised next state of one row; arguments as of `change`."""
        return next_state(x, self.change(x, mask), self.change_scale)

    def with_own(self, edges: jax.Array) -> jax.Array:
        """Return edge probabilities with 1 for each effect's own present value, which always passes.

        Args:
            edges: Probabilities, shape (…, ds, ds + da).
        """
        ds, inputs = self.first.shape[:2]
        return jnp.maximum(edges, jnp.eye(ds, inputs, dtype=jnp.float32))

    def error(self, batch: Batch, mask: jax.Array) -> jax.Array:
        """Mean squared error of the change, so that slow effects count as much as fast ones; a scalar.

        Args:
            batch: Rows.
            mask: Of each, shape (rows, ds, ds + da).
        """
        truth = normalised_change(batch, self.change_scale)
        return jnp.mean((jax.vmap(self.change)(batch.x, mask) - truth) ** 2)


def bernoulli_straight_through(logits: jax.Array, key: jax.Array, temperature: float = 1.0) -> jax.Array:
    """Sample gates that are 0 or 1, with the gradient of their relaxation.

    Args:
        logits: Of the gates being 1.
        key: Random.
        temperature: Of the relaxation whose gradient stands in for that of the step.

    Source:
        Jang, Gu, Poole (2017), arXiv 1611.01144; Bengio, Léonard, Courville (2013), arXiv 1308.3432.
    """
    noise = jax.random.logistic(key, logits.shape, jnp.float32)
    soft = jax.nn.sigmoid((logits + noise) / temperature)
    hard = (logits + noise > 0).astype(jnp.float32)
    return soft + jax.lax.stop_gradient(hard - soft)


def price_schedule(progress: jax.Array, grace: float) -> jax.Array:
    """Return the share of the full price of edges: 0 for a while, then rising over 30 % of the training to 1.

    A price from the start closes gates before the networks behind them have learned to use them.

    Args:
        progress: Share of the training done.
        grace: Share of the training before edges cost anything.
    """
    return jnp.clip((progress - grace) / 0.3, 0.0, 1.0)


def check_gates(price: float, grace: float, score: str) -> None:
    """Check the settings of gates that are trained without masks.

    Args:
        price: Of all gates being open, ≥ 0.
        grace: In [0, 1].
        score: "influence" or "probability".

    Raises:
        UnknownNameError: There is no such score.
        InvalidSettingError: A setting is out of range.
    """
    if not price >= 0:
        raise InvalidSettingError(f"price is {price}; it must be at least 0")
    if not 0 <= grace <= 1:
        raise InvalidSettingError(f"grace is {grace}; it must be in [0, 1]")
    if score not in ("influence", "probability"):
        raise InvalidSettingError(f"score is {score!r}; it can be 'influence' or 'probability'")


def binary_cross_entropy(logits: jax.Array, graph: jax.Array) -> jax.Array:
    """Mean cross entropy of edges, nats per entry.

    Args:
        logits: Of there being an edge.
        graph: 1 or 0, float32, same shape.
    """
    return jnp.mean(jax.nn.softplus(logits) - logits * graph)


class GateLearner(NetworkLearner):
    """A learner whose gates on causes are trained by one of two terms, as a dataclass with these fields.

    Attributes:
        term: "l0": from transitions only; "mask": from the true masks.
        score: Of an edge, for "l0": "influence": probability times influence (see `NetworkModel`); "probability".
    """

    term: str
    score: str

    @property
    def weighs_edges(self) -> bool:
        """Gates trained without masks stay open where that costs little."""
        return self.term == "l0" and self.score == "influence"

    @property
    def loss(self) -> str:
        """The term."""
        return self.term

    @property
    def supervision(self) -> str:
        """Depends on the term."""
        return "structure" if self.term == "mask" else "transitions"
