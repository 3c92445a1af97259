"""Grows a fake store and kills itself on the way: `killed_growth.py ROOT UNITS SYNC`; run by test_growth.py.

It dies at its SYNC-th sync of a file; with SYNC "exchanged" when the larger store has just got its name, with "renamed"
when no store has the name, on a disk that can't exchange names.
"""

import os
import signal
import sys
from pathlib import Path

import fake_unit_runner

from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs.generate import generate_all
from dynamic_sparsity.storage import growth

root, units, moment = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
real_fsync, real_exchange = os.fsync, growth.exchange
syncs_left = int(moment) if moment.isdigit() else 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fsync(descriptor: int) -> None:
    global syncs_left
    syncs_left -= 1
    if syncs_left == 0:
        die()
    real_fsync(descriptor)


def exchange(first: Path, second: Path) -> None:
    if moment == "exchanged":
        real_exchange(first, second)
    else:
        second.rename(growth._replaced_path(second))
    die()


os.fsync = fsync
if not moment.isdigit():
    growth.exchange = exchange
generate_all([fake_unit_runner.settings(units)], root, ThreadExecutor(fake_unit_runner.FakeUnitRunner()))
