"""Small linear systems without LAPACK.

JAX's batched LAPACK kernels on a CPU wait for workers of the very thread pool they run in; with few cores all workers
can end up waiting for each other, and the program hangs (seen with jaxlib 0.10.2 on two cores, in a batched triangular
solve; jax-ml/jax#36927 reports that the same kernels became slower with that division of work). The systems here have 1
to 27 unknowns, for which plain elimination does as well. `tests/test_upstream.py` fails when JAX no longer calls LAPACK
for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from jax import custom_batching
from jaxtyping import Float

from dynamic_sparsity.generation import target
from dynamic_sparsity.generation.physics.batch_last import batch_last, sum_of


def solve_positive_definite(
    matrix: Float[jax.Array, "n n"], right: Float[jax.Array, "n ..."]
) -> Float[jax.Array, "n ..."]:
    """Solve matrix · X = right by Gauss-Jordan elimination, which needs no pivoting for positive definite matrices.

    Args:
        matrix: Symmetric positive definite.
        right: One right side, shape (n,), or k of them, shape (n, k).

    Returns:
        X, of right's shape.

    Source: Higham, "Accuracy and stability of numerical algorithms", sections 10.1 and 14.4.
    """
    columns = right[:, None] if right.ndim == 1 else right
    solution: jax.Array = _solve(matrix, columns)
    return solution.reshape(right.shape)


@jax.custom_jvp
def _solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
    solution: jax.Array = _solve_shared(matrix, right)
    return solution


@_solve.defjvp
def _solve_jvp(primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]) -> Any:
    (matrix, right), (d_matrix, d_right) = primals, tangents
    solution = _solve(matrix, right)
    return solution, _solve(matrix, d_right - d_matrix @ solution)


@custom_batching.custom_vmap
def _solve_shared(matrix: jax.Array, right: jax.Array) -> jax.Array:
    solution: jax.Array = _eliminate(matrix, right)
    return solution


@_solve_shared.def_vmap
def _solve_many(size: int, batched: Sequence[bool], matrix: jax.Array, right: jax.Array) -> tuple[jax.Array, bool]:
    if batched[0] or not batched[1]:
        axes = tuple(0 if is_batched else None for is_batched in batched)
        return jax.vmap(_eliminate, in_axes=axes, axis_size=size)(matrix, right), True
    # Directions of a derivative share their matrix: it is eliminated once, with all their columns.
    n, k = right.shape[1:]
    solution = _solve_shared(matrix, jnp.moveaxis(right, 0, 1).reshape(n, size * k))
    return jnp.moveaxis(solution.reshape(n, size, k), 1, 0), True


def eliminate(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solve systems with a last batch axis.

    Args:
        matrix: Symmetric positive definite matrices, shape (n, n, B).
        right: Right sides, shape (n, k, B).

    Returns:
        Solutions, shape (n, k, B).
    """
    pivots, n = target.means().pivots, len(matrix)
    if n <= target.means().unknowns_in_line:
        return _eliminate_in_line(matrix, right)
    if pivots is not None:
        return _eliminate_blocks(matrix, right, pivots)
    index = jnp.arange(n)[:, None, None]

    def step(k: jax.Array, system: jax.Array) -> jax.Array:
        row = jax.lax.dynamic_index_in_dim(system, k, 0)
        column = jax.lax.dynamic_index_in_dim(system, k, 1)
        row = row / jax.lax.dynamic_index_in_dim(row, k, 1)
        return jnp.where(index == k, row, system - column * row)

    system: jax.Array = jax.lax.fori_loop(0, n, step, jnp.concatenate([matrix, right], axis=1))
    return system[:, n:]


_eliminate = batch_last(eliminate)


def _eliminate_in_line(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solve as `_eliminate`, with every number of the triangle an array of its own, (B,).

    No operation then looks at another place than its own, so that a compiler makes few kernels of them, whose numbers
    stay in registers; their count grows with the cube of n.
    """
    n = len(matrix)
    lower = [[matrix[i, j] for j in range(i + 1)] for i in range(n)]
    rows, inverses = list(right), []
    for k in range(n):
        inverses.append(1.0 / lower[k][k])
        for i in range(k + 1, n):
            factor = lower[i][k] * inverses[k]
            for j in range(k + 1, i + 1):
                lower[i][j] -= factor * lower[j][k]
            rows[i] -= factor * rows[k]
    for k in reversed(range(n)):
        for i in range(k + 1, n):
            rows[k] -= lower[i][k] * rows[i]
        rows[k] *= inverses[k]
    return jnp.stack(rows)


def _eliminate_blocks(matrix: jax.Array, right: jax.Array, pivots: int) -> jax.Array:
    """Solve as `_eliminate`, several unknowns at once, without a loop: few kernels, as the systems are small.

    With P the block of pivots, C its columns and R the other columns of its rows, elimination puts P⁻¹ R in the place
    of these rows, and takes C P⁻¹ R from all others.
    """
    n, system = len(matrix), jnp.concatenate([matrix, right], axis=1)
    for start in range(0, n, pivots):
        size = min(pivots, n - start)
        inverse = _inverse(system[start : start + size, :size])
        rest, columns = system[start : start + size, size:], system[:, :size]
        rows = [sum_of([inverse[i][j] * rest[j] for j in range(size)]) for i in range(size)]
        others = system[:, size:] - sum_of([columns[:, j, None] * rows[j][None] for j in range(size)])
        system = jnp.concatenate([others[:start], jnp.stack(rows), others[start + size :]])
    return system


def _inverse(matrix: jax.Array) -> list[list[jax.Array]]:
    """Return the entries, each (B,), of the inverses of few-by-few positive definite matrices (n, n, B)."""
    n = len(matrix)
    entries = [[matrix[i, j] for j in range(n)] for i in range(n)]
    for k in range(n):
        pivot = 1.0 / entries[k][k]
        row = [pivot if j == k else entries[k][j] * pivot for j in range(n)]
        for i in range(n):
            factor = entries[i][k]
            if i != k:
                entries[i] = [-factor * pivot if j == k else entries[i][j] - factor * row[j] for j in range(n)]
        entries[k] = row
    return entries


@contextmanager
def without_lapack() -> Iterator[None]:
    """Replace MJX's Cholesky factorisations and solves by eliminations while a program is traced.

    What stands for the factor is the matrix itself; only the solve below may use it, as MJX does.
    """
    linalg: Any = jax.scipy.linalg
    originals = linalg.cho_factor, linalg.cho_solve
    linalg.cho_factor = lambda matrix, *_args, **_kwargs: (matrix, False)
    linalg.cho_solve = lambda factor, right, *_args, **_kwargs: solve_positive_definite(factor[0], right)
    try:
        yield
    finally:
        linalg.cho_factor, linalg.cho_solve = originals
