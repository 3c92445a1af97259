"""LEADERBOARD.md: every table and sentence of it, from the entries alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynamic_sparsity.learners.leaderboard.benchmark_rows import BenchmarkRow
from dynamic_sparsity.learners.leaderboard.entries import Entry, mean_and_spread, order_of
from dynamic_sparsity.learners.leaderboard.local_graph_summary import local_graph_summary
from dynamic_sparsity.learners.leaderboard.paper_findings import paper_findings
from dynamic_sparsity.untrusted import markdown
from dynamic_sparsity.untrusted.markdown import escape

__all__ = ["compare", "leaderboard_page"]

MEASURES = (
    ("average_precision", "Average precision of the local graph", "↑", ".3f"),
    ("nmse", "Normalised error of the next state", "↓", ".1e"),
    ("f1", "F1 of the local graph", "↑", ".3f"),
    ("hamming", "Structural Hamming distance", "↓", ".1f"),
    ("edge_auroc", "When is an edge there? AUROC over rows, of the entries that switch", "↑", ".3f"),
    ("relative_sparsity", "Sparsity of the Jacobian at 1e-6, relative to the truth", "→ 1", ".2g"),
)

MLPS = ("mlp", "residual-mlp")
TOLERANCE = 1.02
"""Next-state errors within this factor count as no worse: runs of other seeds differ by about as much."""


@dataclass(frozen=True)
class Verdict:
    """One task: the best MLP against the best state-adaptive learner whose next-state error is no worse.

    Attributes:
        task: Task.
        mlp: Name of the MLP with the highest average precision.
        adaptive: Name of the best adaptive learner that predicts no worse than it, or of the best one if none does.
        precision: Average precision of the two.
        error: Normalised error of the next state of the two.
    """

    task: str
    mlp: str
    adaptive: str
    precision: tuple[float, float]
    error: tuple[float, float]

    @property
    def won(self) -> bool:
        """Whether the adaptive learner has the higher precision at no worse error."""
        return self.precision[1] > self.precision[0] and self.error[1] <= TOLERANCE * self.error[0]


def compare(entries: Sequence[Entry], supervisions: Sequence[str]) -> list[Verdict]:
    """Hold the best MLP of each task against the adaptive learners, among learners of certain supervisions.

    Args:
        entries: Of one protocol and one policy.
        supervisions: What the learners compared may have been trained with.

    Returns:
        A verdict per task that has both.
    """
    verdicts = []
    for task in sorted({entry.task for entry in entries}):
        means = {}
        here = [entry for entry in entries if entry.task == task and entry.supervision in supervisions]
        for name in sorted({entry.name for entry in here}):
            runs = [entry for entry in here if entry.name == name]
            precision, error = mean_and_spread(runs, "average_precision"), mean_and_spread(runs, "nmse")
            if precision and error and runs[0].loss != "untrained":
                means[name] = (precision[0], error[0], runs[0])
        mlps = {name: mean for name, mean in means.items() if mean[2].learner in MLPS}
        adaptive = {name: mean for name, mean in means.items() if mean[2].adaptive}
        if not mlps or not adaptive:
            continue
        best = max(mlps, key=lambda name: (mlps[name][0], -mlps[name][1]))
        limit = TOLERANCE * mlps[best][1]
        able = {name: mean for name, mean in adaptive.items() if mean[1] <= limit} or adaptive
        other = max(able, key=lambda name: (able[name][0], -able[name][1]))
        verdicts.append(Verdict(task, best, other, (mlps[best][0], able[other][0]), (mlps[best][1], able[other][1])))
    return verdicts


def leaderboard_page(
    entries: Sequence[Entry],
    figure: str | None = None,
    *,
    rows: Sequence[BenchmarkRow] = (),
    folder: str = "",
    definitions: str | None = None,
) -> str:
    """Return the page, in Markdown.

    Args:
        entries: Of one or several protocols.
        figure: Path of the figure from the page, if there is one.
        rows: Of the benchmark, for the part about local graphs; none for no such part.
        folder: Path from the page to the folder of the pages by track.
        definitions: Path from the page to docs/benchmark.md, if it is there.
    """
    name = escape("docs/benchmark.md") if definitions is None else markdown.link("docs/benchmark.md", definitions)
    parts = ["# Leaderboard", "", _INTRODUCTION.format(name), ""]
    if rows:
        parts += local_graph_summary(rows, folder)
    parts += ["## Global ranking", "", _RANKING, ""]
    for protocol, policy in sorted({(entry.protocol, entry.policy) for entry in entries}):
        some = [entry for entry in entries if (entry.protocol, entry.policy) == (protocol, policy)]
        parts += _section(protocol, policy, some)
    if figure is not None:
        parts += [
            "## The paper's Figure 8",
            "",
            _FIGURE,
            "",
            f"!{markdown.link('Next-state error and sparsity by loss', figure)}",
            "",
        ]
    return "\n".join(parts)


_INTRODUCTION = (
    "Written by `dynamic-sparsity leaderboard`; {} defines every number, says what they mean and how to enter.\n"
    "*Taught with* says what a learner could see of the train split: transitions (s, a, s') only, also the true masks "
    "(structure), or also the true Jacobians."
)

_RANKING = (
    "These measures came first, and rank the entries of each row.\n"
    "**Average precision, AUROC and F1 do not see whether a learner looks at the state**: one graph for all rows has "
    "an average precision of 1 (`global-graph majority`), so no verdict by it says that adapting is better.\n"
    "Numbers are means over seeds, ± the sample standard deviation over them where there are several.\n"
    "The oracle is given the true masks at test time; it is no contestant."
)

_FIGURE = (
    "Box plots over tasks of the multilayer perceptron with each term of the loss: error of the next state relative to "
    "that without a term, and sparsity of the Jacobian relative to the truth. Points: tasks, with a "
    "standard deviation over seeds. Lines: the truth, the untrained network."
)


def _section(protocol: str, policy: str, entries: list[Entry]) -> list[str]:
    seeds, tasks = sorted({entry.seed for entry in entries}), sorted({entry.task for entry in entries})
    rows, steps = max(entry.train_rows for entry in entries), max(entry.steps for entry in entries)
    lines = [
        f"## Global ranking, protocol {escape(protocol)}, data of the policy {escape(policy)}",
        "",
        f"{len(tasks)} {'task' if len(tasks) == 1 else 'tasks'}, seeds {escape(', '.join(map(str, seeds)))}, "
        f"at most {rows:,} training rows and {steps:,} steps.",
        f"Data, by the hash of their settings: {escape(_data(entries))}.",
        "",
        "### Mean over tasks",
        "",
        *_summary(entries),
        "",
        *_verdicts(entries),
        *paper_findings(entries),
    ]
    for column, title, direction, style in MEASURES:
        lines += [f"### {title} ({direction})", "", *_table(entries, column, style), ""]
    return lines


def _data(entries: list[Entry]) -> str:
    found = sorted({(entry.task, entry.settings_sha256[:12]) for entry in entries})
    return ", ".join(f"{task} {digest}" for task, digest in found)


def _summary(entries: list[Entry]) -> list[str]:
    base = {task: mean_and_spread(_of(entries, task, "mlp none"), "nmse") for task in sorted({e.task for e in entries})}
    heads = ["learner", "taught with", "error / MLP's", *(f"{title}" for title in _SHORT.values())]
    rows = []
    for name in order_of(entries):
        runs = [entry for entry in entries if entry.name == name]
        ratios = []
        for task, reference in base.items():
            error = mean_and_spread(_of(entries, task, name), "nmse")
            if error and reference:
                ratios.append(error[0] / reference[0])
        cells = [name, runs[0].supervision]
        cells.append(f"{np.exp(np.mean(np.log(ratios))):.3g}" if ratios else "–")
        for column in _SHORT:
            found = mean_and_spread(runs, column)
            style = ".3g" if column == "relative_sparsity" else ".3f"
            cells.append("–" if found is None else f"{found[0]:{style}}")
        rows.append(cells)
    note = (
        "error / MLP's: geometric mean over tasks of the next-state error relative to `mlp none`. Other columns are "
        "plain means over the tasks that have the number."
    )
    align = ["---", "---", *["---:"] * (len(heads) - 2)]
    return [*markdown.table(heads, rows, align), "", note]


_SHORT = {
    "average_precision": "AP",
    "auroc": "AUROC",
    "f1": "F1",
    "average_precision_switch": "AP at switches",
    "edge_auroc": "when-AUROC",
    "contact_auroc": "contact-AUROC",
    "jacobian_error": "Jacobian error",
    "relative_sparsity": "relative sparsity",
}


def _verdicts(entries: list[Entry]) -> list[str]:
    lines: list[str] = []
    for title, supervisions in (
        ("Taught with anything but the oracle's knowledge", ("transitions", "structure", "Jacobian")),
        ("Taught with transitions only", ("transitions",)),
    ):
        verdicts = compare(entries, supervisions)
        if not verdicts:
            continue
        won = sum(verdict.won for verdict in verdicts)
        if not lines:
            lines += ["### Do learners of graphs rank edges better than the best MLP?", ""]
        lines += [
            f"**{title}**: the adaptive learner has the higher average precision at no worse next-state error "
            f"(within {100 * (TOLERANCE - 1):.0f} %) on **{won} of {len(verdicts)} tasks**.",
            "",
        ]
        rows = []
        for one in verdicts:
            cells = [one.task, one.mlp, f"{one.precision[0]:.4f}", f"{one.error[0]:.2e}"]
            cells += [one.adaptive, f"{one.precision[1]:.4f}", f"{one.error[1]:.2e}", "✓" if one.won else "✗"]
            rows.append(cells)
        head = ["task", "best MLP", "AP", "error", "adaptive learner", "AP", "error", ""]
        align = ["---", "---", "---:", "---:", "---", "---:", "---:", "---"]
        lines += [*markdown.table(head, rows, align), ""]
    return lines


def _table(entries: list[Entry], column: str, style: str) -> list[str]:
    tasks = sorted({entry.task for entry in entries})
    rows = []
    for name in order_of(entries):
        found = [mean_and_spread(_of(entries, task, name), column) for task in tasks]
        many = [len(_of(entries, task, name)) > 1 for task in tasks]
        cells = [
            "–" if one is None else f"{one[0]:{style}} ± {one[1]:{style}}" if several else f"{one[0]:{style}}"
            for one, several in zip(found, many, strict=True)
        ]
        rows.append([name, *cells])
    return markdown.table(["learner", *tasks], rows, ["---", *["---:"] * len(tasks)])


def _of(entries: Sequence[Entry], task: str, name: str) -> list[Entry]:
    return [entry for entry in entries if entry.task == task and entry.name == name]
