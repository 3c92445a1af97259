"""Which commit made numbers: a checkout's own, and whether its files differ from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dynamic_sparsity import checkout as module
from dynamic_sparsity.checkout import Checkout, checkout


def git(folder: Path, *words: str) -> str:
    user = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", "-C", folder, *user, *words], check=True, capture_output=True, text=True).stdout


def test_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "src/dynamic_sparsity/checkout.py"))
    assert checkout() is None
    git(tmp_path, "init", "-q")
    assert checkout() is None, "no commit yet"
    (tmp_path / "file").write_text("a")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "a")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    assert checkout() == Checkout(commit, changed=False, added=False)
    (tmp_path / "more").write_text("a")
    assert checkout() == Checkout(commit, changed=False, added=True)
    (tmp_path / "file").write_text("b")
    assert checkout() == Checkout(commit, changed=True, added=True)
