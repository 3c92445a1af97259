"""What loading from the Hub costs: bytes, requests, throughput, memory, against a local server of its protocol.

All stores below ROOT are published to the server; then, each in a process of its own with an empty cache:

- the share of its bytes that each task's test split needs, and the requests of a first and a second load;
- rows per second of streaming a made-up store of several shards, shaped like CheetahRun's, and of reading the same
  shards from disk, both of all columns, with SHA-256 and mixed over as many rows, in turn, in several passes per
  process of which the first, that pays for fresh memory, is kept apart;
- the largest memory of a process that streams that, and of one that streams a made-up store shaped like HumanoidRun's;
- the number of files of a repository of all 25 tasks, from the sizes of the tasks.

    python benchmarks/hub.py ROOT [--rows N] [--repetitions R] [--json PATH]
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

REPOSITORY, TOKEN = "org/benchmark", "hf_writer"
BATCH_ROWS = 256
PACKAGES = ("huggingface_hub", "datasets", "pyarrow", "numpy", "zarr")
FLOORS = {
    "test split share": 0.15,
    "second load requests": 2,
    "streaming ratio": 0.8,
    "memory, GB": 1.0,
    "files": 20_000,
}
POLICIES = 3
BUSY = 25  # per cent of the cores used by others above which no rates are taken
PASSES = 4
LARGE_ROWS = 49_152  # three shards of the largest task
EPISODES, EPISODE_LENGTH = 100, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of complete stores")
    parser.add_argument("--rows", type=int, default=98_304, help="rows of the made-up store that is streamed")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the record")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(STEPS[arguments.step[0]](arguments.root, json.loads(arguments.step[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, "-m", "dynamic_sparsity.testing.hub_server", f"{folder}/server"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            record = measure(arguments, Path(folder), server.stdout.readline().strip())
        finally:
            server.terminate()
            server.wait()
    print(json.dumps(record, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


def measure(arguments: argparse.Namespace, folder: Path, url: str) -> dict[str, Any]:
    """All measurements, as a record."""
    number = 0

    def step(name: str, **options: Any) -> Any:
        nonlocal number
        number += 1
        home = options.pop("home", f"{folder}/home{number}")
        environment = os.environ | {"HF_ENDPOINT": url, "HF_HOME": home, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        environment["TMPDIR"] = str(folder)
        words = [sys.executable, __file__, str(arguments.root), "--step", name, json.dumps(options)]
        done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    published = step("publish")
    # One after the other, several folders of stores may go into one record.
    kept = arguments.json is not None and arguments.json.exists()
    tasks = json.loads(arguments.json.read_text())["tasks"] if kept else {}
    files = step("files")
    for task in published["tasks"]:
        home = f"{folder}/{task}"
        first = step("load", task=task, home=home)
        second = step("load", task=task, home=home)
        tasks[task] = {
            "store_bytes": first["store_bytes"],
            "share": first["sent"] / first["store_bytes"],
            "requests": first["requests"],
            "second_requests": second["requests"],
        }
        print(task, tasks[task], file=sys.stderr)
    made_up, memory, busy = str(folder / "made-up"), {}, []
    for task, rows in {"CheetahRun": arguments.rows, "HumanoidRun": LARGE_ROWS}.items():
        step("publish", root=f"{made_up}/{task}", task=task, rows=rows)
    memory["HumanoidRun"] = step("stream", task="HumanoidRun", root=f"{made_up}/HumanoidRun", passes=1)["memory"]
    first: dict[str, list[float]] = {"stream": [], "disk": []}
    later: dict[str, list[float]] = {"stream": [], "disk": []}
    for _ in range(arguments.repetitions):
        found = {kind: step(kind, task="CheetahRun", root=f"{made_up}/CheetahRun", passes=PASSES) for kind in later}
        busy.append(max(one["used_by_others"] for one in found.values()))
        if busy[-1] > BUSY:
            continue  # rates of a machine that is busy with other things say nothing
        for kind, one in found.items():
            first[kind] += one["rows_per_second"][:1]
            later[kind] += one["rows_per_second"][1:]
        memory["CheetahRun"] = max(memory.get("CheetahRun", 0), found["stream"]["memory"])
        print(later, file=sys.stderr)
    middle = {kind: statistics.median(values) for kind, values in later.items() if values}
    middle_first = {kind: statistics.median(values) for kind, values in first.items() if values}
    return {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "floors": FLOORS,
        "published": published,
        "tasks": tasks,
        "largest_share": max(entry["share"] for entry in tasks.values()),
        "largest_second_requests": max(entry["second_requests"] for entry in tasks.values()),
        "streaming": {
            "rows": arguments.rows,
            "batch_rows": BATCH_ROWS,
            "cores_used_by_others_percent": busy,
            "first_pass_rows_per_second": first,
            "rows_per_second": later,
            "median_rows_per_second": middle,
            "ratio_of_medians": middle["stream"] / middle["disk"] if middle else None,
            "ratio_of_medians_of_first_passes": middle_first["stream"] / middle_first["disk"] if middle else None,
            "largest_memory_bytes": memory,
        },
        "files": files,
    }


class Counter:
    """Counts this process's requests and the bytes of their answers."""

    def __init__(self) -> None:
        import huggingface_hub.utils._http as http

        self.requests = self.bytes = 0
        session = http.get_session()
        session.event_hooks["response"] = [*session.event_hooks["response"], self.count]

    def count(self, response: Any) -> None:
        self.requests += 1
        if response.request.method == "GET":
            self.bytes += int(response.headers.get("Content-Length", 0))


