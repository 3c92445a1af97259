"""Puts a sample into a package, killed at moment after moment: `killed_install.py MADE OLD PLACE exchange|rename`.

For each moment, a child of this process begins with the old sample in a folder of its own below PLACE, and kills
itself when it is about to change the disk for the n-th time. Prints a line of JSON for each: what is left, by name,
and the digests of the sample's files if it is there; then the same when the call was repeated.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from dynamic_sparsity.generation.jobs import sample

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.copyfile", "shutil.rmtree"}


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def state(place: Path) -> dict[str, object]:
    return {"names": sorted(path.name for path in place.iterdir()), "sample": digests(place / "stores")}


def install(made: Path, place: Path, moment: int | None) -> bool:
    """Install in a child of this process; return whether it was killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = [moment]

    def hook(event: str, arguments: object) -> None:
        if left[0] is not None and event in CHANGES:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    sample.install(made, place / "stores")
    os._exit(0)


def no_exchange(*_: object) -> None:
    raise OSError("this disk can't exchange names")


made, old, root = map(Path, sys.argv[1:4])
if sys.argv[4] == "rename":
    sample.exchange = no_exchange
moment, killed = 0, True
while killed:
    place = root / str(moment)
    shutil.copytree(old, place / "stores")
    killed = install(made, place, moment)
    left = state(place)
    install(made, place, None)
    print(json.dumps({"killed": killed, "left": left, "repeated": state(place)}))
    shutil.rmtree(place)
    moment += 1
