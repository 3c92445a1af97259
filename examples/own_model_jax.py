"""Enter one's own model, in JAX: a linear model of the change of the state whose Jacobian is its causal graph.

dynamic-sparsity evaluate CartpoleBalance examples/own_model_jax.py:fit --seeds 0,1,2
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax


class LinearModel:
    """Anything with `predict` can be evaluated; `jacobian` and `edge_score` are for models that have them."""

    def __init__(self, weights, scale):
        self.weights, self.scale = weights, scale

    def predict(self, state, action):
        return state + np.asarray(self.scale.inputs(state, action) @ self.weights) * self.scale.delta_std

    def jacobian(self, state, action):
        ds = state.shape[1]
        slope = np.asarray(self.weights).T * self.scale.delta_std[:, None] / self.scale.input_std
        slope[:, :ds] += np.eye(ds)
        return np.broadcast_to(slope, (len(state), *slope.shape))


def fit(data, budget, seed):
    x = jnp.asarray(data.scale.inputs(data.train.state, data.train.action))
    y = jnp.asarray((data.train.next_state - data.train.state) / data.scale.delta_std)
    weights = jnp.zeros((x.shape[1], y.shape[1]), jnp.float32)
    optimiser = optax.adam(budget.learning_rate)

    def step(carry, key):
        weights, state = carry
        rows = jax.random.randint(key, (budget.batch_rows,), 0, len(x))
        gradient = jax.grad(lambda w: jnp.mean((x[rows] @ w - y[rows]) ** 2))(weights)
        updates, state = optimiser.update(gradient, state)
        return (weights + updates, state), None

    keys = jax.random.split(jax.random.key(seed), budget.steps)
    (weights, _), _ = jax.lax.scan(step, (weights, optimiser.init(weights)), keys)
    return LinearModel(weights, data.scale)
