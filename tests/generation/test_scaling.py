"""Executors, and what is left when processes are really killed. No simulator: `fake_unit_runner` makes the rows."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import fake_unit_runner
import pytest
from processes import children, command_line, files_below, is_alive, kill, running, wait_for

from dynamic_sparsity import cli
from dynamic_sparsity.errors import (
    DynamicSparsityWarning,
    IncompleteStoreError,
    SettingsMismatchError,
    StoreLockedError,
    UnitsFailedError,
)
from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs.generate import finalize, generate_all
from dynamic_sparsity.generation.jobs.status import read_status
from dynamic_sparsity.generation.jobs.units import plan_units

UNITS = 6
TASKS = ("CartpoleBalance", "CheetahRun")
HELPERS = Path(__file__).parents[1] / "helpers"
WORKER = "executors.process_worker"


def digests(root: Path) -> dict[str, str]:
    """sha256 of every file below a folder: so it finds what is left over as well."""
    files = [file for file in sorted(root.rglob("*")) if file.is_file()]
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("undisturbed")
    wanted = [fake_unit_runner.settings(UNITS, task) for task in TASKS]
    summary = generate_all(wanted, root, ThreadExecutor(fake_unit_runner.FakeUnitRunner()))
    assert (summary.units, len(summary.sealed), summary.quarantined) == (2 * UNITS, 2, ())
    return digests(root)


@pytest.fixture(autouse=True)
def _workers_find_the_fakes(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{HELPERS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


@pytest.fixture
def stored(tmp_path_factory, monkeypatch) -> Path:
    """A file to which every unit that is made and stored appends a line."""
    log = tmp_path_factory.mktemp("stored") / "units"
    log.touch()
    monkeypatch.setenv(fake_unit_runner.MADE, str(log))
    return log


def twice(log: Path) -> list[str]:
    """Units that were stored more than once."""
    lines = log.read_text().splitlines()
    return sorted({line for line in lines if lines.count(line) > 1})


def command(root: Path, *numbers: int) -> list[str]:
    return [sys.executable, str(HELPERS / "drive_fakes.py"), str(root), *map(str, numbers)]


@contextmanager
def started(root: Path, *numbers: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A driver that runs meanwhile; it does not outlive the test."""
    with running(command(root, *numbers), env=os.environ | environment, stderr=subprocess.PIPE, text=True) as driver:
        yield driver


def drive(root: Path, workers: int, *job: int, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(root, UNITS, workers, *job), env=os.environ | environment, capture_output=True, text=True, timeout=900
    )


def workers_of(driver: subprocess.Popen[str]) -> list[int]:
    """Process ids of a driver's workers."""
    return [pid for pid in children(driver.pid) if WORKER.encode() in command_line(pid)]


def shards_done(root: Path) -> int:
    """Number of shards that have a manifest, while drivers are at it."""
    return len(files_below(root, "*/shards/*.json"))


@pytest.mark.slow
def test_processes_make_the_same_bytes(undisturbed, tmp_path):
    assert drive(tmp_path, 2).returncode == 0
    assert digests(tmp_path) == undisturbed


@pytest.mark.slow
def test_jobs_of_an_array(undisturbed, tmp_path):
    with ExitStack() as stack:
        slowly = {fake_unit_runner.SECONDS: "0.1"}
        jobs = [stack.enter_context(started(tmp_path, UNITS, 0, index, 3, **slowly)) for index in range(3)]
        assert [job.wait(900) for job in jobs] == [0, 0, 0]
    stores = [tmp_path / task / "noise.zarr" for task in TASKS]
    assert {read_status(store).state for store in stores} == {"waiting to be sealed"}
    assert cli.main(["finalize", *map(str, stores)]) == 0
    assert digests(tmp_path) == undisturbed


@pytest.mark.slow
def test_finalize_refuses_what_is_incomplete(tmp_path):
    assert drive(tmp_path, 0, 0, 3).returncode == 0
    with pytest.raises(IncompleteStoreError, match="lacks 4 of its 6 shards"):
        finalize(tmp_path / TASKS[0] / "noise.zarr")


