"""The picture of a learning curve."""

from __future__ import annotations

from pathlib import Path

from dynamic_sparsity.training.checkpoints import TrainingFolder


def draw(place: TrainingFolder) -> Path | None:
    """Draw mean return, with a band of one standard deviation over episodes, against steps.

    Args:
        place: The run.

    Returns:
        The PNG file; None without an evaluation, or without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    if place.best is None:
        return None
    steps = [point.steps / 1e6 for point in place.curve]
    mean = [point.mean for point in place.curve]
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(
        steps,
        [point.mean - point.deviation for point in place.curve],
        [point.mean + point.deviation for point in place.curve],
        alpha=0.2,
        label="± standard deviation over episodes",
    )
    axes.plot(steps, mean, marker="o", markersize=3, label="mean of 64 episodes")
    axes.plot(place.best.steps / 1e6, place.best.mean, "k*", label=f"best: {place.best.mean:.0f}")
    axes.set(xlabel="million control steps", ylabel="stochastic return", ylim=(0, 1000))
    axes.set_xlim(left=0)
    axes.set_title(f"{place.settings.task}, {place.settings.algorithm.upper()}, seed {place.settings.seed}")
    axes.legend(loc="best", fontsize="small")
    axes.grid(alpha=0.3)
    file = place.path / "curve.png"
    figure.savefig(file, dpi=150)
    return file
