"""MuJoCo's constraint problem: its data, the zones of its rows, and the forces and the Hessian that follow from them.

What the symbols mean stands in `constraint_solver`, which solves it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, no_type_check

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Bool, Float


@no_type_check  # At run time: JAX rebuilds it with leaves that are no arrays.
@partial(
    jax.tree_util.register_dataclass,
    data_fields=["inertia", "smooth_force", "jacobian", "reference", "stiffness", "friction_loss"],
    meta_fields=["n_equality", "n_friction", "few"],
)
@dataclass(frozen=True)
class ConstraintProblem:
    """The data θ of one constraint problem.

    Attributes:
        inertia: M, float64.
        smooth_force: τ = M x₀, all forces but the constraints'.
        jacobian: J.
        reference: a.
        stiffness: D.
        friction_loss: η; zero in rows of other kinds.
        n_equality: Number of equality rows, which come first.
        n_friction: Number of friction-loss rows, which come second.
        few: Indices of rows that do in most states, as J is zero in all others; None for all rows.
    """

    inertia: Float[jax.Array, "nv nv"]
    smooth_force: Float[jax.Array, " nv"]
    jacobian: Float[jax.Array, "nefc nv"]
    reference: Float[jax.Array, " nefc"]
    stiffness: Float[jax.Array, " nefc"]
    friction_loss: Float[jax.Array, " nefc"]
    n_equality: int
    n_friction: int
    few: tuple[int, ...] | None = None


class Zones(NamedTuple):
    """In which zone of ρᵢ each constraint row is.

    Attributes:
        quadratic: The row's force is -Dᵢ yᵢ.
        upper: Friction loss that slides, yᵢ ≥ ηᵢ / Dᵢ; force -ηᵢ.
        lower: Friction loss that slides, yᵢ ≤ -ηᵢ / Dᵢ; force ηᵢ.
    """

    quadratic: Bool[jax.Array, " nefc"]
    upper: Bool[jax.Array, " nefc"]
    lower: Bool[jax.Array, " nefc"]


def friction_bounds(problem: ConstraintProblem) -> Float[jax.Array, " nf"]:
    """Return η / D of the friction-loss rows, the half width of their quadratic zone.

    Args:
        problem: The problem.
    """
    rows = slice(problem.n_equality, problem.n_equality + problem.n_friction)
    return problem.friction_loss[rows] / jnp.maximum(problem.stiffness[rows], mujoco.mjMINVAL)


def zones(problem: ConstraintProblem, y: Float[jax.Array, " nefc"]) -> Zones:
    """Return the zone of each row.

    Args:
        problem: The problem.
        y: J x - a.
    """
    start, stop = problem.n_equality, problem.n_equality + problem.n_friction
    quadratic = (y < 0).at[:start].set(True)
    none = jnp.zeros_like(quadratic)
    if problem.n_friction == 0:
        return Zones(quadratic, none, none)
    bound = friction_bounds(problem)
    upper, lower = y[start:stop] >= bound, y[start:stop] <= -bound
    return Zones(
        quadratic.at[start:stop].set(~upper & ~lower),
        none.at[start:stop].set(upper),
        none.at[start:stop].set(lower),
    )


def zone_force(problem: ConstraintProblem, zone: Zones, y: Float[jax.Array, " nefc"]) -> Float[jax.Array, " nefc"]:
    """Return the constraint forces f with each row in a given zone.

    Args:
        problem: The problem.
        zone: The rows' zones.
        y: J x - a.
    """
    sliding = problem.friction_loss * (zone.lower.astype(y.dtype) - zone.upper.astype(y.dtype))
    return jnp.where(zone.quadratic, -problem.stiffness * y, sliding)


def hessian(problem: ConstraintProblem, zone: Zones) -> Float[jax.Array, "nv nv"]:
    """Return H = M + Jᵀ D_A J.

    Args:
        problem: The problem.
        zone: The rows' zones.
    """
    weighted = problem.jacobian * (problem.stiffness * zone.quadratic.astype(problem.stiffness.dtype))[:, None]
    product = weighted.T @ problem.jacobian
    return problem.inertia + (product + product.T) / 2
