"""Short options mean the same in every command, and shells complete what is typed."""

from __future__ import annotations

import pytest

from dynamic_sparsity import cli
from dynamic_sparsity.cli.application import SHORT_OPTIONS, application
from dynamic_sparsity.errors import InvalidSettingError


def test_a_letter_stands_for_one_option():
    meanings = {letter: name for name, letter in SHORT_OPTIONS.items()}
    used = set()
    for name, command in application.commands.items():
        for option in command.params:
            short = {word for word in option.opts if len(word) == 2}
            assert short == {letter for word in option.opts if (letter := SHORT_OPTIONS.get(word))}, name
            used |= {meanings[letter] for letter in short}
    assert used == set(SHORT_OPTIONS), "each is some command's"


def test_they_are_understood(tmp_path, capsys):
    words = ["generate", "CheetahRun", "-n", "3", "-s", "-1", "-p", "noise", "-j", "1", "-o", str(tmp_path / "new")]
    assert cli.main(words) == 1
    assert str(InvalidSettingError("seed is -1")) in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["generate"], ["list"]])
def test_short_help(words, capsys):
    assert cli.main([*words, "-h"]) == 0
    assert "Usage: dynamic-sparsity" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "completed"), [("dynamic-sparsity gen", "generate"), ("dynamic-sparsity generate --epi", "--episodes")]
)
def test_completion(typed, completed, monkeypatch, capsys):
    monkeypatch.setenv("_DYNAMIC_SPARSITY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 0
    assert completed in capsys.readouterr().out.split()


def test_completion_can_be_installed():
    options = {word for option in application.params for word in option.opts}
    assert {"--install-completion", "--show-completion"} <= options
