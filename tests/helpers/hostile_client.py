"""Uses repositories that may be hostile, in a process of its own, and tells what came of it.

    python tests/hostile_client.py

reads one JSON object per line, {"repository", "cache", "task", "uses"}, and answers with one per line: what each way to
use it gave ("data" and a digest of it, an error of this package, or something else), and the largest memory so far.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dynamic_sparsity import cli, load_dataset
from dynamic_sparsity.errors import DynamicSparsityError
from dynamic_sparsity.loaders.hub import transfer_plan as plans

COLUMNS = ["state", "J_s", "mask_s", "flags"]


def digest_of(rows: dict[str, np.ndarray]) -> str:
    found = hashlib.sha256()
    for name, values in sorted(rows.items()):
        found.update(f"{name} {values.dtype} {values.shape}".encode())
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def load(repository: str, task: str) -> str:
    dataset = load_dataset(task, repo_id=repository)
    found = digest_of(dataset[:])
    dataset.statistics, dataset.episodes, repr(dataset)
    return found


def load_split(repository: str, task: str) -> str:
    return digest_of(load_dataset(task, repo_id=repository, split="test", columns=COLUMNS)[:])


def stream(repository: str, task: str) -> str:
    with contextlib.closing(load_dataset(task, repo_id=repository, split="test", columns=COLUMNS, streaming=True)) as s:
        batches = list(s.batches(50, shuffle=False))
        assert sum(len(batch["state"]) for batch in batches) == len(s)
    return digest_of({name: np.concatenate([batch[name] for batch in batches]) for name in COLUMNS})


def command(*words: str) -> Callable[[str, str], str]:
    def run(repository: str, task: str) -> str:
        with contextlib.redirect_stderr(io.StringIO()) as errors, contextlib.redirect_stdout(io.StringIO()):
            code = cli.main(["download", task, "--repo", repository, *words])
        if code:
            # The command tells errors of this package; others pass through, or say that they were not expected.
            message = errors.getvalue()
            raise (DynamicSparsityError if "not expected" not in message else RuntimeError)(message)
        return ""

    return run


USES: dict[str, Callable[[str, str], str]] = {
    "load": load,
    "load a split": load_split,
    "stream": stream,
    "download": command(),
    "download again": command("--force", "--split", "test"),
}


def use(repository: str, task: str, uses: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in uses:
        action, began = USES[name], time.process_time()
        try:
            found[name] = ["data", action(repository, task)]
        except DynamicSparsityError as error:
            found[name] = ["error", f"{type(error).__name__}: {error}"[:600]]
        except BaseException as error:
            found[name] = ["foreign", f"{type(error).__name__}: {error}"[:600]]
        found[name].append(round(time.process_time() - began, 2))
    return found


def most_memory() -> int:
    """The most bytes that this process had in memory; `getrusage` would count those of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    from huggingface_hub import constants

    # Files of any size are fetched in pieces.
    plans.LEAST_BYTES_SAVED = plans.GAP_BYTES_MAX = 0  # type: ignore[misc]
    for line in sys.stdin:
        wanted = json.loads(line)
        Path(wanted["cache"]).mkdir(exist_ok=True)
        constants.HF_HUB_CACHE = f"{wanted['cache']}/hub"
        found = use(wanted["repository"], wanted["task"], wanted["uses"])
        print(json.dumps({"found": found, "memory": most_memory()}), flush=True)


if __name__ == "__main__":
    main()
