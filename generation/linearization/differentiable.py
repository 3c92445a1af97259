"""A step whose derivative, forward and in reverse, is its exact Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.linearization.inputs import Inputs
from dynamic_sparsity.generation.physics import manifold

Step = Callable[[Inputs], jax.Array]


def product(matrix: jax.Array, vector: Any) -> jax.Array:
    """Return the products of matrices and vectors.

    Args:
        matrix: Shape (…, m, n).
        vector: Shape (…, n).
    """
    result: jax.Array = jnp.einsum("...ij,...j->...i", matrix, vector)
    return result


def differentiable(blocks: tuple[manifold.JointBlock, ...], step: Step, rows: Callable[[Inputs], Any]) -> Step:
    """Return a step with its Jacobians as derivative.

    The rule is linear in the tangents, so JAX transposes it for reverse mode: the solver's loop is not differentiated.

    Args:
        blocks: The joints.
        step: The step, batched.
        rows: The step with A and B, in tangent coordinates, batched.
    """

    @jax.custom_jvp
    def stepped(inputs: Inputs) -> jax.Array:
        return step(inputs)

    def rule(primals: tuple[Inputs], tangents: tuple[Inputs]) -> tuple[jax.Array, jax.Array]:
        (inputs,), (change,) = primals, tangents
        if any(not isinstance(x, SymbolicZero) for x in jax.tree_util.tree_leaves(tuple(change[3:]))):
            raise InvalidSettingError(
                "There is no derivative by mocap_pos, mocap_quat, qfrc_applied or xfrc_applied: hold them fixed with "
                "jax.lax.stop_gradient, or give them as constants."
            )
        row = rows(inputs)
        nq, nv = inputs.qpos.shape[-1], inputs.qvel.shape[-1]
        moved = jnp.zeros(row.A.shape[:-1])
        if not isinstance(change.qpos, SymbolicZero):
            into = jnp.vectorize(lambda q: manifold.dual_basis(blocks, q), signature="(n)->(m,n)")(inputs.qpos)
            moved += product(row.A[..., :nv], product(into, change.qpos))
        if not isinstance(change.qvel, SymbolicZero):
            moved += product(row.A[..., nv:], change.qvel)
        if not isinstance(change.ctrl, SymbolicZero):
            moved += product(row.B, change.ctrl)
        after = row.next_state[..., :nq]
        out = jnp.vectorize(lambda q: manifold.basis(blocks, q), signature="(n)->(n,m)")(after)
        return row.next_state, jnp.concatenate([product(out, moved[..., :nv]), moved[..., nv:]], axis=-1)

    stepped.defjvp(rule, symbolic_zeros=True)
    result: Step = stepped
    return result
