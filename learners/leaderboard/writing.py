"""Writing the leaderboard: its page, its table and its figure."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from dynamic_sparsity.errors import CorruptResultError
from dynamic_sparsity.learners.leaderboard.benchmark_pages import benchmark_page, tracks_of
from dynamic_sparsity.learners.leaderboard.benchmark_rows import (
    BenchmarkRow,
    benchmark_rows,
    parse_benchmark_csv,
    read_benchmark_csv,
    to_benchmark_csv,
    with_earlier,
)
from dynamic_sparsity.learners.leaderboard.entries import read_entries, to_csv
from dynamic_sparsity.learners.leaderboard.page import leaderboard_page
from dynamic_sparsity.learners.runs.results import read_results
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.storage.made_here import check_free_files, note_files

__all__ = ["read_benchmark_rows", "write_benchmark", "write_leaderboard"]

DEFINITIONS = Path("docs/benchmark.md")


def write_leaderboard(
    source: Path,
    page: Path,
    *,
    table: Path | None = None,
    figure: Path | None = None,
    rows: Sequence[BenchmarkRow] = (),
    benchmark: Path | None = None,
    overwrite: bool = False,
    on_skipped: Callable[[CorruptResultError], None] | None = None,
) -> int:
    """Write the leaderboard's page, and its table and figure if they are wanted.

    Args:
        source: Folder of results, or a `leaderboard.csv`.
        page: The Markdown page to write; it links to the figure.
        table: File for the table, CSV; None for no table.
        figure: File for the paper's Figure 8, PNG, SVG or PDF; None for no figure.
        rows: Of `read_benchmark_rows`, for the part about local graphs; none for no such part.
        benchmark: Folder of the pages by track, to link to; None: beside the page.
        overwrite: Replace files that were not made here.
        on_skipped: Called with the error of each file that is left out because it can't be read; None to raise it.

    Returns:
        Number of results.

    Raises:
        InvalidSettingError: There are no results, or a file exists that was not made here.
        CorruptResultError: A file can't be read.
        MissingDependencyError: matplotlib is not installed, which the figure needs.
    """
    files = [path for path in (page, table, figure) if path is not None]
    check_free_files(files, overwrite)
    entries = read_entries(source, on_skipped)
    if figure is not None:
        from dynamic_sparsity.learners.leaderboard.figure8 import draw_figure_8

        draw_figure_8(entries, figure)
    note_files(files)  # before they are written: an interrupted command may be repeated
    text = leaderboard_page(
        entries,
        None if figure is None else _from(page, figure),
        rows=rows,
        folder="" if benchmark is None else _from(page, benchmark),
        definitions=DEFINITIONS.as_posix() if (page.parent / DEFINITIONS).exists() else None,
    )
    publish(page, [text.encode()])
    if table is not None:
        publish(table, [to_csv(entries).encode()])
    return len(entries)


def write_benchmark(rows: Sequence[BenchmarkRow], folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the tables of local graphs: `benchmark.csv`, and a page for each track that has contestants.

    Args:
        rows: Of `read_benchmark_rows`, at least one.
        folder: Made if missing.
        overwrite: Replace files that were not made here.

    Returns:
        The files.

    Raises:
        InvalidSettingError: A file exists that was not made here.
    """
    pages = {f"{track}.md": benchmark_page(rows, track) for track in tracks_of(rows)}
    contents = {"benchmark.csv": to_benchmark_csv(rows)} | pages
    check_free_files([folder / name for name in contents], overwrite)
    note_files(folder / name for name in contents)
    for name, text in contents.items():
        publish(folder / name, [text.encode()])
    return [folder / name for name in contents]


def read_benchmark_rows(source: Path, earlier: Path | None = None) -> list[BenchmarkRow]:
    """Return the rows about local graphs; none where there are none.

    Args:
        source: Folder of results, or a `leaderboard.csv` or `benchmark.csv`.
        earlier: A `benchmark.csv` whose rows stay where `source` has no result of the same name; None for none.

    Raises:
        CorruptResultError: `benchmark.csv` can't be read.
        InvalidSettingError: Rows of `source` and `earlier` are of other data.
    """
    table = source.with_name("benchmark.csv")
    rows: list[BenchmarkRow] = []
    if source.is_dir():
        # With the digits of a CSV, so that the same pages come from either.
        text = to_benchmark_csv(benchmark_rows(read_results(source, lambda error: None)))
        rows = parse_benchmark_csv(text, str(source))
    elif table.exists():
        rows = read_benchmark_csv(table)
    return rows if earlier is None else with_earlier(rows, read_benchmark_csv(earlier))


def _from(page: Path, target: Path) -> str:
    return Path(os.path.relpath(target, page.parent)).as_posix()
