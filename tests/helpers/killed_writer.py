"""Writes a store and kills itself at a given sync: `killed_writer.py STORE SYNC [SOURCE]`.

The store is a synthetic one, or with a source the compact copy of it.
"""

import os
import signal
import sys
from pathlib import Path

from dynamic_sparsity.storage import writer
from dynamic_sparsity.storage.convert import convert_store
from dynamic_sparsity.testing import stores as synthetic

path, syncs_left = Path(sys.argv[1]), int(sys.argv[2])
real_fsync = os.fsync


def fsync(descriptor: int) -> None:
    global syncs_left
    syncs_left -= 1
    if syncs_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real_fsync(descriptor)


os.fsync = fsync
if sys.argv[3:]:
    convert_store(Path(sys.argv[3]), path.parent.parent, "compact")
else:
    with writer.lock(path):
        synthetic.make_store(path, early={3: 7}, sync=True)
