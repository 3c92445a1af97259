"""The control step with Jacobians as one compiled program, shared by all tasks with the same dynamics.

The program takes and gives only what has to pass between control steps (`Carry`) and what the task looks at
(`environments.interface`): moving all of MJX's data would cost as much as the Jacobians of the small models do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import mjx

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.environments.interface import Interface
from dynamic_sparsity.generation.environments.loading import load_task
from dynamic_sparsity.generation.jacobians import chain_rule, engines
from dynamic_sparsity.generation.physics import constraint_solver, manifold
from dynamic_sparsity.generation.physics.model import Dynamics, Physics, load_physics
from dynamic_sparsity.generation.settings import MASK_THRESHOLD
from dynamic_sparsity.schemas import FLAG_BITS

SMALL_ANGULAR_VELOCITY = 1e-8
"""rad/s below which MJX's own derivative of a quaternion's integration is zero, and wrong."""


class Carry(NamedTuple):
    """What a control step depends on, beside the action, for one row.

    Attributes:
        qpos: float64, shape (nq,), rounded to float32's numbers.
        qvel: float64, shape (nv,), likewise.
        qacc_warmstart: float64, shape (nv,), likewise; where MJX's solver begins (`stock`).
        mocap_pos: Where a task put its target, m, shape (nmocap, 3); constant in an episode.
        memory: The last control, of tasks that remember it, float64, shape (nm,), rounded to float32's numbers.
        mocap_quat: How a task turned its target, of tasks that look at that, shape (nmocap, 4); constant in an episode.
    """

    qpos: jax.Array
    qvel: jax.Array
    qacc_warmstart: jax.Array
    mocap_pos: jax.Array
    memory: jax.Array | None = None
    mocap_quat: jax.Array | None = None

    @property
    def state(self) -> jax.Array:
        """The stored state, float32, shape (…, ds)."""
        parts = (self.qpos, self.qvel) if self.memory is None else (self.qpos, self.qvel, self.memory)
        return jnp.concatenate(parts, axis=-1).astype(jnp.float32)


Observed = dict[str, jax.Array]
"""Fields of MJX's data at one time, by name."""


class Row(NamedTuple):
    """What the transition program gives for one row, beside the state after it; names as of the store's arrays.

    Attributes:
        next_state: Float32, shape (ds,).
        J_s: Float32, shape (dx, dx).
        J_a: Float32, shape (dx, da).
        mask_s: uint8, shape (dx, dx).
        mask_a: uint8, shape (dx, da).
        flags: uint16, shape (), without those that only the host knows.
        solver_residual: Float32, shape ().
        solver_iterations: uint8, shape ().
        active_any: uint8, shape (nc,).
        active_all: uint8, shape (nc,).
        active_changes: uint8, shape ().
        contact_distance: m, float32, shape (np,).
        contact_force: N, float32, shape (np,).
        contact_count: Contact points in touch in each substep, int32, shape (substeps,).
        overflow: Whether there were too many of them for the program's slots, bool, shape ().
        qacc_warmstart: Float32, shape (nv,); None for `converged`.
        ctrl: The control, float64, shape (nu,), of tasks in which it is not the action; not stored.
    """

    next_state: jax.Array
    J_s: jax.Array
    J_a: jax.Array
    mask_s: jax.Array
    mask_a: jax.Array
    flags: jax.Array
    solver_residual: jax.Array
    solver_iterations: jax.Array
    active_any: jax.Array
    active_all: jax.Array
    active_changes: jax.Array
    contact_distance: jax.Array
    contact_force: jax.Array
    contact_count: jax.Array
    overflow: jax.Array
    qacc_warmstart: jax.Array | None
    ctrl: jax.Array | None


def _rounded(x: jax.Array) -> jax.Array:
    """Round to the nearest float32, kept as float64."""
    return x.astype(jnp.float32).astype(jnp.float64)


def carry_of(data: mjx.Data, interface: Interface) -> Carry:
    """Return what is passed to the next control step, rounded: the stored state is exactly the one that is stepped.

    Args:
        data: MJX data, unbatched.
        interface: What the task does around physics.
    """
    memory = _rounded(data.ctrl) if interface.remembers else None
    turned = data.mocap_quat if "mocap_quat" in (*interface.observed, *interface.looked_back) else None
    state = _rounded(data.qpos), _rounded(data.qvel), _rounded(data.qacc_warmstart)
    return Carry(*state, data.mocap_pos, memory, turned)


def seen(data: mjx.Data, carry: Carry, fields: Sequence[str]) -> Observed:
    """Return fields of MJX's data as a task may see them, the state among them rounded as it is stored.

    Args:
        data: MJX data, unbatched.
        carry: What is passed on of it.
        fields: Their names.
    """
    rounded = {"qpos": carry.qpos, "qvel": carry.qvel}
    if carry.memory is not None:
        rounded["ctrl"] = carry.memory
    return {name: rounded[name] if name in rounded else getattr(data, name) for name in fields}


