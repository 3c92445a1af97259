"""Generates under random kills for as long as one says, and compares every result with an undisturbed run.

    python benchmarks/soak.py --minutes 30 [--executors local ray] [--json benchmarks/results/soak.json]

Round after round, one small store is made with two workers, by each executor in turn, while SIGKILL hits a worker, the
driver itself, or, on a Ray cluster of three nodes that the script starts, a whole node, which is then replaced. A dead
driver is started again with the same command. Kills come at random moments, but not before something was made since
the last one: loading the simulator takes longer than a unit. A round ends when the command succeeds: then every file
must have the bytes of the undisturbed run, every row must be there once, and nothing may lie beside the store. Minutes
are those in which the machine ran: time in which all of this was halted is counted apart.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from provenance import SIMULATOR, made_with

EPISODE_LENGTH = 256
WORKER_MARKS = {"local": "executors.process_worker", "ray": "ray::RayActor"}
"""What the command line of a worker has in it."""

STORE = Path("CartpoleBalance") / "noise.zarr"

NODES = 2
"""Nodes of the Ray cluster that may die; the head may not: a cluster does not survive that."""

TICK_S = 0.5
HALTED_S = 10.0
"""A tick that takes longer was not one of a machine that ran."""

PATIENCE = 3
"""Errors of a driver that was not killed, one after the other, after which the soak gives up."""


class Clock(threading.Thread):
    """Seconds in which this process really ran: on a shared machine it may be halted for minutes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds, self.halted = 0.0, 0.0
        self.start()

    def run(self) -> None:
        before = time.monotonic()
        while True:
            time.sleep(TICK_S)
            now = time.monotonic()
            if now - before > HALTED_S:
                self.halted += now - before
            else:
                self.seconds += now - before
            before = now


class Nodes:
    """A Ray cluster on this machine, made when first asked for."""

    def __init__(self) -> None:
        self._cluster: Any = None

    def address(self) -> str:
        """The cluster's address, HOST:PORT."""
        if self._cluster is None:
            from ray.cluster_utils import Cluster

            self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
            for _ in range(NODES):
                self._cluster.add_node(num_cpus=1)
        return str(self._cluster.address)

    def kill(self, rng: random.Random) -> None:
        """Kills all processes of a node and puts another one in its place."""
        # Sorted by name: a set's order is another one every time.
        nodes = sorted(self._cluster.worker_nodes, key=lambda node: str(node.unique_id))
        self._cluster.remove_node(rng.choice(nodes), allow_graceful=False)
        self._cluster.add_node(num_cpus=1)

    def close(self) -> None:
        """Ends the cluster; the next address is that of a new one."""
        if self._cluster is not None:
            self._cluster.shutdown()
            self._cluster = None


def command(root: Path, options: argparse.Namespace, *executor: str) -> list[str]:
    words = [sys.executable, "-m", "dynamic_sparsity.cli", "generate", "CartpoleBalance", "--out", str(root)]
    return [
        *words,
        "--episodes",
        str(options.episodes),
        "--episode-length",
        str(EPISODE_LENGTH),
        "--batch",
        "4",
        *executor,
    ]


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


def kill_something(driver: subprocess.Popen[bytes], executor: str, nodes: Nodes, rng: random.Random) -> str:
    """Kills a worker, or one time in three the driver, or one time in three a node if there are some; says which."""
    # The actors of a cluster are children of its nodes, which this process has started.
    workers = [pid for pid, line in descendants(os.getpid()) if WORKER_MARKS[executor] in line]
    chance = rng.random()
    if chance < 1 / 3 or not workers:
        driver.kill()
        driver.wait()
        return f"driver ({executor})"
    if chance < 2 / 3 and executor == "ray":
        nodes.kill(rng)
        return "node (ray)"
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(workers), signal.SIGKILL)
    return f"worker ({executor})"


def made(root: Path) -> int:
    """Number of shards on disk."""
    return len(list((root / STORE / "shards").glob("*.json")))


