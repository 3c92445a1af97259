"""Check that a store's values obey the format's rules: pure functions over the columns of one shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dynamic_sparsity.schemas import FLAG_BITS, MUJOCO_TOLERANCE, ArraySpec, row_arrays_of
from dynamic_sparsity.storage.problems import FIX_VALUES, Problem

Bools = npt.NDArray[np.bool_]
Finding = tuple[Bools, str]

# J is stored in float32, its mask was taken in float64: near the threshold the two may disagree.
TIE_FACTOR: Final = 0.01
FLOAT32_SMALLEST_NORMAL: Final = float(np.finfo(np.float32).smallest_normal)
# Solver noise may make a normal force slightly negative.
NEGATIVE_FORCE_N: Final = 1e-3
BINARY: Final = ("mask_s", "mask_a", "done", "active_any", "active_all")
# Where there is no contact point there is no distance either, which the format spells +inf.
MAY_BE_INFINITE: Final = "contact_distance"


@dataclass(frozen=True)
class ShardRows:
    """The rows of one shard.

    Attributes:
        start: Index of the first row.
        columns: Column name to (rows, ...) values.
        attributes: The root group's attributes.
        lengths: (E,) the episode table's `length`.
        previous: The columns' last row in the shard before, each (1, ...); None in the first shard.
    """

    start: int
    columns: Mapping[str, npt.NDArray[Any]]
    attributes: Mapping[str, Any]
    lengths: npt.NDArray[np.int32]
    previous: Mapping[str, npt.NDArray[Any]] | None

    @property
    def specs(self) -> tuple[ArraySpec, ...]:
        """The row arrays of the store."""
        return row_arrays_of(self.attributes)

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """Index of each row in the store, (rows,)."""
        return self.start + np.arange(len(self.columns["flags"]))

    @property
    def data(self) -> Bools:
        """Rows before the end of their episode, by the episode table, (rows,)."""
        episode, step = np.divmod(self.indices, self.attributes["episode_length"])
        data: Bools = step < self.lengths[episode]
        return data

    @property
    def clean(self) -> Bools:
        """Rows with data and not flagged nonfinite, (rows,)."""
        return self.data & ~self.flagged("nonfinite")

    def flagged(self, flag: str) -> Bools:
        """Return which rows have a flag, bool, (rows,).

        Args:
            flag: Name of the flag.
        """
        flagged: Bools = (self.columns["flags"] >> FLAG_BITS[flag]) & 1 == 1
        return flagged


def check_rows(rows: ShardRows) -> Iterator[Problem]:
    """Check one shard's rows against every rule.

    Args:
        rows: The rows.

    Yields:
        One problem per rule broken, with the number of rows and the first.
    """
    for rule in RULES:
        for broken, what in rule(rows):
            if broken.any():
                first = int(rows.indices[np.argmax(broken)])
                where = f"shard {rows.start // rows.attributes['shard_rows']}, row {first}"
                count = int(np.count_nonzero(broken))
                yield Problem(where, f"{what} (in {count} row{'s' if count > 1 else ''} of this shard)", FIX_VALUES)


def _any(values: npt.NDArray[Any]) -> Bools:
    """Return whether any entry of each row is true, (rows, ...) -> (rows,)."""
    return np.asarray(np.any(values, axis=tuple(range(1, values.ndim))), dtype=bool)


def _is_fill(spec: ArraySpec, values: npt.NDArray[Any]) -> Bools:
    return np.asarray(np.isnan(values) if spec.dtype.startswith("float") else values == spec.fill_value, dtype=bool)


def _no_fill(rows: ShardRows) -> Iterator[Finding]:
    """Check that rows that are neither padding nor nonfinite hold values, and finite ones."""
    for spec in rows.specs:
        values = rows.columns[spec.name]
        yield rows.clean & _any(_is_fill(spec, values)), f"{spec.name} holds the fill value in an unflagged row"
        if spec.dtype.startswith("float"):
            infinite = np.isneginf(values) if spec.name == MAY_BE_INFINITE else np.isinf(values)
            yield rows.clean & _any(infinite), f"{spec.name} is infinite in an unflagged row"


def _padding(rows: ShardRows) -> Iterator[Finding]:
    """Check that padding is exactly what follows an episode's end, and holds fill values only."""
    padding = rows.flagged("padding")
    yield padding & rows.data, "flags say padding, but the episode table says data"
    yield ~padding & ~rows.data, "flags don't say padding, but the episode table says the episode has ended"
    for spec in rows.specs:
        if spec.name != "flags":
            filled = ~_any(~_is_fill(spec, rows.columns[spec.name]))
            yield ~rows.data & ~filled, f"{spec.name} holds a value in a padding row"
    yield ~rows.data & (rows.columns["flags"] != 1 << FLAG_BITS["padding"]), "a padding row has other flags too"


