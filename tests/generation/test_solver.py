"""The constraint solver: its minimum, its derivative, its stopping."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamic_sparsity.generation.physics import constraint_problem, constraint_solver

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_promotion")]

solve = jax.jit(constraint_solver.solve)


def problem(rng, nv=4, n_equality=0, n_friction=2, n_unilateral=6):
    nefc = n_equality + n_friction + n_unilateral
    root = rng.normal(size=(nv, nv))
    friction_loss = np.zeros(nefc)
    friction_loss[n_equality : n_equality + n_friction] = rng.uniform(0.1, 2, n_friction)
    return constraint_problem.ConstraintProblem(
        inertia=jnp.asarray(root @ root.T + np.eye(nv)),
        smooth_force=jnp.asarray(rng.normal(size=nv) * 5),
        jacobian=jnp.asarray(rng.normal(size=(nefc, nv))),
        reference=jnp.asarray(rng.normal(size=nefc)),
        stiffness=jnp.asarray(10 ** rng.uniform(-1, 4, nefc)),
        friction_loss=jnp.asarray(friction_loss),
        n_equality=n_equality,
        n_friction=n_friction,
    )


def cost(problem, x):
    """F(x), written down again from the documentation."""
    y = np.asarray(problem.jacobian @ x - problem.reference)
    d, loss = np.asarray(problem.stiffness), np.asarray(problem.friction_loss)
    start, stop = problem.n_equality, problem.n_equality + problem.n_friction
    value = 0.5 * x @ problem.inertia @ x - problem.smooth_force @ x
    for i in range(len(y)):
        bound = loss[i] / d[i]
        if i < start or (start <= i < stop and abs(y[i]) < bound) or (i >= stop and y[i] < 0):
            value += 0.5 * d[i] * y[i] ** 2
        elif start <= i < stop:
            value += loss[i] * abs(y[i]) - 0.5 * loss[i] * bound
    return float(value)


SHAPES = [
    {},
    {"n_equality": 2},
    {"n_friction": 0},
    {"n_unilateral": 0},
    {"nv": 9, "n_equality": 2, "n_friction": 1, "n_unilateral": 24},
]


@pytest.mark.sample(4)
@pytest.mark.parametrize("shape", SHAPES)
def test_finds_the_minimum(shape):
    rng = np.random.default_rng(0)
    for _ in range(10):
        data = problem(rng, **shape)
        start = jnp.asarray(np.linalg.solve(data.inertia, data.smooth_force))
        solution = solve(data, start)
        x = np.asarray(solution.acceleration)
        assert solution.residual < 1e-11
        assert solution.iterations <= 20
        best = cost(data, x)
        for step in (1e-5, 1e-3, 0.1, 3.0):
            for direction in rng.normal(size=(20, len(x))):
                assert cost(data, x + step * direction) >= best - 1e-9 * abs(best)


def test_does_not_depend_on_its_start():
    rng = np.random.default_rng(1)
    data = problem(rng)
    solutions = [solve(data, jnp.asarray(rng.normal(size=4) * scale)).acceleration for scale in (0, 1, 100)]
    np.testing.assert_allclose(solutions[1], solutions[0], rtol=1e-10)
    np.testing.assert_allclose(solutions[2], solutions[0], rtol=1e-10)


@pytest.mark.sample(4)
@pytest.mark.parametrize("shape", SHAPES)
def test_derivative(shape):
    rng = np.random.default_rng(2)
    for _ in range(5):
        data, other = problem(rng, **shape), problem(rng, **shape)
        start = jnp.zeros(data.inertia.shape[0])

        def at(t, data=data, other=other, start=start):
            def moved(name):
                return getattr(data, name) * (1 + t * 0.01 * getattr(other, name))

            fields = ("smooth_force", "jacobian", "reference", "stiffness", "friction_loss")
            inertia = data.inertia + t * 0.01 * other.inertia
            changed = {name: moved(name) for name in fields}
            fixed = {"n_equality": data.n_equality, "n_friction": data.n_friction}
            solution = solve(constraint_problem.ConstraintProblem(inertia=inertia, **changed, **fixed), start)
            return solution.acceleration, solution.force

        tangents = jax.jvp(at, (0.0,), (1.0,))[1]
        for index, derivative in enumerate(tangents):
            difference = (at(1e-6)[index] - at(-1e-6)[index]) / 2e-6
            np.testing.assert_allclose(
                derivative, difference, rtol=1e-4, atol=1e-6 * np.abs(difference).max(initial=1e-6)
            )


def test_nothing_acts():
    data = problem(np.random.default_rng(3), n_friction=0)
    far = constraint_problem.ConstraintProblem(**{**vars(data), "reference": jnp.full(6, -1e6)})
    solution = solve(far, jnp.zeros(4))
    np.testing.assert_allclose(solution.acceleration, np.linalg.solve(far.inertia, far.smooth_force), rtol=1e-12)
    assert not solution.zones.quadratic.any()


def test_nan_stops_at_once():
    data = problem(np.random.default_rng(4))
    broken = constraint_problem.ConstraintProblem(**{**vars(data), "smooth_force": jnp.full(4, jnp.nan)})
    solution = solve(broken, jnp.zeros(4))
    assert solution.iterations <= 2
    assert not solution.residual <= constraint_solver.RESIDUAL_TOLERANCE


def test_limit_of_iterations_shows_in_the_residual():
    rng = np.random.default_rng(5)
    unfinished = 0
    for _ in range(10):
        data = problem(rng, nv=9, n_unilateral=24)
        solution = solve(data, jnp.zeros(9), 1)
        finished = solve(data, jnp.zeros(9))
        right = np.allclose(solution.acceleration, finished.acceleration, rtol=1e-8)
        assert right == bool(solution.residual <= constraint_solver.RESIDUAL_TOLERANCE)
        unfinished += not right
    assert unfinished > 0
