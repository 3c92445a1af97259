"""Imitation: a policy learns to do what a teacher would, in the states that the policy itself comes to (DAgger).

A teacher that plans with the true simulator is too slow to be a policy, and may know more of the state than a policy
sees. So a network is fitted to its actions, first in states of the teacher's own episodes, then, round after round, in
those of the network's: there the teacher gives its own actions, and the network is fitted to all that were given
so far. Where several actions are as good, the nearest of them counts: no policy should learn the mean of left and
right. The rounds' episodes run with the policy's own exploration, in the task's own environment on MuJoCo C, so each
round's returns are an evaluation too, and the best round's network is kept.

Source: Ross, Gordon, Bagnell, "A reduction of imitation learning and structured prediction to no-regret online
learning", AISTATS 2011.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import optax
from numpy.typing import NDArray

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.rollout.coloured_noise import coloured_noise
from dynamic_sparsity.policies import ExpertPolicy
from dynamic_sparsity.policies.network import LEAST_SCALE
from dynamic_sparsity.training.checkpoints import Point
from dynamic_sparsity.training.host_physics import host_physics
from dynamic_sparsity.training.returns import NOISE_BETA, policy_arrays

Array = NDArray[np.float32]

_LARGEST = 0.999
"""Teachers' actions are held within this, where the tanh's inverse is finite."""

_FAR = 1e3
"""The loss of an action that is not good enough: more than any other's."""


class Teacher(Protocol):
    """Knows what to do."""

    def demonstrate(self, episodes: int, hold: int) -> tuple[Array, Array, Array]:
        """Play the teacher's own episodes.

        Args:
            episodes: Number of episodes.
            hold: Control steps for which a choice is kept.

        Returns:
            Positions and velocities, shape (steps, episodes, nq or nv), and the episodes' returns.
        """

    def label(self, qpos: NDArray[np.floating], qvel: NDArray[np.floating]) -> tuple[Array, NDArray[np.bool_]]:
        """Return what the teacher would do in states.

        Args:
            qpos: Positions, shape (states, nq).
            qvel: Velocities, shape (states, nv).

        Returns:
            Actions, shape (states, choices, da), and which are good enough, shape (states, choices).
        """


@dataclass(frozen=True)
class ImitationSettings:
    """How to imitate.

    Attributes:
        rounds: Rounds of DAgger.
        episodes: Of a round, side by side.
        labels: States that the teacher labels in a round.
        updates: Steps of the optimiser in a round.
        batch_size: States of one of them.
        learning_rate: Of Adam in the first round; it falls to a tenth until the last.
        hidden_layers: Sizes of the network's hidden layers.
        exploration: Scales of the policy's noise, from the first round's to the last's: a policy has the scale of the
            round that it is from.
        hold: Control steps for which the teacher's demonstrations hold a choice.
        seed: Of everything random.
    """

    rounds: int = 20
    episodes: int = 64
    labels: int = 8192
    updates: int = 2000
    batch_size: int = 1024
    learning_rate: float = 1e-3
    hidden_layers: tuple[int, ...] = (64, 64, 64)
    exploration: tuple[float, float] = (0.2, 0.05)
    hold: int = 20
    seed: int = 0


@dataclass
class Imitated:
    """What imitation came to.

    Attributes:
        policy: The best round's.
        curve: Every round's returns.
        steps: Control steps of the policies' episodes.
        teacher: Mean of the returns, by the teacher's own reward, of its demonstrations.
    """

    policy: ExpertPolicy
    curve: list[Point]
    steps: int
    teacher: float


