"""What is done otherwise on a GPU gives the same numbers: programs meant for one run here on the CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamic_sparsity.generation import target
from dynamic_sparsity.generation.physics import batch_last, constraint_problem, constraint_solver, linear_algebra

pytestmark = pytest.mark.slow

BATCH = 16


def on_both(function, *arguments):
    """What a batched function gives with a CPU's means, and with a GPU's."""
    found = []
    for kind in ("cpu", "gpu"):
        with target.compiling_for(kind):
            # A function of its own, as JAX keeps what it traced.
            found.append(jax.jit(jax.vmap(lambda *row: function(*row)))(*arguments))
    return found


def problems(rng, nv, n_equality, n_friction, n_unilateral):
    """A batch of random problems, and where to begin."""
    nefc = n_equality + n_friction + n_unilateral
    root = rng.normal(size=(BATCH, nv, nv))
    inertia = root @ root.swapaxes(1, 2) + np.eye(nv)
    friction_loss = np.zeros((BATCH, nefc))
    friction_loss[:, n_equality : n_equality + n_friction] = rng.uniform(0.1, 2, (BATCH, n_friction))
    smooth_force = rng.normal(size=(BATCH, nv)) * 5
    data = constraint_problem.ConstraintProblem(
        inertia=jnp.asarray(inertia),
        smooth_force=jnp.asarray(smooth_force),
        jacobian=jnp.asarray(rng.normal(size=(BATCH, nefc, nv))),
        reference=jnp.asarray(rng.normal(size=(BATCH, nefc))),
        stiffness=jnp.asarray(10 ** rng.uniform(-1, 4, (BATCH, nefc))),
        friction_loss=jnp.asarray(friction_loss),
        n_equality=n_equality,
        n_friction=n_friction,
    )
    return data, jnp.asarray(np.linalg.solve(inertia, smooth_force[..., None])[..., 0])


@pytest.mark.parametrize("shape", [(4, 0, 2, 6), (9, 2, 1, 24), (1, 0, 0, 1), (3, 1, 3, 0)])
def test_newtons_method(shape):
    data, start = problems(np.random.default_rng(0), *shape)
    one_by_one, together = on_both(constraint_solver.solve, data, start)
    assert together.residual.max() < 1e-10
    np.testing.assert_array_equal(together.iterations, one_by_one.iterations)
    np.testing.assert_allclose(together.acceleration, one_by_one.acceleration, rtol=1e-9, atol=1e-11)
    np.testing.assert_array_equal(together.zones.quadratic, one_by_one.zones.quadratic)


def test_a_row_without_numbers_keeps_no_other_from_its_minimum():
    data, start = problems(np.random.default_rng(1), 3, 0, 1, 5)
    broken = start.at[2].set(jnp.nan)
    one_by_one, together = on_both(constraint_solver.solve, data, broken)
    rest = np.arange(BATCH) != 2
    assert np.isnan(together.acceleration[2]).all()
    np.testing.assert_allclose(together.acceleration[rest], one_by_one.acceleration[rest], rtol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 9, 13, 27])
def test_elimination(size):
    rng = np.random.default_rng(size)
    root = rng.normal(size=(BATCH, size, size))
    matrix, right = root @ root.swapaxes(1, 2) + 0.1 * np.eye(size), rng.normal(size=(BATCH, size, 3))
    expected = np.linalg.solve(matrix, right)
    for found in on_both(linear_algebra.solve_positive_definite, jnp.asarray(matrix), jnp.asarray(right)):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_sums_over_active_items():
    rng = np.random.default_rng(0)
    active, values = rng.random((BATCH, 6)) < 0.3, rng.normal(size=(BATCH, 6, 2))
    values[~active] = np.nan
    added = batch_last.sum_over_active(lambda row, item: row[item], lambda picked: picked[None] * jnp.ones((3, 1, 1)))
    one_by_one, together = on_both(added, jnp.asarray(active), jnp.asarray(values))
    expected = np.where(active[:, :, None], values, 0).sum(axis=1)[:, None] * np.ones((1, 3, 1))
    np.testing.assert_allclose(one_by_one, expected, atol=1e-14)
    np.testing.assert_allclose(together, expected, atol=1e-14)


def test_sums_over_trees():
    matrix, x = np.array([[1, 0, 1], [0, 0, 0]]), jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 5)))
    for kind in ("cpu", "gpu"):
        with target.compiling_for(kind):
            np.testing.assert_allclose(batch_last.total(matrix, x), np.tensordot(matrix, x, 1))
