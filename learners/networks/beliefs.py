"""What an ensemble believes of edges: how probable a derivative of some size is, seen together with all others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jax.scipy.special import ndtr
from numpy.typing import NDArray

__all__ = ["Patterns", "fit_patterns", "log_odds"]

Floats = NDArray[np.float32]

SURE = 0.001
"""No belief is surer than this."""

ERROR_MIN = 1e-6
"""Of derivatives, dimensionless: float32 has no smaller ones."""


def log_odds(mean: Floats, error: Floats, size: Floats) -> Floats:
    """Return the log odds that a derivative is at least a size, if it is normal around an estimate.

    Args:
        mean: The estimate, any shape.
        error: Its standard error, likewise.
        size: > 0, of a shape that broadcasts to it.

    Returns:
        float32, within ±log(1 / SURE + 1), of that shape.
    """
    spread = np.maximum(error, ERROR_MIN)
    probability = np.asarray(ndtr((mean - size) / spread) + ndtr((-size - mean) / spread))
    return np.asarray(np.log((probability + SURE) / (1 + SURE - probability)), np.float32)


@dataclass(frozen=True)
class Patterns:
    """In which ways beliefs vary together from row to row.

    Attributes:
        mean: Over rows, shape (entries,).
        directions: Orthonormal, shape (directions, entries).
        kept: Share of each that is no noise, shape (directions,).
    """

    mean: Floats
    directions: Floats
    kept: Floats

    def __call__(self, beliefs: Floats) -> Floats:
        """Return beliefs without what varies in one entry alone.

        Args:
            beliefs: shape (n, entries).
        """
        return np.asarray(self.mean + ((beliefs - self.mean) @ self.directions.T * self.kept) @ self.directions)


def fit_patterns(beliefs: Floats, noise: float) -> Patterns:
    """Find the principal directions of beliefs over rows, and shrink them as Wiener's filter does.

    The edges of a contact switch together, the noise of each derivative is its own: what varies along few directions is
    signal. A direction of variance λ is kept to the share λ / (λ + noise · median of all λ).

    Args:
        beliefs: Of rows of train, shape (rows, entries).
        noise: The variance of noise along a direction, by the median variance; 0 keeps everything.
    """
    mean = beliefs.mean(0)
    _, sizes, directions = np.linalg.svd(beliefs - mean, full_matrices=False)
    variance = sizes.astype(np.float64) ** 2
    there = variance > variance.max(initial=0.0) * 1e-9
    floor = float(np.median(variance[there])) if there.any() else 0.0
    kept = np.where(there, variance / np.where(there, variance + noise * floor, 1.0), 0.0)
    return Patterns(mean, np.asarray(directions, np.float32), kept.astype(np.float32))
