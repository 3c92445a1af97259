"""A graph network over the kinematic tree: bodies pass messages along joints, as often as the tree is wide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.networks.kinematic_trees import KinematicTree, tree_of
from dynamic_sparsity.learners.networks.likelihood import next_state, normalised_change
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner

__all__ = ["GraphNetwork", "MessagePassing"]


class MessagePassing(eqx.Module):
    """Encoders of scalars, shared messages and updates of bodies, and a perceptron per effect.

    Attributes:
        weight: Of each scalar, shape (ds + da, units).
        body_bias: Of each body, shape (bodies, units).
        message: (2 · units,) -> (units,), from one body to a neighbour.
        update: (2 · units,) -> (units,).
        hidden: Of each effect, shape (ds, units, units).
        heads: Of each effect, shape (ds, units).
        head_bias: shape (ds,).
        tree: Which scalar belongs to which body, and the bodies' parents.
        change_scale: Of `Scale`.
    """

    weight: jax.Array
    body_bias: jax.Array
    message: eqx.nn.MLP
    update: eqx.nn.MLP
    hidden: jax.Array
    heads: jax.Array
    head_bias: jax.Array
    tree: KinematicTree = eqx.field(static=True)
    change_scale: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, tree: KinematicTree, units: int, change_scale: Sequence[float], key: jax.Array):
        """Make initial weights.

        Args:
            tree: Of the task.
            units: Of a body, and of hidden layers.
            change_scale: Of `Scale`.
            key: Random.
        """
        keys, f32 = jax.random.split(key, 6), jnp.float32
        ds = len(change_scale)
        self.tree, self.change_scale = tree, tuple(change_scale)
        self.weight = jax.random.normal(keys[0], (len(tree.scalars), units), f32)
        self.body_bias = jax.random.normal(keys[1], (len(tree.parents), units), f32)
        self.message = eqx.nn.MLP(2 * units, units, units, 1, dtype=f32, key=keys[2])
        self.update = eqx.nn.MLP(2 * units, units, units, 1, dtype=f32, key=keys[3])
        self.hidden = jax.random.normal(keys[4], (ds, units, units), f32) / units**0.5
        self.heads = 0.1 * jax.random.normal(keys[5], (ds, units), f32) / units**0.5
        self.head_bias = jnp.zeros(ds, f32)

    def change(self, x: jax.Array) -> jax.Array:
        """Return the change of the state in its standard deviations, (ds + da,) -> (ds,)."""
        place, near = jnp.asarray(self.tree.scalars), jnp.asarray(self.tree.neighbours(), jnp.float32)
        bodies = self.body_bias.at[place].add(x[:, None] * self.weight)

        def message(to: jax.Array, of: jax.Array) -> jax.Array:
            return self.message(jnp.concatenate([to, of]))

        def hop(bodies: jax.Array, _: None) -> tuple[jax.Array, None]:
            messages = jax.vmap(jax.vmap(message, (None, 0)), (0, None))(bodies, bodies)
            heard = jnp.sum(near[:, :, None] * messages, axis=1)
            return bodies + jax.vmap(self.update)(jnp.concatenate([bodies, heard], axis=1)), None

        bodies, _ = jax.lax.scan(hop, bodies, None, length=self.tree.diameter())
        mine = bodies[place[: len(self.change_scale)]]
        hidden = jax.nn.elu(jnp.einsum("ih,ihk->ik", mine, self.hidden))
        return jnp.sum(hidden * self.heads, axis=1) + self.head_bias

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised next state, (ds + da,) -> (ds,)."""
        return next_state(x, self.change(x), self.change_scale)


@dataclass(frozen=True)
class GraphNetwork(NetworkLearner):
    """Bodies are nodes, joints are edges, the world is the ground node; its Jacobian is its edge score.

    Differs from the paper: hops are as many as the tree's diameter, for the inverse of the mass matrix is dense;
    weights are shared among hops; the world hears and speaks to the bodies at the root of each tree, so contacts with
    the ground are near, those between bodies of different trees pass through it; Adam's rate, batches and steps are
    those of the protocol, units a quarter of its width.

    Attributes:
        scalars: Number of the body of each state and action; empty until the task is known.
        parents: Number of the parent of each body, 0 for the world's own.

    Source:
        Sanchez-Gonzalez et al. (2018), Graph networks as learnable physics engines for inference and control,
        arXiv 1806.01242.
    """

    name = "graph-network"
    adaptive = True
    scalars: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raise InvalidSettingError if the numbers are no tree."""
        object.__setattr__(self, "scalars", tuple(self.scalars))
        object.__setattr__(self, "parents", tuple(self.parents))
        try:
            KinematicTree(self.scalars, self.parents).check()
        except (TypeError, ValueError) as error:
            raise InvalidSettingError(f"scalars and parents are no kinematic tree: {error}") from error

    def of_task(self, metadata: dict[str, Any]) -> GraphNetwork:
        """See `Learner.of_task`."""
        tree = tree_of(metadata)
        return replace(self, scalars=tree.scalars, parents=tree.parents)

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> MessagePassing:
        """See `NetworkLearner.network`."""
        tree = KinematicTree(self.scalars, self.parents)
        if len(tree.scalars) != sum(sizes):
            raise InvalidSettingError(
                f"the graph network knows the bodies of {len(tree.scalars)} states and actions, and there are "
                f"{sum(sizes)}; make it for the data with `of_task(dataset.metadata)`"
            )
        return MessagePassing(tree, max(8, budget.width // 4), scale.change_scale, key)

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        truth = normalised_change(batch, network.change_scale)
        return jnp.mean((jax.vmap(network.change)(batch.x) - truth) ** 2)
