"""The part of docs/robot_results.md that comes from files: tables of robots, and how they differ from DM Control."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from provenance import sentence

from dynamic_sparsity.untrusted import markdown

FEET = 4
"""Rows in which so many parts touch, or more, are one column."""

Row = dict[str, Any]


def page_part(out: Path, toys: Path) -> str:
    """Return the part of the page between its marks.

    Args:
        out: Folder of the robots' tables.
        toys: Folder of DM Control's.
    """
    facts = json.loads((out / "made_with.json").read_text())
    tables = {name: _read(out, name) for name in ("table1", "sparsity", "patterns", "changes", "thresholds", "bodies")}
    others = {name: _noise(_read(toys, name)) for name in ("table1", "sparsity", "patterns", "changes", "thresholds")}
    lines = [
        "## Table 1, extended by robots",
        "",
        *_table1(tables["table1"], others["table1"], facts),
        "",
        "*rows*: of noise, without padding; *contact*, *limit*: share of the rows in which a "
        "contact acts, or none but a joint's limit; *as in C*: MuJoCo C's own step reaches the same next state; ds "
        "counts tangent coordinates, with what the task remembers.",
        "",
        "## Sparsity by what touches",
        "",
        *_touching(_read(out, "touching")),
        "",
        "Mean share of zeros in J_s at 1e-12, then at "
        f"{facts['coarse']:g} standard deviations (share of the task's rows), by how many of its parts touch "
        "something: feet, mostly; geoms whose names differ by a number only are one part. "
        "[Which ones](../results/robots/touching.csv).",
        "",
        f"![Share of zeros by how many parts touch, robot by robot](../{_within(out)}/touching.png)",
        "",
        "## Which body influences which",
        "",
        *_bodies(tables["bodies"]),
        "",
        "Share of the ordered pairs of different bodies of which one influences the other: mean over rows without "
        f"contact or limit, over rows with a contact, and in some row; at 1e-12, then at {facts['coarse']:g} standard "
        "deviations. What a task remembers of its last control counts as a body. "
        "[Every pair](../results/robots/influence.csv).",
        "",
    ]
    for figure in sorted(out.glob("bodies_*.png")):
        task = figure.stem.removeprefix("bodies_")
        lines += [f"![Which body of {task} influences which](../{_within(out)}/{figure.name})", ""]
    lines += [
        "## Actions without effect",
        "",
        *_idle(_read(out, "idle_actions"), tables["patterns"]),
        "",
        "*Without effect*: actions whose whole column of J_a is zero in a row, as of a motor at its limit of force or "
        "of its control at the end of its range: how many on average, in which share of the rows any, and which share "
        "of the zeros of J_a these columns are. "
        "*Bits*: entropy of the pattern of zeros over the rows, of J_s and of J_a. "
        "*Explained*: of the pattern of both, by the set of active constraints, then by that and the actions without "
        "effect; too high where most rows have a set of their own.",
        "",
        "## Robots and DM Control",
        "",
        *_differences(tables, others, facts["coarse"]),
        "",
        "Of the tasks' numbers: median, smallest and largest. All 25 tasks of DM Control count, with noise.",
        "",
    ]
    return "\n".join([*lines, f"{sentence(facts)}."])


def _within(out: Path) -> str:
    return f"{out.parent.name}/{out.name}"


def _read(folder: Path, name: str) -> list[Row]:
    """Return a table as `write_table` wrote it."""
    with (folder / f"{name}.csv").open() as lines:
        return list(csv.DictReader(lines))


def _noise(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["policy"] == "noise" and row["dynamics"] == "converged"]


def _number(value: str) -> float:
    return float(value) if value else math.nan


def _percent(value: float, digits: int = 0) -> str:
    if 0 < value < 0.5 * 10.0 ** (-2 - digits):
        return f"< {10.0**-digits:g} %"
    return "–" if math.isnan(value) else f"{100 * value:.{digits}f} %"


def _table1(robots: list[Row], toys: list[Row], facts: Row) -> list[str]:
    stores = {one["task"]: one for one in facts["stores"]}
    head = ["task", "rows", "contact", "limit", "as in C", "ds", "da", "zeros in J_s", "in J_a"]
    rows: list[list[object]] = []
    paper = [row for row in toys if row["paper_zeros_J_s"]]
    for row in [*robots, *paper]:
        name, same = f"{row['task']} (DM Control)", "–"
        if store := stores.get(row["task"]):
            name, same = markdown.code(row["task"]), _percent(1 - store["flags"]["differs_from_mujoco"] / store["rows"])
        count = int(row["rows"])
        shares = [_percent(int(row[key]) / count) for key in ("rows_with_contact", "rows_with_limit_only")]
        zeros = f"{row['zeros_J_s']} ({_percent(float(row['share_J_s']), 1)})"
        rows.append([name, f"{count:,}", *shares, same, row["ds"], row["da"], zeros, row["zeros_J_a"]])
    return markdown.table(head, rows, ["---", *["---:"] * 8])


def _touching(sets: list[Row]) -> list[str]:
    head = ["task", "nothing", *(f"{number}" for number in range(1, FEET)), f"{FEET} or more"]
    rows: list[list[object]] = []
    for task in dict.fromkeys(row["task"] for row in sets):
        cells = []
        for number in range(FEET + 1):
            found = [one for one in sets if one["task"] == task and min(int(one["touching"]), FEET) == number]
            count = sum(int(one["rows"]) for one in found)
            if not count:
                cells.append("–")
                continue
            means = [
                sum(float(one[name]) * int(one["rows"]) for one in found) / count for name in ("sparsity_s", "coarse_s")
            ]
            share = sum(float(one["share"]) for one in found)
            cells.append(f"{means[0]:.3f}, {means[1]:.2f} ({_percent(share)})")
        rows.append([markdown.code(task), *cells])
    return markdown.table(head, rows)


def _bodies(graphs: list[Row]) -> list[str]:
    found = {(row["task"], row["meaning"], row["mode"]): row for row in graphs}
    head = ["task", "bodies", "1e-12: free", "contact", "some row", "coarse: free", "contact", "some row"]
    rows: list[list[object]] = []
    for task in dict.fromkeys(row["task"] for row in graphs):
        cells: list[object] = [markdown.code(task), found[task, "stored", "all"]["bodies"]]
        for meaning in ("stored", "coarse"):
            cells += [_percent(_number(found[task, meaning, mode]["density"])) for mode in ("free", "contact")]
            cells.append(_percent(_number(found[task, meaning, "all"]["density_of_some_row"])))
        rows.append(cells)
    return markdown.table(head, rows, ["---", *["---:"] * 7])


def _idle(found: list[Row], patterns: list[Row]) -> list[str]:
    explained = {row["task"]: _number(row["explained_by_active_set"]) for row in patterns}
    head = ["task", "actions", "without effect", "rows", "of the zeros", "bits: J_s", "J_a", "explained", "with both"]
    rows: list[list[object]] = []
    for row in found:
        shares = [_percent(_number(row[name])) for name in ("rows_with_idle", "share_of_zeros_J_a")]
        bits = [f"{_number(row[name]):.1f}" for name in ("bits_J_s", "bits_J_a")]
        words = [_percent(explained[row["task"]]), _percent(_number(row["explained_by_active_set_and_idle"]))]
        cells = [row["actions"], f"{_number(row['idle']):.1f}", *shares, *bits, *words]
        rows.append([markdown.code(row["task"]), *cells])
    return markdown.table(head, rows, ["---", *["---:"] * 8])


def _values(
    rows: list[Row], column: str | Callable[[Row], float], show: Callable[[float], str], where: dict[str, str]
) -> list[str]:
    """Return the median, the smallest and the largest value of a column, in words."""
    chosen = [row for row in rows if all(row[key] == value for key, value in where.items())]
    values = [column(row) if callable(column) else _number(row[column]) for row in chosen]
    found = sorted(value for value in values if not math.isnan(value))
    return [show(median(found)), f"{show(found[0])} – {show(found[-1])}"] if found else ["–", "–"]


def _differences(tables: dict[str, list[Row]], others: dict[str, list[Row]], coarse: float) -> list[str]:
    def percent(value: float) -> str:
        return _percent(value, 1)

    def plain(value: float) -> str:
        return f"{value:,.0f}"

    def bits(value: float) -> str:
        return f"{value:.1f}"

    def changing(row: Row) -> float:
        return int(row["pattern_changes"]) / int(row["steps"]) if int(row["steps"]) else math.nan

    at = {"scale": "dimensionless", "threshold": f"{coarse:g}"}
    steps = {"event": "constraint"}
    asked: list[tuple[str, str, str | Callable[[Row], float], Callable[[float], str], dict[str, str]]] = [
        ("zero in every row, share of J_s", "table1", "share_J_s", percent, {}),
        ("zero in a row, mean share of J_s", "sparsity", "mean_sparsity", percent, {"matrix": "J_s", "mode": "all"}),
        ("… without contact or limit", "sparsity", "mean_sparsity", percent, {"matrix": "J_s", "mode": "free"}),
        ("… in contact", "sparsity", "mean_sparsity", percent, {"matrix": "J_s", "mode": "contact"}),
        (f"… below {coarse:g} standard deviations", "thresholds", "sparsity_s", percent, at),
        ("patterns that make up 99 % of the rows", "patterns", "patterns_for_99_percent", plain, {}),
        ("entropy of the pattern, bits", "patterns", "bits_pattern", bits, {}),
        ("… explained by the active set", "patterns", "explained_by_active_set", percent, {}),
        ("steps at which the pattern changes", "changes", changing, percent, steps),
        ("… of which the active set changes too", "changes", "precision", percent, steps),
        ("changes of the active set at which the pattern changes", "changes", "recall", percent, steps),
        (f"steps with a change, at {coarse:g} standard deviations", "thresholds", "changes", percent, at),
    ]  # fmt: skip
    head = ["", "robots: median", "range", "DM Control: median", "range"]
    rows: list[list[object]] = []
    for title, name, column, show, where in asked:
        cells = [_values(source[name], column, show, where) for source in (tables, others)]
        rows.append([title, *cells[0], *cells[1]])
    return markdown.table(head, rows, ["---", *["---:"] * 4])
