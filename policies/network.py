"""The network of a policy: a multi-layer perceptron that gives a normal distribution, squashed by tanh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import InvalidSettingError

if TYPE_CHECKING:
    import jax

LEAST_SCALE = 0.001
"""Added to the scale of the normal distribution, as in brax's `NormalTanhDistribution`."""

ACTIVATIONS = ("relu", "swish")
"""Names of `jax.nn`'s functions between layers: brax's SAC has relu, its PPO swish."""

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ExpertPolicy:
    """A trained policy. do is the size of the task's observations, da that of its actions.

    Attributes:
        task: Name of the task it was trained on.
        activation: Name of the function between layers.
        mean: Mean of the observations seen in training, shape (do,), float32.
        std: Their standard deviation, shape (do,), float32.
        layers: Kernel (inputs, outputs) and bias (outputs,) of every layer, float32; the last one has 2·da outputs.
        sha256: Of the file it was read from, hexadecimal.
    """

    task: str
    activation: str
    mean: Array
    std: Array
    layers: tuple[tuple[Array, Array], ...]
    sha256: str

    @property
    def action_size(self) -> int:
        """Number of action dimensions, da."""
        return len(self.layers[-1][1]) // 2

    def distribution(self, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the normal distribution before the squashing: the action is tanh(location + scale · ε), ε ~ N(0, 1).

        Args:
            observation: The task's own observation, shape (..., do), float32 or float64, which decides the precision.

        Returns:
            Location and scale, each of shape (..., da). tanh(location) is the deterministic policy.

        Raises:
            InvalidSettingError: The observation is that of another task.
        """
        if observation.shape[-1:] != self.mean.shape:
            raise InvalidSettingError(
                f"the policy for {self.task} sees {self.mean.size} numbers; this task's observations have "
                f"{observation.shape[-1]}"
            )
        import jax
        import jax.numpy as jnp

        activate: Callable[[Any], Any] = getattr(jax.nn, self.activation)
        *hidden, (kernel, bias) = self.layers
        x = (observation - self.mean) / self.std
        for weights, offset in hidden:
            x = activate(jnp.dot(x, weights) + offset)
        location, scale = jnp.split(jnp.dot(x, kernel) + bias, 2, axis=-1)
        return location, jax.nn.softplus(scale) + LEAST_SCALE
