"""Units in actors on a Ray cluster: one per GPU, or, where there are none, one per core as far as memory allows.

Ray only carries units to actors and their outcome back; failures are counted here, not by Ray, which would hide them.
The store's folder must be the same on all nodes.
"""

from __future__ import annotations

import os
import queue
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dynamic_sparsity.errors import InvalidSettingError, MissingDependencyError, WorkerError
from dynamic_sparsity.generation.executors.processes import share_of_cores, share_of_gpu, workers_on
from dynamic_sparsity.generation.executors.protocol import (
    UNITS_AT_ONCE,
    WORKSHOP,
    Event,
    Happening,
    Trouble,
    load_maker,
)
from dynamic_sparsity.generation.executors.threads import InProcess
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.settings import Settings

PATIENCE_S = 0.5
PATIENCE_CONNECT_S = 20.0
DEATHS = 5
"""Actors that may die one after the other without having made anything: then something is wrong with the cluster."""

OBJECT_STORE_BYTES = 100 * 2**20
"""Of a cluster started here; only units and outcomes travel."""


class Actor:
    """What runs on the cluster: an in-process executor whose units are asked for one by one."""

    def __init__(self, maker: str, sharing: int = 1, on_gpu: bool = False) -> None:
        # Before JAX starts: Ray tells an actor its GPU, but not how many others share it, or the node's cores.
        os.environ |= share_of_gpu(sharing) if on_gpu else share_of_cores(sharing)
        self._outcomes: dict[tuple[str, int], queue.SimpleQueue[Event]] = {}
        self._checked: set[str] = set()
        self._executor: InProcess | Exception
        try:
            self._executor = InProcess(load_maker(maker), self._tell)
        except Exception as error:
            # A simulator that is missing is an answer to whatever will be asked.
            self._executor = error

    def _ready(self) -> InProcess:
        if isinstance(self._executor, Exception):
            raise self._executor
        return self._executor

    def _tell(self, event: Event) -> None:
        if event.what in (Happening.FINISHED, Happening.FAILED):
            self._outcomes[str(event.unit.store), event.unit.index].put(event)

    def describe(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Attributes of a store, or the trouble with it."""
        try:
            return {"attributes": self._ready().describe(Settings(**settings))}
        except Exception as error:
            return {"trouble": Trouble.of(error).document()}

    def make(self, document: dict[str, Any]) -> dict[str, Any]:
        """Makes a unit; returns seconds or trouble."""
        unit = Unit.from_document(document)
        try:
            executor = self._ready()
            if str(unit.store) not in self._checked:
                executor.check(unit)
                self._checked.add(str(unit.store))
        except Exception as error:
            return {"trouble": Trouble.of(error).document()}
        outcome = self._outcomes.setdefault((str(unit.store), unit.index), queue.SimpleQueue())
        executor.submit(unit)
        event = outcome.get()
        trouble = None if event.trouble is None else event.trouble.document()
        return {"seconds": event.amount, "trouble": trouble}


@dataclass(eq=False)
class _Member:
    """An actor and what it is asked to make, by the reference of the outcome."""

    handle: Any
    units: dict[Any, Unit] = field(default_factory=dict)


class OnRay:
    """An executor of Ray actors.

    Attributes:
        capacity: Units it takes at a time.
    """

    def __init__(self, address: str | None = None, workers: int | None = None, maker: str = WORKSHOP) -> None:
        """Connects to nothing yet.

        Args:
            address: "auto" or HOST:PORT of a cluster; None for the one that the environment variable RAY_ADDRESS
                names, and if there is none for one that is started on this machine.
            workers: Number of actors; None for one per GPU, or, where there are none, one per core as far as the nodes'
                memory allows.
            maker: MODULE:CLASS of what makes their units.

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
        self._wanted, self._maker = workers, maker
        self._members: list[_Member] = []
        self._news: deque[Event] = deque()
        self._deaths = 0
        self._own = False
        self.capacity = 0

    def __enter__(self) -> OnRay:
        """Connects and starts the actors.

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
                    _knock(self._address)
                    ray.init(address=self._address, **quiet)
            except (OSError, ValueError, RuntimeError) as error:
                wrong = f"There is no Ray cluster at {self._address!r}" if self._address else "Ray does not start here"
                raise WorkerError(f"{wrong}: {error}") from error
        gpus = int(ray.cluster_resources().get("GPU", 0))
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        on_cores = sum(workers_on(int(node.get("CPU", 1)), node.get("memory", 0)) for node in nodes)
        count = self._wanted or gpus or on_cores
        # An actor without GPU asks for no CPU, so that --workers may be more than the cores; it takes what there is.
        resources = {"num_gpus": min(1.0, gpus / count)} if gpus else {"num_cpus": 0}
        self._remote = ray.remote(Actor).options(
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=UNITS_AT_ONCE + 1,
            scheduling_strategy="SPREAD",
            **resources,
        )
        self._start = (self._maker, -(-count // (gpus or len(nodes) or 1)), bool(gpus))
        self._members = [self._member() for _ in range(count)]
        self.capacity = count * UNITS_AT_ONCE
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the actors, and the cluster if it was started here."""
        for member in self._members:
            self._ray.kill(member.handle)
        self._members.clear()
        if self._own:
            self._ray.shutdown()

    def _member(self) -> _Member:
        return _Member(self._remote.remote(*self._start))

    def describe(self, settings: Settings) -> dict[str, Any]:
        """As `Executor`; any actor that lives is asked."""
        death: Exception | None = None
        for _ in range(DEATHS):
            member = self._members[0]
            try:
                answer = self._ray.get(member.handle.describe.remote(asdict(settings)))
            except self._ray.exceptions.RayError as error:
                death = error
                self._replace(member, error)
                continue
            if "trouble" in answer:
                raise Trouble.from_document(answer["trouble"]).error()
            attributes: dict[str, Any] = answer["attributes"]
            return attributes
        raise WorkerError(f"no actor lives long enough to load the simulator: {_first_line(death)}")

    def submit(self, unit: Unit) -> None:
        """As `Executor`; the actor with the fewest units gets it."""
        member = min(self._members, key=lambda one: len(one.units))
        member.units[member.handle.make.remote(unit.document())] = unit
        self._news.append(Event(Happening.STARTED, unit))

    def events(self) -> Sequence[Event]:
        """As `Executor`."""
        if not self._news:
            references = [reference for member in self._members for reference in member.units]
            if not references:
                time.sleep(PATIENCE_S)
            ready, _ = self._ray.wait(references, timeout=PATIENCE_S) if references else ([], [])
            for reference in ready:
                self._take(reference)
        found = list(self._news)
        self._news.clear()
        return found

    def _take(self, reference: Any) -> None:
        """Turns an outcome into an event."""
        member = next((one for one in self._members if reference in one.units), None)
        if member is None:
            return
        try:
            outcome = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._replace(member, error)
            return
        unit = member.units.pop(reference)
        self._deaths = 0
        if outcome["trouble"] is None:
            self._news.append(Event(Happening.FINISHED, unit, outcome["seconds"]))
        else:
            self._news.append(Event(Happening.FAILED, unit, trouble=Trouble.from_document(outcome["trouble"])))

    def _replace(self, member: _Member, error: Exception) -> None:
        """Gives up an actor, says what became of its units, and starts another one in its place."""
        self._deaths += 1
        if self._deaths > DEATHS * len(self._members):
            raise WorkerError(f"{self._deaths} actors died before they made a unit; the last: {_first_line(error)}")
        self._members.remove(member)
        self._ray.kill(member.handle)
        trouble = Trouble("WorkerError", f"the actor died: {_first_line(error)}")
        self._news.extend(Event(Happening.FAILED, unit, trouble=trouble) for unit in member.units.values())
        self._members.append(self._member())


def _knock(address: str) -> None:
    """Raises OSError or ValueError if nobody listens at HOST:PORT; Ray itself would try for minutes."""
    if ":" in address and "://" not in address:
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE_CONNECT_S).close()


def _first_line(error: Exception | None) -> str:
    return str(error).strip().splitlines()[0] if error and str(error).strip() else type(error).__name__
