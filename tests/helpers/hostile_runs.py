"""Runs hostile cases in a process of their own, with little memory and time, and says what came of each."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from dynamic_sparsity.errors import DynamicSparsityError

MEMORY_BYTES = 2**30
SECONDS = 180
"""Of a clock, which says little on a machine that is busy; a hang is one for ever."""
Case = tuple[str, Callable[[Path], None]]


def run_cases(
    cases: Iterable[Case], folder: Path, name: str, judge: Callable[[Path], bool], report: Path | None = None
) -> Counter[str]:
    """Make each case, judge it, and count outcomes; for a child process, as the limits last.

    Args:
        cases: Name, and what makes the input.
        folder: Where inputs are made; one after the other.
        name: File name of the input.
        judge: Reads the input; whether what it gave is right. It may raise errors of the package.
        report: Where to write the outcome of each case as it runs.

    Returns:
        How many were "right", "refused", "silent" (wrong without an error), or raised something else (its name).
    """
    _limit()
    outcomes: Counter[str] = Counter()
    lines = []
    for title, make in cases:
        place = folder / str(sum(outcomes.values()) % 2)
        place.mkdir(exist_ok=True)
        path = place / name
        for left in place.iterdir():
            _clear(left)
        make(path)
        print(title, end=": ", flush=True)
        signal.alarm(SECONDS)  # Its default action ends the process, whatever is running.
        try:
            outcome = "right" if judge(path) else "silent"
        except DynamicSparsityError:
            outcome = "refused"
        except Exception as error:
            outcome = f"{type(error).__name__} {error}"[:200]
        finally:
            signal.alarm(0)
        print(outcome, flush=True)
        outcomes[outcome.split()[0]] += 1
        lines.append({"case": title, "outcome": outcome})
    if report is not None:
        report.write_text(json.dumps(lines, indent=1))
    print(json.dumps(outcomes), flush=True)
    return outcomes


def in_child(code: str, *arguments: str) -> Counter[str]:
    """Run Python code that ends in `run_cases` in another process.

    Args:
        code: The code; `sys.argv[1:]` are the arguments.
        *arguments: Of the code.

    Returns:
        The outcomes.

    Raises:
        AssertionError: The process died; the message names the case it died of.
    """
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    tail = "\n".join(done.stdout.splitlines()[-3:])
    assert done.returncode == 0, f"exit code {done.returncode}, after {tail}\n{done.stderr[-3000:]}"
    outcomes = Counter(json.loads(done.stdout.splitlines()[-1]))
    others = [line for line in done.stdout.splitlines()[:-1] if not line.endswith((": right", ": refused"))]
    assert not others, "\n".join(others[:20])
    return outcomes


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inner in sorted(path.rglob("*"), reverse=True):
            inner.rmdir() if inner.is_dir() and not inner.is_symlink() else inner.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _limit() -> None:
    status = Path("/proc/self/status")
    if status.exists():
        now = next(int(line.split()[1]) * 1024 for line in status.open() if line.startswith("VmSize"))
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES, now + MEMORY_BYTES))
