r"""Small vectors, many at once: arithmetic with the batch as the last axis.

A row's Jacobian is made of thousands of operations on 3- and 6-vectors. With the batch in front, as `jax.vmap` has it,
the innermost loops run over 3 numbers; with the batch last, they run over all rows, in vector registers. Functions
here and in `rigid_body`, `contact_response` and `contact_forces` therefore take arrays
(..., 3, B) or (..., 6, B), and `batch_last` makes them callable for one row, under `vmap`. `sum_over_active` does so
for sums most terms of which are zero in most rows.

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

_CHUNK = {True: 64, False: 8192}
"""Rows that `sum_over_active` does at once on a CPU (whatever its caches hold) and elsewhere."""


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


def sum_over_active(pick: Callable[..., Any], term: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Makes a function of one row, for use under `vmap`, that sums terms over a row's active items only.

    Of all points where a model might touch something, few do, in few rows. Under `vmap` a row cannot skip a term; but
    the batch as a whole can: rows are put in order of how many items are active in each, and the first active items
    of all rows that have one are done, chunk by chunk, then the second ones, and so on. A row's items are summed in
    their own order, whatever else is in the batch.

    Args:
        pick: Of one row and the index of an item, what `term` needs: a pytree of arrays.
        term: Of `pick`'s pytree with a last batch axis, the term, (..., B).

    Returns:
        A function of which items are active, bool (n,), and the row, giving the sum (...).
    """

    def rows(active: jax.Array, row: Any) -> jax.Array:
        active, row = jax.tree_util.tree_map(jnp.asarray, (active, row))
        size = len(active)
        chunk = min(size, _CHUNK[jax.default_backend() == "cpu"])
        counts = jnp.sum(active, axis=1, dtype=jnp.int32)
        order = jnp.argsort(-counts)
        place = jnp.zeros_like(order).at[order].set(jnp.arange(size, dtype=order.dtype), unique_indices=True)
        order = jnp.pad(order, (0, -size % chunk))
        most = jnp.max(counts)

        def picked(rank: jax.Array, start: jax.Array) -> tuple[jax.Array, Any]:
            index = jax.lax.dynamic_slice_in_dim(order, start, chunk)
            acts, members = active[index], jax.tree_util.tree_map(lambda x: x[index], row)
            item = jnp.argmax(jnp.cumsum(acts, axis=1, dtype=jnp.int32) == rank + 1, axis=1)
            last = jax.tree_util.tree_map(lambda x: jnp.moveaxis(x, 0, -1), jax.vmap(pick)(members, item))
            return counts[index] > rank, last

        def step(state: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
            rank, start, sums = state
            has, chosen = picked(rank, start)
            value = jnp.moveaxis(jnp.where(has, term(chosen), 0.0), -1, 0)
            old = jax.lax.dynamic_slice_in_dim(sums, start, chunk)
            sums = jax.lax.dynamic_update_slice_in_dim(sums, old + value, start, 0)
            done = start + chunk >= jnp.sum(counts > rank)
            return rank + done, jnp.where(done, 0, start + chunk), sums

        zero = jnp.array(0, jnp.int32)
        shape = jax.eval_shape(lambda: term(picked(zero, zero)[1]))
        sums = jnp.zeros((len(order), *shape.shape[:-1]), shape.dtype)
        _, _, sums = jax.lax.while_loop(lambda state: state[0] < most, step, (zero, zero, sums))
        return sums[place]

    @custom_batching.custom_vmap
    def one(active: jax.Array, row: Any) -> jax.Array:
        return rows(*jax.tree_util.tree_map(lambda x: x[None], (active, row)))[0]

    @one.def_vmap
    def many(size: int, batched: Any, active: jax.Array, row: Any) -> tuple[jax.Array, bool]:
        def first(x: jax.Array, is_batched: bool) -> jax.Array:
            return x if is_batched else jnp.broadcast_to(x, (size, *jnp.shape(x)))

        return rows(*jax.tree_util.tree_map(first, (active, row), tuple(batched))), True

    called: Callable[..., jax.Array] = one
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
