"""The paper's terms on a network's Jacobian, one of which at a time is added to the error of the next state."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from dynamic_sparsity.errors import UnknownNameError

__all__ = ["DEFAULT_WEIGHTS", "JACOBIAN_LOSSES", "jacobian_term", "supervision_of"]

JACOBIAN_LOSSES = ("none", "mse", "mae", "l1", "sae")
"""none: nothing added; mse, mae: the mean squared and absolute distance from the true Jacobian; l1: the mean absolute
entry, without any truth; sae: the sparsity-aware error, the mean absolute distance on entries that are truly zero."""

DEFAULT_WEIGHTS = {"none": 0.0, "mse": 0.03, "mae": 0.1, "l1": 0.03, "sae": 0.03}
"""Weights of the terms, beside the mean squared error of the next state with weight 1. The paper gives none."""


def check_loss(loss: str) -> None:
    """Check that a loss exists.

    Args:
        loss: Its name.

    Raises:
        UnknownNameError: There is no such loss.
    """
    if loss not in JACOBIAN_LOSSES:
        raise UnknownNameError(f"there is no loss {loss!r}; there is {', '.join(map(repr, JACOBIAN_LOSSES))}")


def supervision_of(loss: str) -> str:
    """Return what a loss has to see: "transitions", "structure" (the masks) or "Jacobian".

    Args:
        loss: One of `JACOBIAN_LOSSES`.
    """
    return {"none": "transitions", "l1": "transitions", "sae": "structure"}.get(loss, "Jacobian")


def jacobian_term(loss: str, jacobian: jax.Array, truth: jax.Array | None, graph: jax.Array | None) -> jax.Array:
    """Return a term of the loss, dimensionless.

    Args:
        loss: One of `JACOBIAN_LOSSES`, but "none".
        jacobian: The network's, float32, shape (rows, ds, ds + da), between normalised inputs and outputs.
        truth: The true one, likewise; for "mse" and "mae".
        graph: 1 where the truth is not zero, float32, same shape; for "sae".

    Returns:
        A scalar. "mse", "mae" and "l1" are means over all entries; "sae" over the entries whose truth is zero,
        0 if there are none.

    Raises:
        UnknownNameError: There is no such term, or its truth is missing.

    Source:
        Pandaram et al. (2025), arXiv 2511.08086, question 4.
    """
    if loss == "l1":
        return jnp.mean(jnp.abs(jacobian))
    if loss == "mse" and truth is not None:
        return jnp.mean((jacobian - truth) ** 2)
    if loss == "mae" and truth is not None:
        return jnp.mean(jnp.abs(jacobian - truth))
    if loss == "sae" and graph is not None:
        absent = 1.0 - graph
        return jnp.sum(jnp.abs(jacobian) * absent) / jnp.maximum(jnp.sum(absent), 1.0)
    raise UnknownNameError(f"there is no term {loss!r} of the loss, or the truth it needs was not given")
