"""A learner of this project: smooth networks with a few hinges, many of them, and edges that they agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.interface import Model, TrainingData
from dynamic_sparsity.learners.networks.ensembles import Ensemble, side_by_side
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner, train
from dynamic_sparsity.learners.references.baselines import fit_ridge

__all__ = ["HingedNetwork", "HingedNetworks", "Hinges"]

RIDGE = 1e-3
"""Penalty of the linear start."""


class HingedNetwork(eqx.Module):
    """The change of the state: a linear map, a smooth network, and hinges.

    A hinge is the ramp max(0, gap) of a gap that is a smooth function of state and action, times a direction that is
    one too. Where the gap is negative it adds nothing, and neither do its derivatives: a contact pushes along one
    direction, in proportion to how deep it is, or does not act. Its Jacobian is of rank one but for the turning of
    the direction.

    Attributes:
        linear: shape (ds, ds + da).
        first: (ds + da,) -> (units,), with SiLU behind, as the next.
        second: (units,) -> (units,).
        smooth: (units,) -> (ds,).
        gaps: (units,) -> (hinges,).
        directions: (units,) -> (hinges · ds,).
    """

    linear: jax.Array
    first: eqx.nn.Linear
    second: eqx.nn.Linear
    smooth: eqx.nn.Linear
    gaps: eqx.nn.Linear
    directions: eqx.nn.Linear

    def __init__(self, ds: int, inputs: int, units: int, hinges: int, key: jax.Array):
        """Draw initial weights as Equinox does, uniform, ±1/√(units before); those of outputs a third of that.

        Args:
            ds: Size of the state.
            inputs: ds + da.
            units: Per hidden layer.
            hinges: How many.
            key: Random.
        """
        keys = jax.random.split(key, 5)

        def layer(before: int, after: int, place: int, share: float = 1.0) -> eqx.nn.Linear:
            made = eqx.nn.Linear(before, after, dtype=jnp.float32, key=keys[place])
            shrunk: eqx.nn.Linear = eqx.tree_at(lambda one: one.weight, made, share * made.weight)
            return shrunk

        self.linear = jnp.zeros((ds, inputs), jnp.float32)
        self.first, self.second = layer(inputs, units, 0), layer(units, units, 1)
        self.smooth, self.gaps = layer(units, ds, 2, 0.3), layer(units, hinges, 3)
        self.directions = layer(units, hinges * ds, 4, 0.3)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the change of the state in its standard deviations, (ds + da,) -> (ds,)."""
        features = jax.nn.silu(self.second(jax.nn.silu(self.first(x))))
        ramps = jax.nn.relu(self.gaps(features))
        pushes = ramps @ self.directions(features).reshape(len(ramps), -1)
        total: jax.Array = self.linear @ x + self.smooth(features) + pushes
        return total


class HingedNetworks(Ensemble):
    """`HingedNetwork`s side by side; an edge is what they agree on.

    Attributes:
        doubt: How many standard deviations over members are taken off an edge's score.
    """

    doubt: float = eqx.field(static=True)

    def edges(self, x: jax.Array) -> jax.Array:
        """Return by how much the derivatives of the members are surely not 0, dimensionless, shape (ds, ds + da)."""
        every = jax.jacfwd(self.each)(x)
        return jnp.abs(jnp.mean(every, axis=0)) - self.doubt * jnp.std(every, axis=0)


@dataclass(frozen=True)
class Hinges(NetworkLearner):
    """Smooth between switches, ramps at switches, edges by agreement; taught with transitions only.

    What physics gives: between switches of contacts and limits the step is smooth; a contact adds a push of low rank
    that is continuous where it begins; over a control step little changes. So the network is smooth (SiLU) but for
    ramps, predicts the change, and starts from the best linear map. One network's derivatives are noisy where the truth
    is 0; the mean over members is less so, and where members disagree an edge is in doubt.

    Attributes:
        hinges: Ramps of each member.
        members: How many networks.
        doubt: Standard deviations over members that are taken off the absolute mean derivative.
    """

    name = "hinges"
    adaptive = True
    hinges: int = 8
    members: int = 6
    doubt: float = 0.5

    def __post_init__(self) -> None:
        """Raise InvalidSettingError if a setting is out of range."""
        if self.hinges < 0 or self.members < 1 or not self.doubt >= 0:
            raise InvalidSettingError(
                f"hinges is {self.hinges}, members {self.members}, doubt {self.doubt}; they must be at least 0, 1 and 0"
            )

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> HingedNetworks:
        """See `NetworkLearner.network`; half of the protocol's width per member."""

        def member(key: jax.Array) -> HingedNetwork:
            return HingedNetwork(sizes[0], sum(sizes), max(8, budget.width // 2), self.hinges, key)

        return HingedNetworks(side_by_side(member, self.members, key), tuple(scale.change_scale), self.doubt)

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`: the mean squared error of the change, of every member."""
        error: jax.Array = network.error(batch)
        return error

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int]) -> list[Model]:
        """See `Learner.fit`."""
        weights, _ = fit_ridge(data.train, data.scale, RIDGE)
        start = jnp.asarray(weights / np.asarray(data.scale.change_scale)[:, None], jnp.float32)

        def make(key: jax.Array) -> HingedNetworks:
            network = self.network(data.train.sizes, data.scale, budget, key)
            every = jnp.broadcast_to(start, network.members.linear.shape)
            started: HingedNetworks = eqx.tree_at(lambda one: one.members.linear, network, every)
            return started

        return [self.model(network, data) for network in train(make, self.objective, data, budget, seeds)]
