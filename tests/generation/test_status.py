"""Status files of runs, as they are read."""

from __future__ import annotations

import json

from dynamic_sparsity import cli
from dynamic_sparsity.generation.jobs.status_file import STATUS_SUFFIX, read_status_files


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
