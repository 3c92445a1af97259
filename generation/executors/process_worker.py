"""A process that makes units for `processes`: `python -m dynamic_sparsity.generation.executors.process_worker`.

It reads and writes lines of JSON on the socket it is given. When its parent is gone, so is it: at once on Linux, when
the socket closes elsewhere.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import threading
import traceback
from typing import Any

from dynamic_sparsity.generation.executors.protocol import Event, Happening, Trouble, load_maker
from dynamic_sparsity.generation.executors.threads import InProcess
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.settings import Settings

_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux' prctl."""


def serve(connection: socket.socket, maker: str) -> None:
    """Answers until the other side closes the connection."""
    writing = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with writing:
            connection.sendall(json.dumps(message).encode() + b"\n")

    def tell(event: Event) -> None:
        trouble = None if event.trouble is None else event.trouble.document()
        send({"what": event.what, "unit": key(event.unit), "amount": event.amount, "trouble": trouble})

    executor: InProcess | Exception
    try:
        executor = InProcess(load_maker(maker), tell)
    except Exception as error:
        # A simulator that is missing is an answer to whatever will be asked.
        executor = error
    checked = set()
    with connection.makefile("rb") as lines:
        for line in lines:
            message = json.loads(line)
            unit = Unit.from_document(message["unit"]) if "unit" in message else None
            try:
                if isinstance(executor, Exception):
                    raise executor
                if unit is None:
                    attributes = executor.describe(Settings(**message["describe"]))
                    send({"attributes": attributes, "capacity": executor.capacity})
                    continue
                if unit.store not in checked:
                    executor.check(unit)
                    checked.add(unit.store)
                executor.submit(unit)
            except Exception as error:
                trouble = Trouble.of(error)
                if unit is None:
                    send({"trouble": trouble.document()})
                else:
                    tell(Event(Happening.FAILED, unit, trouble=trouble))


def key(unit: Unit) -> list[Any]:
    """What tells a unit from all others of a run, as JSON data."""
    return [str(unit.store), unit.index]


def main() -> None:
    """Arguments: descriptor of the socket, the parent's process id, MODULE:CLASS of what makes the units."""
    # Ctrl-C in a terminal reaches every process of its group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            return
    try:
        serve(socket.socket(fileno=descriptor), sys.argv[3])
    except Exception:
        traceback.print_exc()
    finally:
        # Whatever threads are doing is of no use to anybody any more.
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
