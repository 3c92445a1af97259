"""All episodes of a store at one glance: how sparse the Jacobian is, step by step, a line per episode."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis.own_threshold import open_rows
from dynamic_sparsity.analysis.study import StudyOptions

__all__ = ["COLUMNS_MAX", "EPISODES_MAX", "episode_strips"]

EPISODES_MAX: Final = 100
"""A store with more is shown by evenly spaced ones."""

COLUMNS_MAX: Final = 250
"""Longer episodes have several steps per column, of which the mean is shown."""

LEVELS: Final = 255


def episode_strips(path: Path, options: StudyOptions | None = None) -> dict[str, Any]:
    """Return the sparsity of [J_s | J_a] over all episodes of a store, small enough for a page.

    Args:
        path: The store.
        options: What decides the masks; None for those of the store.

    Returns:
        `episodes` (their numbers), `of` (how many the store has), `lengths` and `returns` of each, `every` (steps per
        column), `columns`, `low` and `high` (of the sparsity), and `values`: one byte per episode and column,
        row-major, base64, from 0 at `low` to 255 at `high`.

    Raises:
        DynamicSparsityError: The store can't be read.
    """
    options = options or StudyOptions()
    dataset = open_rows(path, options.threshold, options.scale, columns=["mask_s", "mask_a"])
    table = dataset.episodes
    lengths = table["length"].astype(int)
    firsts = np.cumsum(lengths) - lengths
    chosen = np.unique(np.linspace(0, len(lengths) - 1, EPISODES_MAX).round().astype(int))
    every = -(-int(lengths[chosen].max()) // COLUMNS_MAX)
    columns = -(-int(lengths[chosen].max()) // every)
    means = np.full((len(chosen), columns), np.nan)
    for line, number in enumerate(chosen):
        found = _sparsity(dataset[int(firsts[number]) : int(firsts[number] + lengths[number])])
        starts = np.arange(0, len(found), every)
        counts = np.minimum(every, len(found) - starts)
        means[line, : len(starts)] = np.add.reduceat(found, starts) / counts
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    levels = np.nan_to_num((means - low) / max(high - low, 1e-9) * LEVELS).round().astype(np.uint8)
    return {
        "episodes": table["index"][chosen].tolist(),
        "of": len(lengths),
        "lengths": lengths[chosen].tolist(),
        "returns": [float(f"{value:.4g}") if np.isfinite(value) else None for value in table["return"][chosen]],
        "every": every,
        "columns": columns,
        "low": round(low, 4),
        "high": round(high, 4),
        "values": base64.b64encode(levels.tobytes()).decode(),
    }


def _sparsity(rows: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Return the share of entries of [J_s | J_a] that are no edge, by row."""
    names = [name for name in ("mask_s", "mask_a") if name in rows]
    edges = sum((rows[name] == 1).sum(axis=(1, 2)) for name in names)
    size = sum(int(np.prod(rows[name].shape[1:])) for name in names)
    return np.asarray(1 - edges / size, np.float64)
