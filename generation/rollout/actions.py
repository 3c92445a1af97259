"""What chooses the actions of an episode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.rollout.coloured_noise import coloured_noise
from dynamic_sparsity.generation.settings import Settings
from dynamic_sparsity.policies import ExpertPolicy, load_policy

LARGEST_ACTION = float(np.float32(1) - np.float32(2) ** -20)
"""Bound on |a|: at exactly 1 MuJoCo's clamp has no derivative; actions stay inside by the oracle's differences."""


class Plan(NamedTuple):
    """What is drawn for a batch of episodes before they begin.

    Attributes:
        noise: Coloured noise ε, one series per episode and action dimension, shape (B, length, da).
        kind: Which policy acts in each episode, as index into the settings' `policies`, shape (B,).
    """

    noise: jax.Array
    kind: jax.Array


class Policy(Protocol):
    """Chooses actions for a batch of episodes; all state is in what `start` returns.

    `start` is called once per batch of episodes, `act` once per control step; both are traced by JAX.
    """

    def start(self, keys: jax.Array, episodes: jax.Array, length: int) -> Plan:
        """Draw what `act` needs for whole episodes.

        Args:
            keys: One JAX random key per episode, shape (B, 2), uint32.
            episodes: Indices of the episodes in the store, int, shape (B,).
            length: Control steps of the episodes.
        """
        ...

    def act(self, plan: Plan, step: jax.Array, observation: jax.Array) -> jax.Array:
        """Return actions, float64, shape (B, da), inside (-1, 1).

        Args:
            plan: What `start` returned.
            step: Control steps since the reset, int, shape ().
            observation: The task's own observations, float, shape (B, do).
        """
        ...


class SquashedPolicy:
    """Actions tanh(x), where x is decided per episode: by noise alone, by an expert with noise, or by an expert alone.

    noise: x = ε; expert: x = location + scale · ε, as the expert was trained but for the colour of ε; expert-mean:
    x = location. An expert sees the task's own observation.
    """

    def __init__(self, names: Sequence[str], size: int, beta: float, expert: ExpertPolicy | None) -> None:
        """Make the policy.

        Args:
            names: The settings' `policies`; episode i has number i modulo their count.
            size: Number of action dimensions, da.
            beta: Exponent of the coloured noise.
            expert: Needed by all but "noise".
        """
        self.names, self.size, self.beta, self.expert = tuple(names), size, beta, expert

    def start(self, keys: jax.Array, episodes: jax.Array, length: int) -> Plan:
        """Draw the noise of whole episodes, as `Policy.start`.

        Args:
            keys: One JAX random key per episode, shape (B, 2), uint32.
            episodes: Indices of the episodes in the store, int, shape (B,).
            length: Control steps of the episodes.
        """
        noise = jax.vmap(lambda key: coloured_noise(key, length, self.size, self.beta))(keys)
        return Plan(noise, episodes % len(self.names))

    def act(self, plan: Plan, step: jax.Array, observation: jax.Array) -> jax.Array:
        """Return the actions of a control step, as `Policy.act`.

        Args:
            plan: What `start` returned.
            step: Control steps since the reset, int, shape ().
            observation: The task's own observations, float, shape (B, do).
        """
        noise = jnp.take(plan.noise, step, axis=1)
        if self.expert is None:
            return squash(noise)
        location, scale = self.expert.distribution(observation.astype(noise.dtype))
        choices = {"noise": noise, "expert-mean": location}
        chosen = location + scale * noise
        for index, name in enumerate(self.names):
            if name in choices:
                chosen = jnp.where((plan.kind == index)[:, None], choices[name], chosen)
        return squash(chosen)


def make_policy(settings: Settings, size: int) -> SquashedPolicy:
    """Make the policy of a run.

    Args:
        settings: The run's settings.
        size: The task's number of action dimensions, da.

    Raises:
        InvalidSettingError: The policy in the file is one for other actions.
        CorruptPolicyError: The file is not a policy.
    """
    file = settings.policy_file
    expert = None if file is None else load_policy(file)
    if expert is not None and expert.action_size != size:
        raise InvalidSettingError(
            f"policy is {settings.policy!r}, trained on {expert.task} with {expert.action_size} action dimensions; "
            f"{settings.task} has {size}."
        )
    return SquashedPolicy(settings.policies, size, settings.noise_beta, expert)


def squash(value: jax.Array) -> jax.Array:
    """Return tanh, rounded to float32's numbers and kept inside (-1, 1).

    Args:
        value: Float64 array of any shape.
    """
    bounded = jnp.clip(jnp.tanh(value), -LARGEST_ACTION, LARGEST_ACTION)
    return bounded.astype(jnp.float32).astype(value.dtype)
