"""Generates under random kills for as long as one says, and compares every result with an undisturbed run.

    python benchmarks/soak.py --minutes 30 [--executor local|ray] [--json benchmarks/results/soak.json]

Round after round, one small store is made with two workers, while SIGKILL hits a worker or the driver itself; a dead
driver is started again with the same command. Kills come at random moments, but not before something was made since
the last one: loading the simulator takes longer than a unit. A round ends when the command succeeds: then every file
must have the bytes of the undisturbed run, and nothing may lie beside them.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

WORKER_MARKS = ("executors.worker", "ray::Actor")
"""What the command line of a worker has in it."""

STORE = Path("CartpoleBalance") / "noise.zarr"


def command(root: Path, options: argparse.Namespace, undisturbed: bool) -> list[str]:
    words = [sys.executable, "-m", "dynamic_sparsity.cli", "generate", "CartpoleBalance", "--out", str(root)]
    words += ["--episodes", str(options.episodes), "--episode-length", "256", "--batch", "4"]
    return words if undisturbed else [*words, "--executor", options.executor, "--workers", str(options.workers)]


def digests(root: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    files = [file for file in sorted(root.rglob("*")) if file.is_file()]
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def descendants(pid: int) -> list[tuple[int, str]]:
    """Process ids and command lines of everything a process has started."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found, todo = [], list(parents.get(pid, ()))
    while todo:
        child = todo.pop()
        todo += parents.get(child, ())
        try:
            found.append((child, (Path("/proc") / str(child) / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
        except OSError:
            continue
    return found


def kill_something(driver: subprocess.Popen[bytes], rng: random.Random) -> str | None:
    """Kills a random worker, or the driver with a probability of one in three; says which."""
    children = descendants(driver.pid)
    workers = [pid for pid, line in children if any(mark in line for mark in WORKER_MARKS)]
    if rng.random() < 1 / 3 or not workers:
        driver.kill()
        driver.wait()
        # A cluster that the driver had started goes down with it, sooner or later; the next one is not to meet it.
        for pid, line in children:
            if not any(mark in line for mark in WORKER_MARKS):
                _kill(pid)
        return "driver"
    _kill(rng.choice(workers))
    return "worker"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def made(root: Path) -> int:
    """Number of shards on disk."""
    return len(list((root / STORE / "shards").glob("*.json")))


def one_round(root: Path, options: argparse.Namespace, rng: random.Random, deadline: float) -> Counter[str]:
    """Makes one store under kills; counts what happened."""
    happened: Counter[str] = Counter()
    root.mkdir(parents=True)
    while True:
        with (root.parent / "log").open("wb") as log:
            driver = subprocess.Popen(command(root, options, False), stdout=log, stderr=log)
        happened["starts"] += 1
        while driver.poll() is None:
            before = made(root)
            while driver.poll() is None and made(root) == before:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 2 * options.pause))
            # After the deadline the round is only brought to its end.
            if driver.poll() is None and time.monotonic() < deadline:
                happened[f"{kill_something(driver, rng)} killed"] += 1
        if driver.returncode == 0:
            return happened
        if driver.returncode == 3:
            happened["ended with units set aside"] += 1
        elif driver.returncode != -signal.SIGKILL:
            raise SystemExit(f"the driver failed of itself: {(root.parent / 'log').read_text()}")


def compare(made: dict[str, str], expected: dict[str, str]) -> Counter[str]:
    """Counts files of a store that are missing, others, or too many."""
    return Counter(
        {
            "files missing": len(expected.keys() - made.keys()),
            "files left over": len(made.keys() - expected.keys()),
            "files that differ": sum(made[name] != expected[name] for name in made.keys() & expected.keys()),
        }
    )


def main() -> None:
    """Soaks and reports; exit code 1 if anything was lost, doubled or different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--executor", choices=("local", "ray"), default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--pause", type=float, default=1.0, help="mean seconds from a unit's end to the kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the record here, after every round")
    options = parser.parse_args()
    rng, happened, bad, rounds = random.Random(options.seed), Counter[str](), Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference"
        subprocess.run(command(reference, options, True), check=True, capture_output=True)
        expected = digests(reference)
        began = time.monotonic()
        deadline = began + 60 * options.minutes
        while time.monotonic() < deadline:
            root = Path(folder) / "soak" / "data"
            happened += one_round(root, options, rng, deadline)
            bad += compare(digests(root), expected)
            shutil.rmtree(root)
            rounds += 1
            record = _record(options, time.monotonic() - began, rounds, happened, bad)
            print(json.dumps(record), flush=True)
            if options.json:
                options.json.write_text(json.dumps(record, indent=1) + "\n")
    if bad.total():
        raise SystemExit(1)


def _record(
    options: argparse.Namespace, seconds: float, rounds: int, happened: Counter[str], bad: Counter[str]
) -> dict[str, Any]:
    packages = ("dynamic-sparsity", "jax", "jaxlib", "mujoco", "mujoco-mjx", "playground")
    kills = {name: count for name, count in sorted(happened.items()) if name.endswith("killed")}
    return {
        "executor": options.executor,
        "workers": options.workers,
        "minutes": round(seconds / 60, 1),
        "rounds": rounds,
        "rows_per_round": options.episodes * 256,
        "kills": sum(kills.values()),
        **happened,
        "files missing": bad["files missing"],
        "files left over": bad["files left over"],
        "files that differ": bad["files that differ"],
        "device": f"cpu, {os.cpu_count()} cores",
        "date": datetime.date.today().isoformat(),
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }


if __name__ == "__main__":
    main()
