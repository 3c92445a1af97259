"""What commands print where nobody watches: whole names, and now and then a line."""

from __future__ import annotations

import io
import threading

import pytest

from dynamic_sparsity.untrusted import console as consoles
from dynamic_sparsity.untrusted.console import PlainConsole, progress

PATIENCE_S = 60


class Watched(io.StringIO):
    """A log that says when it has some words."""

    def __init__(self, words):
        super().__init__()
        self.words, self.found = words, threading.Event()

    def write(self, text):
        count = super().write(text)
        if self.words in self.getvalue():
            self.found.set()
        return count


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(consoles, "LINE_EVERY_S", 0.001)
    monkeypatch.delenv("COLUMNS", raising=False)


def test_unfinished_bars_are_lines_in_a_log():
    log = Watched(" 3/10")
    with progress(PlainConsole(file=log)) as bars:
        bars.add_task("WalkerRun", total=5, completed=5)
        bars.add_task("CheetahRun", total=10, completed=3)
        assert log.found.wait(PATIENCE_S)
        assert [line.split()[:2] for line in bars.lines()] == [["CheetahRun", "3/10"]]
    assert "\x1b" not in log.getvalue()
    assert not [thread for thread in threading.enumerate() if thread.name == "log"]


def test_a_status_is_a_line_in_a_log():
    log = Watched("Checking [bold]it[/bold] …\n")
    with PlainConsole(file=log).status("Checking [bold]it[/bold]"):
        assert log.found.wait(PATIENCE_S)
    assert not [thread for thread in threading.enumerate() if thread.name == "log"]


def test_no_lines_on_a_terminal():
    console = PlainConsole(file=io.StringIO(), force_terminal=True)
    with console.status("Checking"), progress(console):
        assert not [thread for thread in threading.enumerate() if thread.name == "log"]


def test_a_pipe_has_room(monkeypatch):
    assert PlainConsole(file=io.StringIO()).width == consoles.PIPE_WIDTH
    assert PlainConsole(file=io.StringIO(), width=80).width == 80
    monkeypatch.setenv("COLUMNS", "80")
    assert PlainConsole(file=io.StringIO()).width == 80
