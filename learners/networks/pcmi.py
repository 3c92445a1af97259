"""pCMI: an edge is where an effect would be predicted otherwise without a cause, transition by transition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.networks.likelihood import LOG_STD_MAX, LOG_STD_MIN, normalised_change, with_and_without
from dynamic_sparsity.learners.networks.ncd import MaskedEffects
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner

__all__ = ["PCMI", "WithAndWithout"]


class WithAndWithout(eqx.Module):
    """Effects that can be predicted from all causes, or without one.

    Attributes:
        effects: Behind a mask.
    """

    effects: MaskedEffects

    def every(self, x: jax.Array) -> jax.Array:
        """Return the mask with all causes, ones of shape (ds, ds + da)."""
        return jnp.ones((len(self.effects.change_scale), len(x)), jnp.float32)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state, (ds + da,) -> (ds,)."""
        return self.effects.next_state(x, self.every(x))

    def edges(self, x: jax.Array) -> jax.Array:
        """Return the expected information of each cause about each effect here, nats, shape (ds, ds + da).

        That is the divergence of the Gaussian without the cause from the one with all.
        """
        every = self.every(x)
        mean, spread = _gaussian(self.effects(x, every))
        withouts = jax.vmap(lambda cause: self.effects(x, every.at[:, cause].set(0.0)))(jnp.arange(len(x)))
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

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> WithAndWithout:
        """See `NetworkLearner.network`."""
        return WithAndWithout(MaskedEffects(sum(sizes), max(8, budget.width // 4), scale.change_scale, key))

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        truth = normalised_change(batch, network.effects.change_scale)
        return with_and_without(network.effects, batch.x, truth, key)