def _flags(rows: ShardRows) -> Iterator[Finding]:
    """Check that flags agree with the columns they are about."""
    known = sum(1 << bit for bit in rows.attributes["flag_bits"].values())
    yield (rows.columns["flags"] & ~np.uint16(known)) != 0, "flags has bits without a name"
    nonfinite = np.zeros(len(rows.data), dtype=bool)
    for spec in rows.specs:
        if spec.dtype.startswith("float") and spec.name != MAY_BE_INFINITE:
            nonfinite |= _any(~np.isfinite(rows.columns[spec.name]))
    yield rows.data & rows.flagged("nonfinite") & ~nonfinite, "flagged nonfinite, but every number is finite"
    disagrees = rows.flagged("active_set_changed") != (rows.columns["active_changes"] > 0)
    yield rows.clean & disagrees, "the flag active_set_changed disagrees with active_changes"
    if "mujoco_difference" in rows.columns:
        differs = rows.columns["mujoco_difference"] >= MUJOCO_TOLERANCE
        disagrees = rows.flagged("differs_from_mujoco") != differs
        yield rows.clean & disagrees, "the flag differs_from_mujoco disagrees with mujoco_difference"


def _places(rows: ShardRows) -> Iterator[Finding]:
    """Check that the columns `episode` and `step` name the row's place."""
    episode, step = np.divmod(rows.indices, rows.attributes["episode_length"])
    yield rows.data & (rows.columns["episode"] != episode), "episode disagrees with the episode table"
    yield rows.data & (rows.columns["step"] != step), "step disagrees with the episode table"


def _continuity(rows: ShardRows) -> Iterator[Finding]:
    """Check that inside an episode a row's next state is the next row's state, bit by bit."""
    state, next_state = rows.columns["state"], rows.columns["next_state"]
    before = rows.previous["next_state"] if rows.previous is not None else next_state[:0]
    came_from = np.concatenate([before, next_state[:-1]])
    own = state[len(state) - len(came_from) :]
    differs = np.zeros(len(state), dtype=bool)
    bits = np.ascontiguousarray(own).view(np.uint32) != np.ascontiguousarray(came_from).view(np.uint32)
    differs[len(state) - len(came_from) :] = _any(bits)
    inside = rows.indices % rows.attributes["episode_length"] > 0
    yield differs & inside & rows.data, "state is not bitwise the row before's next_state"


def _actions(rows: ShardRows) -> Iterator[Finding]:
    """Check that actions lie inside (-1, 1) unless flagged."""
    if "action" in rows.columns:
        outside = _any(np.abs(rows.columns["action"]) >= 1)
        yield rows.clean & outside & ~rows.flagged("action_at_bound"), "action is not inside (-1, 1) and not flagged so"


def _binary(rows: ShardRows) -> Iterator[Finding]:
    """Check that masks and signals are 0 or 1."""
    for name in BINARY:
        if name in rows.columns:
            yield rows.clean & _any(rows.columns[name] > 1), f"{name} is neither 0 nor 1"


def _masks(rows: ShardRows) -> Iterator[Finding]:
    """Check that a mask is 1 where its Jacobian reaches the threshold and 0 where it does not, away from ties."""
    threshold = rows.attributes["mask_threshold"]
    above = np.float64(threshold * (1 + TIE_FACTOR))
    # Below float32's normal numbers a small entry may have become zero, so that nothing is known of it.
    below = threshold * (1 - TIE_FACTOR)
    below = np.float64(below if below >= FLOAT32_SMALLEST_NORMAL else -1.0)
    piece = rows.attributes["chunk_rows"]
    for jacobian, mask in (("J_s", "mask_s"), ("J_a", "mask_a")):
        if jacobian not in rows.columns:
            continue
        lost, invented = np.zeros((2, len(rows.data)), dtype=bool)
        for start in range(0, len(lost), piece):
            span = slice(start, start + piece)
            size = np.abs(rows.columns[jacobian][span])
            edge = rows.columns[mask][span] == 1
            lost[span] = _any((size >= above) & ~edge)
            invented[span] = _any((size <= below) & edge)
        yield rows.clean & lost, f"{mask} is 0 where abs({jacobian}) is at least {threshold:g}"
        yield rows.clean & invented, f"{mask} is 1 where abs({jacobian}) is less than {threshold:g}"


def _contacts(rows: ShardRows) -> Iterator[Finding]:
    """Check that what holds in every substep holds in one, and that forces push."""
    if "active_any" in rows.columns:
        more = _any(rows.columns["active_all"] > rows.columns["active_any"])
        yield rows.clean & more, "active_all exceeds active_any"
    if "contact_force" in rows.columns:
        pulls = _any(rows.columns["contact_force"] < -NEGATIVE_FORCE_N)
        yield rows.clean & pulls, f"contact_force is below -{NEGATIVE_FORCE_N:g} N"
    yield rows.clean & (rows.columns["solver_residual"] < 0), "solver_residual is negative"


def _ends(rows: ShardRows) -> Iterator[Finding]:
    """Check that an episode ends only where the task ends it or a number is not finite."""
    episode, step = np.divmod(rows.indices, rows.attributes["episode_length"])
    last = step + 1 == rows.lengths[episode]
    done = rows.columns["done"] == 1
    yield rows.clean & done & ~last, "done is 1 before the episode's last row"
    early = step + 1 < rows.attributes["episode_length"]
    yield rows.clean & last & early & ~done, "the episode ends early, but done is not 1"


RULES: Final = (
    _no_fill,
    _padding,
    _flags,
    _places,
    _continuity,
    _actions,
    _binary,
    _masks,
    _contacts,
    _ends,
)