def publish_step(root: Path, options: dict[str, Any]) -> dict[str, Any]:
    from dynamic_sparsity.publishing.publish import plan, publish

    if "rows" in options:
        from example_store import write_example_store

        write_example_store(Path(options["root"]), options["rows"], options["task"])
    started = time.perf_counter()
    made = plan(Path(options.get("root", root)), repository_of(options))
    planned = time.perf_counter()
    publish(made)
    return {
        "tasks": sorted({store.task for store in made.publication.stores}),
        "files": len(made.files),
        "bytes": made.total_bytes,
        "seconds_to_check_and_convert": planned - started,
        "seconds_to_upload": time.perf_counter() - planned,
    }


def repository_of(options: dict[str, Any]) -> str:
    return f"{REPOSITORY}-{options['task']}" if "root" in options else REPOSITORY


def load_step(root: Path, options: dict[str, Any]) -> dict[str, Any]:
    from dynamic_sparsity import load_dataset

    counter = Counter()
    dataset = load_dataset(options["task"], repo_id=REPOSITORY, split="test")
    dataset[:]
    ledger = dataset.store.ledger
    return {
        "sent": counter.bytes,
        "requests": counter.requests,
        "store_bytes": sum(ledger.size(name) for name in ledger.names()),
    }


def stream_step(root: Path, options: dict[str, Any]) -> dict[str, Any]:
    from dynamic_sparsity import load_dataset

    stream = load_dataset(options["task"], repo_id=repository_of(options), streaming=True)
    # The shards of one buffer have as many rows as the chunks that are mixed when reading from disk.
    return timed(lambda: stream.batches(BATCH_ROWS, seed=0, buffer_shards=1), options["passes"])


def disk_step(root: Path, options: dict[str, Any]) -> dict[str, Any]:
    from dynamic_sparsity import load_dataset

    def batches() -> Any:
        # Opened anew, so that it is checked anew.
        return load_dataset(options["task"], root=options["root"]).batches(BATCH_ROWS, seed=0, shuffle="blocks")

    return timed(batches, options["passes"])


def timed(make: Callable[[], Any], passes: int) -> dict[str, Any]:
    """Rows per second of each of some passes, and the process's largest memory, bytes."""
    rates, used_by_others = [], psutil.cpu_percent(interval=1)
    for _ in range(passes):
        rows, batches = 0, make()
        started = time.perf_counter()
        for batch in batches:
            rows += len(batch["state"])
        rates.append(rows / (time.perf_counter() - started))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rows_per_second": rates, "memory": memory, "used_by_others": used_by_others}


def files_step(root: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Files of a repository of all tasks, every array present, with several policies."""
    from dynamic_sparsity.generation.tasks import TASKS
    from dynamic_sparsity.publishing.parquet import FILE_BYTES
    from dynamic_sparsity.schemas import row_arrays
    from dynamic_sparsity.storage import chunking as layout
    from dynamic_sparsity.storage.verify_files import expected_files

    total, described = 0, 4  # README, publication, changelog, overview
    for task in TASKS.values():
        sizes = {"nq": task.nq, "nv": task.nv, "na": 0, "nu": task.nu, "ds": task.ds, "dx": task.dx, "da": task.da}
        sizes |= {"nc": 1, "np": 1}
        cut = layout.plan(EPISODE_LENGTH, task.dx)
        rows = EPISODES * EPISODE_LENGTH
        attributes = {"sizes": sizes, "dynamics": "converged", "rows": rows, "episodes": EPISODES}
        attributes |= {"shard_rows": cut.shard_rows, "chunk_rows": cut.chunk_rows}
        row_bytes = sum(
            4 * max(1, sizes.get(s.dims[-1], 1)) ** (len(s.dims) - 1) for s in row_arrays(sizes, "converged")
        )
        parquet = 2 + -(-rows * row_bytes // FILE_BYTES)
        total += POLICIES * (len(expected_files(attributes)) + 1 + 1 + parquet + 1)  # manifest, index, picture
        described += 2  # card and statistics
    return {"policies": POLICIES, "episodes": EPISODES, "episode_length": EPISODE_LENGTH, "files": total + described}


STEPS = {
    "publish": publish_step,
    "load": load_step,
    "stream": stream_step,
    "disk": disk_step,
    "files": files_step,
}

if __name__ == "__main__":
    main()
