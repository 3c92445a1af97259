"""Units in actors on a Ray cluster: one per GPU, or, without GPUs, one per core as far as memory allows.

Ray only sends units to actors and outcomes back; failed attempts are counted here, because Ray would hide them. The
store's folder must be the same on all nodes.
"""

from __future__ import annotations

import os
import queue
import socket
import time
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dynamic_sparsity.errors import DynamicSparsityWarning, InvalidSettingError, MissingDependencyError, WorkerError
from dynamic_sparsity.generation.executors.processes import share_of_cores, share_of_gpu
from dynamic_sparsity.generation.executors.protocol import (
    SIMULATION,
    UNITS_AT_ONCE,
    Event,
    EventKind,
    Failure,
    forward_warnings,
    load_unit_runner,
)
from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.machine import workers_on
from dynamic_sparsity.generation.settings import Settings

POLL_TIMEOUT_S = 0.5
CONNECT_TIMEOUT_S = 20.0
MAX_ACTOR_FAILURES = 5
"""Deaths in a row, per actor, without a unit made in between; one more ends the run."""

OBJECT_STORE_BYTES = 100 * 2**20
"""Size for a cluster started here; only units and outcomes are sent."""


class RayActor:
    """What runs on the cluster: a thread executor whose units are requested one by one."""

    def __init__(self, runner: str, sharing: int = 1, on_gpu: bool = False) -> None:
        # Before JAX starts: Ray tells an actor its GPU, but not how many others share it, or the node's cores.
        os.environ |= share_of_gpu(sharing) if on_gpu else share_of_cores(sharing)
        self._outcomes: dict[tuple[str, int], queue.SimpleQueue[Event]] = {}
        self._checked: set[str] = set()
        self._warnings: list[str] = []
        forward_warnings(self._warnings.append)
        self._executor: ThreadExecutor | Exception
        try:
            self._executor = ThreadExecutor(load_unit_runner(runner), self._on_event)
        except Exception as error:
            # A missing simulator is reported in answer to the first request.
            self._executor = error

    def _ready(self) -> ThreadExecutor:
        if isinstance(self._executor, Exception):
            raise self._executor
        return self._executor

    def _on_event(self, event: Event) -> None:
        if event.kind in (EventKind.FINISHED, EventKind.FAILED):
            self._outcomes[str(event.unit.store), event.unit.index].put(event)

    def describe(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the attributes of a store, or the failure.

        Args:
            settings: The settings, as JSON data.
        """
        try:
            answer = {"attributes": self._ready().describe(Settings(**settings))}
        except Exception as error:
            answer = {"failure": Failure.from_exception(error).document()}
        return answer | {"warnings": self._take_warnings()}

    def run(self, document: dict[str, Any]) -> dict[str, Any]:
        """Make a unit; return the seconds it took, or the failure.

        Args:
            document: The unit, as JSON data.
        """
        unit = Unit.from_document(document)
        try:
            executor = self._ready()
            if str(unit.store) not in self._checked:
                executor.check(unit)
                self._checked.add(str(unit.store))
        except Exception as error:
            return {"failure": Failure.from_exception(error).document()}
        outcome = self._outcomes.setdefault((str(unit.store), unit.index), queue.SimpleQueue())
        executor.submit(unit)
        event = outcome.get()
        failure = None if event.failure is None else event.failure.document()
        return {"seconds": event.amount, "failure": failure, "warnings": self._take_warnings()}

    def _take_warnings(self) -> list[str]:
        taken = self._warnings[:]
        del self._warnings[: len(taken)]
        return taken


@dataclass(eq=False)
class _ActorState:
    """An actor and its units, by the reference of their outcome."""

    handle: Any
    units: dict[Any, Unit] = field(default_factory=dict)


class RayExecutor:
    """An executor of Ray actors.

    Attributes:
        capacity: Units that it accepts at a time.
    """

    def __init__(self, address: str | None = None, workers: int | None = None, runner: str = SIMULATION) -> None:
        """Connect to nothing yet.

        Args:
            address: "auto" or HOST:PORT of a cluster; None for the one that the environment variable RAY_ADDRESS
                names, and if there is none for one that is started on this machine.
            workers: Number of actors; None for one per GPU, or, where there are none, one per core as far as the nodes'
                memory allows.
            runner: MODULE:CLASS of the unit runner that the actors load.

        Raises:
            MissingDependencyError: Ray is not installed.
            InvalidSettingError: The number of workers is not positive.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray would hide the GPUs of actors that ask for none, and tell so every time.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError(
                "--executor ray needs Ray, which is not installed: pip install 'dynamic-sparsity[ray]'"
            ) from error
        if workers is not None and workers < 1:
            raise InvalidSettingError(f"workers is {workers}; it must be at least 1.")
        self._ray: Any = ray
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._requested, self._runner = workers, runner
        self._actors: list[_ActorState] = []
        self._pending: deque[Event] = deque()
        self._failures_in_a_row = 0
        self._own = False
        self.capacity = 0

    def __enter__(self) -> RayExecutor:
        """Connect and start the actors.

        Raises:
            WorkerError: There is no cluster at the address, or none can be started.
        """
        ray = self._ray
        if not ray.is_initialized():
            self._own = True
            quiet = {"log_to_driver": False, "logging_level": "ERROR"}
            try:
                if self._address is None:
                    here = {"_node_ip_address": "127.0.0.1", "object_store_memory": OBJECT_STORE_BYTES}
                    ray.init(address="local", include_dashboard=False, **here, **quiet)
                else:
                    _check_reachable(self._address)
                    ray.init(address=self._address, **quiet)
            except (OSError, ValueError, RuntimeError) as error:
                cause = f"There is no Ray cluster at {self._address!r}" if self._address else "Ray does not start here"
                raise WorkerError(f"{cause}: {error}") from error
        gpus = int(ray.cluster_resources().get("GPU", 0))
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        on_cores = sum(workers_on(int(node.get("CPU", 1)), node.get("memory", 0)) for node in nodes)
        count = self._requested or gpus or on_cores
        # An actor without GPU asks for no CPU, so that --workers may be more than the cores; it takes what there is.
        resources = {"num_gpus": min(1.0, gpus / count)} if gpus else {"num_cpus": 0}
        self._remote = ray.remote(RayActor).options(
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=UNITS_AT_ONCE + 1,
            scheduling_strategy="SPREAD",
            **resources,
        )
        self._start = (self._runner, -(-count // (gpus or len(nodes) or 1)), bool(gpus))
        self._actors = [self._new_actor() for _ in range(count)]
        self.capacity = count * UNITS_AT_ONCE
        return self

    def __exit__(self, *_: object) -> None:
        """End the actors, and the cluster if it was started here."""
        for actor in self._actors:
            self._ray.kill(actor.handle)
        self._actors.clear()
        if self._own:
            self._ray.shutdown()

    def _new_actor(self) -> _ActorState:
        return _ActorState(self._remote.remote(*self._start))

    def describe(self, settings: Settings) -> dict[str, Any]:
        """Return a store's attributes, as `Executor.describe`; the first actor is asked.

        Args:
            settings: The settings.

        Raises:
            WorkerError: Every actor dies before it answers.
            DynamicSparsityError: What the actor raised, for example a missing simulator.
        """
        death: Exception | None = None
        for _ in range(MAX_ACTOR_FAILURES):
            actor = self._actors[0]
            try:
                answer = self._ray.get(actor.handle.describe.remote(asdict(settings)))
            except self._ray.exceptions.RayError as error:
                death = error
                self._replace(actor, error)
                continue
            _warn(answer)
            if "failure" in answer:
                raise Failure.from_document(answer["failure"]).to_exception()
            attributes: dict[str, Any] = answer["attributes"]
            return attributes
        raise WorkerError(f"no actor lives long enough to load the simulator: {_first_line(death)}")

    def submit(self, unit: Unit) -> None:
        """Accept a unit, as `Executor.submit`; the actor with the fewest units gets it.

        Args:
            unit: The unit.
        """
        actor = min(self._actors, key=lambda one: len(one.units))
        actor.units[actor.handle.run.remote(unit.document())] = unit
        self._pending.append(Event(EventKind.STARTED, unit))

    def events(self) -> Sequence[Event]:
        """Wait for events and return them, as `Executor.events`.

        Raises:
            WorkerError: Actors died one after the other before they made a unit.
        """
        if not self._pending:
            references = [reference for actor in self._actors for reference in actor.units]
            if not references:
                time.sleep(POLL_TIMEOUT_S)
            ready, _ = self._ray.wait(references, timeout=POLL_TIMEOUT_S) if references else ([], [])
            for reference in ready:
                self._on_outcome(reference)
        found = list(self._pending)
        self._pending.clear()
        return found

    def _on_outcome(self, reference: Any) -> None:
        """Turn an outcome into an event."""
        actor = next((one for one in self._actors if reference in one.units), None)
        if actor is None:
            return
        try:
            outcome = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._replace(actor, error)
            return
        _warn(outcome)
        unit = actor.units.pop(reference)
        self._failures_in_a_row = 0
        if outcome["failure"] is None:
            self._pending.append(Event(EventKind.FINISHED, unit, outcome["seconds"]))
        else:
            self._pending.append(Event(EventKind.FAILED, unit, failure=Failure.from_document(outcome["failure"])))

    def _replace(self, actor: _ActorState, error: Exception) -> None:
        """Start another actor in place of a dead one, and report its units as failed."""
        self._failures_in_a_row += 1
        if self._failures_in_a_row > MAX_ACTOR_FAILURES * len(self._actors):
            raise WorkerError(
                f"{self._failures_in_a_row} actors died before they made a unit; the last: {_first_line(error)}"
            )
        self._actors.remove(actor)
        self._ray.kill(actor.handle)
        failure = Failure("WorkerError", f"the actor died: {_first_line(error)}")
        self._pending.extend(Event(EventKind.FAILED, unit, failure=failure) for unit in actor.units.values())
        self._actors.append(self._new_actor())


def _check_reachable(address: str) -> None:
    """Raise OSError or ValueError if nobody listens at HOST:PORT; Ray itself would try for minutes."""
    if ":" in address and "://" not in address:
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()


def _warn(answer: Mapping[str, Any]) -> None:
    """Say here what was warned of in an actor."""
    for text in answer.get("warnings", ()):
        warnings.warn(text, DynamicSparsityWarning, stacklevel=3)


def _first_line(error: Exception | None) -> str:
    return str(error).strip().splitlines()[0] if error and str(error).strip() else type(error).__name__
