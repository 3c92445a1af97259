"""The training loop that all networks share, and the models that it gives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.data.training_stream import PIECE_STEPS, dimensionless
from dynamic_sparsity.learners.interface import Learner, Model, TrainingData

__all__ = ["Batch", "Loss", "Network", "NetworkLearner", "NetworkModel", "device_rows", "draw_batch", "train"]

PARTS = 20
"""In how many parts, at least, a training with rows in memory is done, to tell how far it is."""

INFLUENCE_ROWS = 1024
"""Rows of train over which the mean influence of an edge is taken."""

BLOCK_ROWS = 512
"""Rows per call when a trained network is asked, so that Jacobians of many rows need little memory."""


class Network(Protocol):
    """What a network must be: a pytree that maps one row's normalised input to its normalised next state."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the next state, (ds + da,) -> (ds,), float32; as it predicts once trained, without any randomness."""
        ...


class Batch(NamedTuple):
    """Rows of one gradient step, dimensionless, float32.

    Attributes:
        few: The first `jacobian_rows` of x, on which a network's Jacobian is to be computed.
        x: Normalised states and actions, shape (batch_rows, ds + da).
        y: Normalised next states, shape (batch_rows, ds).
        jacobian: True Jacobians of the first `jacobian_rows` of them, shape (jacobian_rows, ds, ds + da), or None.
        graph: True graphs of all of them, 0 or 1, shape (batch_rows, ds, ds + da), or None.
        few_graph: The first `jacobian_rows` of these, or None.
    """

    few: jax.Array
    x: jax.Array
    y: jax.Array
    jacobian: jax.Array | None
    graph: jax.Array | None
    few_graph: jax.Array | None


Arrays = dict[str, jax.Array]

Loss = Callable[[Any, Batch, jax.Array, jax.Array], jax.Array]
"""(network, batch, random key, share of the training done in [0, 1]) -> loss, a scalar."""


