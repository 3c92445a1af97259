"""pCMI: an edge is where an effect would be predicted otherwise without a cause, transition by transition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from dynamic_sparsity.learners.data import Scale
from dynamic_sparsity.learners.likelihood import LOG_STD_MAX, LOG_STD_MIN, gaussian_surprise, normalised_change
from dynamic_sparsity.learners.ncd import MaskedEffects
from dynamic_sparsity.learners.protocol import Budget
from dynamic_sparsity.learners.training import Batch, NetworkLearner

__all__ = ["PCMI", "WithAndWithout"]


class WithAndWithout(MaskedEffects):
    """Effects that can be predicted from all causes, or without one."""

    def __init__(self, inputs: int, width: int, change_scale: Sequence[float], key: jax.Array):
        """See `MaskedEffects`.

        Args:
            inputs: ds + da.
            width: Units of the two hidden layers.
            change_scale: Of `Scale`.
            key: Random.
        """
        super().__init__(inputs, width, change_scale, key)

    def every(self, x: jax.Array) -> jax.Array:
        """Return the mask with all causes, ones of shape (ds, ds + da)."""
        return jnp.ones((len(self.change_scale), len(x)), jnp.float32)

    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Return the normalised next state, shape (ds,); with a mask, see `MaskedEffects`.

        Args:
            x: Normalised (state, action), shape (ds + da,).
            mask: shape (ds, ds + da).
        """
        return self.next_state(x, self.every(x)) if mask is None else super().__call__(x, mask)

    def edges(self, x: jax.Array) -> jax.Array:
        """Return the expected information of each cause about each effect here, nats, shape (ds, ds + da).

        That is the divergence of the Gaussian without the cause from the one with all.
        """
        every = self.every(x)
        mean, spread = _gaussian(self(x, every))
        withouts = jax.vmap(lambda cause: self(x, every.at[:, cause].set(0.0)))(jnp.arange(len(x)))
        other, others = _gaussian(withouts)
        surprise = others - spread + 0.5 * (jnp.exp(2 * (spread - others)) + ((mean - other) * jnp.exp(-others)) ** 2)
        return jnp.maximum(surprise - 0.5, 0.0).T


def _gaussian(output: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return means and logs of standard deviations of outputs, shape (…, ds, 2)."""
    return output[..., 0], jnp.clip(output[..., 1], LOG_STD_MIN, LOG_STD_MAX)


@dataclass(frozen=True)
class PCMI(NetworkLearner):
    """Pointwise conditional mutual information: with and without each cause, one of which is hidden in training.

    Differs from the source: the score of an edge must be given before the next state is seen, so it is the *expected*
    difference of log likelihoods under the model's own prediction; Adam's rate, batches and steps are those of the
    protocol; hidden layers have a quarter of its width; all scalars of the state are variables.

    Source:
        Wang et al. (2024), SkiLD: unsupervised skill discovery guided by factor interactions, arXiv 2410.18416, whose
        default way to find local dependencies it is.
    """

    name = "pcmi"
    adaptive = True

    @property
    def supervision(self) -> str:
        """Transitions only."""
        return "transitions"

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> WithAndWithout:
        """See `NetworkLearner.network`."""
        return WithAndWithout(sum(sizes), max(8, budget.width // 4), scale.change_scale, key)

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        truth = normalised_change(batch, network.change_scale)
        inputs = batch.x.shape[1]
        hidden = jax.random.randint(key, truth.shape, 0, inputs, dtype=jnp.int32)
        without = 1.0 - jax.nn.one_hot(hidden, inputs, dtype=jnp.float32)
        both = [
            gaussian_surprise(jax.vmap(network)(batch.x, mask), truth) for mask in (jnp.ones_like(without), without)
        ]
        return jnp.mean(both[0]) + jnp.mean(both[1])
