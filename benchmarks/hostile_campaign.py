"""The whole campaign of hostile inputs, and its record: `python benchmarks/hostile_campaign.py [--resume]`.

Runs the tests of `tests/hostile` with none of their lists left out (an hour on 2 cores), and writes for each test how
many inputs came to which end. The tests fail on any other end than the right data or one of our errors. The record is
written anew after each test, so that a run which was stopped can be resumed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from provenance import made_with

PROJECT = Path(__file__).resolve().parent.parent
PYTEST = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
WHAT = "ends of hostile inputs, by test; findings are ends that are neither right data nor one of our errors"

Records = list[dict[str, Any]]


def tests() -> list[str]:
    """The campaign's tests, as pytest names them; those marked `exhaustive` are small samples of the others."""
    chosen = ["tests/hostile", "-m", "slow and not exhaustive", "--collect-only"]
    listed = subprocess.run([*PYTEST, *chosen], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if "::" in line]


def run(test: str) -> tuple[str, bool, Records]:
    """Run a test; return its name, whether it passed, and the records of what it tried."""
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records.jsonl"
        environment = os.environ | {"HOSTILE_ALL": "1", "HOSTILE_RECORDS": str(records)}
        ended = subprocess.run([*PYTEST, test], cwd=PROJECT, env=environment, capture_output=True, text=True)
        if ended.returncode:
            print(ended.stdout[-8000:], flush=True)
        lines = records.read_text(encoding="utf-8").splitlines() if records.exists() else []
    return test, ended.returncode == 0, [json.loads(line) for line in lines]


def document(records: Records, failed: list[str], left: list[str]) -> dict[str, Any]:
    """The record of a run so far."""
    return {
        "what": WHAT,
        "passed": None if left else not failed,
        "inputs": sum(record["inputs"] for record in records),
        "findings": sum(record["findings"] for record in records),
        "most_memory_mib": max((record["most_memory_mib"] for record in records), default=0),
        "longest_cpu_s": max((record["longest_cpu_s"] for record in records), default=0.0),
        "failed": failed,
        "not_run": left,
        "tests": sorted(records, key=lambda record: record["test"]),
        **made_with("numpy", "zarr", "h5py", "numcodecs", "huggingface_hub", "jsonschema"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / "benchmarks/results/hostile_campaign.json")
    parser.add_argument("--resume", action="store_true", help="run only the tests that the record says were not run")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="tests side by side")
    arguments = parser.parse_args()
    before = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.resume else {}
    left = before.get("not_run", tests() if not before else [])
    records: Records = before.get("tests", [])
    failed: list[str] = before.get("failed", [])
    result = document(records, failed, left)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for ended in as_completed([pool.submit(run, test) for test in list(left)]):
            test, passed, found = ended.result()
            left = [other for other in left if other != test]
            records += found
            failed += [] if passed else [test]
            result = document(records, failed, left)
            arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            inputs = sum(record["inputs"] for record in found)
            print(f"{'passed' if passed else 'FAILED'} {test}: {inputs} inputs", flush=True)
    print(f"{result['inputs']} inputs, {result['findings']} findings: {arguments.out}")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
