"""Units in processes of their own on this machine; one that dies is replaced, and what it was making is made again."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from dynamic_sparsity.errors import InvalidSettingError, WorkerError
from dynamic_sparsity.generation.executors.protocol import UNITS_AT_ONCE, WORKSHOP, Event, Happening, Trouble
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.settings import Settings

PATIENCE_S = 0.5
MERCY_S = 5.0
WORKER_BYTES = 3 * 2**30
"""Memory that a worker without a GPU may need: two units, and the compiler while it works."""

STILLBIRTHS = 3
"""Workers that may die one after the other without having begun a unit: then something is wrong with the machine."""

_TAIL_BYTES = 600


@dataclass(eq=False)
class _Worker:
    """One process."""

    index: int
    process: subprocess.Popen[bytes]
    connection: socket.socket
    errors: IO[bytes]
    received: bytes = b""
    units: dict[tuple[str, int], Unit] = field(default_factory=dict)
    started: set[tuple[str, int]] = field(default_factory=set)

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message; that the worker is gone shows when it is read from."""
        with contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]] | None:
        """Messages that have come, waiting for some; None if the worker is gone."""
        try:
            data = self.connection.recv(2**16)
        except ConnectionError:
            return None
        if not data:
            return None
        *lines, self.received = (self.received + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def bury(self, mercy_s: float = 0.0) -> str:
        """Ends it for good; returns what is known of its death."""
        self.connection.close()
        try:
            code = self.process.wait(mercy_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, self.errors.tell() - _TAIL_BYTES))
        said = self.errors.read().decode(errors="replace").strip()
        self.errors.close()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"worker process {self.process.pid} ended {how}" + (f"; it said last: {said}" if said else "")


class Processes:
    """An executor of spawned processes, each with devices of its own.

    On a machine with GPUs worker i has GPU i modulo their number to itself, or shares it; on one without, each has its
    share of the cores. A worker is started when there is a unit for it.

    Attributes:
        capacity: Units it takes at a time.
    """

    def __init__(self, workers: int | None = None, maker: str = WORKSHOP) -> None:
        """Starts nothing yet.

        Args:
            workers: Number of processes; None for one per GPU, or, where there are none, one per core as far as memory
                allows: XLA gains nothing from a second core for one of our programs (`benchmarks/generate.py`).
            maker: MODULE:CLASS of what makes their units.

        Raises:
            InvalidSettingError: The number of workers is not positive.
        """
        if workers is not None and workers < 1:
            raise InvalidSettingError(f"workers is {workers}; it must be at least 1.")
        self._count, self._maker = workers or len(visible_gpus()) or workers_on(cores(), memory()), maker
        self.capacity = self._count * UNITS_AT_ONCE
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._news: deque[Event] = deque()
        self._stillbirths = 0

    def __enter__(self) -> Processes:
        """Starts the first worker."""
        self._start(0)
        return self

    def __exit__(self, *_: object) -> None:
        """Ends them."""
        for worker in self._workers:
            worker.bury()
        self._workers.clear()
        self._selector.close()

    def _start(self, index: int) -> _Worker:
        ours, theirs = socket.socketpair()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - the worker's, closed with it
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "dynamic_sparsity.generation.executors.process_worker",
                str(theirs.fileno()),
                str(os.getpid()),
                self._maker,
            ],
            env=os.environ | device_environment(index, self._count),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
        )
        theirs.close()
        worker = _Worker(index, process, ours, errors)
        self._workers.append(worker)
        self._selector.register(ours, selectors.EVENT_READ, worker)
        return worker

    def describe(self, settings: Settings) -> dict[str, Any]:
        """As `Executor`; the first worker is asked."""
        for _ in range(STILLBIRTHS + 1):
            worker = self._workers[0]
            worker.send({"describe": asdict(settings)})
            while (messages := worker.receive()) is not None:
                answer = None
                for message in messages:
                    if "what" in message:
                        self._take(worker, message)
                    else:
                        answer = message
                if answer is not None:
                    if "trouble" in answer:
                        raise Trouble.from_document(answer["trouble"]).error()
                    attributes: dict[str, Any] = answer["attributes"]
                    # A worker may have several devices, of a kind that is not handed out one by one.
                    self.capacity = self._count * answer["capacity"]
                    return attributes
            self._replace(worker)
        raise WorkerError("no worker lives long enough to load the simulator; is there enough memory?")

    def submit(self, unit: Unit) -> None:
        """As `Executor`; the worker with the fewest units gets it, or a new one if all have some."""
        worker = min(self._workers, key=lambda one: len(one.units))
        if worker.units and len(self._workers) < self._count:
            worker = self._start(len(self._workers))
        worker.units[str(unit.store), unit.index] = unit
        worker.send({"unit": unit.document()})

    def events(self) -> Sequence[Event]:
        """As `Executor`."""
        if not self._news:
            for chosen, _ in self._selector.select(PATIENCE_S):
                worker: _Worker = chosen.data
                messages = worker.receive()
                if messages is None:
                    self._replace(worker)
                for message in messages or ():
                    self._take(worker, message)
        found = list(self._news)
        self._news.clear()
        return found

    def _take(self, worker: _Worker, message: dict[str, Any]) -> None:
        """Turns a worker's message into an event."""
        store, index = message["unit"]
        what = Happening(message["what"])
        unit = worker.units.get((store, index))
        if unit is None:
            return
        if what is Happening.STARTED:
            worker.started.add((store, index))
            self._stillbirths = 0
        elif what in (Happening.FINISHED, Happening.FAILED):
            del worker.units[store, index]
            worker.started.discard((store, index))
        trouble = None if message["trouble"] is None else Trouble.from_document(message["trouble"])
        self._news.append(Event(what, unit, message["amount"], trouble))

    def _replace(self, worker: _Worker) -> None:
        """Buries a worker, says what became of its units, and starts another one in its place."""
        self._selector.unregister(worker.connection)
        self._workers.remove(worker)
        # It closed its side of the connection: what it died of shows when it is really dead.
        death = worker.bury(MERCY_S)
        if not worker.started:
            self._stillbirths += 1
            if self._stillbirths > STILLBIRTHS:
                raise WorkerError(f"{self._stillbirths} workers died before they began a unit; the last: {death}")
        for name, unit in worker.units.items():
            begun = name in worker.started
            trouble = Trouble("WorkerError", death) if begun else None
            self._news.append(Event(Happening.FAILED if begun else Happening.RETURNED, unit, trouble=trouble))
        self._start(worker.index)


def device_environment(index: int, count: int) -> dict[str, str]:
    """Environment variables that give worker `index` of `count` its share of the machine, set before JAX starts."""
    gpus = visible_gpus()
    if not gpus:
        return share_of_cores(count)
    return {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} | share_of_gpu(-(-count // len(gpus)))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def workers_on(cores: int, memory: float) -> int:
    """One worker per core, but no more than `memory` (bytes) is enough for."""
    return max(1, min(cores, int(memory // WORKER_BYTES)))


def share_of_cores(count: int) -> dict[str, str]:
    """Environment variables of each of `count` processes that share this machine's cores."""
    # XLA's own number of threads per process; without it every worker would use all cores.
    return {} if "NPROC" in os.environ else {"NPROC": str(max(1, cores() // count))}


def share_of_gpu(count: int) -> dict[str, str]:
    """Environment variables of each of `count` processes that share a GPU."""
    # One alone keeps to JAX's own default.
    return {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / count:.3f}"} if count > 1 else {}


def visible_gpus() -> list[str]:
    """Names of the NVIDIA GPUs this process may use, as CUDA_VISIBLE_DEVICES spells them."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip()]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]
