"""The whole campaign of hostile inputs, and its record: `python benchmarks/hostile_campaign.py`.

Runs the tests of `tests/hostile` with none of their lists left out (tens of minutes), and writes for each test how many
inputs came to which end. The tests fail on any other end than the right data or one of our errors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from provenance import made_with

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / "benchmarks/results/hostile_campaign.json")
    parser.add_argument("pytest", nargs="*", help="options for pytest, after `--`")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records.jsonl"
        environment = os.environ | {"HOSTILE_ALL": "1", "HOSTILE_RECORDS": str(records)}
        command = [sys.executable, "-m", "pytest", "tests/hostile", "-q", "-m", "slow", "-k", "not sample"]
        status = subprocess.run([*command, *arguments.pytest], cwd=PROJECT, env=environment, check=False).returncode
        lines = records.read_text(encoding="utf-8").splitlines() if records.exists() else []
    tests = sorted((json.loads(line) for line in lines), key=lambda record: record["test"])
    result: dict[str, Any] = {
        "what": "ends of hostile inputs, by test; findings are ends that are neither right data nor one of our errors",
        "passed": status == 0,
        "inputs": sum(test["inputs"] for test in tests),
        "findings": sum(test["findings"] for test in tests),
        "most_memory_mib": max((test["most_memory_mib"] for test in tests), default=0),
        "longest_cpu_s": max((test["longest_cpu_s"] for test in tests), default=0.0),
        "tests": tests,
        **made_with("numpy", "zarr", "h5py", "numcodecs", "huggingface_hub", "jsonschema"),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{result['inputs']} inputs, {result['findings']} findings: {arguments.out}")
    raise SystemExit(status)


if __name__ == "__main__":
    main()