def imitate(
    task: str,
    teacher: Teacher,
    environment: Any,
    model: mujoco.MjModel,
    settings: ImitationSettings,
    length: int,
    on_evaluation: Callable[[Point, Point], None],
) -> Imitated:
    """Make a policy of a teacher.

    Args:
        task: Name of the task.
        teacher: Who is asked.
        environment: Playground's environment.
        model: Its physics.
        settings: How.
        length: Control steps of an episode.
        on_evaluation: Called with every round's returns and the best so far.
    """
    random, key = np.random.default_rng(settings.seed), jax.random.PRNGKey(settings.seed)
    began = time.monotonic()
    qpos, qvel, demonstrated = teacher.demonstrate(settings.episodes, settings.hold)
    with host_physics(model):
        observe = jax_runtime.jit(jax.vmap(lambda q, v: observation(environment, q, v)))
        play = jax_runtime.jit(episodes_function(environment, settings.episodes, length))
        seen = [_picked(random, settings.labels, qpos, qvel)]
        inputs = np.asarray(observe(*seen[0]), np.float32)
        labels = teacher.label(*seen[0])
        policy = _fresh(task, random, inputs, labels[0].shape[-1], settings)
        curve: list[Point] = []
        best = policy
        for number in range(settings.rounds):
            share = number / max(1, settings.rounds - 1)
            rate = settings.learning_rate * 0.1**share
            policy = _with_scale(_fitted(policy, inputs, labels, settings, rate, random), settings.exploration, share)
            key, now = jax.random.split(key)
            returns, observations, at, speed = (np.asarray(part) for part in play(policy_arrays(policy), now))
            steps = (number + 1) * settings.episodes * length
            point = Point(steps, round(time.monotonic() - began, 1), float(returns.mean()), float(returns.std()))
            if not curve or point.mean > max(one.mean for one in curve):
                best = policy
            curve.append(point)
            on_evaluation(point, max(curve, key=lambda one: one.mean))
            if number + 1 < settings.rounds:
                new, q, v = _picked(random, settings.labels, observations, at, speed)
                inputs = np.concatenate([inputs, np.float32(new)])
                more = teacher.label(q, v)
                labels = np.concatenate([labels[0], more[0]]), np.concatenate([labels[1], more[1]])
    return Imitated(best, curve, settings.rounds * settings.episodes * length, float(demonstrated.mean()))


def observation(environment: Any, qpos: jax.Array, qvel: jax.Array) -> jax.Array:
    """Return what a task's policy sees of a state, shape (do,); host physics only.

    Args:
        environment: Playground's environment.
        qpos: Positions, shape (nq,).
        qvel: Velocities, shape (nv,).
    """
    from mujoco import mjx
    from mujoco_playground._src import mjx_env

    make: Any = mjx_env.make_data
    data = mjx.forward(environment.mjx_model, make(environment.mj_model, qpos=qpos, qvel=qvel))
    seen: jax.Array = environment._get_obs(data, {})
    return seen


def episodes_function(environment: Any, episodes: int, length: int) -> Callable[..., tuple[jax.Array, ...]]:
    """Return a function of a policy's arrays and a random key that plays episodes side by side.

    Its results are the returns, shape (episodes,), and the observations, positions and velocities before each step,
    shape (length, episodes, size). The policy's activation is swish.

    Args:
        environment: Playground's environment.
        episodes: Number of episodes.
        length: Control steps of each.
    """

    def run(arrays: Any, key: jax.Array) -> tuple[jax.Array, ...]:
        policy = ExpertPolicy("", "swish", arrays["mean"], arrays["std"], arrays["layers"], "")
        reset_keys, noise_keys = (jax.random.split(part, episodes) for part in jax.random.split(key))
        state = jax.vmap(environment.reset)(reset_keys)
        noise = jax.vmap(lambda k: coloured_noise(k, length, policy.action_size, NOISE_BETA))(noise_keys)

        def step(carry: tuple[Any, jax.Array], epsilon: jax.Array) -> tuple[Any, tuple[jax.Array, ...]]:
            state, total = carry
            location, scale = policy.distribution(state.obs)
            after = jax.vmap(environment.step)(state, jnp.tanh(location + scale * epsilon))
            return (after, total + after.reward), (state.obs, state.data.qpos, state.data.qvel)

        (_, total), seen = jax.lax.scan(step, (state, jnp.zeros(episodes)), jnp.swapaxes(noise, 0, 1))
        return total, *seen

    return run


def _picked(random: np.random.Generator, count: int, *arrays: Array) -> tuple[Array, ...]:
    """Return the same random rows of arrays whose first two axes are steps and episodes; only finite ones."""
    flat = [array.reshape(-1, array.shape[-1]) for array in arrays]
    finite = np.flatnonzero(np.logical_and.reduce([np.isfinite(array).all(1) for array in flat]))
    rows = random.choice(finite, min(count, len(finite)), replace=False)
    return tuple(array[rows] for array in flat)


