"""What loading from the Hub costs: bytes, requests, throughput, memory, against a local server of its protocol.

All stores below ROOT are published to the server; then, each in a process of its own with an empty cache:

- the share of its bytes that each task's test split needs, and the requests of a first and a second load;
- rows per second of streaming a made-up store of several shards, shaped like CheetahRun's, and of reading the same
  shards from disk, both with SHA-256, in turn;
- the largest memory of a process that streams that, or the largest store below ROOT;
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
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent / "tests"
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
BUSY = 1.5  # load average per core above which no rates are taken
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
            [sys.executable, str(TESTS / "hub_server.py"), f"{folder}/server"], stdout=subprocess.PIPE, text=True
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
    largest = max(published["tasks"], key=lambda task: tasks[task]["store_bytes"])
    memory = {largest: step("stream", task=largest)["memory"]}
    made_up = str(folder / "made-up")
    streamed = step("publish", root=made_up, rows=arguments.rows)["tasks"][0]
    rates: dict[str, list[float]] = {"stream": [], "disk": []}
    for _ in range(arguments.repetitions):
        if os.getloadavg()[0] > BUSY * (os.cpu_count() or 1):
            break  # rates of a machine that is busy with other things say nothing
        for kind in rates:
            found = step(kind, task=streamed, root=made_up)
            rates[kind].append(found["rows_per_second"])
            if kind == "stream":
                memory["made-up"] = max(memory.get("made-up", 0), found["memory"])
        print(rates, file=sys.stderr)
    middle = {kind: statistics.median(values) for kind, values in rates.items() if values}
    return {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "floors": FLOORS,
        "published": published,
        "tasks": tasks,
        "largest_share": max(entry["share"] for entry in tasks.values()),
        "largest_second_requests": max(entry["second_requests"] for entry in tasks.values()),
        "streaming": {
            "rows": arguments.rows,
            "batch_rows": BATCH_ROWS,
            "rows_per_second": rates,
            "ratio_of_medians": middle["stream"] / middle["disk"] if middle else None,
            "memory_bytes": memory,
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

        write_example_store(Path(options["root"]), options["rows"])
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
    return f"{REPOSITORY}-made-up" if "root" in options else REPOSITORY


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
    return timed(stream.batches(BATCH_ROWS, seed=0, buffer_shards=1))


def disk_step(root: Path, options: dict[str, Any]) -> dict[str, Any]:
    from dynamic_sparsity import load_dataset

    dataset = load_dataset(options["task"], root=options["root"])
    return timed(dataset.batches(BATCH_ROWS, seed=0, shuffle="blocks"))


def timed(batches: Any) -> dict[str, Any]:
    rows, started = 0, time.perf_counter()
    for batch in batches:
        rows += len(batch["state"])
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rows_per_second": rows / seconds, "memory": memory}


def files_step(root: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Files of a repository of all tasks, every array present, with several policies."""
    from dynamic_sparsity.generation.tasks import TASKS
    from dynamic_sparsity.publishing.parquet import FILE_BYTES
    from dynamic_sparsity.schemas import row_arrays
    from dynamic_sparsity.storage import layout
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
