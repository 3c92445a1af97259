"""Generates fake stores in a process of its own: `drive_fakes.py ROOT UNITS WORKERS [PART COUNT]`.

0 workers are threads, negative ones Ray actors, on the cluster that the environment variable RAY_ADDRESS names.

Its exit code is 1 after an error and 3 if units were set aside, as the command line's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import fake_maker

from dynamic_sparsity.errors import UnitsFailedError
from dynamic_sparsity.generation.executors.processes import Processes
from dynamic_sparsity.generation.executors.protocol import Executor
from dynamic_sparsity.generation.executors.threads import InProcess
from dynamic_sparsity.generation.jobs.generate import generate_all
from dynamic_sparsity.generation.jobs.units import Part

if __name__ == "__main__":
    root, units, workers, *part = Path(sys.argv[1]), *map(int, sys.argv[2:])
    executor: Executor
    if workers < 0:
        from dynamic_sparsity.generation.executors.ray_actors import OnRay

        executor = OnRay(os.environ.get("RAY_ADDRESS"), -workers, fake_maker.NAME)
    else:
        executor = Processes(workers, fake_maker.NAME) if workers else InProcess(fake_maker.FakeMaker())
    wanted = [fake_maker.settings(units, task) for task in ("CartpoleBalance", "CheetahRun")]
    try:
        generate_all(wanted, root, executor, part=Part(*part)).check()
    except UnitsFailedError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
