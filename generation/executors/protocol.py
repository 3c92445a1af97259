"""What every executor offers, and what it tells of its units. Nothing here or in `processes` needs a simulator."""

from __future__ import annotations

import errno
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Protocol

from dynamic_sparsity.errors import (
    DynamicSparsityError,
    InvalidSettingError,
    MissingDependencyError,
    NotConvergedError,
    SettingsMismatchError,
    WorkerError,
)
from dynamic_sparsity.generation.jobs.units import Unit
from dynamic_sparsity.generation.settings import Settings

UNITS_AT_ONCE = 2
"""Units that share a device: while one is written, or waits for the host, the other one computes."""

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})


@dataclass(frozen=True)
class Trouble:
    """Why a unit was not made.

    Attributes:
        kind: The exception's class.
        text: What it says.
        fatal: Whether every other unit would fail of it as well (a full disk, a package of another version).
        errno: The system's number of the error, for errors of the system.
        filename: The file it is about.
    """

    kind: str
    text: str
    fatal: bool = False
    errno: int | None = None
    filename: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> Trouble:
        """The trouble an exception is."""
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, DynamicSparsityError):
            name = None if error.filename is None else str(error.filename)
            return cls(type(error).__name__, error.strerror or "", error.errno in _DISK_ERRORS, error.errno, name)
        hopeless = isinstance(error, DynamicSparsityError) and not isinstance(error, NotConvergedError)
        return cls(type(error).__name__, str(error), hopeless)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Trouble:
        """The trouble that `asdict` says."""
        return cls(**document)

    def document(self) -> dict[str, Any]:
        """The trouble as JSON data."""
        return asdict(self)

    def __str__(self) -> str:
        """One line for people."""
        where = f" ({self.filename})" if self.filename else ""
        return f"{self.kind}: {self.text}{where}"

    def error(self) -> Exception:
        """The exception again, as far as it is one of the system's or ours."""
        if self.errno is not None:
            return OSError(self.errno, self.text, self.filename)
        known = (InvalidSettingError, MissingDependencyError, NotConvergedError, SettingsMismatchError)
        by_name: dict[str, type[DynamicSparsityError]] = {one.__name__: one for one in known}
        return by_name.get(self.kind, WorkerError)(self.text)


class Happening(StrEnum):
    """What can happen to a unit; `returned` is one that no worker had begun when its worker died."""

    STARTED = "started"
    COMPILING = "compiling"
    COMPILED = "compiled"
    ADVANCED = "advanced"
    FINISHED = "finished"
    FAILED = "failed"
    RETURNED = "returned"


@dataclass(frozen=True)
class Event:
    """Something that happened to a unit.

    Attributes:
        what: What happened.
        unit: The unit.
        amount: Seconds for compiled and finished, rows for advanced.
        trouble: Why it failed.
    """

    what: Happening
    unit: Unit
    amount: float = 0.0
    trouble: Trouble | None = None


class Report(Protocol):
    """Told what a unit is at; may raise to give it up."""

    def compiling(self, unit: Unit) -> None:
        """Its programs are being compiled, or read from the cache."""

    def compiled(self, unit: Unit, seconds: float) -> None:
        """They are ready."""

    def advanced(self, unit: Unit, rows: int) -> None:
        """More of its rows were computed."""


class Maker(Protocol):
    """Makes units in this process: `Workshop`, or what a test puts in its place."""

    def devices(self) -> Sequence[Any]:
        """What units can be made on."""
        ...

    def describe(self, settings: Settings) -> dict[str, Any]:
        """The attributes of the store that these settings make on this machine."""
        ...

    def check(self, unit: Unit) -> None:
        """Raises SettingsMismatchError if this machine would make a unit of another store than the one there is."""
        ...

    def make(self, unit: Unit, device: Any, report: Report) -> None:
        """Makes a unit on a device and writes it. Called from several threads at once."""
        ...


WORKSHOP = "dynamic_sparsity.generation.jobs.unit_runner:Workshop"
"""Where the processes of an executor find what makes their units: MODULE:CLASS."""


def load_maker(name: str) -> Maker:
    """Makes a maker from its MODULE:CLASS, with JAX set up for it."""
    if name == WORKSHOP:
        from dynamic_sparsity.generation import jax_runtime

        jax_runtime.configure()
    module, _, attribute = name.partition(":")
    maker: Maker = getattr(importlib.import_module(module), attribute)()
    return maker


class Executor(Protocol):
    """Makes units somewhere; a context.

    Attributes:
        capacity: Units it takes at a time.
    """

    capacity: int

    def __enter__(self) -> Executor: ...

    def __exit__(self, *_: object) -> None: ...

    def describe(self, settings: Settings) -> dict[str, Any]:
        """The attributes of the store that these settings make where the units are made."""
        ...

    def submit(self, unit: Unit) -> None:
        """Takes a unit; at most `capacity` are taken and not finished or failed."""
        ...

    def events(self) -> Sequence[Event]:
        """Waits for something to happen, and tells it. Empty now and then, so that an interrupt is noticed."""
        ...
