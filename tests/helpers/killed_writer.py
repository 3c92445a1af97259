"""Writes a synthetic store and kills itself at a given sync: `killed_writer.py STORE SYNC`. Run by test_writer.py."""

import os
import signal
import sys
from pathlib import Path

from dynamic_sparsity.storage import writer
from dynamic_sparsity.testing import stores as synthetic

syncs_left = int(sys.argv[2])
real_fsync = os.fsync


def fsync(descriptor: int) -> None:
    global syncs_left
    syncs_left -= 1
    if syncs_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real_fsync(descriptor)


os.fsync = fsync
with writer.lock(Path(sys.argv[1])):
    synthetic.make_store(Path(sys.argv[1]), early={3: 7}, sync=True)
