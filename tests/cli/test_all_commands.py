"""Every command with wrong types, files that are missing, and extras that are not installed.

Each says so in one paragraph on stderr, with the right exit code, and leaves nothing behind. A command that is added
has to be added here; test_interrupts.py interrupts them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

from dynamic_sparsity import cli
from dynamic_sparsity.cli.app import app
from dynamic_sparsity.cli.application import application
from dynamic_sparsity.testing import make_store

COMMANDS: dict[str, Any] = dict(application.commands)
STORE = "data/CheetahRun/noise.zarr"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which the commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.name != "__pycache__" and path.suffix != ".pyc")


def assert_one_paragraph(error: str, begins: str) -> None:
    assert error.startswith(begins), error
    assert "\n\n" not in error.strip() and "Traceback" not in error and "not expected" not in error
    assert len(error) < 1000


def numeric_options() -> list[tuple[str, str]]:
    """Command and name of each option that is a number."""
    found = []
    for info in app.registered_commands:
        assert info.callback is not None
        hints = typing.get_type_hints(info.callback)
        name = info.name or info.callback.__name__.replace("_", "-")
        for option in COMMANDS[name].params:
            kind = hints.get(option.name)
            if {int, float} & {kind, *typing.get_args(kind)}:
                found.append((name, option.opts[0]))
    return found


def required(command: str) -> list[str]:
    """Words for what a command can't do without."""
    words = []
    for one in COMMANDS[command].params:
        if one.required:
            words += ["x"] if one.param_type_name == "argument" else [one.opts[0], "x"]
    return words


def test_wrong_types(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = numeric_options()
    assert {"generate", "verify", "train", "report"} <= {command for command, _ in options}
    for command, option in options:
        assert cli.main([command, *required(command), option, "many"]) == 2, (command, option)
        error = capsys.readouterr().err
        assert_one_paragraph(error, f"Usage: dynamic-sparsity {command}")
        assert f"Invalid value for '{option}'" in error.replace(" / -", "'"), error
    assert not contents(here)


def test_unknown_options_and_missing_words(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        for words in (["--no-such-option"], [] if required(command) else ["--no-such-option"]):
            assert cli.main([command, *words]) == 2, command
            assert_one_paragraph(capsys.readouterr().err, f"Usage: dynamic-sparsity {command}")
    assert not contents(here)


MISSING: dict[str, list[str]] = {
    "list": ["--root", "NOWHERE"],
    "info": ["NOWHERE/CheetahRun/noise.zarr"],
    "convert": ["NOWHERE/CheetahRun/noise.zarr", "--storage", "compact", "--out", "new"],
    "export": ["NOWHERE/CheetahRun/noise.zarr", "--format", "lerobot", "--out", "new"],
    "verify": ["NOWHERE"],
    "show": ["NOWHERE"],
    "merge": ["NOWHERE/CheetahRun/noise.zarr", "NOWHERE/CheetahRun/other.zarr", "--name", "both", "--out", "new"],
    "delete": ["NOWHERE/CheetahRun/noise.zarr", "--yes"],
    "generate": ["NOWHERE.xml", "--out", "new"],
    "finalize": ["NOWHERE/CheetahRun/noise.zarr"],
    "status": ["NOWHERE/CheetahRun/noise.zarr"],
    "regenerate": ["NOWHERE", "CheetahRun", "--out", "new"],
    "train": ["NOWHERE", "--out", "new"],
    "publish": ["NOWHERE", "--repo", "org/name"],
    "download": ["CheetahRun", "--repo", "NOWHERE"],
    "release": ["--version", "1.0.0", "--root", "data", "--repo", "NOWHERE"],
    "analyze": ["NOWHERE", "--out", "new"],
    "report": ["NOWHERE", "--out", "new"],
    "explore": ["NOWHERE", "--no-browser"],
    "train-learner": ["CheetahRun", "--root", "NOWHERE", "--protocol", "smoke", "--learner", "hold", "--out", "new"],
    "evaluate": ["CheetahRun", "NOWHERE.py:fit", "--protocol", "smoke", "--out", "new"],
    "check-entry": ["NOWHERE.json"],
    "leaderboard": ["NOWHERE", "--out", "new.md"],
}
"""Of every command, words that name what is not there."""


def test_all_commands_are_here() -> None:
    assert set(MISSING) == set(COMMANDS)


@pytest.mark.parametrize(
    "command",
    [pytest.param(name, marks=[pytest.mark.slow] if name in ("train-learner", "evaluate") else []) for name in MISSING],
)
def test_missing_files(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, *MISSING[command]]) == 1
    error = capsys.readouterr().err
    assert_one_paragraph(error, "Error: ")
    assert "NOWHERE" in error or "CheetahRun" in error
    assert not contents(here)


EXTRAS: dict[str, tuple[list[str], str]] = {
    "verify": ([STORE, "--deep"], "generate"),
    "analyze": ([STORE, "--out", "new"], "analysis"),
    "report": (["data", "--out", "new"], "analysis"),
    "publish": (["data", "--repo", "org/name", "--dry-run"], "publish"),
    "release": (["--version", "1.0.0", "--root", "data", "--repo", "org/name"], "publish"),
    "download": (["CheetahRun", "--repo", "org/name"], "hub"),
    "show": (["org/name"], "hub"),
    "list": (["--repo", "org/name"], "hub"),
    "regenerate": (["org/name", "CheetahRun", "--out", "new"], "hub"),
    "train": (["CheetahRun", "--out", "new"], "generate"),
    "train-learner": (["CheetahRun", "--root", "NOWHERE"], "learners"),
    "generate": (["CheetahRun", "--executor", "ray", "--out", "new"], "ray"),
}
"""Of commands that need an extra, words, and the extra's name."""

ABSENT = (
    *("jax", "mujoco", "mujoco_playground", "brax", "ray", "matplotlib", "sklearn", "equinox", "optax", "safetensors"),
    *("huggingface_hub", "pyarrow", "datasets", "h5py"),
)

WITHOUT_EXTRAS = """
import contextlib, io, json, sys
from dynamic_sparsity import cli

found = {}
for name, words in json.loads(sys.argv[1]).items():
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        code = cli.main([name, *words])
    found[name] = [code, errors.getvalue()]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_missing_extras(here: Path) -> None:
    """All in one process, in which no package of an extra can be imported."""
    make_store(here / "run" / STORE, task="CheetahRun")
    for name in ABSENT:
        file = here / "absent" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"raise ModuleNotFoundError('No module named {name}', name={name!r})\n")
    before = contents(here / "run")
    words = json.dumps({name: words for name, (words, _) in EXTRAS.items()})
    path = os.pathsep.join([str(here / "absent"), *sys.path])
    finished = subprocess.run(
        [sys.executable, "-B", "-c", WITHOUT_EXTRAS, words],
        cwd=here / "run",
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    for name, (code, error) in json.loads(finished.stdout).items():
        assert code == 1, (name, error)
        assert_one_paragraph(error, "Error: ")
        assert f"pip install 'dynamic-sparsity[{EXTRAS[name][1]}]'" in error, (name, error)
    assert contents(here / "run") == before
