"""The paper's Figure 8 from the entries of a leaderboard; needs Matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynamic_sparsity.errors import InvalidSettingError, MissingDependencyError
from dynamic_sparsity.learners.leaderboard.entries import Entry, mean_and_spread
from dynamic_sparsity.storage.atomic import publish

__all__ = ["draw_figure_8"]

LOSSES = {"none": "MSE(s')", "mse": "+ MSE(J)", "mae": "+ MAE(J)", "l1": "+ L1(J)", "sae": "+ SAE(J)"}
FLOOR = 1e-6
"""Relative sparsities below this, 0 above all, are drawn here: the axis is logarithmic."""

Point = tuple[float, float]
"""Mean and standard deviation over seeds."""


def draw_figure_8(entries: Sequence[Entry], path: Path) -> Path:
    """Draw next-state error and sparsity of the multilayer perceptron for each loss, as box plots over tasks.

    Each task is a point, its mean over seeds, with a bar of one standard deviation over seeds.

    Args:
        entries: Of one protocol and policy.
        path: Where to; the suffix decides on the format.

    Returns:
        `path`.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
        InvalidSettingError: There are no entries of the MLP to draw.

    Source:
        Pandaram et al. (2025), arXiv 2511.08086, Figure 8.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "Figure 8 needs Matplotlib, which is not installed: pip install 'dynamic-sparsity[learners]'"
        ) from error
    errors, sparsities, losses = _values(entries)
    if not losses:
        raise InvalidSettingError("no entries of the learner 'mlp' with loss 'none' to draw Figure 8 from")
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    labels = [LOSSES[loss] for loss in losses]
    _boxes(left, [errors[loss] for loss in losses], labels)
    left.axhline(1, color="0.6", linewidth=0.8, zorder=0)
    left.set_ylabel("error of s' relative to MSE(s') alone")
    left.set_title("Next-state error, test", fontsize=10)
    _boxes(right, [sparsities[loss] for loss in losses], labels, FLOOR)
    right.set_yscale("log")
    right.axhline(1, color="tab:green", linestyle="--", linewidth=1.2, label="truth")
    initial = _mean_over_tasks(entries, "untrained")
    if initial is not None:
        right.axhline(max(initial, FLOOR), color="tab:red", linestyle=":", linewidth=1.4, label="untrained network")
    right.set_ylabel(f"sparsity of J relative to the truth (0 drawn at {FLOOR:g})", fontsize=9)
    right.set_title("Sparsity of the learned Jacobian (|J| < 1e-6), test", fontsize=10)
    right.legend(loc="upper right", bbox_to_anchor=(1, 0.9), fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=150, format=path.suffix.removeprefix(".") or "png")
    publish(path, [stream.getvalue()])
    return path


def _values(entries: Sequence[Entry]) -> tuple[dict[str, list[Point]], dict[str, list[Point]], list[str]]:
    """Return, per loss, a point per task: the error by that without a term, and the relative sparsity."""
    errors: dict[str, list[Point]] = {loss: [] for loss in LOSSES}
    sparsities: dict[str, list[Point]] = {loss: [] for loss in LOSSES}
    for task in sorted({entry.task for entry in entries}):
        base = mean_and_spread(_mlp(entries, task, "none"), "nmse")
        for loss in LOSSES:
            error = mean_and_spread(_mlp(entries, task, loss), "nmse")
            sparsity = mean_and_spread(_mlp(entries, task, loss), "relative_sparsity")
            if base and error and base[0] > 0:
                errors[loss].append((error[0] / base[0], error[1] / base[0]))
            if sparsity:
                sparsities[loss].append(sparsity)
    return errors, sparsities, [loss for loss in LOSSES if errors[loss] and sparsities[loss]]


def _mlp(entries: Sequence[Entry], task: str, loss: str) -> list[Entry]:
    return [entry for entry in entries if (entry.task, entry.learner, entry.loss) == (task, "mlp", loss)]


def _mean_over_tasks(entries: Sequence[Entry], loss: str) -> float | None:
    chosen = [entry for entry in entries if (entry.learner, entry.loss) == ("mlp", loss)]
    found = mean_and_spread(chosen, "relative_sparsity")
    return None if found is None else found[0]


def _boxes(axes: Any, points: list[list[Point]], labels: list[str], floor: float = 0.0) -> None:
    """Draw a box of the tasks' means per loss; beside it each task's mean, with its spread over seeds as a bar."""
    values = [[max(mean, floor) for mean, _ in ones] for ones in points]
    axes.boxplot(values, tick_labels=labels, showfliers=False, widths=0.5)
    for place, ones in enumerate(points, 1):
        # Side by side, so that the bars do not cover each other.
        places = place + np.linspace(-0.2, 0.2, len(ones)) if len(ones) > 1 else [place]
        means = np.maximum([mean for mean, _ in ones], floor)
        spreads = np.array([spread for _, spread in ones])
        below = np.minimum(spreads, means - floor)
        axes.errorbar(
            places, means, [below, spreads], fmt="o", color="tab:blue", markersize=3, linewidth=0.8, alpha=0.8
        )
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
