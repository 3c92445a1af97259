"""Long runs of coverage-guided fuzzing, and their record: `python benchmarks/fuzz.py --seconds 3600`.

Each target of `tests/fuzz/fuzz.py` runs from its corpus for its share of the time. A finding is kept beside the record
and counted; what was new to coverage is merged into the corpus as long as that stays small.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from provenance import made_with

FUZZ = Path(__file__).resolve().parent.parent / "tests/fuzz"
TARGETS = ("index", "pieces", "publication", "document", "shard", "hdf5", "policy", "npz")
CORPUS_BYTES_MAX = 25_000
"""Per target."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3600, help="of all targets together")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS)
    parser.add_argument("--findings", type=Path, default=Path("findings"), help="folder of inputs that were found")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fuzz.json"))
    arguments = parser.parse_args()
    record: dict[str, Any] = {"what": "executions and findings per fuzzing target", "targets": {}}
    if arguments.out.exists():
        record["targets"] = json.loads(arguments.out.read_text())["targets"]
    for target in arguments.targets:
        record["targets"][target] = fuzz(target, arguments.seconds // len(arguments.targets), arguments.findings)
        record |= made_with("atheris", "numpy", "numcodecs", "h5py", "jsonschema", "safetensors")
        record["python"] = sys.version.split()[0]
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")
        print(target, record["targets"][target], flush=True)
    if any(record["targets"][target]["findings"] for target in arguments.targets):
        sys.exit(f"there are findings: {arguments.findings}")


def fuzz(target: str, seconds: int, findings: Path) -> dict[str, Any]:
    """Run one target until its time is over, again after each finding."""
    with tempfile.TemporaryDirectory() as folder:
        found, corpus = Path(folder) / "findings", Path(folder) / "corpus"
        found.mkdir()
        shutil.copytree(FUZZ / "corpus" / target, corpus)
        executions, spent, covered, seed = 0, 0, 0, 0
        while spent < seconds:
            seed += 1
            limits = f"-max_total_time={seconds - spent}", f"-artifact_prefix={found}/", f"-seed={seed}"
            said = run(target, corpus, *limits)
            executions += int(_last(r"stat::number_of_executed_units:\s+(\d+)", said) or _last(r"#(\d+)\s", said))
            covered = max(covered, int(_last(r"cov: (\d+)", said)))
            spent += max(1, int(_last(r"Done \d+ runs in (\d+) second", said)) or seconds // 20)
        kept = sorted(path for path in found.iterdir())
        if kept:
            shutil.copytree(found, findings / target, dirs_exist_ok=True)
        merge(target, corpus)
    return {"executions": executions, "seconds": spent, "covered": covered, "findings": len(kept)}


def run(target: str, corpus: Path, *options: str) -> str:
    words = [sys.executable, str(FUZZ / "fuzz.py"), target, str(corpus), "-print_final_stats=1", *options]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(words, stderr=subprocess.PIPE, errors="replace", text=True, env=environment).stderr


def merge(target: str, corpus: Path) -> None:
    """Take over the smallest inputs that were new, as long as there is room."""
    kept = FUZZ / "corpus" / target
    room = CORPUS_BYTES_MAX - sum(path.stat().st_size for path in kept.iterdir())
    there = {path.read_bytes() for path in kept.iterdir()}
    for path in sorted(corpus.iterdir(), key=lambda path: (path.stat().st_size, path.name)):
        contents = path.read_bytes()
        if contents and contents not in there and len(contents) <= room:
            (kept / path.name[:16]).write_bytes(contents)
            room -= len(contents)


def _last(pattern: str, text: str) -> str:
    found = re.findall(pattern, text)
    return found[-1] if found else "0"


if __name__ == "__main__":
    main()
