"""How figures look: one palette, one size of type, for all tasks alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dynamic_sparsity.errors import MissingDependencyError
from dynamic_sparsity.untrusted.text import figure_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "LINES", "MODE_NAMES", "SHARE_MAP", "figure", "panels", "short"]

# Okabe and Ito's palette, which people with any kind of colour vision tell apart.
COLOURS = {
    "J_s": "#0072B2",
    "J_a": "#D55E00",
    "zero": "#56B4E9",
    "nonzero": "#E69F00",
    "contact": "#D55E00",
    "limit": "#009E73",
    "friction_loss": "#999999",
    "equality": "#999999",
    "free": "#0072B2",
}
SHARE_MAP = "cividis"
MODE_NAMES = {"free": "free", "limit": "limit, no contact", "contact": "contact"}
"""How a legend names the modes of a row."""
LINES = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
"""Dashes and markers of a figure's lines in turn, so that they differ without their colours."""
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.dpi": 100,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "dynamic-sparsity",
    "pdf.fonttype": 42,
}
PANEL_COLUMNS = 5


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """Make a figure in the project's style, without a screen.

    Args:
        width: Inches.
        height: Inches.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as NewFigure
    except ImportError as error:
        raise MissingDependencyError(
            "figures need matplotlib; install it with `pip install 'dynamic-sparsity[analysis]'`"
        ) from error
    settings: Any = STYLE
    with mpl.rc_context(settings):
        made = NewFigure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(made)
        yield made


def panels(made: Figure, names: Sequence[str], **options: Any) -> list[Axes]:
    """Make a grid of panels with titles, one per name; places left over stay empty.

    Args:
        made: Where to put them.
        names: Their titles.
        **options: Of `Figure.subplots`.
    """
    columns = min(PANEL_COLUMNS, max(1, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    axes = made.subplots(rows, columns, squeeze=False, **options).flatten().tolist()
    for ax, name in zip(axes, names, strict=False):
        ax.set_title(figure_label(name))
    for ax in axes[len(names) :]:
        ax.axis("off")
    return list(axes[: len(names)])


def grid_size(count: int, panel_width: float = 2.0, panel_height: float = 1.5) -> tuple[float, float]:
    """Return width and height of a figure of so many panels, inches.

    Args:
        count: Number of panels.
        panel_width: Of one panel, inches.
        panel_height: Of one panel, inches.
    """
    columns = min(PANEL_COLUMNS, max(1, count))
    return columns * panel_width + 0.6, math.ceil(count / columns) * panel_height + 0.9


def short(name: str) -> str:
    """Return a variable's name as it fits beside a heat map: "qvel:bfoot" → "v bfoot".

    Args:
        name: The variable's name in the store.
    """
    kind, _, rest = name.partition(":")
    letter = {"qpos": "q", "qvel": "v", "act": "act"}.get(kind, kind)
    return figure_label(f"{letter} {rest}" if rest else letter)
