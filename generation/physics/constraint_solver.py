r"""MuJoCo's constraint problem, solved to its minimum, and differentiated there.

MuJoCo finds the acceleration x = qacc that minimises the strictly convex function

    F(x) = ½ (x - x₀)ᵀ M (x - x₀) + Σᵢ ρᵢ(yᵢ),       y = J x - a,

with x₀ the unconstrained acceleration, M the joint inertia, J the constraints' Jacobian, a = aref their reference
acceleration. ρᵢ is quadratic in one zone of yᵢ, and linear (or zero) outside of it:

    kind of row         zone "quadratic": force fᵢ = -Dᵢ yᵢ     elsewhere
    equality            always                                   –
    friction loss       |yᵢ| < ηᵢ / Dᵢ                           fᵢ = ∓ηᵢ
    limit, contact      yᵢ < 0                                   fᵢ = 0

so F is piecewise quadratic, with Hessian H = M + Jᵀ D_A J, A the rows in their quadratic zone. The minimum is unique,
so it is a function
of the state and the action, whatever solver finds it: MJX's own Newton solver stopped early (Playground's 1 to 4
iterations) does not find it, MuJoCo C's with enough iterations and this one do.

Each iteration takes the Newton direction p = -H⁻¹ ∇F. If a full step leaves every row in its zone, x + p is the
minimum exactly, and the
loop ends. Otherwise the step goes to the minimum along p, found exactly and without an inner loop: F'(x + αp) is
piecewise linear and
increasing in α with kinks at known places, so it is evaluated at all of them at once and interpolated between the two
that enclose its zero. (MJX's line search runs its full number of iterations for every state under `vmap`.)

Derivative. At the minimum, G(x, θ) = M x - τ - Jᵀ f(J x - a) = 0 for the problem's data θ, so dx = -H⁻¹ ∂G/∂θ dθ. This
holds away from the boundaries between zones, a set of measure zero. `acceleration` carries this rule, so that
forward-mode differentiation of anything that calls it is exact, whatever the number of iterations.

Source: Todorov, "Convex and analytically-invertible dynamics with contacts and constraints", ICRA 2014; MuJoCo's
documentation, chapter Computation; `engine_solver.c`. Pyramidal friction cones only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax import custom_batching, custom_derivatives
from jaxtyping import Float, Int
from numpy.typing import NDArray

from dynamic_sparsity.generation import target
from dynamic_sparsity.generation.physics import newton_for_many
from dynamic_sparsity.generation.physics.constraint_problem import (
    ConstraintProblem,
    Zones,
    friction_bounds,
    hessian,
    zone_force,
    zones,
)
from dynamic_sparsity.generation.physics.linear_algebra import solve_positive_definite

MAX_ITERATIONS = 100
"""Newton iterations after which a state counts as not converged. None of the 25 tasks was seen to need more than 20."""

RESIDUAL_TOLERANCE = 1e-10
"""Largest relative gradient of F for a converged state; converged states are seen at 1e-12 and below."""

_CHUNKS = 16
"""Parts of a batch in which problems with many rows are solved."""

CHUNKS = "newton_chunks"
"""What the loop over parts of a batch is called in a compiled program."""

Iterations: TypeAlias = Int[jax.Array | np.ndarray, ""] | int
"""A limit of Newton iterations, which may be traced."""


class Solution(NamedTuple):
    """The minimum.

    Attributes:
        acceleration: x, shape (nv,).
        force: f, shape (nefc,).
        zones: The zone of each row at x.
        residual: |∇F| relative to the largest term of ∇F, shape ().
        iterations: Newton iterations taken, shape (), int32.
    """

    acceleration: Float[jax.Array, " nv"]
    force: Float[jax.Array, " nefc"]
    zones: Zones
    residual: Float[jax.Array, ""]
    iterations: Int[jax.Array, ""]


def _exact_step(
    problem: ConstraintProblem,
    slope: Float[jax.Array, ""],
    curvature: Float[jax.Array, ""],
    y: Float[jax.Array, " nefc"],
    dy: Float[jax.Array, " nefc"],
) -> Float[jax.Array, ""]:
    """Return the α > 0 that minimises F(x + αp).

    Args:
        problem: The problem.
        slope: pᵀ(M x - τ).
        curvature: pᵀ M p.
        y: J x - a.
        dy: J p.
    """

    def derivative(alpha: jax.Array) -> jax.Array:
        """F'(α) for α of shape (k,)."""
        moved = y[None] + alpha[:, None] * dy[None]
        forces = jax.vmap(lambda row: zone_force(problem, zones(problem, row), row))(moved)
        return slope + alpha * curvature - forces @ dy

    friction = slice(problem.n_equality, problem.n_equality + problem.n_friction)
    bound = friction_bounds(problem)
    rest, rest_dy = y[friction.stop :], dy[friction.stop :]
    numerator = jnp.concatenate([bound - y[friction], -bound - y[friction], -rest])
    denominator = jnp.concatenate([dy[friction], dy[friction], rest_dy])
    kinks = numerator / jnp.where(denominator == 0, 1.0, denominator)
    kinks = jnp.where((denominator != 0) & (kinks > 0), kinks, jnp.inf)
    # Behind an infinite kink stands 0, where F' < 0: p is a descent direction.
    finite = jnp.where(jnp.isfinite(kinks), kinks, 0.0)
    values = derivative(finite)
    low = jnp.max(jnp.where(values <= 0, finite, 0.0), initial=0.0)
    high = jnp.min(jnp.where((values > 0) & jnp.isfinite(kinks), finite, jnp.inf), initial=jnp.inf)
    high = jnp.where(jnp.isfinite(high), high, low + 1.0)
    at_low, at_high = derivative(jnp.stack([low, high]))
    step: jax.Array = low - at_low * (high - low) / (at_high - at_low)
    return step


