r"""The two dynamics: what the next state is.

`converged` (the default): MuJoCo's constraint problem solved to its minimum (`constraint_solver`). The step is a
function of (state, action), the same map as MuJoCo C's with enough solver iterations and no warm start. `stock`: the
task's own options, so MJX's Newton solver stopped after 1 to 4 iterations, starting from `qacc_warmstart`; the step
depends on that third input too, and derivatives are partial, at a fixed warm start.

One physics step, h its duration:

    x  = qacc(q, v, a)                              constrained acceleration, from `constraint_solver`
    v' = v + h S⁻¹ M x,    S = M - h Q               Q = ∂(smooth forces)/∂v as far as the integrator takes it
    implicitly q' = q ⊕ h v'                                    `manifold.integrate`

With Euler and implicit damping Q = -diag(damping); with implicitfast Q is `implicitfast.velocity_derivative`; with
damping explicit (all
DM Control tasks but the fingers) S = M, and v' = v + h x. A control step is `substeps` of these with one action.

Source: MJX `forward.py`; MuJoCo's documentation, "Numerical integration".
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Bool, Float, Int
from mujoco import mjx

from dynamic_sparsity.generation.physics import (
    constraint_problem,
    constraint_solver,
    constraints,
    contact_slots,
    implicitfast,
    linear_algebra,
    manifold,
    mjx_private,
    plane_boxes,
)
from dynamic_sparsity.generation.physics.model import Physics


class Substep(NamedTuple):
    """What is known after one physics step beside the new data.

    Attributes:
        features: What the constraints did.
        residual: Relative gradient of the constraint problem at the acceleration used, shape ().
        iterations: Newton iterations, int32, shape (); 0 for `stock`, where MJX does not tell.
        tangents_lost: bool, shape (): MJX's solver returned its starting point, from which automatic differentiation
            gets no derivative of the constraint forces (`stock` only).
        overflow: bool, shape (): more contact points than slots, so that the step is not the model's.
    """

    features: constraints.Features
    residual: Float[jax.Array, ""]
    iterations: Int[jax.Array, ""]
    tangents_lost: Bool[jax.Array, ""]
    overflow: Bool[jax.Array, ""]


class Forward(NamedTuple):
    """A physics step before integration.

    Attributes:
        data: MJX data with forces and acceleration.
        problem: The constraint problem; None without constraints.
        zones: Zone of each constraint row.
        info: What the step records.
    """

    data: mjx.Data
    problem: constraint_problem.ConstraintProblem | None
    zones: constraint_problem.Zones
    info: Substep


def with_slots(physics: Physics, data: mjx.Data) -> mjx.Data:
    """Return MJX data with the contact slots of these dynamics, whatever those of `mjx.make_data` are.

    Args:
        physics: The physics.
        data: MJX data.
    """
    return data if physics.candidates is None else contact_slots.sized(physics.candidates, physics.mj_model, data)


def constrain(physics: Physics, data: mjx.Data) -> tuple[mjx.Data, contact_slots.Contacts | None]:
    """Find contacts, and make the rows of all constraints.

    Args:
        physics: The physics.
        data: MJX data after the other position stages, unbatched.

    Returns:
        The data, and what the collision found; None where it is not that of `contact_slots`.
    """
    m = physics.mjx_model
    if physics.dynamics == "stock":
        return mjx.make_constraint(m, mjx.collision(m, data)), None
    if physics.candidates is None:
        return mjx.make_constraint(m, plane_boxes.collide(physics.mj_model, m, data)), None
    data, found = contact_slots.collide(physics.candidates, m, data)
    return contact_slots.make_constraint(physics.candidates, physics.mj_model, m, data, found), found


def _position_stage(physics: Physics, data: mjx.Data) -> tuple[mjx.Data, contact_slots.Contacts | None]:
    """Compute MJX's `fwd_position`, with our contacts."""
    m = physics.mjx_model
    d = mjx.camlight(m, mjx.com_pos(m, mjx.kinematics(m, data)))
    # Tendons with armature are not supported.
    d, found = constrain(physics, mjx.factor_m(m, mjx.crb(m, mjx.tendon(m, d))))
    return mjx.transmission(m, d), found


