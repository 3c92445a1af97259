"""Deep verification: rows of a store computed again by something that shares no code with what made them.

`converged` rows are held against MuJoCo C (`finite_differences`). Where C finds other contacts than MJX, and for
`stock`, whose truncated solver no other program reproduces, rows are held against central differences of MJX's own step
in float64: that checks the derivative, though not the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import mjx

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.physics import manifold
from dynamic_sparsity.generation.physics.model import Dynamics, Physics, load_physics
from dynamic_sparsity.generation.physics.step import control_step, normalised
from dynamic_sparsity.generation.verification import finite_differences
from dynamic_sparsity.generation.verification.finite_differences import Array
from dynamic_sparsity.schemas import FLAG_BITS
from dynamic_sparsity.storage.verify import Problem

QUANTILES = (0.5, 0.9, 0.99, 1.0)
MEDIAN_LIMIT, TAIL_LIMIT = 1e-5, 1e-3
"""Largest relative error of a Jacobian at the median and at the 99th percentile of the comparable rows."""

MUJOCO_C = "MuJoCo C"
_UNCHECKABLE = ("nonfinite", "padding", "tangents_lost", "not_converged")


@dataclass(frozen=True)
class Comparison:
    """Rows held against one oracle.

    Attributes:
        oracle: What they were held against.
        errors: Relative error of [J_s | J_a] of each comparable row, Frobenius norm, shape (n,).
        other_step: Indices of rows whose next state the oracle does not reproduce.
        near_switch: Rows where the oracle's own two differences disagree: a contact or limit switches in between.
    """

    oracle: str
    errors: Array
    other_step: tuple[int, ...]
    near_switch: int

    def quantiles(self) -> dict[float, float]:
        """Quantiles of the relative error; empty if no row was comparable."""
        return {q: float(np.quantile(self.errors, q)) for q in QUANTILES} if len(self.errors) else {}


@dataclass(frozen=True)
class DeepReport:
    """What the comparison found.

    Attributes:
        sampled: Rows drawn.
        flagged: Rows left out because their flags say that no derivative is promised.
        comparisons: One for each oracle that was asked: MuJoCo C; then, for rows in which it finds other contacts,
            central differences of MJX's own step.
        problems: What is wrong; empty if all is well.
    """

    sampled: int
    flagged: int
    comparisons: tuple[Comparison, ...]
    problems: tuple[Problem, ...]


class DifferenceOracle:
    """Central differences of MJX's own step, for `stock` at a fixed warm start. Checks the derivative, not the step."""

    def __init__(self, physics: Physics) -> None:
        """Sets up the program that steps all perturbations of one row at once."""
        self.physics = physics
        self._empty = mjx.make_data(physics.mj_model, impl="jax")
        self._program = jax_runtime.jit(self._differences)

    def _differences(self, state: jax.Array, action: jax.Array, warmstart: jax.Array, epsilon: jax.Array) -> Any:
        physics = self.physics
        nq, nv, nu = physics.task.nq, physics.task.nv, physics.task.nu
        q = normalised(physics, state[:nq])

        def step(direction: jax.Array) -> tuple[jax.Array, jax.Array]:
            moved = self._empty.replace(
                qpos=manifold.integrate(physics.blocks, q, direction[:nv]),
                qvel=state[nq:] + direction[nv : 2 * nv],
                qacc_warmstart=warmstart,
            )
            final, _ = control_step(physics, moved, action + direction[2 * nv :])
            return final.qpos, final.qvel

        directions = jnp.eye(2 * nv + nu) * epsilon
        rows = jnp.concatenate([jnp.zeros((1, 2 * nv + nu)), directions, -directions])
        qpos, qvel = jax.vmap(step)(rows)
        (_, q_up, q_down), (_, v_up, v_down) = (jnp.split(x, [1, 1 + 2 * nv + nu]) for x in (qpos, qvel))
        dual = manifold.dual_basis(physics.blocks, qpos[0])
        columns = jnp.concatenate([(q_up - q_down) @ dual.T, v_up - v_down], axis=1) / (2 * epsilon)
        return jnp.concatenate([qpos[0], qvel[0]]), columns.T

    def reference(self, state: Array, action: Array, warmstart: Array) -> finite_differences.Reference:
        """Next state and Jacobian of one row: state (ds,), action (da,), warm start (nv,)."""
        results = [self._program(state, action, warmstart, epsilon) for epsilon in finite_differences.EPSILONS]
        (next_state, first), (_, second) = ((np.asarray(a), np.asarray(b)) for a, b in results)
        return finite_differences.Reference(next_state, first, finite_differences.relative_error(second, first), 0)


