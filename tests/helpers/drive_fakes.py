"""Generates fake stores in a process of its own: `drive_fakes.py ROOT UNITS WORKERS [JOB_INDEX NUM_JOBS]`.

0 workers are threads, negative ones Ray actors, on the cluster that the environment variable RAY_ADDRESS names.

Its exit code is 1 after an error and 3 if units were quarantined, as the command line's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import fake_unit_runner

from dynamic_sparsity.errors import UnitsFailedError
from dynamic_sparsity.generation.executors.processes import ProcessExecutor
from dynamic_sparsity.generation.executors.protocol import Executor
from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs.generate import generate_all
from dynamic_sparsity.generation.jobs.units import Job

if __name__ == "__main__":
    root, units, workers, *job = Path(sys.argv[1]), *map(int, sys.argv[2:])
    executor: Executor
    if workers < 0:
        from dynamic_sparsity.generation.executors.ray_actors import RayExecutor

        executor = RayExecutor(os.environ.get("RAY_ADDRESS"), -workers, fake_unit_runner.NAME)
    else:
        executor = (
            ProcessExecutor(workers, fake_unit_runner.NAME)
            if workers
            else ThreadExecutor(fake_unit_runner.FakeUnitRunner())
        )
    wanted = [fake_unit_runner.settings(units, task) for task in ("CartpoleBalance", "CheetahRun")]
    try:
        generate_all(wanted, root, executor, job=Job(*job)).check()
    except UnitsFailedError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
