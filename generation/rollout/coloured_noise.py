"""Coloured noise: time series whose power falls with frequency as 1/f^β.

Source: Timmer and König, "On generating power law noise", 1995; used for exploration in reinforcement learning by
Hollenstein, Martius, Piater, "Colored Noise in PPO", arXiv 2312.11091, with β = 0.5.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import custom_batching

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation import target
from dynamic_sparsity.generation.settings import MAX_BETA


def coloured_noise(key: jax.Array, length: int, size: int, beta: float) -> jax.Array:
    """Draw independent coloured series with zero mean, and unit variance in expectation.

    Args:
        key: JAX random key.
        length: Time steps, at least 1.
        size: Number of series.
        beta: Exponent β: 0 white, 1 pink, 2 red.

    Returns:
        Float64 array of shape (length, size).

    Raises:
        InvalidSettingError: β or the length is out of range.
    """
    if not 0.0 <= beta <= MAX_BETA:
        raise InvalidSettingError(
            f"The noise's exponent is {beta}; it must be in [0, {MAX_BETA:g}] (0 white, 1 pink, 2 red)."
        )
    if length < 1:
        raise InvalidSettingError(f"A series of {length} steps was asked for; it needs at least 1.")
    if length < 3:
        return jax.random.normal(key, (length, size))
    frequency = np.fft.rfftfreq(length)
    frequency[0] = 1.0 / length
    scale = frequency ** (-beta / 2)
    real, imaginary = jax.random.normal(key, (2, len(scale), size))
    # The zero frequency, and the highest one of an even length, are real and carry their variance in one number.
    single = np.zeros(len(scale), bool)
    single[0] = True
    single[-1] |= length % 2 == 0
    real = jnp.where(single[:, None], real * np.sqrt(2), real)
    imaginary = jnp.where(single[:, None], 0.0, imaginary)
    weights = np.where(single, 1.0, 2.0) * scale**2
    deviation = np.sqrt(2 * np.sum(weights)) / length
    series: jax.Array = _inverse_transform((real + 1j * imaginary) * scale[:, None], length)
    return series / float(deviation)


def _inverse_transform(spectrum: jax.Array, length: int) -> jax.Array:
    """Return the real series (length, size) of half a spectrum.

    On a CPU, its bits do not depend on how many are made side by side.
    """

    def transform(one: jax.Array) -> jax.Array:
        return jnp.fft.irfft(one, n=length, axis=0)

    # XLA's transform of many (since jaxlib 0.12) rounds otherwise than that of one.
    one_by_one: Any = custom_batching.sequential_vmap
    series: jax.Array = (one_by_one(transform) if target.means().one_by_one else transform)(spectrum)
    return series
