r"""Jacobians of a task from those of its physics, by the chain rule through the task's own control.

Physics gives s' = F(s, u) with A = ∂F/∂s and B = ∂F/∂u; the task gives u = c(s, m, a) of state, memory and action, and
remembers m' = u, or nothing. So

    J_s = [[A + B c_s, B c_m], [c_s, c_m]],    J_a = [[B c_a], [c_a]],

in tangent coordinates of the state; without memory just the upper left. c is a few operations, differentiated by JAX.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from dynamic_sparsity.generation.environments.interface import ARGUMENTS, Interface
from dynamic_sparsity.generation.jacobians import engines
from dynamic_sparsity.generation.physics import manifold
from dynamic_sparsity.generation.physics.model import Physics


class LinearControl(NamedTuple):
    """A task's control at one row, and its derivatives.

    Attributes:
        ctrl: The control, float64, shape (nu,).
        by_state: ∂ctrl/∂(state, memory) in tangent coordinates, shape (nu, dx).
        by_action: ∂ctrl/∂(action), shape (nu, da).
    """

    ctrl: Float[jax.Array, " nu"]
    by_state: Float[jax.Array, "nu dx"]
    by_action: Float[jax.Array, "nu da"]


def linear_control(
    physics: Physics,
    interface: Interface,
    qpos: Float[jax.Array, " nq"],
    qvel: Float[jax.Array, " nv"],
    memory: Float[jax.Array, " nm"] | None,
    action: Float[jax.Array, " da"],
) -> LinearControl:
    """Return a task's control and its derivatives.

    Args:
        physics: The task's physics.
        interface: Of the task, with a control.
        qpos: Positions.
        qvel: Velocities.
        memory: The last control; None for tasks that don't remember it.
        action: The action.
    """
    if interface.control is None:
        raise TypeError("the action is the control")
    last = jnp.zeros(physics.task.nu) if memory is None else memory
    arguments = dict(zip(ARGUMENTS, (qpos, qvel, last, action), strict=True))
    ctrl = interface.control(*arguments.values())
    places = tuple(i for i, name in enumerate(ARGUMENTS) if name in interface.depends_on)
    found = jax.jacfwd(interface.control, places)(*arguments.values())
    by = {ARGUMENTS[i]: matrix for i, matrix in zip(places, found, strict=True)}
    nu, nv = physics.task.nu, physics.task.nv
    by_q = by["qpos"] @ manifold.basis(physics.blocks, qpos) if "qpos" in by else jnp.zeros((nu, nv))
    by_v = by.get("qvel", jnp.zeros((nu, nv)))
    by_m = [by["ctrl"]] if interface.remembers else []
    by_action = by.get("action", jnp.zeros((nu, len(action))))
    return LinearControl(ctrl, jnp.concatenate([by_q, by_v, *by_m], axis=1), by_action)


def through_control(result: engines.Transition, control: LinearControl, remembers: bool) -> engines.Transition:
    """Return the transition of a task from that of its physics.

    Args:
        result: Of the physics, at the control.
        control: The control.
        remembers: Whether the task remembers it.
    """
    by_state, by_ctrl = result.J_s, result.J_a
    memory = control.by_state.shape[1] - by_state.shape[1]
    j_s = jnp.pad(by_state, ((0, 0), (0, memory))) + by_ctrl @ control.by_state
    j_a = by_ctrl @ control.by_action
    if remembers:
        j_s = jnp.concatenate([j_s, control.by_state])
        j_a = jnp.concatenate([j_a, control.by_action])
    return result._replace(J_s=j_s, J_a=j_a)
