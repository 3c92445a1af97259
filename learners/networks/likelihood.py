"""What causal dynamics models of the literature share: networks of one effect each that predict a mean and a spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.learners.networks.training import Batch

__all__ = ["Layers", "gaussian_surprise", "next_state", "normalised_change", "with_and_without"]

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


class Layers(eqx.Module):
    """Perceptrons of equal shape side by side, with ReLU between layers; all weights are float32.

    Attributes:
        weights: Of each layer, shape (count, units before, units).
        biases: Of each layer, shape (count, units).
    """

    weights: list[jax.Array]
    biases: list[jax.Array]

    def __init__(self, count: int, units: Sequence[int], key: jax.Array):
        """Draw initial weights: uniform, ±1/√(units before), as PyTorch does.

        Args:
            count: Number of perceptrons.
            units: Of the input, the hidden layers, the output.
            key: Random.
        """
        self.weights, self.biases = [], []
        for before, after, one in zip(units, units[1:], jax.random.split(key, len(units) - 1), strict=False):
            bound = 1 / max(1, before) ** 0.5
            first, second = jax.random.split(one)
            self.weights.append(jax.random.uniform(first, (count, before, after), jnp.float32, -bound, bound))
            self.biases.append(jax.random.uniform(second, (count, after), jnp.float32, -bound, bound))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the outputs, (count, units of the input) -> (count, units of the output)."""
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = jnp.einsum("ch,chk->ck", x, weight) + bias
            x = jax.nn.relu(x) if place < len(self.weights) - 1 else x
        return x


def normalised_change(batch: Batch, change_scale: Sequence[float]) -> jax.Array:
    """Return the true change of the state in its standard deviations, shape (rows, ds).

    Args:
        batch: Rows.
        change_scale: Of `Scale`.
    """
    return (batch.y - batch.x[:, : len(change_scale)]) / jnp.asarray(change_scale, jnp.float32)


def next_state(x: jax.Array, change: jax.Array, change_scale: Sequence[float]) -> jax.Array:
    """Return the normalised next state, shape (…, ds).

    Args:
        x: Normalised (state, action), shape (ds + da,).
        change: Of the state, in its standard deviations, shape (…, ds).
        change_scale: Of `Scale`.
    """
    return x[: len(change_scale)] + jnp.asarray(change_scale, jnp.float32) * change


def gaussian_surprise(output: jax.Array, truth: jax.Array) -> jax.Array:
    """Return the negative log likelihood of each effect, nats, without the constant.

    Args:
        output: Mean and log of the standard deviation, shape (…, ds, 2).
        truth: shape (…, ds).
    """
    log_std = jnp.clip(output[..., 1], LOG_STD_MIN, LOG_STD_MAX)
    return 0.5 * ((truth - output[..., 0]) * jnp.exp(-log_std)) ** 2 + log_std


def with_and_without(
    predict: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, truth: jax.Array, key: jax.Array
) -> jax.Array:
    """Return the mean surprise with all causes, plus that with one hidden, drawn for each row and effect; a scalar.

    Args:
        predict: (x, mask (ds, ds + da)) of one row -> mean and log of the standard deviation, (ds, 2).
        x: Normalised (state, action), shape (rows, ds + da).
        truth: The true change, shape (rows, ds).
        key: Random.
    """
    inputs = x.shape[1]
    hidden = jax.random.randint(key, truth.shape, 0, inputs, dtype=jnp.int32)
    without = 1.0 - jax.nn.one_hot(hidden, inputs, dtype=jnp.float32)
    masks = (jnp.ones_like(without), without)
    both = [gaussian_surprise(jax.vmap(predict)(x, mask), truth) for mask in masks]
    return jnp.mean(both[0]) + jnp.mean(both[1])
