"""Workers: what each has of the machine, and how their errors and warnings come to the driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import fake_unit_runner
import pytest
from processes import kill

from dynamic_sparsity.errors import (
    CorruptPolicyError,
    DynamicSparsityWarning,
    InvalidSettingError,
    MissingDependencyError,
    WorkerError,
)
from dynamic_sparsity.generation import machine
from dynamic_sparsity.generation.executors import processes
from dynamic_sparsity.generation.executors.processes import ProcessExecutor, device_environment
from dynamic_sparsity.generation.executors.protocol import UNITS_AT_ONCE, Failure
from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs.generate import generate_all
from dynamic_sparsity.generation.jobs.units import Job
from dynamic_sparsity.generation.machine import OomKills

HELPERS = Path(fake_unit_runner.__file__).parent


@pytest.fixture(autouse=True)
def helpers_in_workers(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{HELPERS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


@pytest.mark.slow
def test_workers_that_never_start_end_the_run(tmp_path):
    with pytest.raises(WorkerError, match="no_such_module"):
        generate_all([fake_unit_runner.settings(1)], tmp_path / "new/data", ProcessExecutor(1, "no_such_module:Runner"))
    assert not list(tmp_path.iterdir()), "no folders either"


@pytest.mark.slow
def test_a_worker_without_simulator_says_so(tmp_path):
    with pytest.raises(MissingDependencyError, match="pip install"):
        generate_all([fake_unit_runner.settings(1)], tmp_path, ProcessExecutor(2, "fake_unit_runner:MissingUnitRunner"))


@pytest.mark.slow
def test_an_error_that_nobody_expected_keeps_its_class_and_its_traceback(tmp_path):
    with pytest.raises(WorkerError, match=r"failed with AssertionError: \(without a message\)\. .*--debug") as caught:
        generate_all([fake_unit_runner.settings(1)], tmp_path, ProcessExecutor(1, "fake_unit_runner:BrokenUnitRunner"))
    (note,) = caught.value.__notes__
    assert "raise AssertionError" in note and "fake_unit_runner.py" in note


@pytest.mark.parametrize(
    "error", [CorruptPolicyError("a"), InvalidSettingError("b"), OSError(28, "full", "/x"), KeyError("c")]
)
def test_failures_are_exceptions_again(error):
    sent = json.loads(json.dumps(Failure.from_exception(error).document()))
    again = Failure.from_document(sent).to_exception()
    if isinstance(error, KeyError):
        assert isinstance(again, WorkerError) and "KeyError: 'c'" in str(again)
    else:
        assert (type(again), str(again)) == (type(error), str(error))


@pytest.mark.parametrize(
    ("by_kernel", "words"),
    [
        (True, r"signal 9, SIGKILL, from the kernel for want of memory: .* GiB together; give fewer --workers"),
        (None, r"signal 9, SIGKILL, probably from the kernel for want of memory"),
        (False, r"signal 9, SIGKILL, probably from a person or a program"),
    ],
)
def test_a_worker_that_was_killed_says_by_whom(tmp_path, monkeypatch, by_kernel, words):
    monkeypatch.setattr(OomKills, "explain", lambda _: by_kernel)
    with ProcessExecutor(1, fake_unit_runner.NAME) as executor:
        kill(executor._workers[0].process.pid)
        executor._workers[0].process.wait()
        monkeypatch.setattr(processes, "MAX_STARTUP_FAILURES", 0)
        with pytest.raises(WorkerError, match=words):
            executor.describe(fake_unit_runner.settings(1))


def test_array_jobs_without_units_say_so(tmp_path):
    def made_by(index, count):
        executor = ThreadExecutor(fake_unit_runner.FakeUnitRunner())
        return generate_all([fake_unit_runner.settings(2)], tmp_path, executor, job=Job(index, count)).units

    for index, share in ((0, "has one"), (3, "has none")):
        with pytest.warns(DynamicSparsityWarning, match=rf"of the 4 jobs only 2 have .* 2 units in all; .* {share}"):
            assert made_by(index, 4) == (index < 2)
    assert made_by(1, 2) == 1


@pytest.mark.slow
def test_warnings_of_workers_are_heard(tmp_path):
    with pytest.warns(DynamicSparsityWarning, match="CartpoleBalance is made in spite of this"):
        generate_all([fake_unit_runner.settings(1)], tmp_path, ProcessExecutor(1, "fake_unit_runner:WarningUnitRunner"))


def test_each_worker_has_its_share_of_the_machine(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(machine, "has_gpu_plugin", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,5")
    assert ProcessExecutor().capacity == 3 * UNITS_AT_ONCE, "one process per GPU"
    assert [device_environment(i, 3) for i in range(3)] == [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in "025"]
    shared = device_environment(4, 6)
    assert shared["CUDA_VISIBLE_DEVICES"] == "2" and float(shared["XLA_PYTHON_CLIENT_MEM_FRACTION"]) < 0.5
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.delenv("NPROC", raising=False)
    assert ProcessExecutor().capacity == UNITS_AT_ONCE * machine.workers_on(machine.cores(), machine.memory())
    assert int(device_environment(0, 10_000)["NPROC"]) == 1


@pytest.mark.slow
def test_handing_out_units_needs_no_simulator():
    script = (
        "import sys; from dynamic_sparsity.generation.jobs import generate, status; "
        "from dynamic_sparsity.generation.executors import processes, threads; "
        "loaded = {'jax', 'mujoco', 'ray'} & set(sys.modules); assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
