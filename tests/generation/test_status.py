"""Status files of runs, as they are read."""

from __future__ import annotations

import json

import pytest

from dynamic_sparsity import cli
from dynamic_sparsity.generation.jobs.status_file import STATUS_SUFFIX, read_status_files
from dynamic_sparsity.testing import make_store


def test_status_files_that_are_none_are_left_out(tmp_path):
    good = {
        "computing_seconds": 1.5,
        "rows_to_make": 9,
        "rows_made": 3,
        "running": [1],
        "failures": {},
        "set_aside": {},
    }
    contents = [
        json.dumps(good),
        "[" * 9999,
        "{}",
        "[]",
        json.dumps(good | {"failures": [3]}),
        "",
        json.dumps(good)[:-9],
    ]
    for number, text in enumerate(contents):
        (tmp_path / f"noise.zarr.{number}{STATUS_SUFFIX}").write_text(text)
    assert read_status_files(tmp_path / "noise.zarr") == [good]


def test_status_of_nothing(tmp_path, capsys):
    assert cli.main(["status", str(tmp_path / "CheetahRun" / "noise.zarr")]) == 1
    assert "no store" in capsys.readouterr().err


@pytest.mark.parametrize("what", [["data"], ["data/Pendulums/noise.zarr", "data/Pendulums/open.zarr"]])
def test_status_of_a_root(what, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_store(tmp_path / "data/Pendulums/noise.zarr", episodes=3)
    make_store(tmp_path / "data/Pendulums/open.zarr", episodes=3, policy="open", finalize=False)
    assert cli.main(["status", *what, "--json"]) == 0
    states = {one["store"]: one["state"] for one in json.loads(capsys.readouterr().out)}
    assert states == {
        "data/Pendulums/noise.zarr": "complete",
        "data/Pendulums/open.zarr": "waiting to be sealed",
    }