def verify_deep(
    path: Path, sample: int = 64, seed: int = 0, progress: Callable[[int], None] | None = None
) -> DeepReport:
    """Computes sampled rows of a store again and compares.

    Args:
        path: A complete store.
        sample: Rows to draw, without replacement.
        seed: Seed of the draw.
        progress: Called with the number of rows compared since the last call.

    Raises:
        IncompleteStoreError, CorruptStoreError: The store can't be read.
    """
    from dynamic_sparsity.loaders.loading import open_dataset

    data = open_dataset(path)
    attributes = data.metadata
    physics = load_physics(attributes["task"], cast(Dynamics, attributes["dynamics"]))
    drawn = np.sort(np.random.default_rng(seed).choice(len(data), size=min(sample, len(data)), replace=False))
    batch = data[drawn]
    bits = sum(1 << FLAG_BITS[name] for name in _UNCHECKABLE)
    rows = np.flatnonzero(batch["flags"] & bits == 0).tolist()

    def tick() -> None:
        if progress is not None:
            progress(1)

    comparisons = []
    if physics.dynamics == "converged":
        reference = finite_differences.Oracle(physics)
        first = _compare(MUJOCO_C, lambda state, action, _: reference.reference(state, action), batch, rows, tick)
        comparisons.append(first)
        rows = list(first.other_step)
    if rows:
        name = "central differences of MJX's own step"
        comparisons.append(_compare(name, DifferenceOracle(physics).reference, batch, rows, tick))
    flagged = int(np.sum(batch["flags"] & bits != 0))
    return DeepReport(len(drawn), flagged, tuple(comparisons), _judge(path, physics, comparisons))


def _compare(
    name: str,
    reference: Callable[[Array, Array, Array], finite_differences.Reference],
    batch: dict[str, Any],
    rows: list[int],
    tick: Callable[[], None],
) -> Comparison:
    errors, other_step, near_switch = [], [], 0
    nv = batch["J_s"].shape[1] // 2
    warmstarts = batch.get("qacc_warmstart", np.zeros((len(batch["state"]), nv)))
    for row in rows:
        state, action, warmstart = (x[row].astype(np.float64) for x in (batch["state"], batch["action"], warmstarts))
        truth = reference(state, action, warmstart)
        tick()
        if not finite_differences.same_next_state(batch["next_state"][row].astype(np.float64), truth.next_state):
            other_step.append(row)
        elif truth.disagreement > finite_differences.AGREEMENT:
            near_switch += 1
        else:
            stored = np.concatenate([batch["J_s"][row], batch["J_a"][row]], axis=1).astype(np.float64)
            errors.append(finite_differences.relative_error(stored, truth.jacobian))
    return Comparison(name, np.array(errors), tuple(other_step), near_switch)


def _judge(path: Path, physics: Physics, comparisons: list[Comparison]) -> tuple[Problem, ...]:
    mend = "generate the store again, and report this if it comes back"
    problems = []
    for one in comparisons:
        limits = (("median", 0.5, MEDIAN_LIMIT), ("99th percentile", 0.99, TAIL_LIMIT))
        for name, quantile, limit in limits:
            value = np.quantile(one.errors, quantile) if len(one.errors) else 0.0
            if not value <= limit:
                what = f"relative error of the Jacobians against {one.oracle}: {value:.1e} at the {name}"
                problems.append(Problem(str(path), f"{what}; it must be at most {limit:.0e}", mend))
        # Only contacts are a reason for MuJoCo C to step elsewhere; MJX has none to differ from itself.
        excused = one.oracle == MUJOCO_C and physics.constraints.pairs
        if one.other_step and not excused:
            what = f"{len(one.other_step)} next states are not those of {one.oracle}"
            problems.append(Problem(str(path), what, mend))
    return tuple(problems)