def train(
    make: Callable[[jax.Array], Any], loss: Loss, data: TrainingData, budget: Budget, seeds: Sequence[int]
) -> list[Any]:
    """Train networks: minimise a loss by Adam, once per seed.

    Rows in memory are on the device, where batches are drawn (with replacement), so that the input costs next to
    nothing. Streamed ones are read in a thread while the device is busy with those before.
    The seeds run one after the other through one compiled program: on a CPU that is faster than side by side, which
    turns every product of matrices into a batch of small ones.

    Args:
        make: Makes the network with its initial weights, from a random key.
        loss: What to minimise.
        data: Rows to learn from.
        budget: Steps, batches, learning rate.
        seeds: ≥ 0.

    Returns:
        The trained network of each seed.
    """
    schedule = optax.cosine_decay_schedule(budget.learning_rate, max(1, budget.steps))
    optimiser = optax.chain(optax.clip_by_global_norm(10.0), optax.adam(schedule))

    @eqx.filter_jit
    def run(network: Any, state: Any, numbers: jax.Array, arrays: Arrays, key: jax.Array) -> tuple[Any, Any]:
        """Do the steps of some numbers, on rows in memory or on those of one piece of a stream."""
        parameters, static = eqx.partition(network, eqx.is_inexact_array)

        def objective(parameters: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
            return loss(eqx.combine(parameters, static), batch, key, progress)

        def step(carry: tuple[Any, Any], now: tuple[jax.Array, Arrays | None]) -> tuple[tuple[Any, Any], None]:
            (parameters, state), (number, piece) = carry, now
            draw, noise = jax.random.split(jax.random.fold_in(key, number))
            batch = draw_batch(arrays, draw, budget, data.train.sizes) if piece is None else _whole(piece, budget)
            progress = number.astype(jnp.float32) / max(1, budget.steps)
            gradient = jax.grad(objective)(parameters, batch, noise, progress)
            updates, state = optimiser.update(gradient, state, parameters)
            return (optax.apply_updates(parameters, updates), state), None

        streamed = data.stream is not None
        (parameters, state), _ = jax.lax.scan(step, (parameters, state), (numbers, arrays if streamed else None))
        return eqx.combine(parameters, static), state

    on_device = device_rows(data) if data.stream is None else {}

    def parts(seed: int) -> Iterator[tuple[jax.Array, Arrays]]:
        """Numbers of steps, and their rows."""
        if data.stream is None:
            size = max(1, budget.steps // PARTS)
            for first in range(0, budget.steps, size):
                yield jnp.arange(first, min(first + size, budget.steps), dtype=jnp.int32), on_device
        else:
            for place, piece in enumerate(data.stream.pieces(budget, seed)):
                first = place * PIECE_STEPS
                yield jnp.arange(first, first + len(piece["x"]), dtype=jnp.int32), jax.device_put(piece)

    trained = []
    for seed in seeds:
        initial, batches = jax.random.split(jax.random.key(seed))
        network = as_float32(make(initial))
        state = optimiser.init(eqx.filter(network, eqx.is_inexact_array))
        for numbers, arrays in parts(seed):
            network, state = run(network, state, numbers, arrays, batches)
            _wait_for(network)
            data.on_steps(len(numbers))
        trained.append(network)
    return trained


def _wait_for(network: Any) -> None:
    """Wait until a network's weights are there, so that times include all of the work."""
    for leaf in jax.tree.leaves(eqx.filter(network, eqx.is_array)):
        leaf.block_until_ready()


def as_float32(network: Any) -> Any:
    """Return a network with all its floats in float32, whatever JAX's default is.

    Args:
        network: Any pytree.
    """

    def convert(leaf: Any) -> Any:
        return leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf

    return jax.tree.map(convert, network)


def device_rows(data: TrainingData) -> Arrays:
    """Return the rows in memory on the device, in the form from which batches are drawn fastest.

    Args:
        data: With rows in memory.

    Returns:
        "xy": inputs and next states side by side, float32, shape (n, 2 ds + da); "jacobian": float32, shape
        (n, ds, ds + da), and "graph": four entries to a number, uint32, shape (n, …), where the rows have them.
    """
    arrays = dimensionless(data.train, data.scale)
    rows: dict[str, NDArray[Any]] = {"xy": np.concatenate([arrays["x"], arrays["y"]], axis=1)}
    if "jacobian" in arrays:
        rows["jacobian"] = arrays["jacobian"]
    if "graph" in arrays:
        flat = arrays["graph"].reshape(len(arrays["graph"]), -1).view(np.uint8)
        rows["graph"] = np.pad(flat, [(0, 0), (0, -flat.shape[1] % 4)]).view(np.uint32)
    on_device: Arrays = jax.device_put(rows)
    return on_device


def draw_batch(arrays: Arrays, key: jax.Array, budget: Budget, sizes: tuple[int, int]) -> Batch:
    """Draw a batch of rows in memory, with replacement.

    Args:
        arrays: Of `device_rows`.
        key: Random.
        budget: Sizes of batches.
        sizes: ds and da.

    Returns:
        The batch; the compiled program draws only those parts of it that the loss uses.
    """
    ds, inputs = sizes[0], sum(sizes)
    chosen = jax.random.randint(key, (budget.batch_rows,), 0, len(arrays["xy"]), dtype=jnp.int32)
    few = chosen[: budget.jacobian_rows]

    def graph(rows: jax.Array) -> jax.Array:
        entries = jax.lax.bitcast_convert_type(arrays["graph"][rows], jnp.uint8).reshape(len(rows), -1)
        return entries[:, : ds * inputs].reshape(-1, ds, inputs).astype(jnp.float32)

    x, y = jnp.split(arrays["xy"][chosen], [inputs], axis=1)
    return Batch(
        x[: budget.jacobian_rows],
        x,
        y,
        arrays["jacobian"][few] if "jacobian" in arrays else None,
        graph(chosen) if "graph" in arrays else None,
        graph(few) if "graph" in arrays else None,
    )


def _whole(arrays: Arrays, budget: Budget) -> Batch:
    x, graph = arrays["x"], arrays.get("graph")
    graph = None if graph is None else graph.astype(jnp.float32)
    few_graph = None if graph is None else graph[: budget.jacobian_rows]
    return Batch(x[: budget.jacobian_rows], x, arrays["y"], arrays.get("jacobian"), graph, few_graph)


class NetworkLearner(Learner):
    """A learner that is a network and a loss; training and prediction are the same for all of them."""

    streams = True

    @property
    def supervision(self) -> str:
        """Transitions only, which is what those get that do not say otherwise."""
        return "transitions"

    @property
    def weighs_edges(self) -> bool:
        """Whether an edge's score is its probability times its influence (see `NetworkModel`), or that alone."""
        return False

    @abstractmethod
    def network(self, sizes: tuple[int, int], scale: Scale, budget: Budget, key: jax.Array) -> Any:
        """Return a `Network` with its initial weights.

        Args:
            sizes: ds and da.
            scale: Of the data.
            budget: Its `width` is that of hidden layers.
            key: Random.
        """

    @abstractmethod
    def objective(self, network: Any, batch: Batch, key: jax.Array, progress: jax.Array) -> jax.Array:
        """Return the loss to minimise; see `Loss`.

        Args:
            network: Of `network`.
            batch: Dimensionless rows.
            key: Random.
            progress: Share of the training done.
        """

    def fit(self, data: TrainingData, budget: Budget, seeds: Sequence[int]) -> list[Model]:
        """See `Learner.fit`."""

        def make(key: jax.Array) -> Any:
            return self.network(data.train.sizes, data.scale, budget, key)

        return [self.model(network, data) for network in train(make, self.objective, data, budget, seeds)]

    def model(self, network: Any, data: TrainingData) -> NetworkModel:
        """Return a trained network as a model.

        Args:
            network: Of `train`.
            data: That it was trained on.
        """
        return self.wrapped(network, data.scale, self._influence(network, data))

    def wrapped(self, network: Any, scale: Scale, influence: NDArray[np.float32] | None = None) -> NetworkModel:
        """Return a trained network, from `train` or from a file, as a model; the arguments are `NetworkModel`'s."""
        return NetworkModel(network, scale, influence)

    def _influence(self, network: Any, data: TrainingData) -> NDArray[np.float32] | None:
        """Mean absolute dimensionless Jacobian over rows of train, shape (ds, ds + da), if edges are weighed by it."""
        if not self.weighs_edges:
            return None
        chosen = np.linspace(0, len(data.train) - 1, min(INFLUENCE_ROWS, len(data.train))).astype(np.int64)
        model = NetworkModel(network, data.scale)
        jacobian = model.jacobian(data.train.state[chosen], data.train.action[chosen])
        return np.asarray(np.abs(data.scale.dimensionless(jacobian)).mean(0), np.float32)


# Compiled once for all models of one kind and size.
@eqx.filter_jit
def _predict(network: Any, x: jax.Array) -> jax.Array:
    predicted: jax.Array = jax.vmap(network)(x)
    return predicted


@eqx.filter_jit
def _jacobian(network: Any, x: jax.Array) -> jax.Array:
    jacobian: jax.Array = jax.vmap(jax.jacfwd(network))(x)
    return jacobian


@eqx.filter_jit
def _edges(network: Any, x: jax.Array) -> jax.Array:
    edges: jax.Array = jax.vmap(network.edges)(x)
    return edges


class NetworkModel(Model):
    """A trained network as a model in physical units."""

    def __init__(self, network: Any, scale: Scale, influence: NDArray[np.float32] | None = None):
        """Wrap a network.

        Args:
            network: A `Network`; if it has a method `edges`, (ds + da,) -> (ds, ds + da), that is its edge score: one
                between normalised inputs and outputs, if it has `edges_are_derivatives`.
            scale: Of the data that it was trained on.
            influence: Mean absolute dimensionless Jacobian, shape (ds, ds + da), if the edge score is to be the
                probability times the sum of this and the row's own. An open gate before a cause without influence is
                no edge, and one row's derivative may happen to be small where there is one.
        """
        self.network = network
        self.scale = scale
        self.influence = influence
        self.scores_are_derivatives = bool(getattr(network, "edges_are_derivatives", False))

    def predict(self, state: NDArray[np.float32], action: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Model.predict`."""
        return self.scale.physical(self._blocks(_predict, state, action))

    def jacobian(self, state: NDArray[np.float32], action: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Model.jacobian`; by forward mode."""
        return self.scale.dimensional(self._blocks(_jacobian, state, action))

    def edge_score(self, state: NDArray[np.float32], action: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """See `Model.edge_score`."""
        if not hasattr(self.network, "edges"):
            return None
        edges = self._blocks(_edges, state, action)
        if self.scores_are_derivatives:
            return self.scale.dimensional(edges)
        if self.influence is None:
            return edges
        own = np.abs(self._blocks(_jacobian, state, action))
        return np.asarray(edges * (own + self.influence), np.float32)

    def _blocks(self, function: Any, state: NDArray[np.float32], action: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._of_inputs(function, self.scale.inputs(state, action))

    def _of_inputs(self, function: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
        # Blocks of one size, so that one program is compiled.
        size = min(BLOCK_ROWS, max(1, len(x)))
        padded = np.concatenate([x, np.zeros((-len(x) % size, x.shape[1]), np.float32)])
        parts = [np.asarray(function(self.network, padded[start : start + size])) for start in range(0, len(x), size)]
        return np.concatenate(parts)[: len(x)] if parts else np.zeros((0, len(self.scale.output_std)), np.float32)
