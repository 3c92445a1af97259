r"""Newton's method of `constraint_solver` for many problems at once, with the batch as the last axis.

It is the same method, written so that each of its sums over rows or unknowns is one kernel of a GPU, and all that is
between two sums is part of one: an iteration is a dozen kernels and an elimination, where `jax.vmap` of the method for
one problem makes about forty. On a CPU the latter is as fast (`generation/target.py`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco

from dynamic_sparsity.generation.physics.constraint_problem import ConstraintProblem
from dynamic_sparsity.generation.physics.linear_algebra import eliminate

NEWTON = "newton_iterations"
"""What the loop over iterations is called in a compiled program."""


class _State(NamedTuple):
    """Of B problems, between two iterations.

    Attributes:
        x: Accelerations, (nv, B).
        quadratic: Rows whose force is -D y, (nefc, B).
        sliding: Forces of friction-loss rows outside of that zone, (nf, B).
        taken: Iterations n, or ~n < 0 where there will be no more, int32, (B,).
    """

    x: jax.Array
    quadratic: jax.Array
    sliding: jax.Array
    taken: jax.Array


def search(
    problem: ConstraintProblem, start: jax.Array, max_iterations: jax.Array | Any
) -> tuple[jax.Array, jax.Array]:
    """Return the minima of B problems, shape (B, nv), and the iterations taken, int32, shape (B,).

    Args:
        problem: Arrays with a first batch axis.
        start: Where to begin, float64, shape (B, nv).
        max_iterations: Most iterations of each, int32, shape () or (B,).
    """
    names = ("inertia", "smooth_force", "jacobian", "reference", "stiffness", "friction_loss")
    arrays: dict[str, Any] = {name: jnp.moveaxis(getattr(problem, name), 0, -1) for name in names}
    last = replace(problem, **arrays)
    size = start.shape[0]

    def iterate(state: _State) -> _State:
        y = _times(last.jacobian, state.x) - last.reference
        inertial = _times(last.inertia, state.x) - last.smooth_force
        force = _force(last, state.quadratic, state.sliding, y)
        gradient = inertial - jnp.sum(last.jacobian * force[:, None], axis=0)
        weights = jnp.where(state.quadratic, last.stiffness, 0.0)
        hessian = last.inertia + jnp.sum(
            (last.jacobian * weights[:, None])[:, :, None] * last.jacobian[:, None], axis=0
        )
        going = unfinished(state)
        # Rows that have ended stay where they are; their zones no longer count.
        p = jnp.where(going, -eliminate(hessian, gradient[:, None])[:, 0], 0.0)
        dy = _times(last.jacobian, p)
        full = _zones(last, y + dy)
        same = jnp.all(full[0] == state.quadratic, axis=0) & jnp.all(full[1] == state.sliding, axis=0)
        slope, curvature = jnp.sum(p * inertial, axis=0), jnp.sum(p * _times(last.inertia, p), axis=0)
        alpha = _exact_step(last, slope, curvature, y, dy)
        alpha = jnp.where(same | ~jnp.isfinite(alpha), 1.0, alpha)
        quadratic, sliding = _zones(last, y + alpha * dy)
        # As in `constraint_solver`: rows that hover on a boundary, and rows without numbers, end.
        still = jnp.max(jnp.abs(p), axis=0) <= 1e-14 * jnp.max(jnp.abs(state.x), axis=0)
        still |= ~jnp.all(jnp.isfinite(p), axis=0)
        taken = jnp.where(same | still, ~(state.taken + 1), state.taken + 1)
        return _State(state.x + alpha * p, quadratic, sliding, jnp.where(going, taken, state.taken))

    def unfinished(state: _State) -> jax.Array:
        return (state.taken >= 0) & (state.taken < max_iterations)

    x = jnp.moveaxis(start, 0, -1)
    zones = _zones(last, _times(last.jacobian, x) - last.reference)
    state = _State(x, *zones, jnp.zeros(size, jnp.int32))
    with jax.named_scope(NEWTON):
        state = jax.lax.while_loop(lambda state: jnp.any(unfinished(state)), iterate, state)
    return jnp.moveaxis(state.x, -1, 0), jnp.where(state.taken < 0, ~state.taken, state.taken)


def _times(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    """Return (m, n, B) times (n, B)."""
    return jnp.sum(matrix * vector[None], axis=1)


def _bounds(problem: ConstraintProblem) -> jax.Array:
    """Return η / D of the friction-loss rows, (nf, B)."""
    rows = slice(problem.n_equality, problem.n_equality + problem.n_friction)
    return problem.friction_loss[rows] / jnp.maximum(problem.stiffness[rows], mujoco.mjMINVAL)


def _zones(problem: ConstraintProblem, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return which rows of y (nefc, …, B) are in their quadratic zone, and the forces of friction-loss rows that slide.

    These are of shape (nf, …, B), and zero for rows that do not slide.
    """
    start, stop = problem.n_equality, problem.n_equality + problem.n_friction
    shape = (problem.n_friction, *[1] * (y.ndim - 2), y.shape[-1])
    bound, loss = _bounds(problem).reshape(shape), problem.friction_loss[start:stop].reshape(shape)
    slip = y[start:stop]
    inside = (slip < bound) & (slip > -bound)
    sliding = jnp.where(inside, 0.0, jnp.where(slip >= bound, -loss, loss))
    return jnp.concatenate([jnp.ones_like(y[:start], bool), inside, y[stop:] < 0]), sliding


