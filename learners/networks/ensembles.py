"""What ensembles share: networks of one form side by side, whose mean predicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.learners.networks.likelihood import next_state, normalised_change
from dynamic_sparsity.learners.networks.training import Batch

__all__ = ["Ensemble", "side_by_side"]


def side_by_side(member: Callable[[jax.Array], Any], count: int, key: jax.Array) -> Any:
    """Return several networks as one whose weights have the members as first dimension.

    Args:
        member: Makes a network, from a random key.
        count: How many.
        key: Random.
    """
    return eqx.filter_vmap(member)(jax.random.split(key, count))


class Ensemble(eqx.Module):
    """Networks side by side that predict the change of the state; their edges are derivatives.

    Attributes:
        members: Of `side_by_side`, (ds + da,) -> (ds,) each.
        change_scale: Of `Scale`.
    """

    edges_are_derivatives: ClassVar[bool] = True

    members: Any
    change_scale: tuple[float, ...] = eqx.field(static=True)

    def changes(self, x: jax.Array) -> jax.Array:
        """Return the change of the state by each member, in standard deviations, (ds + da,) -> (members, ds)."""
        every: jax.Array = eqx.filter_vmap(lambda member: member(x))(self.members)
        return every

    def each(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state by each member, (ds + da,) -> (members, ds)."""
        return next_state(x, self.changes(x), self.change_scale)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state, (ds + da,) -> (ds,)."""
        return jnp.mean(self.each(x), axis=0)

    def error(self, batch: Batch) -> jax.Array:
        """Return the mean squared error of the change, of every member, a scalar.

        Args:
            batch: Rows.
        """
        truth = normalised_change(batch, self.change_scale)
        return jnp.mean((jax.vmap(self.changes)(batch.x) - truth[:, None]) ** 2)
