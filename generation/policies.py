"""What chooses the actions of an episode."""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dynamic_sparsity.generation.noise import coloured_noise

LARGEST_ACTION = float(np.float32(1) - np.float32(2) ** -20)
"""Bound on |a|: at exactly 1 MuJoCo's clamp has no derivative; actions stay inside by the oracle's differences."""


class Policy(Protocol):
    """Chooses actions for a batch of episodes; all state is in what `start` returns.

    `start` is called once per batch of episodes, `act` once per control step; both are traced by JAX.
    """

    def start(self, keys: jax.Array, length: int) -> jax.Array:
        """Returns what `act` needs, with a leading axis of size B.

        Args:
            keys: One JAX random key per episode, shape (B, 2), uint32.
            length: Control steps of the episodes.
        """
        ...

    def act(self, plan: jax.Array, step: jax.Array, observation: jax.Array) -> jax.Array:
        """Returns actions, float64, shape (B, da), inside (-1, 1).

        Args:
            plan: What `start` returned.
            step: Control steps since the reset, int, shape ().
            observation: The task's own observations, shape (B, do).
        """
        ...


class NoisePolicy:
    """Coloured noise, squashed: a = tanh(ε), one series ε per episode and action dimension, of the episode's length."""

    def __init__(self, size: int, beta: float) -> None:
        """Makes the policy for `size` action dimensions, with the noise's exponent β."""
        self.size, self.beta = size, beta

    def start(self, keys: jax.Array, length: int) -> jax.Array:
        """Draws all actions, shape (B, length, size)."""
        noise = jax.vmap(lambda key: coloured_noise(key, length, self.size, self.beta))(keys)
        return squash(noise)

    def act(self, plan: jax.Array, step: jax.Array, observation: jax.Array) -> jax.Array:
        """Returns the actions drawn for a step."""
        del observation
        return jnp.take(plan, step, axis=1)


def squash(value: jax.Array) -> jax.Array:
    """tanh, rounded to float32's numbers and kept inside (-1, 1)."""
    bounded = jnp.clip(jnp.tanh(value), -LARGEST_ACTION, LARGEST_ACTION)
    return bounded.astype(jnp.float32).astype(value.dtype)
