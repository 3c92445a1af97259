r"""Exact Jacobians of a control step, by two engines that share nothing but the step.

**Implicit engine** (`implicit_jacobian`, for `converged`). The constrained acceleration x solves the inverse-dynamics
equation

    G(q, v, a; x) = RNE(q, v, x) + armature·x - passive(q, v) - actuation(q, v, a) - Jᵀ f(J x - aref)  =  0,

so, with H = ∂G/∂x = M + Jᵀ D_A J (see `constraint_solver`) and G's derivatives at fixed x from `residual`,

    ∂x/∂(q, v, a) = -H⁻¹ [ G_q | G_v | G_a ].                                                              (1)

The solver itself is never differentiated. Then, with w = (v' - v)/h = S⁻¹ M x,

    S ∂w = M ∂x + ∂M (x - w) + h ∂Q w           (∂w = ∂x where S = M),                                    (2)
    ∂v' = [0 | I | 0] + h ∂w,                                                                              (3)
    ∂q' = (∂(q ⊕ δ)/∂q) [I | 0 | 0] + h (∂(q ⊕ δ)/∂δ) ∂v'   at δ = h v'.                                   (4)

Substeps are chained: with Γ = ∂(q, v)/∂(s, a) so far, (3) gives Γ_v' = Γ_v + h (w_q Γ_q + w_v Γ_v + w_a [0 | I]), and
(4) Γ_q' from it: only velocities are ever solved for. All derivatives with respect to q are in tangent coordinates
(`manifold`), so the result is (2 nv) × (2 nv + da).

**Autodiff engine** (`autodiff_jacobian`): forward-mode differentiation of the whole control step, all columns at once.
On `converged`, the solver's own rule makes it exact, at several times the cost: the reference. On `stock`, it
differentiates MJX's truncated solver; the result is the partial derivative of that step at a fixed `qacc_warmstart`,
and `Substep.tangents_lost` tells where it lost terms.

Source: implicit function theorem; MuJoCo's documentation, "Inverse dynamics"; for hinge and slide joints compare
Carpentier and Mansard, "Analytical derivatives of rigid body dynamics algorithms", RSS 2018.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float
from mujoco import mjx

from dynamic_sparsity.generation import target
from dynamic_sparsity.generation.jacobians import applied_forces, residual, rigid_body
from dynamic_sparsity.generation.physics import constraint_problem, constraint_solver, linear_algebra, manifold
from dynamic_sparsity.generation.physics.model import Physics
from dynamic_sparsity.generation.physics.step import (
    Forward,
    Substep,
    advance,
    control_step,
    forward,
    implicit_derivative,
    integrated_acceleration,
    keep_types,
    with_slots,
)

CLOSED_FORM = "implicit, by closed forms of the residual's derivatives"


class Transition(NamedTuple):
    """One control step with its Jacobians.

    Attributes:
        data: MJX data after the step.
        J_s: ∂(next state)/∂(state) in tangent coordinates, float64, shape (2 nv, 2 nv); row = effect, column = cause.
        J_a: ∂(next state)/∂(action), shape (2 nv, da).
        info: The substeps' information, stacked.
    """

    data: mjx.Data
    J_s: Float[jax.Array, "dx dx"]
    J_a: Float[jax.Array, "dx da"]
    info: Substep


def acceleration_jacobian(
    physics: Physics, result: Forward, w: Float[jax.Array, " nv"], wrenches: bool = False
) -> Float[jax.Array, "nv inputs"]:
    """Return ∂w/∂(q, v, a) by equations (1) and (2), shape (nv, 2 nv + da).

    Args:
        physics: Physics with converged dynamics.
        result: Result of `physics.step.forward`.
        w: (v' - v) / h.
        wrenches: Whether there may be wrenches on bodies, `xfrc_applied`.
    """
    m, d = physics.mjx_model, result.data
    covered = residual.closed_form_gap(physics) is None
    blocks = (residual.closed_form if covered else residual.by_autodiff)(physics, result, w)
    if wrenches:
        applied = applied_forces.by_position(rigid_body.topology(physics.mj_model), m, d, d.xfrc_applied)
        blocks = blocks._replace(residual=blocks.residual.at[:, : m.nv].add(-applied))
    inertia = mjx.full_m(m, d)
    hessian = inertia if result.problem is None else constraint_problem.hessian(result.problem, result.zones)
    jacobian = -linear_algebra.solve_positive_definite(hessian, blocks.residual)
    q_matrix = implicit_derivative(physics, d)
    if q_matrix is None or blocks.implicit is None:
        return jacobian
    s_matrix = inertia - m.opt.timestep * q_matrix
    return linear_algebra.solve_positive_definite(s_matrix, inertia @ jacobian - blocks.implicit)


def implicit_jacobian(
    physics: Physics,
    data: mjx.Data,
    action: Float[jax.Array, " da"],
    max_iterations: constraint_solver.Iterations = constraint_solver.MAX_ITERATIONS,
    wrenches: bool = False,
) -> Transition:
    """Compute one `converged` control step with its Jacobians, by the implicit engine.

    Args:
        physics: Physics with converged dynamics.
        data: MJX data with the state, unbatched, float64.
        action: Control, float64.
        max_iterations: Limit of the solver; may be traced.
        wrenches: Whether there may be wrenches on bodies, `xfrc_applied`.
    """
    h = physics.mjx_model.opt.timestep
    nv, nu = physics.task.nv, physics.task.nu
    Carry = tuple[mjx.Data, jax.Array, jax.Array]
    # Γ is the identity in the first substep.
    alone = physics.task.substeps == 1 and target.means().sums_in_line

    def substep(carry: Carry, _: None) -> tuple[Carry, Substep]:
        d, g_q, g_v = carry
        result = forward(physics, d.replace(ctrl=action), max_iterations)
        w = integrated_acceleration(physics, result.data)
        dw = acceleration_jacobian(physics, result, w, wrenches)
        new = advance(physics, result.data, w)
        if alone:
            g_v = g_v + h * dw
        else:
            g_v = g_v + h * (dw[:, :nv] @ g_q + dw[:, nv : 2 * nv] @ g_v)
            g_v = g_v.at[:, 2 * nv :].add(h * dw[:, 2 * nv :])
        turned = manifold.integration_derivatives(physics.blocks, h * new.qvel)
        g_q = g_q + h * g_v if turned is None else turned[0] @ g_q + h * (turned[1] @ g_v)
        return (keep_types(new, d), g_q, g_v), result.info

    identity = jnp.eye(2 * nv, 2 * nv + nu)
    start = (with_slots(physics, data), identity[:nv], identity[nv:])
    (final, g_q, g_v), info = jax.lax.scan(substep, start, None, length=physics.task.substeps)
    jacobian = jnp.concatenate([g_q, g_v])
    return Transition(final, jacobian[:, : 2 * nv], jacobian[:, 2 * nv :], info)


def autodiff_jacobian(
    physics: Physics,
    data: mjx.Data,
    action: Float[jax.Array, " da"],
    max_iterations: constraint_solver.Iterations = constraint_solver.MAX_ITERATIONS,
) -> Transition:
    """Compute one control step with its Jacobians, by automatic differentiation.

    Args:
        physics: Physics with either dynamics.
        data: MJX data with the state, unbatched, float64.
        action: Control, float64.
        max_iterations: Limit of the solver; may be traced.
    """
    nv, nu = physics.task.nv, physics.task.nu

    def step(q: jax.Array, v: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
        final, _ = control_step(physics, data.replace(qpos=q, qvel=v), a, max_iterations)
        return final.qpos, final.qvel

    def column(dq: jax.Array, dv: jax.Array, da: jax.Array) -> tuple[jax.Array, jax.Array]:
        derivative: tuple[jax.Array, jax.Array] = jax.jvp(step, (data.qpos, data.qvel, action), (dq, dv, da))[1]
        return derivative

    directions = jnp.eye(2 * nv + nu)
    dq = directions[:, :nv] @ manifold.basis(physics.blocks, data.qpos).T
    out_q, out_v = jax.vmap(column, out_axes=1)(dq, directions[:, nv : 2 * nv], directions[:, 2 * nv :])
    final, info = control_step(physics, data, action, max_iterations)
    jacobian = jnp.concatenate([manifold.dual_basis(physics.blocks, final.qpos) @ out_q, out_v])
    return Transition(final, jacobian[:, : 2 * nv], jacobian[:, 2 * nv :], info)


def transition(
    physics: Physics,
    data: mjx.Data,
    action: Float[jax.Array, " da"],
    max_iterations: constraint_solver.Iterations = constraint_solver.MAX_ITERATIONS,
) -> Transition:
    """Compute one control step with its Jacobians, by the engine that suits the dynamics.

    Args:
        physics: The physics.
        data: MJX data with the state, unbatched, float64.
        action: Control, float64.
        max_iterations: Limit of the converged solver; may be traced.
    """
    engine = implicit_jacobian if physics.dynamics == "converged" else autodiff_jacobian
    return engine(physics, data, action, max_iterations)


def description(physics: Physics) -> str:
    """Return which engine computes the Jacobians of a model, and why if it is not the fast one.

    Args:
        physics: The physics.
    """
    if physics.dynamics == "stock":
        return "forward differentiation of the control step"
    gap = residual.closed_form_gap(physics)
    if gap is None:
        return CLOSED_FORM
    return f"implicit, by forward differentiation of the residual, which is slower (no closed form for {gap})"
