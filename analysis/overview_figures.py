"""Figures of all dynamics at once, a panel for each, with the same scale wherever one does not squeeze the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.runs import MATRICES, VALUES
from dynamic_sparsity.analysis.study import Study
from dynamic_sparsity.analysis.style import COLOURS, LINES, MODE_NAMES, figure, grid_size, panels
from dynamic_sparsity.analysis.thresholds import SCALES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["OVERVIEW_FIGURES", "comparison_figure"]

BINS = 10
SERIES = (("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#56B4E9", "v"), ("#000000", "x"))


def sparsity_histograms(studies: Sequence[Study]) -> Figure:
    """Draw the distribution of sparsity in bins of 0.1, J_s upwards and J_a downwards, after the paper's Figure 5 (Q2).

    Args:
        studies: One panel each.
    """
    with figure(*grid_size(len(studies))) as made:
        axes = panels(made, [one.source.task for one in studies], sharex=True, sharey=True)
        edges = np.linspace(0, 1, BINS + 1)
        for ax, one in zip(axes, studies, strict=True):
            for matrix, which, sign in (("J_s", "s", 1), ("J_a", "a", -1)):
                if not one.source.metadata["sizes"]["dx" if which == "s" else "da"]:
                    continue
                shares = sign * one.sparsity.histogram(which, BINS) / one.source.rows
                ax.stairs(shares, edges, fill=True, color=COLOURS[matrix], alpha=0.75, label=matrix)
                ax.plot([one.sparsity.mean(which)] * 2, [0, sign], ":", color="black", linewidth=1)
            ax.axhline(0, color="black", linewidth=0.6)
            ax.set(xlim=(0, 1), ylim=(-1.05, 1.05), xticks=(0, 0.5, 1))
            ax.set_yticks((-1, 0, 1), ("1", "0", "1"))
        label = "sparsity, bins of 0.1: J_s upwards, J_a downwards (dotted: means)"
        _finish(made, studies, label, "share of rows", axes[0].get_legend_handles_labels())
        return made


def run_histograms(studies: Sequence[Study]) -> Figure:
    """Draw how long entries stay zero and non-zero, log-log, after the paper's Figure 7 (Q3).

    Args:
        studies: One panel each.
    """
    with figure(*grid_size(len(studies), panel_width=2.2)) as made:
        axes = panels(made, [one.source.task for one in studies])
        for ax, one in zip(axes, studies, strict=True):
            edges = _edges(max(2, int(np.flatnonzero(one.runs.counts.any(axis=(0, 1, 2))).max(initial=2))))
            for value, marker in zip(VALUES, ("o", "^"), strict=True):
                counts = one.runs.total("both", value)
                look: Any = {"color": COLOURS[value], "marker": marker}
                _stairs(ax, counts.sum(axis=0), edges, **look, label=f"{value}, all")
                _stairs(ax, counts[0], edges, **look, fillstyle="none", linestyle="--", label=f"{value}, complete")
                mean = one.runs.survival_mean("both", value)
                if np.isfinite(mean):
                    ax.axvline(mean, color=COLOURS[value], linestyle=":", linewidth=1)
            if not one.runs.counts.sum():
                ax.text(0.5, 0.5, "no entry ever switches", transform=ax.transAxes, ha="center", fontsize=7)
            # Limits first: an axis without data has no scale of its own.
            ax.set(xlim=(0.8, 1.2 * edges[-1]), ylim=(0.03, 2 * max(1, int(one.runs.counts.sum(axis=(0, 2)).max()))))
            ax.set(xscale="log", yscale="log")
        label = "duration of a run, control steps (dotted: mean by Kaplan and Meier)"
        _finish(made, studies, label, "runs per step of duration", axes[0].get_legend_handles_labels())
        return made


def sparsity_by_mode(studies: Sequence[Study]) -> Figure:
    """Draw the distribution of J_s's sparsity by mode: free, at a limit, in contact (Q2).

    Args:
        studies: One panel each.
    """
    with figure(*grid_size(len(studies))) as made:
        axes = panels(made, [one.source.task for one in studies], sharex=True, sharey=True)
        for ax, one in zip(axes, studies, strict=True):
            bottom = np.zeros(41)
            for number, mode in enumerate(("free", "limit", "contact")):
                counts = one.sparsity.counts_s[number]
                places = (np.arange(counts.size) * 40 / (counts.size - 1)).round().astype(int)
                shares = np.bincount(places, weights=counts, minlength=41) / one.source.rows
                ax.bar(np.arange(41) / 40, shares, 0.025, bottom=bottom, color=COLOURS[mode], label=MODE_NAMES[mode])
                bottom += shares
            ax.set(xlim=(-0.02, 1.02), ylim=(0, 1.02), xticks=(0, 0.5, 1))
        _finish(made, studies, "sparsity of J_s", "share of rows", axes[0].get_legend_handles_labels())
        return made


def threshold_curves(studies: Sequence[Study]) -> Figure:
    """Draw the mean sparsity of J_s, and its global zeros over all rows, at other thresholds (beyond the paper).

    Args:
        studies: One panel each.
    """
    with figure(*grid_size(len(studies))) as made:
        axes = panels(made, [one.source.task for one in studies], sharex=True, sharey=True)
        for ax, one in zip(axes, studies, strict=True):
            entries = one.zeros.zeros_s.size
            for scale, look in zip(SCALES, LINES, strict=False):
                rows = [row for row in one.thresholds if row.scale == scale]
                places = [row.threshold for row in rows]
                zeros = [one.largest.zeros("s", scale, row.threshold) / entries for row in rows]
                means = [row.sparsity_s for row in rows]
                for values, colour, words in ((means, "J_s", "mean"), (zeros, "nonzero", "in all rows")):
                    _line(ax, places, values, look, colour, f"{words}, {scale}")
            ax.set(xscale="log", ylim=(0, 1.02), xticks=(1e-12, 1e-9, 1e-6, 1e-3))
        _finish(made, studies, "threshold", "sparsity of J_s", axes[0].get_legend_handles_labels())
        return made


def horizon_curves(studies: Sequence[Study]) -> Figure:
    """Draw how fast the zeros of Jacobians over k steps fill in (beyond the paper).

    Args:
        studies: One panel each.
    """
    with figure(*grid_size(len(studies))) as made:
        axes = panels(made, [one.source.task for one in studies], sharex=True, sharey=True)
        for ax, one in zip(axes, studies, strict=True):
            steps = [found.steps for found in one.horizons]
            curves = (
                ("structural", "no path through the masks", "J_s"),
                ("numeric", "< 1e-6 of the largest entry", "zero"),
                ("always", "no path in any window", "nonzero"),
                ("action", "no path from the first action", "J_a"),
            )
            for (name, label, colour), look in zip(curves, LINES, strict=True):
                values = [getattr(found, name) for found in one.horizons]
                _line(ax, steps, values, look, colour, label)
            ax.set(ylim=(-0.02, 1))
            ax.set_xscale("log", base=2)
        label = "steps k of the product J(t+k−1) … J(t)"
        _finish(made, studies, label, "share of zeros", axes[0].get_legend_handles_labels())
        return made


def singular_values(studies: Sequence[Study]) -> Figure:
    """Draw singular values of J_s by mode, variables in units of their standard deviation (beyond the paper).

    Args:
        studies: One panel each.
    """
    with figure(*grid_size(len(studies))) as made:
        axes = panels(made, [one.source.task for one in studies], sharex=True)
        for ax, one in zip(axes, studies, strict=True):
            for (mode, words), look in zip(MODE_NAMES.items(), LINES, strict=False):
                for found in one.spectra:
                    if (found.matrix, found.mode) == ("J_s", mode):
                        values = np.maximum(found.singular_values, 1e-9)
                        _line(ax, np.linspace(0, 1, values.size), values, look, mode, words)
            ax.set(yscale="log")
        handles = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        legend = (list(handles.values()), list(handles))
        _finish(made, studies, "rank of the singular value / number of them", "median singular value", legend)
        return made


def graph_sizes(studies: Sequence[Study]) -> Figure:
    """Draw the edges of the global graph against those that are there in a row (beyond the paper).

    Args:
        studies: One panel each.
    """
    names = [one.source.task for one in studies]
    with figure(6.4, 0.19 * len(names) + 1.2) as made:
        axes = made.subplots(1, 2, sharey=True)
        for ax, matrix in zip(axes, MATRICES, strict=True):
            for place, one in enumerate(studies):
                zeros = one.zeros.zeros_s if matrix == "J_s" else one.zeros.zeros_a
                counts = one.sparsity.of("s" if matrix == "J_s" else "a").sum(axis=0)
                present = 1 - np.flatnonzero(counts) / max(1, zeros.size)
                ax.barh(place, float((zeros < one.zeros.rows).mean()), 0.8, color="#DDDDDD", label="in some row")
                ax.barh(place, float((zeros == 0).mean()), 0.8, color="#AAAAAA", label="in every row")
                ax.plot([present.min(), present.max()], [place, place], color=COLOURS[matrix], linewidth=2)
                mean = 1 - float((zeros / one.zeros.rows).mean())
                ax.plot([mean], [place], "o", color=COLOURS[matrix], markersize=3, label="in one row: mean, range")
            ax.set(xlim=(0, 1), xlabel=f"share of the entries of {matrix} that are edges")
            handles, labels = ax.get_legend_handles_labels()
            unique = dict(zip(labels, handles, strict=True))
            ax.legend(list(unique.values()), list(unique), frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1))
        axes[0].set_yticks(range(len(names)), names)
        axes[0].set_ylim(len(names) - 0.5, -0.5)
        made.suptitle(studies[0].source.name, fontsize=8)
        return made


def comparison_figure(studies: Sequence[Study]) -> Figure:
    """Draw the data sets of each task side by side (beyond the paper).

    Args:
        studies: Of tasks of which there are several stores.
    """
    tasks, names = list(dict.fromkeys(one.source.task for one in studies)), _names(studies)
    panels_of: tuple[tuple[str, Callable[[Study], float]], ...] = (
        ("mean sparsity of J_s", lambda one: one.sparsity.mean("s")),
        ("share of steps at which\nthe pattern changes", lambda one: one.changes.patterns / max(1, one.changes.steps)),
        ("share of rows in contact", lambda one: float(one.sparsity.counts_s[2].sum() / one.zeros.rows)),
    )
    with figure(7.2, 0.24 * len(tasks) + 1.3) as made:
        axes = made.subplots(1, len(panels_of), sharey=True)
        for ax, (label, value) in zip(axes, panels_of, strict=True):
            for number, name in enumerate(names):
                chosen = [one for one in studies if one.source.name == name]
                # Side by side within a line, so that equal values do not hide each other.
                places = [tasks.index(one.source.task) + 0.22 * (number - (len(names) - 1) / 2) for one in chosen]
                colour, marker = SERIES[number % len(SERIES)]
                ax.plot([value(one) for one in chosen], places, marker, color=colour, markersize=4, label=name)
            ax.set(xlim=(-0.02, 1.02), xlabel=label)
            ax.hlines(np.arange(len(tasks) - 1) + 0.5, 0, 1, color="#E4E4E4", linewidth=0.6, zorder=0)
        axes[0].set_yticks(range(len(tasks)), tasks)
        axes[0].set_ylim(len(tasks) - 0.5, -0.5)
        made.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
        return made


def _names(studies: Sequence[Study]) -> list[str]:
    return sorted({one.source.name for one in studies})


OVERVIEW_FIGURES: dict[str, Callable[[Sequence[Study]], Figure]] = {
    "sparsity_histograms": sparsity_histograms,
    "sparsity_by_mode": sparsity_by_mode,
    "run_durations": run_histograms,
    "graph_sizes": graph_sizes,
    "thresholds": threshold_curves,
    "horizons": horizon_curves,
    "singular_values": singular_values,
}
"""Figures of all tasks with one policy and dynamics, by name."""


def _finish(made: Figure, studies: Sequence[Study], x: str, y: str, legend: tuple[list[Any], list[Any]]) -> None:
    made.supxlabel(x, fontsize=8)
    made.supylabel(y, fontsize=8)
    columns = 2 if len(studies) < 3 else 4
    if legend[0]:
        made.legend(*legend, loc="outside upper center", ncols=columns, frameon=False)
    made.text(0.995, 0.995, studies[0].source.name, ha="right", va="top", fontsize=7, color="#555555")


def _line(ax: Axes, x: Any, y: Any, look: tuple[str, str], colour: str, label: str) -> None:
    """Draw a line with a dash and a marker of `LINES`."""
    ax.plot(x, y, look[0], marker=look[1], color=COLOURS[colour], label=label, linewidth=1, markersize=2.5)


def _edges(longest: int) -> NDArray[np.float64]:
    """Return bins of durations: each duration by itself at first, then four to a doubling, from half-integers on."""
    wanted = np.unique(np.round(2 ** np.arange(0, np.log2(longest) + 0.25, 0.25)).astype(int))
    return wanted.astype(np.float64) - 0.5


def _stairs(ax: Axes, counts: NDArray[np.int64], edges: NDArray[np.float64], **options: Any) -> None:
    """Draw runs per step of duration, so that the bins' widths do not show."""
    found, _ = np.histogram(np.arange(counts.size), edges, weights=counts)
    density = found / np.diff(edges)
    density[density == 0] = np.nan
    centres = np.sqrt((edges[:-1] + 0.5) * (edges[1:] - 0.5))
    ax.plot(centres, density, linewidth=1, markersize=2.5, markeredgewidth=0.6, **options)
