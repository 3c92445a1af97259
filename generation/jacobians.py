r"""Exact Jacobians of a control step, by two engines that share nothing but the step.

**Residual engine** (`linearise`, for `converged`). The constrained acceleration x solves the inverse-dynamics equation

    G(q, v, a; x) = RNE(q, v, x) + armature·x - passive(q, v) - actuation(q, v, a) - Jᵀ f(J x - aref)  =  0,

so, with H = ∂G/∂x = M + Jᵀ D_A J (see `solver`),

    ∂x/∂(q, v, a) = -H⁻¹ [ G_q | G_v | G_a ].                                                              (1)

The three blocks are Jacobian-vector products at fixed x, each with only the stages that its variable enters: G_q (nv
tangent directions)
repeats kinematics, collision and all that follows; G_v (nv) repeats the velocity stage with the position stage closed
over; G_a (da) only the actuation. The solver itself is never differentiated. Then, with w = (v' - v)/h = S⁻¹ M x,

    S ∂w = M ∂x + ∂M (x - w) + h ∂Q w           (∂w = ∂x where S = M),                                    (2)
    ∂v' = [0 | I | 0] + h ∂w,                                                                               (3)
    ∂q' = (∂(q ⊕ δ)/∂q) [I | 0 | 0] + h (∂(q ⊕ δ)/∂δ) ∂v'   at δ = h v'.                                    (4)

Substeps are chained: with Γ = ∂(q, v)/∂(s, a) so far, (3) gives Γ_v' = Γ_v + h (w_q Γ_q + w_v Γ_v + w_a [0 | I]), and
(4) Γ_q' from
it. All derivatives with respect to q are in tangent coordinates (`tangent`), so the result is (2 nv) × (2 nv + da).

**Autodiff engine** (`differentiate`): forward-mode differentiation of the whole control step, all columns at once. On
`converged`, the
solver's own rule makes it exact, at several times the cost: the reference. On `stock`, it differentiates MJX's
truncated solver; the result
is the partial derivative of that step at a fixed `qacc_warmstart`, and `Substep.tangents_lost` says where it lost
terms.

Source: implicit function theorem; MuJoCo's documentation, "Inverse dynamics"; for hinge and slide joints compare
Carpentier and Mansard, "Analytical derivatives of rigid body dynamics algorithms", RSS 2018.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from mujoco import mjx
from mujoco.mjx._src import collision_driver, constraint, passive, smooth, support
from mujoco.mjx._src import forward as mjx_forward

from dynamic_sparsity.generation import dynamics, solver, tangent
from dynamic_sparsity.generation.dynamics import Forward, Physics, Substep


class Transition(NamedTuple):
    """One control step with its Jacobians.

    Attributes:
        data: MJX data after the step.
        J_s: ∂(next state)/∂(state) in tangent coordinates, float64, shape (2 nv, 2 nv); row = effect, column = cause.
        J_a: ∂(next state)/∂(action), shape (2 nv, da).
        info: The substeps' information, stacked.
    """

    data: mjx.Data
    J_s: jax.Array
    J_a: jax.Array
    info: Substep


class _Acceleration(NamedTuple):
    """∂w/∂(q, v, a): shapes (nv, nv), (nv, nv), (nv, da)."""

    by_position: jax.Array
    by_velocity: jax.Array
    by_action: jax.Array


def _position_stage(physics: Physics, d: mjx.Data) -> mjx.Data:
    m = physics.mjx_model
    d = smooth.com_pos(m, smooth.kinematics(m, d))
    d = smooth.tendon(m, d)
    if dynamics.implicit_derivative(physics, d) is not None:
        d = smooth.crb(m, d)
    if d._impl.efc_J.size:
        d = constraint.make_constraint(m, collision_driver.collision(m, d))
    return smooth.transmission(m, d)


def _velocity_stage(physics: Physics, d: mjx.Data) -> mjx.Data:
    """Everything that velocity enters, and the inverse dynamics at d.qacc."""
    m, impl = physics.mjx_model, d._impl
    d = d.tree_replace(
        {"_impl.actuator_velocity": impl.actuator_moment @ d.qvel, "_impl.ten_velocity": impl.ten_J @ d.qvel}
    )
    d = passive.passive(m, smooth.com_vel(m, d))
    return smooth.rne(m, d, flg_acc=True)


def _residuals(physics: Physics, d: mjx.Data, zones: solver.Zones, w: jax.Array) -> tuple[jax.Array, ...]:
    """G, and with an implicit integrator M (w - x) - h Q w, both of shape (nv,), from data of all stages."""
    m, x = physics.mjx_model, d.qacc
    residual = d.qfrc_bias + m.dof_armature * x - d.qfrc_passive - d.qfrc_actuator
    if d._impl.efc_J.size:
        problem = dynamics.constraint_problem(m, d)
        y = problem.jacobian @ x - problem.reference
        residual -= problem.jacobian.T @ solver.zone_force(problem, zones, y)
    q_matrix = dynamics.implicit_derivative(physics, d)
    if q_matrix is None:
        return (residual,)
    return residual, support.mul_m(m, d, w - x) - m.opt.timestep * (q_matrix @ w)


def _acceleration_jacobian(physics: Physics, result: Forward, w: jax.Array) -> _Acceleration:
    """Equations (1) and (2)."""
    m, d, zones = physics.mjx_model, result.data, result.zones

    def by_position(q: jax.Array) -> tuple[jax.Array, ...]:
        moved = _velocity_stage(physics, _position_stage(physics, d.replace(qpos=q)))
        return _residuals(physics, mjx_forward.fwd_actuation(m, moved), zones, w)

    def by_velocity(v: jax.Array) -> tuple[jax.Array, ...]:
        moved = d.replace(qvel=v)
        if d._impl.efc_J.size:
            moved = constraint.make_constraint(m, moved)
        moved = _velocity_stage(physics, moved)
        return _residuals(physics, mjx_forward.fwd_actuation(m, moved), zones, w)

    def by_action(a: jax.Array) -> tuple[jax.Array, ...]:
        moved = mjx_forward.fwd_actuation(m, d.replace(ctrl=a))
        q_matrix = dynamics.implicit_derivative(physics, moved)
        if q_matrix is None:
            return (-moved.qfrc_actuator,)
        return -moved.qfrc_actuator, -m.opt.timestep * (q_matrix @ w)

    nv, nu = physics.task.nv, physics.task.nu
    basis = tangent.basis(physics.blocks, d.qpos)
    blocks = (
        _columns(by_position, d.qpos, basis),
        _columns(by_velocity, d.qvel, jnp.eye(nv)),
        _columns(by_action, d.ctrl, jnp.eye(nu)),
    )
    residual = jnp.concatenate([block[0] for block in blocks], axis=1)
    inertia = support.full_m(m, d)
    hessian = inertia if result.problem is None else solver.hessian(result.problem, zones)
    jacobian = -solver.solve_positive_definite(hessian, residual)
    q_matrix = dynamics.implicit_derivative(physics, d)
    if q_matrix is not None:
        implicit = jnp.concatenate([block[1] for block in blocks], axis=1)
        s_matrix = inertia - m.opt.timestep * q_matrix
        jacobian = solver.solve_positive_definite(s_matrix, inertia @ jacobian - implicit)
    return _Acceleration(jacobian[:, :nv], jacobian[:, nv : 2 * nv], jacobian[:, 2 * nv :])


def _columns(function, point: jax.Array, directions: jax.Array) -> tuple[jax.Array, ...]:  # type: ignore[no-untyped-def]
    """Derivatives of outputs, each (n,), along directions of shape (len(point), k); returns matrices (n, k)."""

    def column(direction: jax.Array) -> tuple[jax.Array, ...]:
        derivative: tuple[jax.Array, ...] = jax.jvp(function, (point,), (direction,))[1]
        return derivative

    columns: tuple[jax.Array, ...] = jax.vmap(column, in_axes=1, out_axes=1)(directions)
    return columns


def linearise(
    physics: Physics, data: mjx.Data, action: jax.Array, max_iterations: jax.Array | int = solver.MAX_ITERATIONS
) -> Transition:
    """One `converged` control step with its Jacobians, by the residual engine.

    Args:
        physics: Physics with converged dynamics.
        data: MJX data with the state, unbatched, float64.
        action: Control, shape (da,), float64.
        max_iterations: Limit of the solver.
    """
    h = physics.mjx_model.opt.timestep
    nv, nu = physics.task.nv, physics.task.nu

    def substep(
        carry: tuple[mjx.Data, jax.Array, jax.Array], _: None
    ) -> tuple[tuple[mjx.Data, jax.Array, jax.Array], Substep]:
        d, g_q, g_v = carry
        result = dynamics.forward(physics, d.replace(ctrl=action), max_iterations)
        w = dynamics.integrated_acceleration(physics, result.data)
        dw = _acceleration_jacobian(physics, result, w)
        new = dynamics.advance(physics, result.data, w)
        g_v = g_v + h * (dw.by_position @ g_q + dw.by_velocity @ g_v)
        g_v = g_v.at[:, 2 * nv :].add(h * dw.by_action)
        turned = tangent.integration_derivatives(physics.blocks, h * new.qvel)
        g_q = g_q + h * g_v if turned is None else turned[0] @ g_q + h * (turned[1] @ g_v)
        return (dynamics.keep_types(new, d), g_q, g_v), result.info

    identity = jnp.eye(2 * nv, 2 * nv + nu)
    (final, g_q, g_v), info = jax.lax.scan(
        substep, (data, identity[:nv], identity[nv:]), None, length=physics.task.substeps
    )
    jacobian = jnp.concatenate([g_q, g_v])
    return Transition(final, jacobian[:, : 2 * nv], jacobian[:, 2 * nv :], info)


def differentiate(
    physics: Physics, data: mjx.Data, action: jax.Array, max_iterations: jax.Array | int = solver.MAX_ITERATIONS
) -> Transition:
    """One control step with its Jacobians, by automatic differentiation; arguments as `linearise`, either dynamics."""
    nv, nu = physics.task.nv, physics.task.nu

    def step(q: jax.Array, v: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
        final, _ = dynamics.control_step(physics, data.replace(qpos=q, qvel=v), a, max_iterations)
        return final.qpos, final.qvel

    def column(dq: jax.Array, dv: jax.Array, da: jax.Array) -> tuple[jax.Array, jax.Array]:
        derivative: tuple[jax.Array, jax.Array] = jax.jvp(step, (data.qpos, data.qvel, action), (dq, dv, da))[1]
        return derivative

    directions = jnp.eye(2 * nv + nu)
    dq = directions[:, :nv] @ tangent.basis(physics.blocks, data.qpos).T
    out_q, out_v = jax.vmap(column, out_axes=1)(dq, directions[:, nv : 2 * nv], directions[:, 2 * nv :])
    final, info = dynamics.control_step(physics, data, action, max_iterations)
    jacobian = jnp.concatenate([tangent.dual_basis(physics.blocks, final.qpos) @ out_q, out_v])
    return Transition(final, jacobian[:, : 2 * nv], jacobian[:, 2 * nv :], info)


def transition(
    physics: Physics, data: mjx.Data, action: jax.Array, max_iterations: jax.Array | int = solver.MAX_ITERATIONS
) -> Transition:
    """One control step with its Jacobians by the engine that suits the dynamics."""
    engine = linearise if physics.dynamics == "converged" else differentiate
    return engine(physics, data, action, max_iterations)
