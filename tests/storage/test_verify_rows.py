"""The rules that rows of a store must obey, each broken in turn."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dynamic_sparsity.schemas import FLAG_BITS
from dynamic_sparsity.storage.verify import Problem
from dynamic_sparsity.storage.verify_rows import ShardRows, check_rows
from dynamic_sparsity.testing import stores as synthetic

EARLY = {3: 7}
Columns = dict[str, Any]
FIRST_PADDING = 3 * 20 + 7
RULES: list[tuple[Callable[[Columns], object], str, int]] = []


def breaks(what: str, row: int) -> Callable[[Callable[[Columns], object]], Callable[[Columns], object]]:
    def register(change: Callable[[Columns], object]) -> Callable[[Columns], object]:
        RULES.append((change, what, row))
        return change

    return register


def put(name: str, index: Any, value: Any) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        columns[name][index] = value

    return change


def flag(name: str, row: int) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        columns["flags"][row] ^= 1 << FLAG_BITS[name]

    return change


for _change, _what, _row in [
    (put("J_s", (5, 1, 1), np.nan), "J_s holds the fill value in an unflagged row", 5),
    (put("J_a", (5, 1, 1), np.inf), "J_a is infinite in an unflagged row", 5),
    (put("contact_distance", (5, 0), -np.inf), "contact_distance is infinite", 5),
    (put("mask_s", (6, 0, 0), 255), "mask_s holds the fill value", 6),
    (put("flags", 6, 65535), "bits without a name", 6),
    (put("episode", 6, -1), "episode holds the fill value", 6),
    (put("solver_residual", 6, np.nan), "solver_residual holds the fill value", 6),
    (put("solver_residual", 6, -1), "solver_residual is negative", 6),
    (put("reward", FIRST_PADDING, 0), "reward holds a value in a padding row", FIRST_PADDING),
    (put("mask_a", FIRST_PADDING + 1, 0), "mask_a holds a value in a padding row", FIRST_PADDING + 1),
    (flag("nonfinite", FIRST_PADDING), "a padding row has other flags", FIRST_PADDING),
    (flag("padding", FIRST_PADDING), "flags don't say padding", FIRST_PADDING),
    (flag("padding", 9), "flags say padding", 9),
    (flag("nonfinite", 9), "flagged nonfinite, but every number is finite", 9),
    (flag("active_set_changed", 9), "active_set_changed disagrees", 9),
    (put("flags", 9, 1 << 12), "bits without a name", 9),
    (put("next_state", (12, 0), 7.0), "not bitwise the row before's next_state", 13),
    (put("episode", 21, 0), "episode disagrees", 21),
    (put("step", 21, 2), "step disagrees", 21),
    (put("action", (30, 1), -1.0), "action is not inside (-1, 1)", 30),
    (put("mask_s", (31, 0, 1), 1), "mask_s is 1 where abs(J_s) is less than 1e-12", 31),
    (put("mask_s", (31, 0, 0), 0), "mask_s is 0 where abs(J_s) is at least 1e-12", 31),
    (put("mask_a", (32, 5, 0), 0), "mask_a is 0 where", 32),
    (put("mask_s", (32, 0, 0), 2), "mask_s is neither 0 nor 1", 32),
    (put("done", 33, 3), "done is neither 0 nor 1", 33),
    (put("done", 33, 1), "done is 1 before the episode's last row", 33),
    (put("done", FIRST_PADDING - 1, 0), "ends early, but done is not 1", FIRST_PADDING - 1),
    (put("contact_force", (34, 1), -1.0), "contact_force is below", 34),
]:
    breaks(_what, _row)(_change)


def rows_of(change: Callable[[Columns], object] = lambda _: None, **attributes: Any) -> ShardRows:
    described = synthetic.make_attributes(episodes=4) | attributes
    columns, episodes = synthetic.make_unit(described, range(4), EARLY)
    change(columns)
    lengths = np.array([episode["length"] for episode in episodes], dtype=np.int32)
    return ShardRows(0, columns, described, lengths, None)


def test_synthetic_rows_obey_every_rule() -> None:
    assert list(check_rows(rows_of())) == []


@pytest.mark.parametrize(("change", "what", "row"), RULES)
def test_broken_rules_are_found_and_named(change: Callable[[Columns], object], what: str, row: int) -> None:
    problems = list(check_rows(rows_of(change)))
    assert any(what in problem.what and problem.where == f"shard 0, row {row}" for problem in problems), problems


def test_active_all_exceeding_active_any() -> None:
    def change(columns: Columns) -> None:
        columns["active_any"][8, 0], columns["active_all"][8, 0] = 0, 1

    assert "active_all exceeds active_any" in next(check_rows(rows_of(change))).what


def test_flagged_rows_may_be_what_their_flag_says() -> None:
    def change(columns: Columns) -> None:
        columns["J_s"][5] = np.nan
        columns["mask_s"][5] = 0
        columns["flags"][5] |= 1 << FLAG_BITS["nonfinite"]
        columns["action"][7] = 1
        columns["flags"][7] |= 1 << FLAG_BITS["action_at_bound"]

    assert list(check_rows(rows_of(change))) == []


@pytest.mark.parametrize("edge", [0, 1])
@pytest.mark.parametrize("value", [1e-12, 0.995e-12, -1.005e-12])
def test_ties_are_not_judged(value: float, edge: int) -> None:
    def change(columns: Columns) -> None:
        columns["J_s"][5, 0, 1], columns["mask_s"][5, 0, 1] = value, edge

    assert list(check_rows(rows_of(change))) == []


def test_what_float32_cannot_hold_is_not_judged() -> None:
    # With such a threshold an entry of 1e-46 is an edge, but zero in float32.
    def change(columns: Columns) -> None:
        columns["mask_s"][5, 0, 1] = 1

    assert list(check_rows(rows_of(change, mask_threshold=1e-47))) == []
    assert list(check_rows(rows_of(change, mask_threshold=1e-30))) != []


def test_episodes_across_shards_are_continuous() -> None:
    rows = rows_of()
    cut = 30
    first = {name: values[:cut] for name, values in rows.columns.items()}
    second = {name: values[cut:] for name, values in rows.columns.items()}
    last = {"next_state": first["next_state"][-1:]}
    later = dataclasses.replace(rows, start=cut, columns=second, previous=last)
    assert list(check_rows(later)) == []
    (problem,) = check_rows(dataclasses.replace(later, previous={"next_state": last["next_state"] + 1}))
    assert isinstance(problem, Problem) and "row 30" in problem.where and "not bitwise" in problem.what
