"""A short run of every fuzzing target from its corpus; `benchmarks/fuzz.py` runs them for long."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="the extra `fuzz` is not installed")

HERE = Path(__file__).parent
RUNS = {"index": 3000, "pieces": 6000, "publication": 4000, "document": 3000, "shard": 10_000}
RUNS |= {"hdf5": 2000, "policy": 8000, "npz": 8000}
"""So many inputs per target, together about a minute, with `--exhaustive`; a third of them without."""
AFRESH = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
"""A small process between: Linux counts what the process that starts a program used as the program's own peak, which
the fuzzer holds against its limit."""


@pytest.mark.slow
@pytest.mark.parametrize("target", RUNS)
def test_nothing_is_found(target: str, tmp_path: Path, exhaustive: bool) -> None:
    corpus, runs = HERE / "corpus" / target, RUNS[target] // (1 if exhaustive else 3)
    words = [
        sys.executable,
        "-c",
        AFRESH,
        sys.executable,
        str(HERE / "fuzz.py"),
        target,
        str(tmp_path),
        str(corpus),
        "-seed=1",
    ]
    limits = [f"-runs={runs}", f"-artifact_prefix={tmp_path}/finding-"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([*words, *limits], capture_output=True, text=True, env=environment, errors="replace")
    assert ended.returncode == 0, ended.stderr[-6000:]
    done = re.search(r"^Done (\d+) runs", ended.stderr, re.MULTILINE)
    # The fuzzer may try one input more than it was asked for.
    assert done is not None and runs <= int(done[1]) <= runs + 1, ended.stderr[-2000:]


def test_the_corpus_is_small() -> None:
    sizes = {path: path.stat().st_size for path in (HERE / "corpus").rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 200_000
    assert {path.parent.name for path in sizes} == set(RUNS)
