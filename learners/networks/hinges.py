"""A learner of this project: smooth networks with a few hinges, several of them, and what they believe of edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.interface import Model, TrainingData
from dynamic_sparsity.learners.networks.beliefs import Patterns, fit_patterns, log_odds
from dynamic_sparsity.learners.networks.ensembles import Ensemble, side_by_side
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner, NetworkModel, train
from dynamic_sparsity.learners.references.baselines import fit_ridge

__all__ = ["HingedModel", "HingedNetwork", "HingedNetworks", "Hinges"]

RIDGE = 1e-3
"""Penalty of the linear start."""

SIZE = 1e-2
"""Of a derivative that matters, dimensionless, if no one says."""

PATTERN_ROWS = 1024
"""Of train, evenly spread, over which beliefs are seen to vary together."""


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
        pushes = ramps @ self.directions(features).reshape(len(ramps), len(self.linear))
        total: jax.Array = self.linear @ x + self.smooth(features) + pushes
        return total


class HingedNetworks(Ensemble):
    """`HingedNetwork`s side by side.

    Attributes:
        rows: Normalised states and actions of some rows of train, to see beliefs of edges vary over, shape
            (PATTERN_ROWS, ds + da).
    """

    rows: jax.Array

    def estimate(self, x: jax.Array) -> jax.Array:
        """Return the mean derivative and its standard error, dimensionless, (ds + da,) -> (2, ds, ds + da)."""
        every = jax.jacfwd(self.each)(x)
        error = jnp.std(every, axis=0) / max(1, len(every) - 1) ** 0.5
        return jnp.stack([jnp.mean(every, axis=0), error])


@eqx.filter_jit
def _estimates(network: HingedNetworks, x: jax.Array) -> jax.Array:
    estimates: jax.Array = jax.vmap(network.estimate)(x)
    return estimates


class HingedModel(NetworkModel):
    """Trained `HingedNetworks`; an edge is as probable as a derivative of a size that matters.

    What the members say of one derivative is noisy. So beliefs are seen together: what varies over the rows of train in
    few directions is kept, the rest is shrunk towards its mean.
    """

    def __init__(self, network: HingedNetworks, scale: Scale, noise: float):
        """Wrap networks.

        Args:
            network: Trained.
            scale: Of the data that it was trained on.
            noise: Of `fit_patterns`.
        """
        super().__init__(network, scale)
        self._noise = noise
        self._train: NDArray[np.float32] | None = None
        self._patterns: dict[bytes, Patterns] = {}
        # Of the rows last asked about, as a judge asks about the same rows under every truth.
        self._known: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]] = []

    def jacobian(self, state: NDArray[np.float32], action: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Model.jacobian`."""
        return self.scale.dimensional(self._estimated(state, action)[:, 0])

    def edge_score(self, state: NDArray[np.float32], action: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Model.edge_score`: the belief in a derivative that matters, in the units of its own data."""
        size = np.full(self.network.members.linear.shape[1:], SIZE, np.float32)
        return self.edge_belief(state, action, self.scale.dimensional(size))

    def edge_belief(
        self, state: NDArray[np.float32], action: NDArray[np.float32], size: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """See `Model.edge_belief`."""
        size = self.scale.dimensionless(size).reshape(-1)

        def beliefs(estimates: NDArray[np.float32]) -> NDArray[np.float32]:
            flat = estimates.reshape(len(estimates), 2, size.size)
            return log_odds(flat[:, 0], flat[:, 1], size)

        if self._train is None:
            self._train = self._of_inputs(_estimates, np.asarray(self.network.rows))
        key = size.tobytes()
        if key not in self._patterns:
            self._patterns[key] = fit_patterns(beliefs(self._train), self._noise)
        given = beliefs(self._estimated(state, action))
        return self._patterns[key](given).reshape(len(state), *self.network.members.linear.shape[1:])

    def _estimated(self, state: NDArray[np.float32], action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean derivatives and standard errors, dimensionless, shape (n, 2, ds, ds + da)."""
        if not len(state):
            return np.zeros((0, 2, *self.network.members.linear.shape[1:]), np.float32)
        for known_state, known_action, estimates in self._known:
            if np.array_equal(known_state, state) and np.array_equal(known_action, action):
                return estimates
        estimates = self._blocks(_estimates, state, action)
        self._known = [*self._known[-1:], (state.copy(), action.copy(), estimates)]
        return estimates


@dataclass(frozen=True)
class Hinges(NetworkLearner):
    """Smooth between switches, ramps at switches, edges that are probable together; taught with transitions only.

    What physics gives: between switches of contacts and limits the step is smooth; a contact adds a push of low rank
    that is continuous where it begins, and all its edges are there at once; over a control step little changes. So the
    network is smooth (SiLU) but for ramps, predicts the change, and starts from the best linear map. One network's
    derivatives are noisy where the truth is 0; the mean over members is less so, and their disagreement says by how
    much. An edge's score is the log odds that its derivative is of a size that matters, without what no other edge's
    varies with.

    Attributes:
        hinges: Ramps of each member.
        members: How many networks.
        noise: Of `fit_patterns`.
    """

    name = "hinges"
    adaptive = True
    hinges: int = 8
    members: int = 6
    noise: float = 10.0

    def __post_init__(self) -> None:
        """Raise InvalidSettingError if a setting is out of range."""
        if self.hinges < 0 or self.members < 1 or not self.noise >= 0:
            raise InvalidSettingError(
                f"hinges is {self.hinges}, members {self.members}, noise {self.noise}; they must be at least 0, 1 and 0"
            )

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> HingedNetworks:
        """See `NetworkLearner.network`; half of the protocol's width per member."""

        def member(key: jax.Array) -> HingedNetwork:
            return HingedNetwork(sizes[0], sum(sizes), max(8, budget.width // 2), self.hinges, key)

        rows = jnp.zeros((PATTERN_ROWS, sum(sizes)), jnp.float32)
        return HingedNetworks(side_by_side(member, self.members, key), tuple(scale.change_scale), rows)

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

        chosen = np.linspace(0, len(data.train) - 1, PATTERN_ROWS).astype(np.int64)
        rows = jnp.asarray(data.scale.inputs(data.train.state[chosen], data.train.action[chosen]))
        trained = train(make, self.objective, data, budget, seeds)
        return [self.wrapped(eqx.tree_at(lambda one: one.rows, network, rows), data.scale) for network in trained]

    def wrapped(self, network: Any, scale: Scale, influence: NDArray[np.float32] | None = None) -> HingedModel:
        """See `NetworkLearner.wrapped`."""
        return HingedModel(network, scale, self.noise)
