"""Writing the leaderboard: its page, its table and its figure."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dynamic_sparsity.errors import CorruptResultError
from dynamic_sparsity.learners.leaderboard import read_entries, to_csv
from dynamic_sparsity.learners.leaderboard_page import leaderboard_page
from dynamic_sparsity.storage.atomic import publish

__all__ = ["write_leaderboard"]


def write_leaderboard(
    source: Path,
    page: Path,
    *,
    table: Path | None = None,
    figure: Path | None = None,
    on_skipped: Callable[[CorruptResultError], None] | None = None,
) -> int:
    """Write the leaderboard's page, and its table and figure if they are wanted.

    Args:
        source: Folder of results, or a `leaderboard.csv`.
        page: The Markdown page to write; it links to the figure.
        table: File for the table, CSV; None for no table.
        figure: File for the paper's Figure 8, PNG, SVG or PDF; None for no figure.
        on_skipped: Called with the error of each file that is left out because it can't be read; None to raise it.

    Returns:
        Number of results.

    Raises:
        InvalidSettingError: There are no results.
        CorruptResultError: A file can't be read.
        MissingDependencyError: matplotlib is not installed, which the figure needs.
    """
    entries = read_entries(source, on_skipped)
    if figure is not None:
        from dynamic_sparsity.learners.figures import draw_figure_8

        draw_figure_8(entries, figure)
    link = None if figure is None else Path(os.path.relpath(figure, page.parent)).as_posix()
    publish(page, [leaderboard_page(entries, link).encode()])
    if table is not None:
        publish(table, [to_csv(entries).encode()])
    return len(entries)