def problem_of(physics: Physics, d: mjx.Data) -> constraint_problem.ConstraintProblem:
    """Return the constraint problem of MJX data.

    Args:
        physics: The physics.
        d: MJX data after its smooth stages, unbatched.
    """
    m, impl = physics.mjx_model, d._impl
    few = None if physics.candidates is None else contact_slots.few_rows(physics.candidates, physics.task.group, d)
    return constraint_problem.ConstraintProblem(
        inertia=mjx.full_m(m, d),
        smooth_force=d.qfrc_smooth,
        jacobian=impl.efc_J,
        reference=impl.efc_aref,
        stiffness=impl.efc_D,
        friction_loss=impl.efc_frictionloss,
        n_equality=int(impl.ne),
        n_friction=int(impl.nf),
        few=few,
    )


def forward(
    physics: Physics, data: mjx.Data, max_iterations: constraint_solver.Iterations = constraint_solver.MAX_ITERATIONS
) -> Forward:
    """Compute forces and acceleration.

    Args:
        physics: The physics.
        data: MJX data with qpos, qvel, ctrl (and qacc_warmstart, for `stock`), unbatched, float64.
        max_iterations: Limit of the converged solver; may be traced.

    Source: MJX `forward.forward`.
    """
    m = physics.mjx_model
    d, found = _position_stage(physics, with_slots(physics, data))
    d = mjx.sensor_pos(m, d)
    d = mjx.sensor_vel(m, mjx.fwd_velocity(m, d))
    d = mjx.fwd_acceleration(m, mjx.fwd_actuation(m, d))
    no, zero = jnp.array(False), jnp.array(0.0)
    if d._impl.efc_J.size == 0:
        zones = constraint_problem.Zones(*(jnp.zeros(0, bool) for _ in range(3)))
        features = constraints.observe(physics.constraints, d, zones, jnp.zeros(0))
        info = Substep(features, zero, jnp.array(0, jnp.int32), no, no)
        return Forward(d.replace(qacc=d.qacc_smooth), None, zones, info)
    problem = problem_of(physics, d)
    if physics.dynamics == "converged":
        solution = constraint_solver.solve(problem, jax.lax.stop_gradient(d.qacc_smooth), max_iterations)
        d = d.tree_replace(
            {
                "qacc": solution.acceleration,
                "_impl.efc_force": solution.force,
                "qfrc_constraint": d._impl.efc_J.T @ solution.force,
            }
        )
        lost = no
    else:
        start = _stock_start(m, d)
        d = mjx.solve(m, d)
        solution = constraint_solver.evaluate(problem, jax.lax.stop_gradient(d.qacc))
        # Rows that act, or a constant start: what the start does not know, the derivative does not either.
        unmoved = jnp.all(d.qacc == start)
        lost = unmoved & (jnp.any(solution.zones.quadratic) | jnp.any(start != d.qacc_smooth))
    d = mjx.sensor_acc(m, d)
    seen, overflow = (physics.constraints, d, solution.zones, d._impl.efc_force), no
    if physics.candidates is None or found is None:
        features = constraints.observe(*seen)
    else:
        features, overflow = constraints.observe_found(*seen, physics.candidates, found), found.overflow
    info = Substep(features, solution.residual, solution.iterations, lost, overflow)
    return Forward(d, problem, solution.zones, info)


def _stock_start(m: mjx.Model, d: mjx.Data) -> Float[jax.Array, " nv"]:
    """Return where MJX's solver begins: the warm start if it costs less than the unconstrained acceleration."""
    warm = mjx_private.SolverContext.create(m, d.replace(qacc=d.qacc_warmstart), grad=False)
    smooth = mjx_private.SolverContext.create(m, d.replace(qacc=d.qacc_smooth), grad=False)
    return jnp.where(warm.cost < smooth.cost, d.qacc_warmstart, d.qacc_smooth)