class _State(NamedTuple):
    x: jax.Array
    zone: Zones
    done: jax.Array
    iterations: jax.Array


def evaluate(problem: ConstraintProblem, x: Float[jax.Array, " nv"], iterations: jax.Array | int = 0) -> Solution:
    """Return forces, zones and residual at an acceleration, whether it is the minimum or not.

    Args:
        problem: The problem.
        x: Acceleration.
        iterations: Newton iterations that led there; only copied into the result.
    """
    y = problem.jacobian @ x - problem.reference
    zone = zones(problem, y)
    force = zone_force(problem, zone, y)
    inertial, constraint = problem.inertia @ x, problem.jacobian.T @ force
    gradient = inertial - problem.smooth_force - constraint
    terms = jnp.stack([inertial, problem.smooth_force, constraint])
    residual = jnp.max(jnp.abs(gradient)) / jnp.maximum(jnp.max(jnp.abs(terms)), mujoco.mjMINVAL)
    return Solution(x, force, zone, residual, jnp.asarray(iterations, jnp.int32))


def _newton(
    problem: ConstraintProblem, start: Float[jax.Array, " nv"], max_iterations: Iterations
) -> tuple[Float[jax.Array, " nv"], Int[jax.Array, ""]]:
    """Return x and the number of iterations."""
    jacobian, reference = problem.jacobian, problem.reference

    def iterate(state: _State) -> _State:
        y = jacobian @ state.x - reference
        inertial = problem.inertia @ state.x - problem.smooth_force
        gradient = inertial - jacobian.T @ zone_force(problem, state.zone, y)
        p = -solve_positive_definite(hessian(problem, state.zone), gradient)
        dy = jacobian @ p
        full = zones(problem, y + dy)
        same = jnp.all(full.quadratic == state.zone.quadratic) & jnp.all(full.upper == state.zone.upper)
        alpha = _exact_step(problem, p @ inertial, p @ (problem.inertia @ p), y, dy)
        alpha = jnp.where(same | ~jnp.isfinite(alpha), 1.0, alpha)
        zone = zones(problem, y + alpha * dy)
        # A row that hovers on its boundary within rounding may change zones for ever, with steps that change nothing.
        still = jnp.max(jnp.abs(p)) <= 1e-14 * jnp.max(jnp.abs(state.x))
        # No number comes back from NaN or infinity: such a row must not keep its whole batch iterating.
        still |= ~jnp.all(jnp.isfinite(p))
        return _State(state.x + alpha * p, zone, same | still, state.iterations + 1)

    def unfinished(state: _State) -> jax.Array:
        return ~state.done & (state.iterations < max_iterations)

    first = zones(problem, jacobian @ start - reference)
    state = _State(start, first, jnp.array(False), jnp.array(0, jnp.int32))
    with jax.named_scope(newton_for_many.NEWTON):
        x, _, _, iterations = jax.lax.while_loop(unfinished, iterate, state)
    return x, iterations


def _rows(problem: ConstraintProblem, index: NDArray[np.int64]) -> ConstraintProblem:
    """Return a batch of problems with some of their rows only."""
    names = ("jacobian", "reference", "stiffness", "friction_loss")
    return replace(problem, few=None, **{name: getattr(problem, name)[:, index] for name in names})