def shown(empty: mjx.Data, observed: Observed) -> mjx.Data:
    """Return MJX data as a task may see it: the observed fields, None for all others.

    Args:
        empty: MJX data of the model.
        observed: The observed fields.
    """
    hidden = {name: None for name in vars(empty) if name not in observed}
    data: mjx.Data = empty.replace(**hidden, **observed)
    return data


def _flag(name: str, condition: jax.Array) -> jax.Array:
    return condition.astype(jnp.uint16) << FLAG_BITS[name]


def _row(
    physics: Physics,
    before: Carry,
    action: jax.Array,
    ctrl: jax.Array | None,
    result: engines.Transition,
    after: Carry,
) -> Row:
    info = result.info
    features = info.features
    changes = jnp.sum(jnp.any(features.rows[1:] != features.rows[:-1], axis=1), dtype=jnp.uint8)
    residual = jnp.max(info.residual)
    slow = jnp.array(False)
    for _, k in manifold.quaternion_parts(physics.blocks):
        slow |= jnp.linalg.norm(before.qvel[k : k + 3]) < SMALL_ANGULAR_VELOCITY
    converged = (
        (residual <= constraint_solver.RESIDUAL_TOLERANCE) if physics.dynamics == "converged" else jnp.array(True)
    )
    state = before.state
    row = Row(
        next_state=after.state,
        J_s=result.J_s.astype(jnp.float32),
        J_a=result.J_a.astype(jnp.float32),
        mask_s=(jnp.abs(result.J_s) >= MASK_THRESHOLD).astype(jnp.uint8),
        mask_a=(jnp.abs(result.J_a) >= MASK_THRESHOLD).astype(jnp.uint8),
        flags=_flag("not_converged", ~converged)
        | _flag("action_at_bound", jnp.any(jnp.abs(action) >= 1))
        | _flag("active_set_changed", changes > 0)
        | _flag("small_angular_velocity", slow)
        | _flag("tangents_lost", jnp.any(info.tangents_lost)),
        solver_residual=residual.astype(jnp.float32),
        solver_iterations=jnp.minimum(jnp.max(info.iterations), 254).astype(jnp.uint8),
        active_any=jnp.any(features.active, axis=0).astype(jnp.uint8),
        active_all=jnp.all(features.active, axis=0).astype(jnp.uint8),
        active_changes=changes,
        contact_distance=jnp.min(features.distance, axis=0).astype(jnp.float32),
        contact_force=jnp.sum(features.force, axis=0).astype(jnp.float32),
        contact_count=features.contact_count,
        overflow=jnp.any(info.overflow),
        qacc_warmstart=before.qacc_warmstart.astype(jnp.float32) if physics.dynamics == "stock" else None,
        ctrl=ctrl,
    )
    # A pair's distance may be infinite, which says something.
    floats = (state, action, row.next_state, row.J_s, row.J_a, row.solver_residual, row.contact_force)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in floats]))
    if row.qacc_warmstart is not None:
        finite &= jnp.all(jnp.isfinite(row.qacc_warmstart))
    return row._replace(flags=row.flags | _flag("nonfinite", ~finite))


Program = Callable[[Carry, jax.Array, np.int32], tuple[Carry, Observed, Row]]


@cache
def transition_program(name: str, kind: Dynamics, all_slots: bool = False, source: str | None = None) -> Program:
    """Return a task's compiled control step: (batch of carries, actions, iterations) → (carries, observed, rows).

    Args:
        name: Name of the task; of a group with the same dynamics, its `tasks.representative`.
        kind: "converged" or "stock".
        all_slots: Give every candidate for a contact point a slot, as `load_physics`.
        source: Where the task comes from, as of `task_sources`; None for one of Playground.
    """
    physics, interface = load_physics(name, kind, all_slots, source), load_task(name, source).interface
    empty = mjx.make_data(physics.mj_model, impl="jax")
    fields = dict.fromkeys(("qpos", "qvel", *interface.observed, *interface.looked_back))

    def step(before: Carry, action: jax.Array, max_iterations: jax.Array) -> tuple[Carry, Observed, Row]:
        given = {name: value for name, value in before._asdict().items() if name != "memory" and value is not None}
        data = empty.replace(**given)
        if interface.control is None:
            ctrl, result = None, engines.transition(physics, data, action, max_iterations)
        else:
            mapping = chain_rule.linear_control(physics, interface, before.qpos, before.qvel, before.memory, action)
            ctrl, result = mapping.ctrl, engines.transition(physics, data, mapping.ctrl, max_iterations)
            result = chain_rule.through_control(result, mapping, interface.remembers)
        after = carry_of(result.data, interface)
        return after, seen(result.data, after, tuple(fields)), _row(physics, before, action, ctrl, result, after)

    program: Program = jax_runtime.jit(jax.vmap(step, in_axes=(0, 0, None)))
    return program