@pytest.mark.slow
def test_the_same_job_twice_is_refused(tmp_path):
    with started(tmp_path, UNITS, 0, 1, 3, **{fake_unit_runner.SECONDS: "900"}) as job:
        wait_for((tmp_path / TASKS[0] / "noise.zarr" / "zarr.json").exists, job)
        assert "StoreLockedError" in drive(tmp_path, 0, 1, 3).stderr
        with pytest.raises(StoreLockedError):
            finalize(tmp_path / TASKS[0] / "noise.zarr")


def test_a_machine_that_would_make_another_store_is_refused(tmp_path, monkeypatch):
    """A worker whose packages differ: its bits would, too."""
    wanted = fake_unit_runner.settings(UNITS)
    other = fake_unit_runner.FakeUnitRunner()
    unit = plan_units(wanted, wanted.store_path(tmp_path), other.describe(wanted))[0]
    other.check(unit)
    monkeypatch.setattr(fake_unit_runner, "EPISODES_PER_UNIT", 8)
    with pytest.raises(SettingsMismatchError, match="unit_episodes"):
        other.check(unit)


@pytest.mark.slow
@pytest.mark.sample(2)
@pytest.mark.parametrize("seed", range(2))
def test_survives_the_death_of_workers(undisturbed, tmp_path, stored, seed):
    """Random workers, at random moments; each death costs no more than what that worker was making."""
    rng, kills = random.Random(seed), 0
    with started(tmp_path, UNITS, 2, **{fake_unit_runner.SECONDS: "1"}) as driver:
        while kills < 6 and driver.poll() is None:
            time.sleep(rng.uniform(0, 0.5))
            if workers := workers_of(driver):
                kill(rng.choice(workers))
                kills += 1
                # Workers that die while they are born are another test.
                before = shards_done(tmp_path)
                wait_for(lambda: shards_done(tmp_path) > before, driver)  # noqa: B023
        _, errors = driver.communicate(timeout=900)
    if driver.returncode == 3:
        # Chance hit one unit three times.
        assert drive(tmp_path, 2).returncode == 0
    else:
        assert driver.returncode == 0, errors
    assert kills >= 2
    assert digests(tmp_path) == undisturbed
    assert not twice(stored)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_survives_the_death_of_the_driver(undisturbed, tmp_path, stored, workers):
    rng = random.Random(workers)
    for _ in range(4):
        with started(tmp_path, UNITS, workers, **{fake_unit_runner.SECONDS: "0.3"}) as driver:
            wait_for(lambda: files_below(tmp_path, "*.lock"), driver)
            time.sleep(rng.uniform(0, 3.0))
            orphans = workers_of(driver)
        wait_for(lambda: not any(map(is_alive, orphans)))  # noqa: B023
    finished = drive(tmp_path, workers)
    assert finished.returncode == 0, finished.stderr
    assert digests(tmp_path) == undisturbed
    assert not twice(stored)


@pytest.mark.slow
def test_a_unit_that_kills_its_worker_is_quarantined(undisturbed, tmp_path):
    finished = drive(tmp_path, 1, **{fake_unit_runner.CRASHING: "2"})
    assert finished.returncode == 3
    assert "CartpoleBalance/noise.zarr unit 2: WorkerError: worker process" in finished.stderr
    assert "signal 9" in finished.stderr
    status = read_status(tmp_path / TASKS[0] / "noise.zarr")
    assert (status.state, status.units_done, status.units) == ("stopped", UNITS - 1, UNITS)
    assert list(status.set_aside) == ["2"] and status.failures["2"] == 3
    assert drive(tmp_path, 1).returncode == 0
    assert digests(tmp_path) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_unit_that_fails_is_quarantined(undisturbed, tmp_path, workers):
    finished = drive(tmp_path, workers, **{fake_unit_runner.FAILING: "0,3"})
    assert finished.returncode == 3
    assert finished.stderr.count("does not converge") == 4, "two units in each of two stores"
    assert drive(tmp_path, workers).returncode == 0
    assert digests(tmp_path) == undisturbed


def test_the_command_line_shows_warnings_as_paragraphs(monkeypatch, capsys):
    def command(*_, **__):
        warnings.warn("careful\x1b[31m", DynamicSparsityWarning, stacklevel=1)

    monkeypatch.setattr("dynamic_sparsity.cli.application.application", command)
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().err == "Warning: careful\\x1b[31m\n"