def one_round(
    root: Path, executor: str, options: argparse.Namespace, nodes: Nodes, rng: random.Random, clock: Clock
) -> Counter[str]:
    """Makes one store under kills; counts what happened."""
    happened: Counter[str] = Counter()
    errors = 0
    root.mkdir(parents=True)
    while True:
        words = ["--executor", executor, "--workers", str(options.workers)]
        words += ["--ray-address", nodes.address()] if executor == "ray" else []
        log = root.parent / "log"
        with log.open("wb") as stream:
            driver = subprocess.Popen(command(root, options, *words), stdout=stream, stderr=stream)
        happened["starts"] += 1
        while driver.poll() is None:
            before = made(root)
            while driver.poll() is None and made(root) == before:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 2 * options.pause))
            # When time is up the round is only brought to its end.
            if driver.poll() is None and clock.seconds < 60 * options.minutes:
                happened[f"killed: {kill_something(driver, executor, nodes, rng)}"] += 1
        if driver.returncode == 0:
            return happened
        if driver.returncode == 3:
            happened["ended with units set aside"] += 1
        elif driver.returncode != -signal.SIGKILL:
            # On a machine that is halted now and then, a cluster may think that it is dead.
            happened["errors of the driver"] += 1
            errors += 1
            print(log.read_text(), file=sys.stderr, flush=True)
            if errors == PATIENCE:
                raise SystemExit("the driver failed again and again without being killed")
            nodes.close()


def compare(root: Path, expected: dict[str, str], options: argparse.Namespace) -> Counter[str]:
    """Counts rows that are lost or doubled, and files that are missing, others, or too many."""
    import numpy as np

    from dynamic_sparsity.loaders.load import open_dataset

    found = digests(root)
    data = open_dataset(root / STORE, columns=["episode", "step"])[:]
    rows = data["episode"].astype(np.int64) * EPISODE_LENGTH + data["step"]
    return Counter(
        {
            "rows lost": options.episodes * EPISODE_LENGTH - len(np.unique(rows)),
            "rows doubled": len(rows) - len(np.unique(rows)),
            "files missing": len(expected.keys() - found.keys()),
            "files left over": len(found.keys() - expected.keys()),
            "files that differ": sum(found[name] != expected[name] for name in found.keys() & expected.keys()),
        }
    )


def main() -> None:
    """Soaks and reports; exit code 1 if anything was lost, doubled or different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--executors", nargs="+", choices=tuple(WORKER_MARKS), default=["local"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--pause", type=float, default=1.0, help="mean seconds from a unit's end to the kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the record here, after every round")
    options = parser.parse_args()
    # Ray has its workers give way to everything else on the machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    rng, happened, bad, rounds = random.Random(options.seed), Counter[str](), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Nodes()) as nodes:
        reference = Path(folder) / "reference"
        subprocess.run(command(reference, options), check=True, capture_output=True)
        expected = digests(reference)
        clock = Clock()
        while clock.seconds < 60 * options.minutes:
            root = Path(folder) / "soak" / "data"
            executor = options.executors[rounds.total() % len(options.executors)]
            happened += one_round(root, executor, options, nodes, rng, clock)
            bad += compare(root, expected, options)
            shutil.rmtree(root)
            rounds[executor] += 1
            record = _record(options, clock, rounds, happened, bad)
            print(json.dumps(record), flush=True)
            if options.json:
                options.json.write_text(json.dumps(record, indent=1) + "\n")
    if bad.total():
        raise SystemExit(1)


def _record(
    options: argparse.Namespace, clock: Clock, rounds: Counter[str], happened: Counter[str], bad: Counter[str]
) -> dict[str, Any]:
    mark = "killed: "
    kills = {name.removeprefix(mark): count for name, count in sorted(happened.items()) if name.startswith(mark)}
    wrong = ("rows lost", "rows doubled", "files missing", "files left over", "files that differ")
    return {
        "minutes": round(clock.seconds / 60, 1),
        "minutes_halted": round(clock.halted / 60, 1),
        "workers": options.workers,
        "rounds": dict(rounds),
        "rows_per_round": options.episodes * EPISODE_LENGTH,
        "kills": sum(kills.values()),
        "killed": kills,
        **{name: happened[name] for name in ("starts", "ended with units set aside", "errors of the driver")},
        **{name: bad[name] for name in wrong},
        "device": f"cpu, {os.cpu_count()} cores",
        **made_with("dynamic-sparsity", *SIMULATOR, *(["ray"] if "ray" in options.executors else [])),
    }


if __name__ == "__main__":
    main()