def is_implicit(physics: Physics) -> bool:
    """Return whether the integrator takes some forces implicitly.

    Args:
        physics: The physics.
    """
    opt = physics.mj_model.opt
    damped = not opt.disableflags & mujoco.mjtDisableBit.mjDSBL_EULERDAMP
    return bool(opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST) or damped


def implicit_derivative(physics: Physics, d: mjx.Data) -> Float[jax.Array, "nv nv"] | None:
    """Return Q of the module's docstring; None where the integrator takes no force implicitly.

    Args:
        physics: The physics.
        d: MJX data after its velocity and actuation stages.
    """
    m = physics.mjx_model
    if physics.mj_model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST:
        if implicitfast.has_slopes(physics.mj_model):
            return implicitfast.velocity_derivative(m, d)
        result: jax.Array | None = mjx.deriv_smooth_vel(m, d)
        return result
    if not is_implicit(physics):
        return None
    return -jnp.diag(m.dof_damping)


def integrated_acceleration(physics: Physics, d: mjx.Data) -> Float[jax.Array, " nv"]:
    """Return (v' - v) / h.

    Args:
        physics: The physics.
        d: MJX data of `forward`.
    """
    q_matrix = implicit_derivative(physics, d)
    if q_matrix is None:
        acceleration: jax.Array = d.qacc
        return acceleration
    s_matrix = mjx.full_m(physics.mjx_model, d) - physics.mjx_model.opt.timestep * q_matrix
    return linear_algebra.solve_positive_definite(s_matrix, d.qfrc_smooth + d.qfrc_constraint)


def advance(physics: Physics, d: mjx.Data, acceleration: Float[jax.Array, " nv"]) -> mjx.Data:
    """Integrate over one physics step; every other field keeps its value from before it, as in MuJoCo.

    Args:
        physics: The physics.
        d: MJX data of `forward`.
        acceleration: (v' - v) / h.
    """
    h = physics.mjx_model.opt.timestep
    qvel = d.qvel + h * acceleration
    qpos = manifold.integrate(physics.blocks, d.qpos, h * qvel)
    return d.replace(qpos=qpos, qvel=qvel, time=d.time + h, qacc_warmstart=d.qacc)


def keep_types(new: mjx.Data, old: mjx.Data) -> mjx.Data:
    """Cast integer fields back to the types they had; MJX widens some in float64, which a loop's carry forbids.

    Args:
        new: MJX data.
        old: MJX data with the wanted types.
    """
    cast: mjx.Data = jax.tree_util.tree_map(lambda a, b: jnp.asarray(a, jnp.result_type(b)), new, old)
    return cast


def control_step(
    physics: Physics,
    data: mjx.Data,
    action: Float[jax.Array, " da"],
    max_iterations: constraint_solver.Iterations = constraint_solver.MAX_ITERATIONS,
) -> tuple[mjx.Data, Substep]:
    """Compute one control step: all substeps with one action.

    Args:
        physics: The physics.
        data: MJX data with the state, unbatched, float64.
        action: Control, float64.
        max_iterations: Limit of the converged solver; may be traced.

    Returns:
        Data after the step, and the substeps' information, stacked along a first axis of size `substeps`.
    """

    def substep(d: mjx.Data, _: None) -> tuple[mjx.Data, Substep]:
        result = forward(physics, d.replace(ctrl=action), max_iterations)
        new = advance(physics, result.data, integrated_acceleration(physics, result.data))
        return keep_types(new, d), result.info

    final, info = jax.lax.scan(substep, with_slots(physics, data), None, length=physics.task.substeps)
    return final, info


def normalised(physics: Physics, qpos: Float[jax.Array, " nq"]) -> Float[jax.Array, " nq"]:
    """Return positions with their quaternions normalised: what the dynamics see of stored, rounded ones.

    Args:
        physics: The physics.
        qpos: Positions.
    """
    return manifold.integrate(physics.blocks, qpos, jnp.zeros(physics.task.nv, qpos.dtype))