def _force(problem: ConstraintProblem, quadratic: jax.Array, sliding: jax.Array, y: jax.Array) -> jax.Array:
    """Return the constraint forces of rows in given zones, of y's shape (nefc, …, B)."""
    start, stop = problem.n_equality, problem.n_equality + problem.n_friction
    stiffness = problem.stiffness.reshape(len(y), *[1] * (y.ndim - 2), y.shape[-1])
    outside = jnp.concatenate([jnp.zeros_like(y[:start]), sliding, jnp.zeros_like(y[stop:])])
    return jnp.where(quadratic, -stiffness * y, outside)


def _exact_step(
    problem: ConstraintProblem, slope: jax.Array, curvature: jax.Array, y: jax.Array, dy: jax.Array
) -> jax.Array:
    """Return the steps α that minimise F(x + α p), (B,), as `constraint_solver` has it for one problem."""

    def derivative(alpha: jax.Array) -> jax.Array:
        """F'(α) for α of shape (k, B)."""
        moved = y[:, None] + alpha[None] * dy[:, None]
        forces = _force(problem, *_zones(problem, moved), moved)
        return slope + alpha * curvature - jnp.sum(forces * dy[:, None], axis=0)

    start, stop = problem.n_equality, problem.n_equality + problem.n_friction
    numerator, denominator = -y[stop:], dy[stop:]
    if problem.n_friction:
        bound, slip, rate = _bounds(problem), y[start:stop], dy[start:stop]
        numerator = jnp.concatenate([bound - slip, -bound - slip, numerator])
        denominator = jnp.concatenate([rate, rate, denominator])
    kinks = numerator / jnp.where(denominator == 0, 1.0, denominator)
    ahead = (denominator != 0) & (kinks > 0)
    finite = jnp.where(ahead, kinks, 0.0)
    values = derivative(finite)
    low = jnp.max(jnp.where(values <= 0, finite, 0.0), axis=0, initial=0.0)
    high = jnp.min(jnp.where((values > 0) & ahead, finite, jnp.inf), axis=0, initial=jnp.inf)
    high = jnp.where(jnp.isfinite(high), high, low + 1.0)
    at_low, at_high = derivative(jnp.stack([low, high]))
    step: jax.Array = low - at_low * (high - low) / (at_high - at_low)
    return step