@pytest.mark.slow
def test_two_runs_at_once(undisturbed, tmp_path):
    root, red = tmp_path / "data", tmp_path / "red"
    red.touch()
    with started(root, UNITS, 0, **{fake_unit_runner.WHILE: str(red)}) as first:
        wait_for((root / TASKS[0] / "noise.zarr" / "zarr.json").exists, first)
        second = drive(root, 0)
        assert second.returncode == 1
        assert "StoreLockedError" in second.stderr and f"(id {first.pid})" in second.stderr
        red.unlink()
        assert first.wait(900) == 0
    assert digests(root) == undisturbed


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs to be root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_full_disk(undisturbed, small_disk, workers):
    finished = drive(small_disk, workers)
    assert finished.returncode == 1
    assert "No space left on device" in finished.stderr
    assert not list(small_disk.rglob("*.partial"))
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    assert drive(small_disk, workers).returncode == 0
    assert digests(small_disk) == undisturbed


@pytest.mark.slow
def test_disk_that_becomes_read_only(undisturbed, small_disk):
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    assert drive(small_disk, 0, **{fake_unit_runner.FAILING: "1"}).returncode == 3
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    finished = drive(small_disk, 0)
    assert finished.returncode == 1
    assert "Read-only file system" in finished.stderr
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert drive(small_disk, 0).returncode == 0
    assert digests(small_disk) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_full_disk_is_no_reason_to_try_every_unit(tmp_path, workers):
    finished = drive(tmp_path, workers, **{fake_unit_runner.FULL: "1"})
    assert finished.returncode == 1
    assert "No space left" in finished.stderr
    assert not list(tmp_path.rglob("*.partial")), "what another unit was writing"


@pytest.mark.slow
def test_clock_that_goes_backwards(undisturbed, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import itertools, time\ncount = itertools.count()\ntime.time = lambda: 1e9 - 1e5 * next(count)\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}"
    assert drive(tmp_path / "data", 1, PYTHONPATH=path).returncode == 0
    assert digests(tmp_path / "data") == undisturbed


@pytest.mark.slow
def test_status_of_a_run(tmp_path, capsys):
    store = tmp_path / TASKS[0] / "noise.zarr"
    shown = {}

    def between_first_and_last() -> bool:
        """Some units are done, and others running: for a moment after those that ended together, none is."""
        if (store / "zarr.json").exists():
            assert cli.main(["status", str(store), "--json"]) == 0
            shown.update(json.loads(capsys.readouterr().out)[0])
        return shown.get("units_done", 0) > 0 and bool(shown["running"])

    with started(tmp_path, UNITS, 0, **{fake_unit_runner.SECONDS: "5"}) as driver:
        wait_for(between_first_and_last, driver)
        assert (shown["state"], shown["units"]) == ("running", UNITS) and shown["units_done"] < UNITS
        assert shown["rows_per_s"] > 0 and shown["seconds_left"] > 0
    status = read_status(store)
    assert (status.state, status.running, status.rows_per_s) == ("stopped", (), None)
    assert drive(tmp_path, 0).returncode == 0
    assert cli.main(["status", str(store)]) == 0
    assert "complete" in capsys.readouterr().out


def test_summary_names_quarantined_units(tmp_path, monkeypatch):
    monkeypatch.setenv(fake_unit_runner.FAILING, "1")
    summary = generate_all([fake_unit_runner.settings(3)], tmp_path, ThreadExecutor(fake_unit_runner.FakeUnitRunner()))
    assert (summary.units, summary.rows, summary.sealed) == (2, 140, ())
    with pytest.raises(UnitsFailedError, match=r"CartpoleBalance/noise\.zarr unit 1: NotConvergedError"):
        summary.check()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--executor", "spark"], "executor is 'spark'; it must be one of: local, ray"),
        (["--workers", "0"], "workers is 0"),
        (["--ray-address", "auto"], "--ray-address needs --executor ray"),
        (["--job-index", "4", "--num-jobs", "4"], "job_index is 4"),
        # Their former names.
        (["--shard-index", "4", "--shard-count", "4"], "job_index is 4"),
    ],
)
def test_wrong_options(words, expected, capsys):
    assert cli.main(["generate", "CartpoleBalance", *words]) == 1
    assert expected in capsys.readouterr().err