@custom_batching.custom_vmap
def _search(problem: ConstraintProblem, start: jax.Array, max_iterations: Iterations) -> tuple[jax.Array, jax.Array]:
    return _newton(problem, start, max_iterations)


@_search.def_vmap
def _search_many(
    size: int, batched: Any, problem: ConstraintProblem, start: jax.Array, max_iterations: Iterations
) -> tuple[tuple[jax.Array, jax.Array], tuple[bool, bool]]:
    """Solve all problems with the few rows that do for most; then those with more rows with all, chunk by chunk."""

    def first(x: Any, is_batched: bool) -> Any:
        return x if is_batched else jnp.broadcast_to(x, (size, *jnp.shape(x)))

    problem, start = jax.tree_util.tree_map(first, (problem, start), (batched[0], batched[1]))
    solve_all = jax.vmap(_newton, in_axes=(0, 0, 0 if batched[2] else None))
    rows = problem.jacobian.shape[1]
    others = np.setdiff1d(np.arange(rows), np.arange(rows) if problem.few is None else np.array(problem.few, int))
    if not target.means().few_rows_first:
        return newton_for_many.search(replace(problem, few=None), start, max_iterations), (True, True)
    if not len(others) or batched[2]:
        return solve_all(replace(problem, few=None), start, max_iterations), (True, True)
    found = solve_all(_rows(problem, np.array(problem.few, int)), start, max_iterations)
    more = jnp.any(problem.jacobian[:, others] != 0, axis=(1, 2))
    count, chunk = jnp.sum(more, dtype=jnp.int32), max(1, size // _CHUNKS)
    order = jnp.pad(jnp.argsort(~more), (0, -size % chunk), mode="edge")

    def step(state: tuple[jax.Array, tuple[jax.Array, jax.Array]]) -> Any:
        begin, found = state
        index = jax.lax.dynamic_slice_in_dim(order, begin, chunk)
        own, own_start = jax.tree_util.tree_map(lambda x: x[index], (replace(problem, few=None), start))
        better = solve_all(own, own_start, max_iterations)
        # A row keeps what the few rows gave, whatever else is in its batch.
        place = jnp.where(more[index], index, size)
        return begin + chunk, tuple(a.at[place].set(b, mode="drop") for a, b in zip(found, better, strict=True))

    begin = jnp.zeros((), jnp.int32)
    with jax.named_scope(CHUNKS):
        _, found = jax.lax.while_loop(lambda state: state[0] < count, step, (begin, found))
    return found, (True, True)


def _minimise(problem: ConstraintProblem, start: Float[jax.Array, " nv"], max_iterations: Iterations) -> Solution:
    return evaluate(problem, *_search(problem, start, max_iterations))


@custom_derivatives.custom_jvp
def _solve(problem: ConstraintProblem, start: jax.Array, max_iterations: Iterations) -> Solution:
    return _minimise(problem, start, max_iterations)


@_solve.defjvp
def _solve_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Solution, Solution]:
    (problem, start, max_iterations), (d_problem, _, _) = primals, tangents
    solution = _minimise(problem, start, max_iterations)
    x, zone = solution.acceleration, solution.zones

    def force(problem: ConstraintProblem) -> jax.Array:
        return zone_force(problem, zone, problem.jacobian @ x - problem.reference)

    def gradient(problem: ConstraintProblem) -> jax.Array:
        return problem.inertia @ x - problem.smooth_force - problem.jacobian.T @ force(problem)

    _, d_gradient = jax.jvp(gradient, (problem,), (d_problem,))
    _, d_force = jax.jvp(force, (problem,), (d_problem,))
    dx = -solve_positive_definite(hessian(problem, zone), d_gradient)
    d_force = d_force - jnp.where(zone.quadratic, problem.stiffness * (problem.jacobian @ dx), 0.0)
    none: Any = np.zeros(zone.quadratic.shape, jax.dtypes.float0)
    no_count: Any = np.zeros((), jax.dtypes.float0)
    return solution, Solution(dx, d_force, Zones(none, none, none), jnp.zeros_like(solution.residual), no_count)


def solve(
    problem: ConstraintProblem, start: Float[jax.Array, " nv"], max_iterations: Iterations = MAX_ITERATIONS
) -> Solution:
    """Find the minimum of F, with its exact forward-mode derivative.

    Args:
        problem: The problem, float64; differentiable.
        start: Where to begin; does not influence the result but for rounding.
        max_iterations: Newton iterations at most; may be traced.

    Returns:
        The solution; `residual` tells whether it has converged: compare with `RESIDUAL_TOLERANCE`.
    """
    return _solve(problem, start, jnp.asarray(max_iterations, jnp.int32))
