"""Units in worker processes on this machine; a worker that dies is replaced, and its units are made again.

Why not `concurrent.futures.ProcessPoolExecutor` with one spawned worker per device: measured with Python 3.11 on Linux,
a worker of that pool was still alive 15 s after its parent had been killed by SIGKILL, idle or computing, and so would
keep its device and go on writing to the store; a worker of this executor is gone at once. When a worker dies, the pool
reports every unit that it was given as broken; this executor tells those that had begun from those that had not, so
that a unit that kills its worker is not confused with its neighbours, and it reports the end of the worker's output.
Speed decides nothing: the pool's round trip is 1.5 ms on a busy machine, a unit takes seconds to minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from dynamic_sparsity.errors import DynamicSparsityWarning, InvalidSettingError, WorkerError
from dynamic_sparsity.generation.executors.protocol import SIMULATION, UNITS_AT_ONCE, Event, EventKind, Failure
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.machine import WORKER_BYTES, OomKills, cores, memory, visible_gpus, workers_on
from dynamic_sparsity.generation.settings import Settings

POLL_TIMEOUT_S = 0.5
SHUTDOWN_TIMEOUT_S = 5.0
"""Time that a worker which closed its connection gets to end by itself before it is killed."""

MAX_STARTUP_FAILURES = 3
"""Workers in a row that may die before they begin a unit; one more ends the run."""

_OUTPUT_TAIL_BYTES = 600


@dataclass(eq=False)
class _Worker:
    """One worker process, its connection, and the units it was given."""

    index: int
    process: subprocess.Popen[bytes]
    connection: socket.socket
    output: IO[bytes]
    received: bytes = b""
    units: dict[tuple[str, int], Unit] = field(default_factory=dict)
    started: set[tuple[str, int]] = field(default_factory=set)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; whether the worker is still there shows when it is read from."""
        with contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]] | None:
        """Wait for messages and return them; None if the worker is gone."""
        try:
            data = self.connection.recv(2**16)
        except ConnectionError:
            return None
        if not data:
            return None
        *lines, self.received = (self.received + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def terminate(self, timeout_s: float = 0.0) -> tuple[int, str]:
        """End the process, by SIGKILL if it does not end by itself in time; return its exit code and last output."""
        self.connection.close()
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.output.seek(0, os.SEEK_END)
        self.output.seek(max(0, self.output.tell() - _OUTPUT_TAIL_BYTES))
        tail = self.output.read().decode(errors="replace").strip()
        self.output.close()
        return code, tail


class ProcessExecutor:
    """An executor of spawned processes, each with devices of its own.

    On a machine with GPUs, worker i has GPU i modulo their number, alone or shared; on one without, every worker has
    its share of the cores. A worker is started when there is a unit for it.

    Attributes:
        capacity: Units that it accepts at a time.
    """

    def __init__(self, workers: int | None = None, runner: str = SIMULATION) -> None:
        """Start nothing yet.

        Args:
            workers: Number of processes; None for one per GPU, or, where there are none, one per core as far as memory
                allows: XLA gains nothing from a second core for one of our programs (`benchmarks/generate.py`).
            runner: MODULE:CLASS of the unit runner that the workers load.

        Raises:
            InvalidSettingError: The number of workers is not positive.
        """
        if workers is not None and workers < 1:
            raise InvalidSettingError(f"workers is {workers}; it must be at least 1.")
        self._count, self._runner = workers or len(visible_gpus()) or _default_workers(), runner
        self.capacity = self._count * UNITS_AT_ONCE
        self._workers: list[_Worker] = []
        self._selector = selectors.DefaultSelector()
        self._pending: deque[Event] = deque()
        self._startup_failures = 0
        self._oom_kills = OomKills()

    def __enter__(self) -> ProcessExecutor:
        """Start the first worker."""
        self._start(0)
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.terminate()
        self._workers.clear()
        self._selector.close()

    def _start(self, index: int) -> _Worker:
        parent_socket, worker_socket = socket.socketpair()
        output = tempfile.TemporaryFile()  # noqa: SIM115 - the worker's, closed with it
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "dynamic_sparsity.generation.executors.process_worker",
                str(worker_socket.fileno()),
                str(os.getpid()),
                self._runner,
            ],
            env=os.environ | device_environment(index, self._count),
            pass_fds=[worker_socket.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        worker_socket.close()
        worker = _Worker(index, process, parent_socket, output)
        self._workers.append(worker)
        self._selector.register(parent_socket, selectors.EVENT_READ, worker)
        return worker

    def describe(self, settings: Settings) -> dict[str, Any]:
        """Return a store's attributes, as `Executor.describe`; the first worker is asked.

        Args:
            settings: The settings.

        Raises:
            WorkerError: Every worker dies before it answers.
            DynamicSparsityError: What the worker raised, for example a missing simulator.
        """
        cause = ""
        for _ in range(MAX_STARTUP_FAILURES + 1):
            worker = self._workers[0]
            worker.send({"describe": asdict(settings)})
            answer = self._wait_for_answer(worker)
            if answer is None:
                cause = self._replace(worker)
                continue
            if "failure" in answer:
                raise Failure.from_document(answer["failure"]).to_exception()
            attributes: dict[str, Any] = answer["attributes"]
            # A worker may have several devices, of a kind that is not handed out one by one.
            self.capacity = self._count * answer["capacity"]
            return attributes
        raise WorkerError(f"no worker lives long enough to load the simulator; the last: {cause}")

    def _wait_for_answer(self, worker: _Worker) -> dict[str, Any] | None:
        """Return the worker's next message that is not an event; None if the worker dies first."""
        while (messages := worker.receive()) is not None:
            answer = None
            for message in messages:
                if "event" in message or "warning" in message:
                    self._on_message(worker, message)
                else:
                    answer = message
            if answer is not None:
                return answer
        return None

    def submit(self, unit: Unit) -> None:
        """Accept a unit, as `Executor.submit`; a new worker gets it, or the one with the fewest units.

        Args:
            unit: The unit.
        """
        worker = min(self._workers, key=lambda one: len(one.units))
        if worker.units and len(self._workers) < self._count:
            worker = self._start(len(self._workers))
        worker.units[str(unit.store), unit.index] = unit
        worker.send({"unit": unit.document()})

    def events(self) -> Sequence[Event]:
        """Wait for events and return them, as `Executor.events`.

        Raises:
            WorkerError: Workers died one after the other before they began a unit.
        """
        if not self._pending:
            for chosen, _ in self._selector.select(POLL_TIMEOUT_S):
                worker: _Worker = chosen.data
                messages = worker.receive()
                if messages is None:
                    self._replace(worker)
                for message in messages or ():
                    self._on_message(worker, message)
        found = list(self._pending)
        self._pending.clear()
        return found

    def _on_message(self, worker: _Worker, message: dict[str, Any]) -> None:
        """Turn a worker's message into an event, or a warning of this process."""
        if "warning" in message:
            warnings.warn(message["warning"], DynamicSparsityWarning, stacklevel=2)
            return
        store, index = message["unit"]
        kind = EventKind(message["event"])
        unit = worker.units.get((store, index))
        if unit is None:
            return
        if kind is EventKind.STARTED:
            worker.started.add((store, index))
            self._startup_failures = 0
        elif kind in (EventKind.FINISHED, EventKind.FAILED):
            del worker.units[store, index]
            worker.started.discard((store, index))
        failure = None if message["failure"] is None else Failure.from_document(message["failure"])
        self._pending.append(Event(kind, unit, message["amount"], failure))

    def _replace(self, worker: _Worker) -> str:
        """Start another worker in place of a dead one, and report what became of its units; return how it ended."""
        self._selector.unregister(worker.connection)
        self._workers.remove(worker)
        # It closed its side of the connection; its exit code is known when it has ended.
        cause = _end_of(worker.process.pid, *worker.terminate(SHUTDOWN_TIMEOUT_S), self._oom_kills)
        if not worker.started:
            self._startup_failures += 1
            if self._startup_failures > MAX_STARTUP_FAILURES:
                raise WorkerError(f"{self._startup_failures} workers died before they began a unit; the last: {cause}")
        for name, unit in worker.units.items():
            if name in worker.started:
                self._pending.append(Event(EventKind.FAILED, unit, failure=Failure("WorkerError", cause)))
            else:
                self._pending.append(Event(EventKind.REQUEUED, unit))
        self._start(worker.index)
        return cause


def _default_workers() -> int:
    """How many workers a machine without GPUs has; a warning if even one may be too many."""
    have = memory()
    if have < WORKER_BYTES:
        warnings.warn(
            f"a worker may need {WORKER_BYTES / 2**30:.0f} GiB of memory, and {have / 2**30:.1f} GiB may be used here "
            "(by this machine or its container); if workers are killed, give a smaller --batch, which changes bits.",
            DynamicSparsityWarning,
            stacklevel=3,
        )
    return workers_on(cores(), have)


def _end_of(pid: int, code: int, output: str, oom_kills: OomKills) -> str:
    """Say how a worker ended, by whom as far as that can be known, and what to do.

    Args:
        pid: Its process id.
        code: Its exit code; negative for a signal's number.
        output: The end of what it printed.
        oom_kills: The kernel's count.
    """
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    if code == -signal.SIGKILL:
        by_kernel = oom_kills.explain()
        if by_kernel is False:
            how += ", SIGKILL, probably from a person or a program: the kernel counts none that it killed for memory"
        else:
            how += (
                f", SIGKILL, {'' if by_kernel else 'probably '}from the kernel for want of memory: all workers may use "
                f"{memory() / 2**30:.1f} GiB together; give fewer --workers, or more memory, or for a new store a "
                "smaller --batch"
            )
    return f"worker process {pid} ended {how}" + (f"; its last output: {output}" if output else "")


def device_environment(index: int, count: int) -> dict[str, str]:
    """Return environment variables that give a worker its share of the machine; set before JAX starts.

    Args:
        index: Which worker, from 0.
        count: Number of workers.
    """
    gpus = visible_gpus()
    if not gpus:
        return share_of_cores(count)
    return {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} | share_of_gpu(-(-count // len(gpus)))


def share_of_cores(count: int) -> dict[str, str]:
    """Return environment variables for processes that share this machine's cores.

    Args:
        count: Number of processes.
    """
    # XLA's own number of threads per process; without it every worker would use all cores.
    return {} if "NPROC" in os.environ else {"NPROC": str(max(1, cores() // count))}


def share_of_gpu(count: int) -> dict[str, str]:
    """Return environment variables for processes that share a GPU.

    Args:
        count: Number of processes.
    """
    # One alone keeps to JAX's own default.
    return {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / count:.3f}"} if count > 1 else {}
