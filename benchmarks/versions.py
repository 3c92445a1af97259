"""Tests with the lowest and the newest versions of what they need: `python benchmarks/versions.py [--python P …]`.

Each cell of the matrix is a virtual environment of its own, made by `uv` (on PATH) from what pyproject.toml allows:
wheels only, the lowest version of each direct dependency or the newest of all. The record says which versions ran,
and how many tests passed, failed and were skipped; a cell that can't be installed says why.
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
from typing import Any, Final, NamedTuple

PROJECT: Final = Path(__file__).resolve().parent.parent
RESOLUTIONS: Final = {"lowest": "lowest-direct", "newest": "highest"}
CELL_S: Final = 1800
"""Longest time of one command."""
ENDS: Final = (0, 1, 5)
"""Exit codes with which pytest says what came of tests: all passed, some failed, there are none."""
OWN: Final = "dynamic-sparsity["
"""By what an extra names another one of ours; a tier names both."""
NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")


class Tier(NamedTuple):
    """Tests that belong together.

    Attributes:
        extras: What they need of pyproject.toml's optional dependencies.
        packages: What else they need.
        tests: Arguments of pytest.
    """

    extras: tuple[str, ...]
    packages: tuple[str, ...]
    tests: tuple[str, ...]


TIERS: Final = {
    "base": Tier(("test",), (), ("--simulator", "no", "tests/loaders", "tests/schemas", "tests/storage")),
    "hub": Tier(("test", "hub"), (), ("--simulator", "no", "tests/loaders")),
    "tables": Tier(("test", "hub"), ("pandas>=2.2.2",), ("-m", "", "tests/publishing/test_parquet_readers.py")),
    "episodes": Tier(
        ("test", "hub", "minari"),
        (),
        ("--simulator", "no", "tests/loaders/test_episode_formats.py", "tests/envs/test_registration.py"),
    ),
    "environments": Tier(("test", "generate", "gymnasium"), (), ("-m", "", "tests/envs")),
    "noise": Tier(("test", "generate"), ("colorednoise",), ("tests/generation/test_noise.py",)),
    "ray": Tier(("test", "generate", "ray"), (), ("-m", "", "tests/generation/test_ray.py")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters (default: this one)")
    parser.add_argument("--tier", nargs="+", choices=TIERS, default=list(TIERS), help="default: all")
    parser.add_argument("--resolution", nargs="+", choices=RESOLUTIONS, default=list(RESOLUTIONS), help="default: both")
    parser.add_argument("--out", type=Path, default=PROJECT / "benchmarks" / "results" / "versions.json")
    arguments = parser.parse_args()
    failed = False
    for tier in arguments.tier:
        for python in arguments.python:
            for resolution in arguments.resolution:
                record = run_cell(python, tier, resolution)
                failed |= record["outcome"] != "passed"
                _keep(arguments.out, record)
                print(record["python"], tier, resolution, record["outcome"], record["summary"], flush=True)
    sys.exit(failed)


def run_cell(python: str, tier: str, resolution: str) -> dict[str, Any]:
    """Make an environment, run a tier's tests in it, and return what came of it.

    Args:
        python: The interpreter.
        tier: Key of `TIERS`.
        resolution: Key of `RESOLUTIONS`.
    """
    code = "import platform; print(platform.python_version())"
    version = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    record: dict[str, Any] = {"python": version, "tier": tier, "resolution": resolution, "versions": {}}
    with tempfile.TemporaryDirectory() as folder:
        wanted = _requirements(Path(folder), python, TIERS[tier], RESOLUTIONS[resolution])
        if wanted.returncode:
            return record | {"outcome": "can't be resolved", "summary": wanted.stderr.strip().splitlines()[-1]}
        inside = Path(folder) / "environment" / "bin" / "python"
        for words in (
            ("venv", "--python", python, str(inside.parents[1])),
            ("pip", "install", "--python", str(inside), "--only-binary", ":all:", "-r", f"{folder}/pinned.txt"),
            ("pip", "install", "--python", str(inside), "--no-deps", "-e", str(PROJECT)),
        ):
            done = _run(["uv", *words])
            if done.returncode:
                return record | {"outcome": "can't be installed", "summary": done.stderr.strip()[-400:]}
        asked = {NAME.match(line).group().lower() for line in _direct(TIERS[tier])}  # type: ignore[union-attr]
        pins = dict(line.split("==") for line in wanted.stdout.split() if "==" in line)
        record["versions"] = {name: pins[name] for name in sorted(pins) if name.replace("-", "_") in _plain(asked)}
        tests = _run([str(inside), "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-o",
                      "addopts=-ra --strict-markers", "-m", "not slow", *TIERS[tier].tests])  # fmt: skip
    lines = [line for line in tests.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    last = tests.stdout.strip().splitlines()[-1] if tests.stdout.strip() else tests.stderr.strip()[-400:]
    if tests.returncode not in ENDS:
        last = f"pytest's process ended with {tests.returncode}; its last words: {tests.stderr.strip()[-400:]}"
    outcome = "passed" if tests.returncode == 0 else "failed"
    summary = re.sub(r" in [0-9.]+s.*| \(.*\)|=", "", last).strip()
    return record | {"outcome": outcome, "summary": summary, "failures": lines}


def _direct(tier: Tier) -> list[str]:
    """Return the requirements that pyproject.toml names for a tier, and those that it has besides."""
    import tomllib

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = [line for extra in tier.extras for line in project["optional-dependencies"][extra] if OWN not in line]
    return [*project["dependencies"], *extras, *tier.packages]


def _plain(names: set[str]) -> set[str]:
    return {name.replace("-", "_") for name in names}


def _requirements(folder: Path, python: str, tier: Tier, resolution: str) -> subprocess.CompletedProcess[str]:
    """Write a list of exact versions."""
    (folder / "wanted.txt").write_text("\n".join(_direct(tier)) + "\n")
    words = ["--python", python, "--resolution", resolution, "--only-binary", ":all:", "--no-header", "--no-annotate"]
    return _run(["uv", "pip", "compile", *words, "-o", str(folder / "pinned.txt"), str(folder / "wanted.txt")])


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    where = {"cwd": PROJECT, "env": environment, "timeout": CELL_S}
    return subprocess.run(words, capture_output=True, text=True, check=False, **where)  # type: ignore[call-overload, no-any-return]


def _keep(path: Path, record: dict[str, Any]) -> None:
    """Put a record into the file of results, in the place of an earlier one of the same cell."""
    records = json.loads(path.read_text()) if path.exists() else []
    cell = ("tier", "python", "resolution")
    key = [record[name] for name in cell]
    records = [old for old in records if [old[name] for name in cell] != key] + [record]
    records.sort(key=lambda one: [one[name] for name in cell])
    path.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    if shutil.which("uv") is None:
        sys.exit("uv is needed: pip install uv")
    main()
