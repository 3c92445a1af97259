"""What `contact_forces` and `contact_wrenches` have in common: the points that push, and the bodies that they push."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from mujoco import mjx

from dynamic_sparsity.generation.jacobians import rigid_body
from dynamic_sparsity.generation.jacobians.constraint_rows import ConstraintRows
from dynamic_sparsity.generation.physics import constraints
from dynamic_sparsity.generation.physics.batch_last import sum_over_active


def edge_numbers(contact: mjx.Contact, row: ConstraintRows) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return f, ∂f/∂pos and D of the edges of every contact point's friction pyramid, each (n, r).

    Args:
        contact: MJX's contacts.
        row: The constraint rows.
    """
    # The sentinel is a row of zeros: a frictionless point has but one row where others have four.
    table = constraints.point_rows(contact, len(row.force))
    force, by_pos, stiffness = (jnp.append(x, 0.0)[table] for x in (row.force, row.by_pos, row.stiffness))
    return force, by_pos, stiffness


def arm_and_moves(
    top: rigid_body.Topology, bodies: jax.Array, position: jax.Array, origin: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return a point relative to the origins of its bodies' trees, (2, 3), and what moves these bodies, (2, nv).

    Args:
        top: The topology.
        bodies: The two bodies of the point, (2,).
        position: The point, (3,).
        origin: The origin O of every body's tree, (nbody, 3).
    """
    return position[None] - origin[bodies], jnp.asarray(top.moves)[bodies].astype(position.dtype)


def sum_over_pushes(
    pick: Callable[..., Any], term: Callable[..., jax.Array], force: jax.Array, stiffness: jax.Array, row: Any
) -> jax.Array:
    """Return the sum of terms over the contact points of one row that push, or would if they came nearer.

    Args:
        pick: Of `sum_over_active`.
        term: Of `sum_over_active`.
        force: f of every edge, (n, r).
        stiffness: D of every edge, (n, r).
        row: What `pick` picks from.
    """
    pushes = ((stiffness != 0) | (force != 0)).any(axis=1)
    added: jax.Array = sum_over_active(pick, term)(pushes, row)
    return added


def difference(x: jax.Array) -> jax.Array:
    """Return what body 2 has less what body 1 has, where there are both.

    Args:
        x: Of bodies 1 and 2, (2, …), or of body 2 alone, (1, …).
    """
    return x[1] - x[0] if len(x) == 2 else x[0]
