"""What commands show while they run: on a terminal whole bars, in a log lines with all that a bar says."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path

from dynamic_sparsity import cli
from dynamic_sparsity.cli.progress_bars import GenerationBars
from dynamic_sparsity.errors import DynamicSparsityWarning
from dynamic_sparsity.untrusted.console import PlainConsole

STORE = Path("data/CheetahRun/noise.zarr")


def test_a_line_has_rows_rate_and_time_left():
    bars, now = GenerationBars(PlainConsole(file=io.StringIO())), [0.0]
    bars._bars.get_time = lambda: now[0]
    assert "loading the simulator" in bars._bars.lines()[0]
    bars.on_opened(STORE, 10_000, 2_000)
    for _ in range(5):
        now[0] += 10
        bars.on_progress(STORE, 1000)
    (line,) = bars._bars.lines()
    assert [cell.strip() for cell in line.split("  ") if cell.strip()] == [
        "CheetahRun",
        "7000/10000",
        "100 rows/s",
        "0:00:30",
        "simulating",
    ]


def test_warnings_do_not_tear_bars():
    screen = io.StringIO()
    console = PlainConsole(file=screen, force_terminal=True, width=100)
    before = sys.stderr
    with warnings.catch_warnings(), GenerationBars(console) as bars:
        cli._show_warnings()
        bars.on_opened(STORE, 10_000, 0)
        warnings.warn("a worker's", DynamicSparsityWarning, stacklevel=1)
        sys.stderr.write("somebody else's\n")
    assert sys.stderr is before
    lines = screen.getvalue().replace("\r", "\n").splitlines()
    for words in ("Warning: a worker's", "somebody else's"):
        (line,) = [line for line in lines if words in line]
        assert "CheetahRun" not in line
