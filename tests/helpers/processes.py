"""Other processes in tests: started so that they never outlive the test, and waited for with an end in sight."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

PATIENCE_S = 900.0
"""After that long something is wrong, however busy the machine is."""


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[Any] | None = None) -> None:
    """Wait until something is true.

    Args:
        condition: It.
        process: Who is to make it true; its end ends the wait, too.

    Raises:
        AssertionError: It does not become true.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if process is not None and process.poll() is not None:
            return
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def files_below(root: Path, pattern: str = "*") -> list[Path]:
    """Files below a folder whose path matches a pattern, while others write to it: folders are renamed meanwhile.

    Args:
        root: The folder.
        pattern: As "*.lock" or "*/shards/*.json"; `*` also stands for slashes.
    """
    found = (Path(parent, name) for parent, _, names in os.walk(root) for name in names)
    return sorted(path for path in found if fnmatch(path.as_posix(), f"*/{pattern}" if "/" not in pattern else pattern))


@contextmanager
def running(words: Sequence[object], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process that runs meanwhile; in the end it is killed, if it has not ended, and its pipes are closed.

    Args:
        words: Program and arguments.
        **options: Of `subprocess.Popen`.
    """
    process: subprocess.Popen[Any] = subprocess.Popen([str(word) for word in words], **options)
    try:
        yield process
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()


def kill(pid: int) -> None:
    """Kill a process that may have ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Process ids of a process's children; none if it has ended."""
    try:
        return list(map(int, (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()))
    except OSError:
        return []


def command_line(pid: int) -> bytes:
    """A process's program and arguments, with NUL between them; empty if it has ended."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
