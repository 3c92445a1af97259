r"""Small vectors, many at once: arithmetic with the batch as the last axis.

A row's Jacobian is made of thousands of operations on 3- and 6-vectors. With the batch in front, as `jax.vmap` has it,
the innermost loops run over 3 numbers; with the batch last, they run over all rows, in vector registers. Functions
here and in `rigid_body`, `contact_geometry` and `constraint_forces` therefore take arrays
(..., 3, B) or (..., 6, B), and `batch_last` makes them callable for one row, under `vmap`.

Spatial vectors are motions (rotation, then velocity at the origin O) or forces (torque about O, then force).

Source: Featherstone, "Rigid body dynamics algorithms", chapter 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import custom_batching
from numpy.typing import NDArray


def batch_last(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function of pytrees of arrays (..., B) one of unbatched arrays; under `vmap` it gets the batch last."""

    @custom_batching.custom_vmap
    def row(*arguments: Any) -> Any:
        result = function(*jax.tree_util.tree_map(lambda x: x[..., None], arguments))
        return jax.tree_util.tree_map(lambda x: x[..., 0], result)

    @row.def_vmap
    def rows(size: int, batched: Any, *arguments: Any) -> tuple[Any, Any]:
        def last(x: jax.Array, is_batched: bool) -> jax.Array:
            return jnp.moveaxis(x, 0, -1) if is_batched else jnp.broadcast_to(x[..., None], (*jnp.shape(x), size))

        result = function(*jax.tree_util.tree_map(last, arguments, tuple(batched)))
        first = jax.tree_util.tree_map(lambda x: jnp.moveaxis(x, -1, 0), result)
        return first, jax.tree_util.tree_map(lambda _: True, first)

    called: Callable[..., Any] = row
    return called


def cross(a: jax.Array, b: jax.Array) -> jax.Array:
    """a × b, shapes (..., 3, B)."""
    (x, y, z), (u, v, w) = (jnp.moveaxis(c, -2, 0) for c in (a, b))
    return jnp.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-2)


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sum of products over the last axis but one: shapes (..., n, B) → (..., B)."""
    return sum((a[..., k, :] * b[..., k, :] for k in range(1, a.shape[-2])), a[..., 0, :] * b[..., 0, :])


def apply(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    """Matrices (..., m, n, B) times vectors (..., n, B)."""
    return dot(matrix, vector[..., None, :, :])


def outer(a: jax.Array, b: jax.Array) -> jax.Array:
    """All products aᵢ · bⱼ of vectors, (n, k, B) and (m, k, B) → (n, m, B)."""
    return dot(a[:, None], b[None])


def units_cross(a: jax.Array) -> jax.Array:
    """e_k × a for the unit vectors e_k: (..., 3, B) → (..., k, 3, B)."""
    x, y, z = jnp.moveaxis(a, -2, 0)
    o = jnp.zeros_like(x)
    rows = [jnp.stack(row, axis=-2) for row in ([o, -z, y], [z, o, -x], [-y, x, o])]
    return jnp.stack(rows, axis=-3)


def cross_motion(u: jax.Array, v: jax.Array) -> jax.Array:
    """u × v of motions, shapes (..., 6, B)."""
    turn, shift = u[..., :3, :], u[..., 3:, :]
    angular = cross(turn, v[..., :3, :])
    return jnp.concatenate([angular, cross(shift, v[..., :3, :]) + cross(turn, v[..., 3:, :])], axis=-2)


def cross_force(v: jax.Array, f: jax.Array) -> jax.Array:
    """v ×* f of a motion and a force, shapes (..., 6, B)."""
    turn, shift = v[..., :3, :], v[..., 3:, :]
    angular = cross(turn, f[..., :3, :]) + cross(shift, f[..., 3:, :])
    return jnp.concatenate([angular, cross(turn, f[..., 3:, :])], axis=-2)


def at(field: jax.Array, point: jax.Array) -> jax.Array:
    """Velocity of a motion (..., 6, B) about O at points (..., 3, B) relative to O."""
    return field[..., 3:, :] + cross(field[..., :3, :], point)


def total(matrix: NDArray[Any], x: jax.Array) -> jax.Array:
    """Sums over a tree: a constant (n, m) times an array (m, ..., B)."""
    return jnp.tensordot(jnp.asarray(matrix, x.dtype), x, 1)


def materialised(*arrays: Any) -> Any:
    """Keeps XLA from computing these arrays anew for each of their uses."""
    kept = cast(Any, jax.lax.optimization_barrier)(arrays)
    return kept if len(arrays) > 1 else kept[0]
