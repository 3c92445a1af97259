"""What the paper found of its multilayer perceptron, held against the entries of a leaderboard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dynamic_sparsity.learners.leaderboard.entries import Entry, mean_and_spread
from dynamic_sparsity.untrusted import markdown
from dynamic_sparsity.untrusted.markdown import escape

__all__ = ["TermFinding", "paper_findings", "term_findings"]

TERMS = ("none", "mse", "mae", "l1", "sae")
UNCHANGED = 0.1
"""An error within this share of that without a term "hardly moves"."""

FAR = 0.1
"""A relative sparsity less than this is far below the truth."""


@dataclass(frozen=True)
class TermFinding:
    """One loss of the perceptron, over the tasks that have it, the untrained network and the loss without a term.

    Attributes:
        term: "none", "mse", "mae", "l1" or "sae".
        sparsity: Mean over tasks of the sparsity relative to the truth.
        untrained: The same of the untrained network.
        tasks: How many there are.
        above: Tasks on which the mean over seeds is above the untrained network's.
        clearly_above: Tasks on which it is above by more than both standard deviations over seeds together.
        clearly_below: Likewise below.
        largest: The largest mean over seeds of the relative sparsity of any task.
        errors: Per task, the error of the next state by that without a term.
    """

    term: str
    sparsity: float
    untrained: float
    tasks: int
    above: int
    clearly_above: int
    clearly_below: int
    largest: float
    errors: tuple[float, ...]

    @property
    def error(self) -> float:
        """Geometric mean over tasks of `errors`."""
        return math.exp(sum(map(math.log, self.errors)) / len(self.errors))


def term_findings(entries: Sequence[Entry]) -> list[TermFinding]:
    """Hold each loss of the perceptron against the untrained network and the loss without a term.

    Args:
        entries: Of one protocol and one policy.

    Returns:
        One for each loss that has been trained; none without the untrained network and the loss "none".
    """
    found = []
    for term in TERMS:
        sparsities, initials, errors = [], [], []
        for task in sorted({entry.task for entry in entries}):
            sparsity = mean_and_spread(_mlp(entries, task, term), "relative_sparsity")
            initial = mean_and_spread(_mlp(entries, task, "untrained"), "relative_sparsity")
            error = mean_and_spread(_mlp(entries, task, term), "nmse")
            base = mean_and_spread(_mlp(entries, task, "none"), "nmse")
            if sparsity and initial and error and base and error[0] > 0 and base[0] > 0:
                sparsities.append(sparsity)
                initials.append(initial)
                errors.append(error[0] / base[0])
        if not sparsities:
            continue
        pairs = list(zip(sparsities, initials, strict=True))
        found.append(
            TermFinding(
                term,
                sum(mean for mean, _ in sparsities) / len(sparsities),
                sum(mean for mean, _ in initials) / len(initials),
                len(pairs),
                sum(one[0] > other[0] for one, other in pairs),
                sum(one[0] - one[1] > other[0] + other[1] for one, other in pairs),
                sum(one[0] + one[1] < other[0] - other[1] for one, other in pairs),
                max(mean for mean, _ in sparsities),
                tuple(errors),
            )
        )
    return found


def paper_findings(entries: Sequence[Entry]) -> list[str]:
    """Return the section of the page: a table, and for each of the paper's statements whether it holds here.

    Args:
        entries: Of one protocol and one policy.

    Returns:
        Lines of Markdown; none if there is too little to say anything.
    """
    found = term_findings(entries)
    terms = [one for one in found if one.term != "none"]
    if not terms:
        return []
    lines = [
        "### Is the paper's finding there?",
        "",
        "Of the multilayer perceptron: sparsity relative to the truth, the mean over tasks, by that of the untrained "
        "network; tasks on which the mean over seeds is above the untrained network's, and those on which it is above "
        "(below) by more than the spreads of both together; error of the next state by that without a term, geometric "
        "mean over tasks, least and largest.",
        "",
    ]
    rows = []
    for one in found:
        ratio = f"{one.sparsity / one.untrained:.2f}" if one.untrained > 0 else "–"
        clearly, spread = f"{one.clearly_above} ({one.clearly_below})", f"{min(one.errors):.2f} – {max(one.errors):.2f}"
        rows.append([one.term, ratio, f"{one.above} of {one.tasks}", clearly, f"{one.error:.3f}", spread])
    head = ["loss", "sparsity / untrained's", "tasks above", "clearly above (below)", "error / none's"]
    table = markdown.table([*head, "least – largest"], rows, ["---", *["---:"] * len(head)])
    return [*lines, *table, "", *_verdicts(found, terms), ""]


def _verdicts(found: list[TermFinding], terms: list[TermFinding]) -> list[str]:
    raised: list[str] = [escape(one.term) for one in terms if one.sparsity > one.untrained]
    clear = [f"{escape(one.term)} on {one.clearly_above}, the reverse on {one.clearly_below}" for one in terms]
    others = [one for one in terms if one.term != "l1"]
    still = [one for one in others if abs(one.error - 1) <= UNCHANGED]
    errors = [error for one in others for error in one.errors]
    worst = max(terms, key=lambda one: one.error)
    largest = max(one.largest for one in found)
    lines = [
        f"- *Every term on the Jacobian raises sparsity over the untrained network*: "
        f"**{_holds(len(raised), len(terms))}** in the mean over tasks ({_names(raised)}). Task by task the numbers "
        f"are small counts of entries, and seldom tell: by more than the spreads, {'; '.join(clear)}, of "
        f"{terms[0].tasks} tasks.",
    ]
    if others:
        lines.append(
            f"- *But for L1, the error of the next state hardly moves*: **{_holds(len(still), len(others))}** in the "
            f"mean over tasks, within {100 * UNCHANGED:.0f} % ({_errors(others)}); on single tasks it moves by "
            f"{100 * (min(errors) - 1):+.0f} % to {100 * (max(errors) - 1):+.0f} %."
        )
    if any(one.term == "l1" for one in terms):
        l1 = next(one for one in terms if one.term == "l1")
        hurt = sum(error > 1 for error in l1.errors)
        lines.append(
            f"- *L1 hurts it*: **{_holds(int(l1.error > 1), 1)}** in the mean over tasks: "
            f"{100 * (l1.error - 1):+.1f} %, worse on {hurt} of {l1.tasks}; the term that costs most "
            f"is {escape(worst.term)}."
        )
    lines.append(
        f"- *The perceptron stays far below the truth*: **{_holds(int(largest < FAR), 1)}**: the "
        f"largest relative sparsity of any task and loss is {largest:.2g}."
    )
    return lines


def _holds(number: int, total: int) -> str:
    return "holds" if number == total else "does not hold" if number == 0 else f"holds for {number} of {total} terms"


def _names(terms: list[str]) -> str:
    return ", ".join(terms) or "none of them"


def _errors(terms: list[TermFinding]) -> str:
    return ", ".join(f"{escape(one.term)} {100 * (one.error - 1):+.1f} %" for one in terms)


def _mlp(entries: Sequence[Entry], task: str, loss: str) -> list[Entry]:
    return [entry for entry in entries if (entry.task, entry.learner, entry.loss) == (task, "mlp", loss)]
