"""A run that knows how long it may take ends by itself, and the same command resumes."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fake_unit_runner
import pytest

from dynamic_sparsity import cli
from dynamic_sparsity.errors import InvalidSettingError, TimeLimitError
from dynamic_sparsity.generation.executors import choice
from dynamic_sparsity.generation.executors.protocol import Event, EventKind
from dynamic_sparsity.generation.jobs.generate import generate_all
from dynamic_sparsity.generation.jobs.scheduler import run_units
from dynamic_sparsity.generation.jobs.time_limit import TimeLimit, parse_duration
from dynamic_sparsity.generation.jobs.units import Unit, plan_units
from dynamic_sparsity.generation.settings import Settings

HOUR = 3600


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4h", 4 * HOUR),
        ("90m", 90 * 60),
        ("1h30m", 90 * 60),
        (" 45s", 45),
        ("1d2h", 26 * HOUR),
        ("04:00:00", 4 * HOUR),
        ("00:10:05", 605),
        ("1-12:00:00", 36 * HOUR),
        ("2-0", 48 * HOUR),
        ("0-1:30", 90 * 60),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "4", "90", "4:00", "h", "0h", "-4h", "4h4h", "30m1h", "1.5h", "٣h", "9" * 5000 + "h"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidSettingError, match="such as 4h, 90m, 1h30m"):
        parse_duration(text)


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Workers:
    """An executor that makes two units at a time; each takes as long as it is told to."""

    capacity = 2

    def __init__(self, clock: Clock, *seconds: float) -> None:
        self._clock, self._seconds, self._runner = clock, seconds, fake_unit_runner.FakeUnitRunner()
        self._running: deque[Unit] = deque()
        self.abandoned: list[int] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandoned = [unit.index for unit in self._running]
        for unit in self._running:
            (unit.store / "shards" / f"{unit.index}.json.1.partial").touch()

    def describe(self, settings: Settings) -> dict[str, object]:
        return self._runner.describe(settings)

    def submit(self, unit: Unit) -> None:
        self._running.append(unit)

    def events(self) -> Sequence[Event]:
        unit = self._running[0]
        self._clock.now += self._seconds[unit.index]
        if self._clock.now > 100:
            return []  # nothing happened before the time was over
        self._runner.run(self._running.popleft(), None, _Silent())
        return [Event(EventKind.FINISHED, unit)]


class _Silent:
    def on_compiling(self, unit: Unit) -> None: ...

    def on_compiled(self, unit: Unit, seconds: float) -> None: ...

    def on_progress(self, unit: Unit, rows: int) -> None: ...


@pytest.mark.slow
def test_no_unit_is_begun_that_may_not_end_in_time(tmp_path: Path) -> None:
    clock = Clock()
    workers = Workers(clock, 20, 20, 20, 1, 1, 1)
    wanted = [fake_unit_runner.settings(6), fake_unit_runner.settings(1, "CheetahRun")]
    summary = generate_all(wanted, tmp_path, workers, limit=TimeLimit(100, clock))
    # At 60 s the longest took 40 s with its wait: no room for it any more.
    assert (summary.stopped, summary.units, workers.abandoned) == (True, 4, [])
    assert not (tmp_path / "CheetahRun").exists(), "a store is not begun then, either"
    with pytest.raises(TimeLimitError, match=r"4 units were made.*rerun the same command"):
        summary.check()
    again = generate_all(wanted, tmp_path, Workers(Clock(), *[1.0] * 6))
    assert (again.units, len(again.sealed), again.stopped) == (3, 2, False)


def test_what_still_runs_when_time_is_over_is_left(tmp_path: Path) -> None:
    clock = Clock()
    workers = Workers(clock, 10, 900)
    summary = generate_all([fake_unit_runner.settings(2)], tmp_path, workers, limit=TimeLimit(100, clock))
    assert (summary.stopped, summary.units, workers.abandoned) == (True, 1, [1])
    assert not list(tmp_path.rglob("*.partial")) and not list(tmp_path.rglob("*.json.*"))


def test_a_run_that_ends_in_time_says_nothing(tmp_path: Path) -> None:
    wanted, clock = fake_unit_runner.settings(4), Clock()
    limit = TimeLimit(100, clock)
    generate_all([wanted], tmp_path, Workers(clock, 20, 20, 20, 20), limit=limit).check()
    assert not limit.stopped, "the last units were begun while there was room"
    units = plan_units(wanted, tmp_path / "other.zarr", fake_unit_runner.FakeUnitRunner().describe(wanted))
    late = TimeLimit(0, clock)
    run_units(Workers(clock), iter(units), lambda event: None, late)
    assert late.stopped


class Loading(Workers):
    """A simulator that takes forever to load, or as long as is said."""

    takes: float | None = None

    def describe(self, settings: Settings) -> dict[str, object]:
        if self.takes is None:
            time.sleep(HOUR)
        self._clock.now += self.takes or 0
        return super().describe(settings)


def test_the_simulator_is_not_awaited_beyond(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGALRM)
    summary = generate_all([fake_unit_runner.settings(2)], tmp_path, Loading(Clock()), limit=TimeLimit(0.5))
    assert (summary.stopped, summary.units, summary.sealed) == (True, 0, ())
    assert not list(tmp_path.iterdir()), "no store is begun"
    assert signal.getsignal(signal.SIGALRM) is handler and signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_when_it_is_loaded_there_may_be_no_room(tmp_path: Path) -> None:
    clock = Clock()
    late = Loading(clock, 10, 10)
    late.takes = 200
    with ThreadPoolExecutor(1) as other:  # which can't be interrupted
        wanted = [fake_unit_runner.settings(2)]
        summary = other.submit(generate_all, wanted, tmp_path, late, limit=TimeLimit(100, clock)).result()
    assert (summary.stopped, summary.units) == (True, 0) and not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "CartpoleBalance", "--out", str(tmp_path)]
    assert cli.main([*words, "--time-limit", "90"]) == 1
    assert "time limit is '90'" in capsys.readouterr().err
    monkeypatch.setattr(choice, "make_executor", lambda *_: Workers(Clock()))
    monkeypatch.setattr("dynamic_sparsity.generation.jobs.time_limit.parse_duration", lambda text: 0)
    assert cli.main([*words, "--time-limit", "4h"]) == cli.TIME_OVER == 124
    error = capsys.readouterr().err
    assert "no unit could be made" in error and "rerun the same command" in error and "Error" not in error
    assert not list(tmp_path.iterdir())
