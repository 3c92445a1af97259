"""A worker process of `processes`: `python -m dynamic_sparsity.generation.executors.process_worker`.

It reads and writes lines of JSON on the socket it is given. It ends with its parent: at once on Linux, elsewhere when
the socket closes.
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

from dynamic_sparsity.generation.executors.protocol import (
    Event,
    EventKind,
    Failure,
    forward_warnings,
    load_unit_runner,
)
from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.settings import Settings

_PR_SET_PDEATHSIG = 1
"""Option of Linux' prctl: the signal that this process gets when its parent dies."""


def serve(connection: socket.socket, runner: str) -> None:
    """Answer requests until the other side closes the connection.

    Args:
        connection: The socket.
        runner: MODULE:CLASS of the unit runner.
    """
    write_lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with write_lock:
            connection.sendall(json.dumps(message).encode() + b"\n")

    def send_event(event: Event) -> None:
        failure = None if event.failure is None else event.failure.document()
        send({"event": event.kind, "unit": unit_key(event.unit), "amount": event.amount, "failure": failure})

    forward_warnings(lambda text: send({"warning": text}))
    executor: ThreadExecutor | Exception
    try:
        executor = ThreadExecutor(load_unit_runner(runner), send_event)
    except Exception as error:
        # A missing simulator is reported in answer to the first request.
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
                failure = Failure.from_exception(error)
                if unit is None:
                    send({"failure": failure.document()})
                else:
                    send_event(Event(EventKind.FAILED, unit, failure=failure))


def unit_key(unit: Unit) -> list[Any]:
    """Return what identifies a unit in a run, as JSON data: its store's path and its index.

    Args:
        unit: The unit.
    """
    return [str(unit.store), unit.index]


def main() -> None:
    """Serve; arguments are the socket's descriptor, the parent's process id, MODULE:CLASS of the unit runner."""
    # Ctrl-C in a terminal reaches every process of its group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
    try:
        serve(socket.socket(fileno=descriptor), sys.argv[3])
    except Exception:
        traceback.print_exc()
    finally:
        # Nobody needs the results of threads that still run.
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
