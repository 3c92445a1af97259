"""Deep verification: rows of a store computed again by something that shares no code with what made them.

`converged` rows are held against MuJoCo C (`finite_differences`). Where C steps elsewhere, and for `stock`, whose
truncated solver no other program reproduces, rows are held against central differences of our own step in float64: that
checks the derivative, though not the step.

Half of the rows are drawn at random, half among the hard ones (`hard_rows`). A verdict needs rows that were compared:
fewer than `LEAST_COMPARED` of them, but for those that flags explain, is a problem like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import mjx
from numpy.typing import NDArray

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.environments.interface import Control
from dynamic_sparsity.generation.physics import manifold
from dynamic_sparsity.generation.physics.model import Physics
from dynamic_sparsity.generation.physics.step import control_step, normalised
from dynamic_sparsity.generation.verification import finite_differences, store_task
from dynamic_sparsity.generation.verification.finite_differences import Array
from dynamic_sparsity.schemas import FLAG_BITS
from dynamic_sparsity.storage.verify import Problem

QUANTILES = (0.5, 0.9, 0.99, 1.0)
MEDIAN_LIMIT, TAIL_LIMIT = 1e-5, 1e-3
"""Largest relative error of a Jacobian at the median and at the 99th percentile of the comparable rows."""

HARD = ("state", "action", "active_any", "active_changes")
"""Columns that say which rows are hard."""

LOOKED_AT = 200_000
"""Consecutive rows among which hard ones are looked for."""

LEAST_COMPARED = 0.8
"""Least share of the rows without an explaining flag that must have been compared."""

FAST = 0.98
"""Quantile of |qvel| above which a row counts as fast."""

MUJOCO_C = "MuJoCo C"
_UNCHECKABLE = ("nonfinite", "padding", "tangents_lost", "not_converged")


@dataclass(frozen=True)
class OracleComparison:
    """Rows held against one oracle.

    Attributes:
        oracle: What they were held against.
        errors: Relative error of [J_s | J_a] of each comparable row, Frobenius norm, shape (n,).
        other_step: Indices of rows whose next state the oracle does not reproduce.
        near_switch: Rows where the oracle's own two differences disagree: a contact or limit switches in between.
        at_kink: How many of the compared rows lie exactly where a contact or limit switches, so that the step has two
            derivatives; of each column the nearer one counts.
    """

    oracle: str
    errors: Array
    other_step: tuple[int, ...]
    near_switch: int
    at_kink: int = 0

    def quantiles(self) -> dict[float, float]:
        """Return quantiles of the relative error; empty if no row was comparable."""
        return {q: float(np.quantile(self.errors, q)) for q in QUANTILES} if len(self.errors) else {}

    def as_json(self) -> dict[str, Any]:
        """Return what a document says of the comparison: its numbers of rows, and quantiles by their names."""
        return {
            "oracle": self.oracle,
            "rows_compared": len(self.errors),
            "rows_other_step": len(self.other_step),
            "rows_near_a_switch": self.near_switch,
            "rows_at_a_kink": self.at_kink,
            "relative_error": {f"{quantile:g}": value for quantile, value in self.quantiles().items()},
        }


@dataclass(frozen=True)
class DeepReport:
    """What the comparison found.

    Attributes:
        sampled: Rows drawn.
        flagged: Rows left out because their flags say that no derivative is promised.
        hard: How many of them were drawn among the hard rows.
        comparisons: One for each oracle that was asked: MuJoCo C; then, for rows in which it steps elsewhere, central
            differences of our own step.
        problems: What is wrong; empty if all is well.
    """

    sampled: int
    flagged: int
    hard: int
    comparisons: tuple[OracleComparison, ...]
    problems: tuple[Problem, ...]


class MjxDifferenceOracle:
    """Central differences of our own step, for `stock` at a fixed warm start. Checks the derivative, not the step."""

    def __init__(self, physics: Physics, control: Control | None = None) -> None:
        """Set up the program that steps all perturbations of one row at once.

        Args:
            physics: The physics that is to be checked.
            control: The task's control; None where it is the action.
        """
        self.physics = physics
        self._control = control or (lambda _qpos, _qvel, _ctrl, action: action)
        self._empty = mjx.make_data(physics.mj_model, impl="jax")
        self._program = jax_runtime.jit(self._differences)

    def _differences(self, state: jax.Array, action: jax.Array, warmstart: jax.Array, epsilon: jax.Array) -> Any:
        physics = self.physics
        nq, nv, dx, da = physics.task.nq, physics.task.nv, physics.task.dx, physics.task.da
        q = normalised(physics, state[:nq])

        def step(direction: jax.Array) -> tuple[jax.Array, jax.Array]:
            qpos = manifold.integrate(physics.blocks, q, direction[:nv])
            qvel = state[nq : nq + nv] + direction[nv : 2 * nv]
            memory = state[nq + nv :] + direction[2 * nv : dx]
            ctrl = self._control(qpos, qvel, memory, action + direction[dx:])
            moved = self._empty.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart)
            final, _ = control_step(physics, moved, ctrl)
            return final.qpos, jnp.concatenate([final.qvel, ctrl[: physics.task.memory]])

        # Near an action's bound, where it is clamped: one-sided, as `finite_differences` has it.
        inward = jnp.where(jnp.abs(action) + epsilon > 1, -jnp.sign(action), 0.0)
        side = jnp.concatenate([jnp.zeros(dx), inward])[:, None]
        directions = jnp.eye(dx + da) * epsilon
        first, second = (jnp.where(side == 0, k, m * side) * directions for k, m in ((1, 1), (-1, 2)))
        rows = jnp.concatenate([jnp.zeros((1, dx + da)), first, second])
        qpos, qvel = jax.vmap(step)(rows)
        (_, q_up, q_down), (_, v_up, v_down) = (jnp.split(x, [1, 1 + dx + da]) for x in (qpos, qvel))
        dual = manifold.dual_basis(physics.blocks, qpos[0])
        central = jnp.concatenate([(q_up - q_down) @ dual.T, v_up - v_down], axis=1)
        one_sided = ((q_up - qpos[:1], v_up - qvel[:1]), (q_down - qpos[:1], v_down - qvel[:1]))
        up, down = (jnp.concatenate([q @ dual.T, v], axis=1) for q, v in one_sided)
        columns = jnp.where(side == 0, central, side * (4 * up - down)) / (2 * epsilon)
        sides = (jnp.where(side == 0, rise / epsilon, columns).T for rise in (up, -down))
        return jnp.concatenate([qpos[0], qvel[0]]), finite_differences.Differences(columns.T, *sides)  # type: ignore[arg-type]

    def reference(self, state: Array, action: Array, warmstart: Array) -> finite_differences.Reference:
        """Return next state and Jacobian of one row.

        Args:
            state: (qpos, qvel, memory), shape (ds,).
            action: Action, shape (da,).
            warmstart: `qacc_warmstart`, shape (nv,).
        """
        results = [self._program(state, action, warmstart, epsilon) for epsilon in finite_differences.EPSILONS]
        next_state = np.asarray(results[0][0])
        wide, narrow = (finite_differences.Differences(*map(np.asarray, found)) for _, found in results)
        return finite_differences.reference_of(next_state, wide, narrow)


def verify_deep(
    path: Path,
    sample: int = 64,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
    source: str | None = None,
) -> DeepReport:
    """Compute sampled rows of a store again, and compare.

    Args:
        path: A complete store.
        sample: Rows to draw, without replacement.
        seed: Seed of the draw.
        on_progress: Called with the number of rows compared since the last call.
        source: Where the task comes from, if it is one of the user's own, as of `task_sources`.

    Raises:
        IncompleteStoreError: The store is not finished.
        CorruptStoreError: The store can't be read.
        InvalidSettingError: The task is one of the user's own, and the source is missing or is another one.
    """
    from dynamic_sparsity.loaders.load import open_dataset

    data = open_dataset(path)
    attributes = data.metadata
    task = store_task.load(attributes, source)
    physics, nv = task.physics, task.physics.task.nv
    drawn, hard = _draw(path, len(data), sample, np.random.default_rng(seed))
    batch = data[drawn]
    bits = sum(1 << FLAG_BITS[name] for name in _UNCHECKABLE)
    rows = np.flatnonzero(batch["flags"] & bits == 0).tolist()

    def tick() -> None:
        if on_progress is not None:
            on_progress(1)

    comparisons = []
    if physics.dynamics == "converged":
        reference = finite_differences.MujocoOracle(physics, task.host_control)
        first = _compare(MUJOCO_C, lambda state, action, _: reference.reference(state, action), batch, rows, nv, tick)
        comparisons.append(first)
        rows = list(first.other_step)
    if rows:
        name, own = "central differences of our own step", MjxDifferenceOracle(physics, task.control)
        comparisons.append(_compare(name, own.reference, batch, rows, nv, tick))
    flagged = int(np.sum(batch["flags"] & bits != 0))
    explained = np.flatnonzero(batch["flags"] & (1 << FLAG_BITS["differs_from_mujoco"]) != 0)
    problems = _check_limits(path, len(drawn) - flagged, set(explained.tolist()), comparisons)
    return DeepReport(len(drawn), flagged, hard, tuple(comparisons), problems)


def hard_rows(columns: dict[str, Any]) -> NDArray[np.bool_]:
    """Return which rows are hard: contacts or limits act or switch, the action is at its bound, or something is fast.

    Args:
        columns: Of `HARD`, those that the store has.
    """
    hard: NDArray[np.bool_] = columns["active_changes"] > 0
    if "active_any" in columns:
        hard = hard | (columns["active_any"] == 1).any(axis=1)
    if "action" in columns:
        hard = hard | (np.abs(columns["action"]) > 1 - 2 * finite_differences.EPSILONS[0]).any(axis=1)
    speed = np.linalg.norm(columns["state"][:, columns["state"].shape[1] // 2 :], axis=1)
    hard = hard | (speed > np.nanquantile(speed, FAST))
    return hard


def _draw(path: Path, count: int, sample: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], int]:
    """Return the rows to compute again, in order, and how many of them were drawn as hard."""
    from dynamic_sparsity.loaders.load import open_dataset

    if sample >= count:
        return np.arange(count), 0
    first = int(rng.integers(0, max(1, count - LOOKED_AT)))
    window = np.arange(first, min(count, first + LOOKED_AT))
    data = open_dataset(path)
    looked = open_dataset(path, columns=[name for name in HARD if name in data.columns])
    pool = window[hard_rows(looked[window])]
    hard = rng.choice(pool, min(sample // 2, len(pool)), replace=False)
    rest = np.setdiff1d(np.arange(count), hard)
    rows = np.concatenate([hard, rng.choice(rest, sample - len(hard), replace=False)])
    return np.sort(rows), len(hard)


def _compare(
    name: str,
    reference: Callable[[Array, Array, Array], finite_differences.Reference],
    batch: dict[str, Any],
    rows: list[int],
    nv: int,
    tick: Callable[[], None],
) -> OracleComparison:
    errors, other_step, near_switch, at_kink = [], [], 0, 0
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
            errors.append(finite_differences.relative_error(stored, truth.nearest(stored)))
            at_kink += bool(truth.kinks.any())
    return OracleComparison(name, np.array(errors), tuple(other_step), near_switch, at_kink)


def _check_limits(
    path: Path, checkable: int, explained: set[int], comparisons: list[OracleComparison]
) -> tuple[Problem, ...]:
    """Return what is wrong.

    Args:
        path: The store.
        checkable: Rows whose flags promise a derivative.
        explained: Rows of which the store itself says that MuJoCo C steps elsewhere.
        comparisons: What was found.
    """
    fix = "generate the store again, and report this if it comes back"
    problems = []
    for one in comparisons:
        limits = (("median", 0.5, MEDIAN_LIMIT), ("99th percentile", 0.99, TAIL_LIMIT))
        for name, quantile, limit in limits:
            value = np.quantile(one.errors, quantile) if len(one.errors) else 0.0
            if not value <= limit:
                what = f"relative error of the Jacobians against {one.oracle}: {value:.1e} at the {name}"
                problems.append(Problem(str(path), f"{what}; it must be at most {limit:.0e}", fix))
        unexplained = [row for row in one.other_step if one.oracle != MUJOCO_C or row not in explained]
        if unexplained:
            what = f"{len(unexplained)} next states are not those of {one.oracle}, and no flag says so"
            problems.append(Problem(str(path), what, fix))
    first = comparisons[0] if comparisons else OracleComparison(MUJOCO_C, np.zeros(0), (), 0)
    wanted = checkable - len(explained.intersection(first.other_step))
    if not checkable or len(first.errors) < LEAST_COMPARED * wanted:
        what = f"only {len(first.errors)} of {wanted} rows could be compared with {first.oracle}"
        problems.append(
            Problem(str(path), f"{what}; {first.near_switch} are next to a switch", "verify more rows, with --sample")
        )
    return tuple(problems)
