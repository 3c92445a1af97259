"""What a policy reaches: returns of complete episodes, under MuJoCo C or MJX, with the stock or the converged solver.

The *stochastic return* of a policy is that of `generate --policy expert`: the mean, over episodes of the task's own
length, of the sum of rewards under actions tanh(location + scale · ε), where ε is coloured noise with β = 0.5, one
independent series per episode and action dimension. The *deterministic return* is that of tanh(location). Beside them
stand, in the same episodes, the return of `--policy noise`, actions tanh(ε), and that of no action at all: what a
policy has to surpass to be called an expert.

    python -m dynamic_sparsity.training.returns [TASK…]

measures the policies that come with the package again and rewrites their records.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.environments.loading import load_environment
from dynamic_sparsity.generation.environments.replacing import step_replaced
from dynamic_sparsity.generation.physics.linear_algebra import without_lapack
from dynamic_sparsity.generation.physics.model import Dynamics, Physics, load_physics
from dynamic_sparsity.generation.physics.step import control_step
from dynamic_sparsity.generation.rollout.coloured_noise import coloured_noise
from dynamic_sparsity.generation.tasks import EPISODE_LENGTH, get_task
from dynamic_sparsity.policies import ExpertPolicy, available, expert_path, load_policy, read_record
from dynamic_sparsity.policies.files import save_policy
from dynamic_sparsity.training.host_physics import host_physics

Simulator = Literal["mujoco", "mjx"]
Actions = Literal["expert", "expert-mean", "noise", "zero"]

NOISE_BETA = 0.5
"""Exponent of the noise, as in Hollenstein, Martius, Piater, arXiv 2312.11091."""

SEED = 1_000_003
"""Seed of evaluations, far from those of training."""


@contextmanager
def _mjx_physics(physics: Physics) -> Iterator[None]:
    """Make Playground's tasks do the step that data sets are made of, while they are traced."""
    from mujoco_playground._src import mjx_env

    original: Any = mjx_env.step

    def step(_model: Any, data: Any, action: jax.Array, n_substeps: int = 1) -> Any:
        if n_substeps != physics.task.substeps:  # a reset lets the model come to rest
            return original(physics.mjx_model, data, action, n_substeps)
        return control_step(physics, data, action)[0]

    with step_replaced(step):
        yield


def episode_function(
    environment: Any, template: ExpertPolicy, episodes: int, length: int, beta: float, actions: Actions
) -> Callable[[Any, jax.Array], jax.Array]:
    """Return a function of a policy's arrays and a random key that gives the returns of episodes side by side.

    Args:
        environment: Playground's environment; what its physics is, is decided where the function is traced.
        template: A policy with the network's form; `policy_arrays` gives the arrays to pass.
        episodes: Number of episodes, B.
        length: Control steps.
        beta: Exponent of the noise.
        actions: "expert", with noise; "expert-mean", without; "noise", without the expert; or "zero".

    Returns:
        The function; its result has shape (B,).
    """

    def run(arrays: Any, key: jax.Array) -> jax.Array:
        policy = dataclasses.replace(template, **arrays)
        reset_keys, noise_keys = (jax.random.split(part, episodes) for part in jax.random.split(key))
        state = jax.vmap(environment.reset)(reset_keys)
        noise = jax.vmap(lambda k: coloured_noise(k, length, template.action_size, beta))(noise_keys)
        total = jnp.zeros(episodes)

        def step(carry: tuple[Any, jax.Array, jax.Array], epsilon: jax.Array) -> tuple[Any, None]:
            state, total, running = carry
            location, scale = policy.distribution(state.obs)
            chosen = {
                "expert": location + scale * epsilon,
                "expert-mean": location,
                "noise": epsilon.astype(location.dtype),
                "zero": jnp.zeros_like(location),
            }
            action = jnp.tanh(chosen[actions])
            after = jax.vmap(environment.step)(state, action)
            # An episode's return ends with its termination, whose own reward still counts.
            total = total + jnp.where(running, after.reward, 0.0)
            return (after, total, running & (after.done == 0)), None

        carry = state, total, jnp.ones(episodes, bool)
        (_, total, _), _ = jax.lax.scan(step, carry, jnp.swapaxes(noise, 0, 1))
        return total

    return run


def policy_arrays(policy: ExpertPolicy) -> dict[str, Any]:
    """Return the arrays of a policy, as JAX takes them.

    Args:
        policy: The policy.
    """
    return {"mean": policy.mean, "std": policy.std, "layers": policy.layers}


