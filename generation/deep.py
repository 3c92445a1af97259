"""Deep verification: rows of a store computed again by something that shares no code with what made them.

`converged` rows are held against MuJoCo C (`oracle`). `stock` rows depend on MJX's truncated solver, which no other
program
reproduces; they are held against central differences of the same step in float64, so that the derivative is checked,
though not the step.
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

from dynamic_sparsity.generation import dynamics, oracle, tangent
from dynamic_sparsity.generation.oracle import Array
from dynamic_sparsity.schemas import FLAG_BITS
from dynamic_sparsity.storage.verify import Problem

QUANTILES = (0.5, 0.9, 0.99, 1.0)
MEDIAN_LIMIT, TAIL_LIMIT = 1e-5, 1e-3
"""Largest relative error of a Jacobian at the median and at the 99th percentile of the comparable rows."""

_UNCHECKABLE = ("nonfinite", "padding", "tangents_lost", "not_converged")


@dataclass(frozen=True)
class DeepReport:
    """What the comparison found.

    Attributes:
        oracle: What the rows were held against.
        sampled: Rows drawn.
        errors: Relative error of [J_s | J_a] of each comparable row, Frobenius norm, shape (n,).
        other_step: Rows whose next state the oracle does not reproduce: it sees other contacts.
        near_switch: Rows where the oracle's own two differences disagree: a contact or limit switches in between.
        flagged: Rows left out because their flags say that no derivative is promised.
        problems: What is wrong; empty if all is well.
    """

    oracle: str
    sampled: int
    errors: Array
    other_step: int
    near_switch: int
    flagged: int
    problems: tuple[Problem, ...]

    def quantiles(self) -> dict[float, float]:
        """Quantiles of the relative error."""
        return {q: float(np.quantile(self.errors, q)) for q in QUANTILES} if len(self.errors) else {}


class StockOracle:
    """Central differences of the stock step, at a fixed warm start."""

    def __init__(self, physics: dynamics.Physics) -> None:
        """Compiles the step for one row's perturbations at once."""
        self.physics = physics
        self._empty = mjx.make_data(physics.mj_model, impl="jax")
        self._program = jax.jit(self._differences)

    def _differences(self, state: jax.Array, action: jax.Array, warmstart: jax.Array, epsilon: jax.Array) -> Any:
        physics = self.physics
        nq, nv, nu = physics.task.nq, physics.task.nv, physics.task.nu
        q = dynamics.normalised(physics, state[:nq])

        def step(direction: jax.Array) -> tuple[jax.Array, jax.Array]:
            moved = self._empty.replace(
                qpos=tangent.integrate(physics.blocks, q, direction[:nv]),
                qvel=state[nq:] + direction[nv : 2 * nv],
                qacc_warmstart=warmstart,
            )
            final, _ = dynamics.control_step(physics, moved, action + direction[2 * nv :])
            return final.qpos, final.qvel

        directions = jnp.eye(2 * nv + nu) * epsilon
        rows = jnp.concatenate([jnp.zeros((1, 2 * nv + nu)), directions, -directions])
        qpos, qvel = jax.vmap(step)(rows)
        (_, q_up, q_down), (_, v_up, v_down) = (jnp.split(x, [1, 1 + 2 * nv + nu]) for x in (qpos, qvel))
        dual = tangent.dual_basis(physics.blocks, qpos[0])
        columns = jnp.concatenate([(q_up - q_down) @ dual.T, v_up - v_down], axis=1) / (2 * epsilon)
        return jnp.concatenate([qpos[0], qvel[0]]), columns.T

    def reference(self, state: Array, action: Array, warmstart: Array) -> oracle.Reference:
        """Next state and Jacobian of one row."""
        results = [self._program(state, action, warmstart, epsilon) for epsilon in oracle.EPSILONS]
        (next_state, first), (_, second) = ((np.asarray(a), np.asarray(b)) for a, b in results)
        return oracle.Reference(next_state, first, oracle.relative_error(second, first), 0)


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
    from dynamic_sparsity.loaders.dataset import open_dataset

    data = open_dataset(path)
    attributes = data.metadata
    physics = dynamics.load_physics(attributes["task"], cast(dynamics.Dynamics, attributes["dynamics"]))
    rows = np.sort(np.random.default_rng(seed).choice(len(data), size=min(sample, len(data)), replace=False))
    batch = data[rows]
    bits = sum(1 << FLAG_BITS[name] for name in _UNCHECKABLE)
    compare = _comparison(physics, batch)
    errors, other_step, near_switch, flagged = [], [], 0, 0
    for index in range(len(rows)):
        if progress is not None:
            progress(1)
        if batch["flags"][index] & bits:
            flagged += 1
            continue
        reference = compare(index)
        if not oracle.same_next_state(batch["next_state"][index].astype(np.float64), reference.next_state):
            other_step.append(int(rows[index]))
        elif reference.disagreement > oracle.AGREEMENT:
            near_switch += 1
        else:
            stored = np.concatenate([batch["J_s"][index], batch["J_a"][index]], axis=1).astype(np.float64)
            errors.append(oracle.relative_error(stored, reference.jacobian))
    problems = _judge(path, physics, np.array(errors), other_step, len(rows) - flagged)
    name = "MuJoCo C" if physics.dynamics == "converged" else "central differences of the stock step"
    return DeepReport(name, len(rows), np.array(errors), len(other_step), near_switch, flagged, problems)


def _comparison(physics: dynamics.Physics, batch: dict[str, Any]) -> Callable[[int], oracle.Reference]:
    def row(name: str, index: int) -> Array:
        values: Array = batch[name][index].astype(np.float64)
        return values

    if physics.dynamics == "converged":
        reference = oracle.Oracle(physics)
        return lambda i: reference.reference(row("state", i), row("action", i))
    stock = StockOracle(physics)
    return lambda i: stock.reference(row("state", i), row("action", i), row("qacc_warmstart", i))


def _judge(
    path: Path, physics: dynamics.Physics, errors: Array, other_step: list[int], compared: int
) -> tuple[Problem, ...]:
    mend = "generate the store again, and report this if it comes back"
    problems = []
    if len(errors):
        for name, value, limit in (
            ("median", np.median(errors), MEDIAN_LIMIT),
            ("99th percentile", np.quantile(errors, 0.99), TAIL_LIMIT),
        ):
            if not value <= limit:
                what = f"the Jacobians' relative error is {value:.1e} at the {name}; it must be at most {limit:.0e}"
                problems.append(Problem(str(path), what, mend))
    contacts = bool(physics.constraints.pairs)
    if other_step and (not contacts or len(other_step) > compared / 2):
        named = ", ".join(map(str, other_step[:5]))
        what = f"{len(other_step)} of {compared} next states differ from the oracle's (rows {named}…)"
        problems.append(Problem(str(path), what, mend))
    return tuple(problems)
