"""`show`, `list --repo`, `merge` and `delete`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynamic_sparsity import cli
from dynamic_sparsity.publishing.publish import plan, publish
from dynamic_sparsity.storage import writer
from dynamic_sparsity.testing import HubServer, make_store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_store(tmp_path / "data/Pendulums/noise.zarr")
    make_store(tmp_path / "data/Pendulums/expert.zarr", policy="expert", seed=3)
    return tmp_path / "data"


@pytest.mark.slow
def test_repositories_are_shown(hub: HubServer, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(plan(root, "org/name", tag="v1.0.0"))
    for command in (["show", "org/name@v1.0.0"], ["list", "--repo", "org/name"]):
        capsys.readouterr()
        assert cli.main(command) == 0
        output = capsys.readouterr().out
        for word in ("data version 1.0.0", "Pendulums", "expert", "noise", "2 stores"):
            assert word in output
    assert cli.main(["list", "--repo", "org/name", "--root", str(root)]) == 1
    assert cli.main(["show", "org/absent"]) == 1
    capsys.readouterr()
    assert cli.main(["show", "absent"]) == 1
    assert "ORG/NAME" in capsys.readouterr().err


@pytest.mark.slow
def test_stores_are_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", str(root / "Pendulums/noise.zarr")]) == 0
    assert "240 rows" in capsys.readouterr().out
    assert cli.main(["show", str(root / "Pendulums/absent.zarr")]) == 1
    assert "there is no store" in capsys.readouterr().err


@pytest.mark.slow
def test_merge(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stores = [str(root / f"Pendulums/{name}.zarr") for name in ("noise", "expert")]
    assert cli.main(["merge", *stores, "--name", "both", "--out", str(root)]) == 0
    assert "both.zarr" in capsys.readouterr().out
    assert cli.main(["verify", str(root / "Pendulums/both.zarr")]) == 0


@pytest.mark.slow
def test_delete(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = root / "Pendulums/noise.zarr", root / "Pendulums/expert.zarr"
    assert cli.main(["delete", str(store)]) == 1
    assert "--yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, there in ((False, True), (True, False)):
        monkeypatch.setattr("typer.confirm", lambda question, answer=answer: answer)
        assert cli.main(["delete", str(store)]) == 0
        assert store.exists() is there
    (root / "Pendulums/.expert.zarr.growing").mkdir()
    assert cli.main(["delete", str(other), "--yes"]) == 0
    assert list((root / "Pendulums").iterdir()) == []


@pytest.mark.slow
def test_what_is_no_store_is_not_deleted(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = root / "Pendulums/noise.zarr"
    (root / "Pendulums/empty.zarr").mkdir()
    (root / "Pendulums/link.zarr").symlink_to(store)
    for path in (root, root / "Pendulums", root / "Pendulums/empty.zarr", root / "Pendulums/link.zarr"):
        assert cli.main(["delete", str(store), str(path), "--yes"]) == 1
        assert (store / "manifest.json").exists()
    with writer.lock(store):
        assert cli.main(["delete", str(store), "--yes"]) == 1
    assert "being written" in capsys.readouterr().err
    assert (store / "manifest.json").exists()