def _fresh(
    task: str, random: np.random.Generator, inputs: Array, actions: int, settings: ImitationSettings
) -> ExpertPolicy:
    """Return a policy with random weights, that takes observations as the first demonstrations have them to size 1."""
    sizes = [inputs.shape[1], *settings.hidden_layers, 2 * actions]
    layers = tuple(
        ((random.normal(size=(a, b)) / np.sqrt(a)).astype(np.float32), np.zeros(b, np.float32))
        for a, b in pairwise(sizes)
    )
    return ExpertPolicy(task, "swish", inputs.mean(0), inputs.std(0) + np.float32(1e-3), layers, "")


def _with_scale(policy: ExpertPolicy, ends: tuple[float, float], share: float) -> ExpertPolicy:
    """Return the policy with noise of one scale in every state: the last layer's second half is a constant."""
    scale = ends[0] * (ends[1] / ends[0]) ** share
    kernel, bias = (part.copy() for part in policy.layers[-1])
    size = policy.action_size
    kernel[:, size:] = 0.0
    bias[size:] = np.log(np.expm1(scale - LEAST_SCALE))
    return ExpertPolicy(
        policy.task, policy.activation, policy.mean, policy.std, (*policy.layers[:-1], (kernel, bias)), ""
    )


def _fitted(
    policy: ExpertPolicy,
    inputs: Array,
    labels: tuple[Array, NDArray[np.bool_]],
    settings: ImitationSettings,
    rate: float,
    random: np.random.Generator,
) -> ExpertPolicy:
    """Return the policy after more steps of Adam on the distance (`_apart`) of its action to the nearest good one."""
    rows = random.integers(len(inputs), size=(settings.updates, settings.batch_size))
    # The number of rows grows by the round; padding to powers of two keeps the number of compilations small.
    padding = (1 << (len(inputs) - 1).bit_length()) - len(inputs)
    seen = np.pad((inputs - policy.mean) / policy.std, ((0, padding), (0, 0)))
    wanted = np.pad(np.clip(labels[0], -_LARGEST, _LARGEST).astype(np.float32), ((0, padding), (0, 0), (0, 0)))
    good = np.pad(labels[1], ((0, padding), (0, 0)))
    layers = _adam(policy.layers, seen, wanted, good, rows, np.float32(rate))
    plain = tuple((np.asarray(kernel), np.asarray(bias)) for kernel, bias in layers)
    return ExpertPolicy(policy.task, policy.activation, policy.mean, policy.std, plain, "")


def _apart(location: jax.Array, action: jax.Array) -> jax.Array:
    """Return how far tanh(location) is from an action, summed over its dimensions: the matching loss of tanh.

    It is log cosh(l) - a·l less its least value, that of l = atanh(a). Its derivative by l is tanh(l) - a: it falls
    towards the action from everywhere, where that of the squared distance vanishes as tanh saturates.

    Args:
        location: Before the squashing, shape (..., da).
        action: Strictly within -1 and 1, shape (..., da).

    Source: Auer, Herbster, Warmuth, "Exponentially many local minima for single neurons", NeurIPS 1995.
    """

    def potential(x: jax.Array) -> jax.Array:  # log cosh, without overflow
        return jnp.logaddexp(x, -x) - np.float32(np.log(2))

    best = jnp.arctanh(action)
    return jnp.sum(potential(location) - potential(best) - action * (location - best), -1)


@jax.jit
def _adam(layers: Any, inputs: jax.Array, actions: jax.Array, good: jax.Array, rows: jax.Array, rate: jax.Array) -> Any:
    optimiser = optax.adam(rate)

    def loss(layers: Any, x: jax.Array, wanted: jax.Array, counts: jax.Array) -> jax.Array:
        *hidden, (kernel, bias) = layers
        for weights, offset in hidden:
            x = jax.nn.swish(x @ weights + offset)
        location = (x @ kernel + bias)[:, : wanted.shape[-1]]
        return jnp.mean(jnp.min(jnp.where(counts, _apart(location[:, None], wanted), _FAR), 1))

    def step(carry: Any, chosen: jax.Array) -> tuple[Any, None]:
        layers, state = carry
        gradient = jax.grad(loss)(layers, inputs[chosen], actions[chosen], good[chosen])
        updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(layers, updates), state), None

    (layers, _), _ = jax.lax.scan(step, (layers, optimiser.init(layers)), rows)
    return layers
