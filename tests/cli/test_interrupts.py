"""Ctrl-C in every command that takes its time: it says so, leaves nothing unfinished, and the same command goes on."""

from __future__ import annotations

import builtins
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_unit_runner
import pytest
from published_root import publish_root
from test_all_commands import COMMANDS, assert_one_paragraph

from dynamic_sparsity import cli
from dynamic_sparsity.generation.executors import choice
from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.testing import HubServer, make_store

STORE = "data/CheetahRun/noise.zarr"
REPO = "org/name"

INTERRUPTED: dict[str, list[str]] = {
    "convert": [STORE, "--storage", "compact", "--out", "new"],
    "merge": [STORE, "other/CheetahRun/other.zarr", "--name", "both", "--out", "new"],
    "finalize": ["open/CheetahRun/open.zarr"],
    "export": ["data", "--format", "lerobot", "--out", "new"],
    "analyze": ["data", "--out", "new", "--format", "png", "--map-rows", "0", "--no-frames"],
    "report": ["data", "--out", "new", "--map-rows", "0", "--frames", "0"],
    "publish": ["data", "--repo", REPO],
    "download": ["CheetahRun", "--repo", REPO],
    "train-learner": [
        *("CheetahRun", "--root", "data", "--policy", "noise", "--protocol", "smoke"),
        *("--learner", "hold", "--seeds", "0", "--out", "new"),
    ],
    "evaluate": [
        "CheetahRun",
        "own.py:fit",
        "--root",
        "data",
        "--policy",
        "noise",
        "--protocol",
        "smoke",
        "--out",
        "new",
    ],
    "leaderboard": [str(Path(__file__).parents[2] / "results/leaderboard.csv"), "--out", "new.md"],
}

NOT_HERE = {
    *("list", "info", "status", "show", "check-entry"),  # they look, and change nothing
    *("delete", "verify", "explore"),  # of one step, of none that changes anything, and tested with its server
    *("generate", "regenerate", "train", "release"),  # below, and in the tests of growing, training and releasing
}

OWN = """
class Model:
    def predict(self, state, action):
        return state
def fit(data, budget, seed):
    return Model()
"""


class CtrlC:
    """Comes when the main thread is about to change the disk below a folder for the n-th time."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.left, self._folder = 0, str(folder)
        for module, name in ((os, "mkdir"), (os, "rename"), (os, "replace"), (os, "open"), (io, "open")):
            self._watch(patch, module, name)
        patch.setattr(builtins, "open", io.open)

    def _watch(self, patch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(module, name)

        def watched(path: Any, *arguments: Any, **options: Any) -> Any:
            if self._changes(name, path, arguments, options):
                self.left -= 1
                if not self.left:
                    raise KeyboardInterrupt
            return real(path, *arguments, **options)

        patch.setattr(module, name, watched)

    def _changes(self, name: str, path: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> bool:
        if self.left <= 0 or threading.current_thread() is not threading.main_thread() or isinstance(path, int):
            return False
        if not str(Path(os.fsdecode(path)).absolute()).startswith(self._folder):
            return False
        how = arguments[0] if arguments else options.get("mode", options.get("flags", "r"))
        if name == "open":
            return bool(how & (os.O_WRONLY | os.O_RDWR)) if isinstance(how, int) else bool(set(how) & set("wxa+"))
        return True


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


def test_all_commands_are_here() -> None:
    assert set(INTERRUPTED) | NOT_HERE == set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("command", INTERRUPTED)
def test_interrupted(
    command: str,
    tmp_path: Path,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make_store(tmp_path / STORE, task="CheetahRun", episodes=20)
    make_store(tmp_path / "other/CheetahRun/other.zarr", task="CheetahRun", policy="other", episodes=20)
    make_store(tmp_path / "open/CheetahRun/open.zarr", task="CheetahRun", policy="open", finalize=False)
    (tmp_path / "own.py").write_text(OWN)
    if command == "download":
        publish_root(tmp_path / "data", REPO)
    words = [command, *INTERRUPTED[command]]
    ctrl_c = CtrlC(monkeypatch, tmp_path)
    for moment in (1, 4):
        ctrl_c.left = moment
        assert cli.main(words) == 130, f"no {moment} changes"
        assert_one_paragraph(capsys.readouterr().err, "Interrupted.")
        left = contents(tmp_path)
        assert not [name for name in left if name.endswith((".partial", ".lock", ".incomplete"))], left
    ctrl_c.left = 0
    assert cli.main(words) == 0, "the same command goes on"


class Interrupted(ThreadExecutor):
    """Ctrl-C comes after the first events."""

    def events(self) -> Any:
        found = super().events()
        if any(event.amount for event in found):
            raise KeyboardInterrupt
        return found


@pytest.mark.slow
def test_generating_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(choice, "make_executor", lambda *_: Interrupted(fake_unit_runner.FakeUnitRunner()))
    words = ["generate", "CartpoleBalance", "-n", "9", "--episode-length", "20"]
    assert cli.main(words) == 130
    assert_one_paragraph(capsys.readouterr().err, "Interrupted.")
    assert [path.name for path in (tmp_path / "data/CartpoleBalance").iterdir()] == ["noise.zarr"], (
        "what can be resumed"
    )
    assert not [name for name in contents(tmp_path) if name.endswith(".partial")]
    monkeypatch.setattr(choice, "make_executor", lambda *_: ThreadExecutor(fake_unit_runner.FakeUnitRunner()))
    assert cli.main(words) == 0
