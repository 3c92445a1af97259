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

from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import custom_batching
from jaxtyping import Float
from numpy.typing import NDArray

from dynamic_sparsity.generation import target

ACTIVE = "active_items"
"""What the loop over active items is called in a compiled program."""


def batch_last(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function of arrays with a last batch axis callable for one row; under `vmap` it gets the batch last.

    Args:
        function: Of pytrees of arrays (..., B); returns a pytree of arrays (..., B).

    Returns:
        A function of the same arrays without the batch axis.
    """

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
    """Make a function of one row, for use under `vmap`, that sums terms over a row's active items only.

    Of all points where a model might touch something, few do, in few rows. Under `vmap` a row cannot skip a term; but
    the batch as a whole can: rows are put in order of how many items are active in each (`order`), so that the rows
    with an r-th active item are the first ones, for every rank r. These are done chunk by chunk: first the first
    active items of all rows that have one, then the second ones, and so on; the loop's state is (rank, first row of the
    chunk, sums). A row's items are summed in their own order, whatever else is in the batch.

    Args:
        pick: Of one row and the index of an item, what `term` needs: a pytree of arrays.
        term: Of `pick`'s pytree with a last batch axis, the term, (..., B).

    Returns:
        A function of which items are active, bool (n,), and the row, giving the sum (...).
    """

    def dense(active: jax.Array, row: Any) -> jax.Array:
        size, items = active.shape
        every = jax.vmap(jax.vmap(pick, in_axes=(None, 0)), in_axes=(0, None))(row, jnp.arange(items))

        def last(x: jax.Array) -> jax.Array:
            return jnp.moveaxis(x, (1, 0), (-2, -1)).reshape(*x.shape[2:], items * size)

        terms = jnp.where(active.T.reshape(-1), term(jax.tree_util.tree_map(last, every)), 0.0)
        terms = terms.reshape(*terms.shape[:-1], items, size)
        return jnp.moveaxis(sum_of([terms[..., item, :] for item in range(items)]), -1, 0)

    def rows(active: Any, row: Any) -> jax.Array:
        active, row = jax.tree_util.tree_map(jnp.asarray, (active, row))
        size, means = len(active), target.means()
        if active.shape[1] <= means.dense_items:
            return dense(active, row)
        chunk = min(size, means.active_rows)
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
            left = jnp.sum(counts > rank)
            done = (start + chunk).astype(left.dtype) >= left
            return rank + done.astype(rank.dtype), jnp.where(done, 0, start + chunk), sums

        zero = jnp.array(0, jnp.int32)
        shape = jax.eval_shape(lambda: term(picked(zero, zero)[1]))
        sums = jnp.zeros((len(order), *shape.shape[:-1]), shape.dtype)
        with jax.named_scope(ACTIVE):
            _, _, sums = jax.lax.while_loop(lambda state: state[0] < most, step, (zero, zero, sums))
        return sums[place]

    @custom_batching.custom_vmap
    def one(active: jax.Array, row: Any) -> jax.Array:
        return rows(*jax.tree_util.tree_map(lambda x: x[None], (active, row)))[0]

    @one.def_vmap
    def many(size: int, batched: Any, active: Any, row: Any) -> tuple[jax.Array, bool]:
        def first(x: Any, is_batched: bool) -> Any:
            return x if is_batched else jnp.broadcast_to(x, (size, *jnp.shape(x)))

        return rows(*jax.tree_util.tree_map(first, (active, row), tuple(batched))), True

    called: Callable[..., jax.Array] = one
    return called


def sum_of(terms: Sequence[jax.Array]) -> jax.Array:
    """Return the sum of arrays, in their order.

    Args:
        terms: At least one.
    """
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def cross(a: Float[jax.Array, "... 3 B"], b: Float[jax.Array, "... 3 B"]) -> Float[jax.Array, "... 3 B"]:
    """Return the cross product a × b. Leading axes broadcast.

    Args:
        a: Vectors.
        b: Vectors.
    """
    shape = jnp.broadcast_shapes(a.shape, b.shape)
    (x, y, z), (u, v, w) = (jnp.moveaxis(jnp.broadcast_to(c, shape), -2, 0) for c in (a, b))
    return jnp.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-2)


def dot(a: Float[jax.Array, "... n B"], b: Float[jax.Array, "... n B"]) -> Float[jax.Array, "... B"]:
    """Return the sum of products over the last axis but one. Leading axes broadcast.

    Args:
        a: Vectors.
        b: Vectors.
    """
    rank = max(a.ndim, b.ndim) - 1

    def component(x: jax.Array, k: int) -> jax.Array:
        return jnp.expand_dims(x[..., k, :], range(rank - (x.ndim - 1)))

    first = component(a, 0) * component(b, 0)
    return sum((component(a, k) * component(b, k) for k in range(1, a.shape[-2])), first)


def apply(matrix: Float[jax.Array, "... m n B"], vector: Float[jax.Array, "... n B"]) -> Float[jax.Array, "... m B"]:
    """Return matrices times vectors. Leading axes broadcast.

    Args:
        matrix: Matrices.
        vector: Vectors.
    """
    return dot(matrix, vector[..., None, :, :])


def outer(a: Float[jax.Array, "n k B"], b: Float[jax.Array, "m k B"]) -> Float[jax.Array, "n m B"]:
    """Return all scalar products aᵢ · bⱼ.

    Args:
        a: n vectors.
        b: m vectors.
    """
    return dot(a[:, None], b[None])


def units_cross(a: Float[jax.Array, "... 3 B"]) -> Float[jax.Array, "... 3 3 B"]:
    """Return e_k × a for the three unit vectors e_k; k is the last axis but two.

    Args:
        a: Vectors.
    """
    x, y, z = jnp.moveaxis(a, -2, 0)
    o = jnp.zeros_like(x)
    rows = [jnp.stack(row, axis=-2) for row in ([o, -z, y], [z, o, -x], [-y, x, o])]
    return jnp.stack(rows, axis=-3)


def cross_motion(u: Float[jax.Array, "... 6 B"], v: Float[jax.Array, "... 6 B"]) -> Float[jax.Array, "... 6 B"]:
    """Return u × v of motions. Leading axes broadcast.

    Args:
        u: Motions.
        v: Motions.
    """
    turn, shift = u[..., :3, :], u[..., 3:, :]
    angular = cross(turn, v[..., :3, :])
    return jnp.concatenate([angular, cross(shift, v[..., :3, :]) + cross(turn, v[..., 3:, :])], axis=-2)


def cross_force(v: Float[jax.Array, "... 6 B"], f: Float[jax.Array, "... 6 B"]) -> Float[jax.Array, "... 6 B"]:
    """Return v ×* f of motions and forces.

    Args:
        v: Motions.
        f: Forces.
    """
    turn, shift = v[..., :3, :], v[..., 3:, :]
    angular = cross(turn, f[..., :3, :]) + cross(shift, f[..., 3:, :])
    return jnp.concatenate([angular, cross(turn, f[..., 3:, :])], axis=-2)


def at(field: Float[jax.Array, "... 6 B"], point: Float[jax.Array, "... 3 B"]) -> Float[jax.Array, "... 3 B"]:
    """Return the velocity of motions at points.

    Args:
        field: Motions about the origin O.
        point: Points relative to O, m.
    """
    return field[..., 3:, :] + cross(field[..., :3, :], point)


def total(matrix: NDArray[Any], x: Float[jax.Array, "m ... B"]) -> Float[jax.Array, "n ... B"]:
    """Return sums over a tree: a constant matrix times an array.

    Args:
        matrix: Which of m terms belong to which of n sums, shape (n, m).
        x: The terms.
    """
    if target.means().sums_in_line:
        # Additions become part of other kernels, which a product is not.
        terms = [[x[j] * float(weight) for j, weight in enumerate(row) if weight] for row in matrix]
        return jnp.stack([sum_of(row) if row else jnp.zeros_like(x[0]) for row in terms])
    return jnp.tensordot(jnp.asarray(matrix, x.dtype), x, 1)


def materialised(*arrays: Any) -> Any:
    """Keep XLA from computing arrays again for each of their uses.

    Args:
        *arrays: Any pytrees of arrays.

    Returns:
        The same arrays; the array itself if there is one.
    """
    kept = cast(Any, jax.lax.optimization_barrier)(arrays)
    return kept if len(arrays) > 1 else kept[0]
