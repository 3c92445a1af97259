"""Every dynamics' Jacobians on varied states, computed once for all tests: compiling is what takes the time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import mjx
from states import varied_states

from dynamic_sparsity.generation import jax_runtime, tasks
from dynamic_sparsity.generation.jacobians import engines
from dynamic_sparsity.generation.physics.model import Physics, load_physics

BATCH = 128


@dataclass(frozen=True)
class JacobianSamples:
    """States, actions and what the residual engine makes of them."""

    physics: Physics
    state: np.ndarray
    action: np.ndarray
    next_state: np.ndarray
    jacobian: np.ndarray
    info: Any


@cache
def program(group: str, engine: str = "implicit_jacobian", dynamics_kind: str = "converged") -> Any:
    """Compiled (states, actions) → (next states, [J_s | J_a], info), for batches of BATCH rows."""
    physics = load_physics(tasks.group_representatives()[group], dynamics_kind)  # type: ignore[arg-type]
    empty = mjx.make_data(physics.mj_model, impl="jax")
    nq = physics.task.nq

    def row(state: jax.Array, action: jax.Array) -> Any:
        data = empty.replace(qpos=state[:nq], qvel=state[nq:])
        result = getattr(engines, engine)(physics, data, action)
        jacobian = jnp.concatenate([result.J_s, result.J_a], axis=1)
        return jnp.concatenate([result.data.qpos, result.data.qvel]), jacobian, result.info

    return jax_runtime.jit(jax.vmap(row))


def run(group: str, state: np.ndarray, action: np.ndarray, **options: str) -> tuple[np.ndarray, np.ndarray, Any]:
    """Runs the compiled program on up to BATCH rows, padded with copies of the last."""
    count = len(state)
    pad = ((0, BATCH - count), (0, 0))
    results = program(group, **options)(np.pad(state, pad, mode="edge"), np.pad(action, pad, mode="edge"))
    return jax.tree_util.tree_map(lambda x: np.asarray(x)[:count], results)


@cache
def jacobian_samples(group: str, seed: int = 0) -> JacobianSamples:
    """Varied states of a group of tasks with their Jacobians."""
    physics = load_physics(tasks.group_representatives()[group])
    state, action = varied_states(physics, BATCH, seed)
    return JacobianSamples(physics, state, action, *run(group, state, action))
