"""What every executor offers, and the events it reports about its units.

Neither this module nor `processes` imports a simulator: the process that hands out units needs none.
"""

from __future__ import annotations

import errno
import importlib
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Protocol

from dynamic_sparsity import errors
from dynamic_sparsity.errors import DynamicSparsityError, DynamicSparsityWarning, NotConvergedError, WorkerError
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.settings import Settings

UNITS_AT_ONCE = 2
"""Units that share a device: while one is written, or waits for the host, the other one computes."""

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True)
class Failure:
    """Why a unit was not made; an exception that can be sent to another process.

    Attributes:
        kind: Name of the exception's class.
        text: Its message.
        fatal: Whether every other unit would fail for the same reason (a full disk, another version of a package).
        errno: The system's error number, for an OSError.
        filename: The file that an OSError is about.
        trace: Its traceback, if it was not expected.
    """

    kind: str
    text: str
    fatal: bool = False
    errno: int | None = None
    filename: str | None = None
    trace: str | None = None

    @classmethod
    def from_exception(cls, error: BaseException) -> Failure:
        """Describe an exception.

        Args:
            error: The exception.
        """
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, DynamicSparsityError):
            name = None if error.filename is None else str(error.filename)
            return cls(type(error).__name__, error.strerror or "", error.errno in _DISK_ERRORS, error.errno, name)
        if isinstance(error, DynamicSparsityError):
            return cls(type(error).__name__, str(error), not isinstance(error, NotConvergedError))
        return cls(type(error).__name__, str(error), trace="".join(traceback.format_exception(error)))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Failure:
        """Read what `document` returned.

        Args:
            document: JSON data.
        """
        return cls(**document)

    def document(self) -> dict[str, Any]:
        """Return the failure as JSON data."""
        return asdict(self)

    def __str__(self) -> str:
        """Return one line for people."""
        where = f" ({self.filename})" if self.filename else ""
        return f"{self.kind}: {self.text.strip() or '(without a message)'}{where}"

    def to_exception(self) -> Exception:
        """Return the exception again if it was an OSError or one of `dynamic_sparsity.errors`, else a WorkerError.

        A WorkerError names the class of the exception, and has its traceback as a note.
        """
        if self.errno is not None:
            return OSError(self.errno, self.text, self.filename)
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, DynamicSparsityError):
            return kind(self.text)
        error = WorkerError(
            f"a worker failed with {self}. This was not expected: `--debug` shows where it came from; please report it."
        )
        if self.trace:
            error.add_note(f"In the worker:\n{self.trace}")
        return error


class EventKind(StrEnum):
    """What can happen to a unit; `REQUEUED` is one that no worker had begun when its worker died."""

    STARTED = "started"
    COMPILING = "compiling"
    COMPILED = "compiled"
    PROGRESS = "progress"
    FINISHED = "finished"
    FAILED = "failed"
    REQUEUED = "requeued"


@dataclass(frozen=True)
class Event:
    """Something that happened to a unit.

    Attributes:
        kind: What happened.
        unit: The unit.
        amount: Seconds for COMPILED and FINISHED, rows computed since the last event for PROGRESS.
        failure: Why it failed, for FAILED.
    """

    kind: EventKind
    unit: Unit
    amount: float = 0.0
    failure: Failure | None = None


class UnitProgress(Protocol):
    """Receives the progress of a unit; a method may raise to stop the unit."""

    def on_compiling(self, unit: Unit) -> None:
        """Report that the unit's programs are being compiled, or read from the cache.

        Args:
            unit: The unit.
        """

    def on_compiled(self, unit: Unit, seconds: float) -> None:
        """Report that the unit's programs are ready.

        Args:
            unit: The unit.
            seconds: Time that this took.
        """

    def on_progress(self, unit: Unit, rows: int) -> None:
        """Report that more rows were computed.

        Args:
            unit: The unit.
            rows: Rows computed since the last call.
        """


class UnitRunner(Protocol):
    """Makes units in this process: `jobs.unit_runner.SimulationUnitRunner`, or a fake in tests."""

    def devices(self) -> Sequence[Any]:
        """Return the devices on which units can be made."""
        ...

    def describe(self, settings: Settings) -> dict[str, Any]:
        """Return the attributes of the store that these settings make on this machine.

        Args:
            settings: The settings.
        """
        ...

    def check(self, unit: Unit) -> None:
        """Check that this machine makes units of the store that exists.

        Args:
            unit: A unit of the store.

        Raises:
            SettingsMismatchError: It would make units of a different store.
        """
        ...

    def run(self, unit: Unit, device: Any, progress: UnitProgress) -> None:
        """Make a unit on a device and write it. Called from several threads at once.

        Args:
            unit: The unit.
            device: One of `devices`.
            progress: Receives the unit's progress.
        """
        ...


def forward_warnings(send: Callable[[str], None]) -> None:
    """Have this process, a worker, hand our warnings to the one that people look at.

    Args:
        send: Called with the text of each.
    """
    show = warnings.showwarning

    def forward(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
        if issubclass(category, DynamicSparsityWarning):
            send(str(message))
        else:
            show(message, category, *rest, **named)

    warnings.simplefilter("always", DynamicSparsityWarning)
    warnings.showwarning = forward


SIMULATION = "dynamic_sparsity.generation.jobs.unit_runner:SimulationUnitRunner"
"""The unit runner that the processes of an executor load by default: MODULE:CLASS."""


def load_unit_runner(name: str) -> UnitRunner:
    """Make a unit runner, with JAX set up if it simulates.

    Args:
        name: MODULE:CLASS.

    Raises:
        MissingDependencyError: The simulator is not installed.
    """
    if name == SIMULATION:
        from dynamic_sparsity.generation import jax_runtime

        jax_runtime.configure()
    module, _, attribute = name.partition(":")
    runner: UnitRunner = getattr(importlib.import_module(module), attribute)()
    return runner


class Executor(Protocol):
    """Makes units somewhere; a context manager.

    Attributes:
        capacity: Units that it accepts at a time.
    """

    capacity: int

    def __enter__(self) -> Executor: ...

    def __exit__(self, *_: object) -> None: ...

    def describe(self, settings: Settings) -> dict[str, Any]:
        """Return the attributes of the store that these settings make where the units are made.

        Args:
            settings: The settings.
        """
        ...

    def submit(self, unit: Unit) -> None:
        """Accept a unit; at most `capacity` units may be submitted and neither finished nor failed.

        Args:
            unit: The unit.
        """
        ...

    def events(self) -> Sequence[Event]:
        """Wait for events and return them; empty after a timeout, so that an interrupt is noticed."""
        ...