def returns(
    task: str,
    policy: ExpertPolicy,
    *,
    actions: Actions = "expert",
    simulator: Simulator = "mujoco",
    kind: Dynamics = "converged",
    episodes: int = 64,
    length: int = EPISODE_LENGTH,
    seed: int = SEED,
) -> NDArray[np.float64]:
    """Measure a policy, in float64.

    Args:
        task: Name of a task.
        policy: The policy.
        actions: As of `episode_function`.
        simulator: "mujoco": MuJoCo C, fast on a CPU. "mjx": the very step that data sets are made of.
        kind: "converged" or "stock".
        episodes: Number of episodes.
        length: Control steps of each.
        seed: Seed of initial states and noise.

    Returns:
        The return of each episode, shape (episodes,).
    """
    environment = load_environment(get_task(task).name)
    physics = load_physics(task, kind)
    function = episode_function(environment, policy, episodes, length, NOISE_BETA, actions)
    context = host_physics(physics.mj_model) if simulator == "mujoco" else _mjx_physics(physics)
    with context:
        compiled = jax_runtime.jit(function)
        result = compiled(policy_arrays(policy), jax.random.PRNGKey(seed))
    return np.asarray(result)


def spread(values: NDArray[Any]) -> dict[str, float | int]:
    """Return mean, standard deviation and range of returns, as a policy's record has them.

    Args:
        values: Returns, shape (episodes,).
    """
    return {
        "episodes": len(values),
        "mean": round(float(values.mean()), 3),
        "deviation": round(float(values.std(ddof=1)), 3),
        "least": round(float(values.min()), 3),
        "most": round(float(values.max()), 3),
    }


def evaluation(task: str, policy: ExpertPolicy, *, episodes: int = 64, seed: int = SEED) -> dict[str, Any]:
    """Measure a policy, and what it has to surpass, by MuJoCo C; return the record's entry `evaluation`.

    Args:
        task: Name of the task.
        policy: The policy.
        episodes: Number of episodes.
        seed: Of initial states and noise.
    """
    wanted: list[tuple[Actions, Dynamics]] = [
        ("expert", "converged"),
        ("expert", "stock"),
        ("expert-mean", "converged"),
        ("noise", "converged"),
        ("zero", "converged"),
    ]
    results = [
        {"simulator": "mujoco", "dynamics": kind, "policy": name}
        | spread(returns(task, policy, actions=name, kind=kind, episodes=episodes, seed=seed))
        for name, kind in wanted
    ]
    return {"episode_length": EPISODE_LENGTH, "seed": seed, "noise_beta": NOISE_BETA, "measured": results}


def measured(record: Mapping[str, Any], policy: Actions, kind: Dynamics = "converged") -> dict[str, Any]:
    """Return one measurement by MuJoCo C out of a policy's record.

    Args:
        record: The record.
        policy: What acted; as `actions` of `episode_function`.
        kind: "converged" or "stock".
    """
    wanted = ("mujoco", policy, kind)
    found: dict[str, Any] = next(
        one for one in record["evaluation"]["measured"] if (one["simulator"], one["policy"], one["dynamics"]) == wanted
    )
    return found


def differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two measurements' means are more than two standard errors apart.

    Args:
        one: A measurement, as `spread` gives it.
        other: Another one.
    """
    error = (one["deviation"] ** 2 / one["episodes"] + other["deviation"] ** 2 / other["episodes"]) ** 0.5
    return bool(abs(one["mean"] - other["mean"]) > 2 * error)


def beats_chance(record: Mapping[str, Any]) -> bool:
    """Return whether a policy's stochastic return is clearly above that of noise and that of no action.

    Args:
        record: The policy's record.
    """
    reached = measured(record, "expert")
    chance = [measured(record, "noise"), measured(record, "zero")]
    return all(differ(reached, one) and reached["mean"] > one["mean"] for one in chance)


def training_physics(model: Any, on_host: bool) -> Any:
    """Return the physics that training runs on, as a context for tracing: MuJoCo C, or Playground's MJX as it is.

    Args:
        model: MuJoCo's model.
        on_host: Whether to take MuJoCo C.
    """
    if on_host:
        return host_physics(model)
    return without_lapack() if jax.default_backend() == "cpu" else nullcontext()


def measure_again(tasks: Sequence[str]) -> None:
    """Measure policies that come with the package, and write what they reach into their records.

    Args:
        tasks: Names of tasks.
    """
    jax_runtime.configure()
    for task in tasks or available():
        path = expert_path(task)
        policy, record = load_policy(path), read_record(path)
        record = {name: value for name, value in record.items() if name != "sha256"}
        save_policy(path, policy, record | {"evaluation": evaluation(task, policy)})
        print(
            task,
            *(
                f"{one['policy']}/{one['dynamics']} {one['mean']:.1f}"
                for one in read_record(path)["evaluation"]["measured"]
            ),
        )


if __name__ == "__main__":
    measure_again(sys.argv[1:])
