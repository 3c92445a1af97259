"""Effect networks that are given the true graph of every row: what perfect knowledge of the structure is worth."""

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
from dynamic_sparsity.learners.data.rows import Rows, Scale
from dynamic_sparsity.learners.interface import Model, TrainingData
from dynamic_sparsity.learners.networks.effectwise import EffectNetworks
from dynamic_sparsity.learners.networks.training import Batch, NetworkLearner, train

__all__ = ["Oracle", "OracleModel"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Oracle(NetworkLearner):
    """Not a contestant: at test time it looks the true masks up."""

    name = "oracle"
    adaptive = True

    @property
    def supervision(self) -> str:
        """The masks, and not only those of train."""
        return "oracle"

    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> EffectNetworks:
        """See `NetworkLearner.network`."""
        return EffectNetworks(sum(sizes), max(4, budget.width // 4), scale.change_scale, key)

    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """See `NetworkLearner.objective`."""
        if batch.graph is None:
            raise InvalidSettingError("the oracle needs the true masks, and the rows were read without them")
        error: jax.Array = network.error(batch, batch.graph)
        return error

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int]) -> list[Model]:
        """See `Learner.fit`."""

        def make(key: jax.Array) -> EffectNetworks:
            return self.network(data.train.sizes, data.scale, budget, key)

        return [OracleModel(network, data.scale) for network in train(make, self.objective, data, budget, seeds)]


@eqx.filter_jit
def _predict(network: EffectNetworks, x: jax.Array, mask: jax.Array) -> jax.Array:
    predicted: jax.Array = jax.vmap(network)(x, mask)
    return predicted


@eqx.filter_jit
def _jacobian(network: EffectNetworks, x: jax.Array, mask: jax.Array) -> jax.Array:
    jacobian: jax.Array = jax.vmap(jax.jacfwd(network))(x, mask)
    return jacobian


class OracleModel(Model):
    """Effect networks and a table of true masks by state and action; unknown rows are taken to have every edge."""

    def __init__(self, network: EffectNetworks, scale: Scale):
        """Wrap trained networks.

        Args:
            network: Trained behind true masks.
            scale: Of the data.
        """
        self.network, self.scale = network, scale
        self._masks: dict[bytes, NDArray[np.bool_]] = {}

    def reveal(self, rows: Rows) -> None:
        """Set the true masks of the rows that the model is evaluated on.

        Args:
            rows: With graphs.

        Raises:
            InvalidSettingError: The rows have no graphs.
        """
        if rows.graph is None:
            raise InvalidSettingError("the oracle needs the true masks, and the rows were read without them")
        keys = _keys(rows.state, rows.action)
        self._masks.update(zip(keys, rows.graph, strict=True))

    def predict(self, state: Floats, action: Floats) -> Floats:
        """See `Model.predict`."""
        x, mask = self.scale.inputs(state, action), self.edge_score(state, action)
        return self.scale.physical(np.asarray(_predict(self.network, jnp.asarray(x), jnp.asarray(mask))))

    def jacobian(self, state: Floats, action: Floats) -> Floats:
        """See `Model.jacobian`."""
        x, mask = self.scale.inputs(state, action), self.edge_score(state, action)
        return self.scale.dimensional(np.asarray(_jacobian(self.network, jnp.asarray(x), jnp.asarray(mask))))

    def edge_score(self, state: Floats, action: Floats) -> Floats:
        """See `Model.edge_score`: 1 and 0."""
        every = np.ones((state.shape[1], state.shape[1] + action.shape[1]), bool)
        masks = [self._masks.get(key, every) for key in _keys(state, action)]
        return np.asarray(masks, np.float32)


def _keys(state: Floats, action: Floats) -> list[bytes]:
    joined = np.concatenate([state, action], axis=1, dtype=np.float32)
    return [row.tobytes() for row in joined]
