"""Enter one's own model, in JAX: a linear model of the change of the state whose Jacobian is its causal graph.

dynamic-sparsity evaluate FingerSpin examples/own_model_jax.py:fit --sample --name my-model --out results/learners
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax


class LinearModel:
    """Anything with `predict` can be evaluated; `jacobian` and `edge_score` are for models that have them."""

    def __init__(self, weights, scale):
        self.weights, self.scale = np.asarray(weights), scale

    def predict(self, state, action):
        return state + self.scale.inputs(state, action) @ self.weights * self.scale.delta_std

    def jacobian(self, state, action):
        slope = self.weights.T * self.scale.delta_std[:, None] / self.scale.input_std
        return np.broadcast_to(np.eye(*slope.shape) + slope, (len(state), *slope.shape))


def fit(data, budget, seed):
    x = jnp.asarray(data.scale.inputs(data.train.state, data.train.action))
    y = jnp.asarray((data.train.next_state - data.train.state) / data.scale.delta_std)
    optimiser = optax.adam(budget.learning_rate)

    def step(carry, key):
        rows = jax.random.randint(key, (budget.batch_rows,), 0, len(x))
        gradient = jax.grad(lambda weights: jnp.mean((x[rows] @ weights - y[rows]) ** 2))(carry[0])
        updates, state = optimiser.update(gradient, carry[1])
        return (carry[0] + updates, state), None

    start = jnp.zeros((x.shape[1], y.shape[1]), jnp.float32)
    keys = jax.random.split(jax.random.key(seed), budget.steps)
    (weights, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), keys)
    return LinearModel(weights, data.scale)
