"""The pictures of the cards: how often each entry of the Jacobians differs from zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from dynamic_sparsity.errors import MissingDependencyError
from dynamic_sparsity.loaders.store.store import Store
from dynamic_sparsity.storage.atomic import written
from dynamic_sparsity.untrusted.text import figure_label

DPI: Final = 100
NAMES_SHOWN_MAX: Final = 30
"""With more variables their names would overlap."""

PER_LINE: Final = 5


def import_matplotlib() -> Any:
    """Import the package matplotlib, drawing into files.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        from matplotlib import figure
    except ImportError as error:
        raise MissingDependencyError("pictures need matplotlib: pip install 'dynamic-sparsity[publish]'") from error
    return figure


def draw_store(store: Store, title: str, target: Path) -> None:
    """Draw [J_s | J_a] of one store: the share of rows in which each entry is not zero.

    Args:
        store: The store.
        title: Its title.
        target: A PNG file.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    names, actions = store.metadata["tangent_names"], store.metadata["action_names"]
    shares = _shares(store)
    edge = min(12.0, 3.5 + 0.16 * len(names))
    figure = import_matplotlib().Figure((edge * shares.shape[1] / shares.shape[0] + 1.5, edge), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    axes.axvline(len(names) - 0.5, color="white", linewidth=1.5)
    axes.set_title(figure_label(title), fontsize=10)
    axes.set_ylabel("effect (next state)")
    axes.set_xlabel("cause (state | action)")
    if len(names) <= NAMES_SHOWN_MAX:
        causes = list(map(figure_label, [*names, *actions][: shares.shape[1]]))
        axes.set_xticks(range(shares.shape[1]), causes, rotation=90, fontsize=6)
        axes.set_yticks(range(len(names)), causes[: len(names)], fontsize=6)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of rows with |J| ≥ threshold")
    _save(figure, target)


def draw_overview(stores: Sequence[tuple[str, Store]], target: Path) -> None:
    """Draw all stores small, side by side.

    Args:
        stores: Titles and stores.
        target: A PNG file.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    lines = math.ceil(len(stores) / PER_LINE)
    width = min(len(stores), PER_LINE)
    figure = import_matplotlib().Figure((2.2 * width + 0.8, 2.1 * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, width, squeeze=False)
    image = None
    for axes, (title, store) in zip(grid.flat, stores, strict=False):
        shares = _shares(store)
        image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        axes.axvline(shares.shape[0] - 0.5, color="white", linewidth=1)
        axes.set_title(figure_label(title), fontsize=8)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in grid.flat[len(stores) :]:
        axes.set_axis_off()
    if image is not None:
        figure.colorbar(image, ax=grid, shrink=0.8, label="share of rows ≠ 0", aspect=30)
    _save(figure, target)


def _shares(store: Store) -> np.ndarray[Any, Any]:
    """Return the share of rows in which an entry of [J_s | J_a] is not zero, (dx, dx + da)."""
    found = [store.statistics[name] for name in ("zero_share_s", "zero_share_a") if name in store.statistics]
    return 1 - np.concatenate(found, axis=1)


def _save(figure: Any, target: Path) -> None:
    # Without the version of matplotlib in it, equal pictures are equal files.
    with written(target) as partial:
        figure.savefig(partial, dpi=DPI, format="png", metadata={"Software": None})
