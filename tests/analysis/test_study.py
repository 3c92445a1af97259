"""Studies of stores, their comparison and findings, and the command."""

from __future__ import annotations

import csv
import json
import re

import pytest

from dynamic_sparsity.analysis.comparison import compare, comparisons
from dynamic_sparsity.analysis.study import StudyOptions, load_or_study, study_store, to_json
from dynamic_sparsity.errors import InvalidSettingError, UnknownNameError
from dynamic_sparsity.schemas import FLAG_BITS
from dynamic_sparsity.storage import writer
from dynamic_sparsity.testing import make_all, make_store

EARLY = {1: 7, 5: 13}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("data") / "Pendulums" / "noise.zarr", early=EARLY)


@pytest.mark.slow
def test_study_is_kept_and_checked(store, tmp_path):
    options = StudyOptions(map_rows=0)
    first, kept = study_store(store, options), tmp_path / "study.json"
    kept.write_bytes(to_json(first))
    again = load_or_study(store, kept, options)
    assert to_json(again) == to_json(first)
    other = json.loads(kept.read_bytes())
    other["study"]["source"]["task"] = "Changed"
    kept.write_text(json.dumps(other))
    assert load_or_study(store, kept, options).source.task == "Changed"
    assert load_or_study(store, kept, StudyOptions(map_rows=0, seed=1)).source.task == "Pendulums"
    kept.write_text("{")
    assert load_or_study(store, kept, options).source.task == "Pendulums"
    with pytest.raises(InvalidSettingError, match="map_rows"):
        StudyOptions(map_rows=-1)


@pytest.mark.slow
def test_wrong_rows_are_left_out(tmp_path):
    """Rows without a true Jacobian, which also cut the episodes they are in."""
    attributes, columns, episodes = make_all(stock=True)
    columns["flags"][3:6] |= 1 << FLAG_BITS["tangents_lost"]
    columns["mask_s"][3:6] = 1
    path = tmp_path / "Pendulums" / "noise-stock.zarr"
    path.parent.mkdir()
    writer.create_store(path, attributes)
    writer.write_unit(path, 0, columns, episodes)
    writer.finalize(path)
    found = study_store(path, StudyOptions(map_rows=0))
    assert (found.source.name, found.source.excluded, found.source.rows) == ("noise-stock", 3, 237)
    assert found.changes.steps == 12 * 18 - 5, "each of 13 segments loses its first step"
    assert found.patterns.patterns == 1


@pytest.mark.slow
def test_comparison(store, tmp_path):
    from dynamic_sparsity.analysis.files import analyze

    other = make_store(tmp_path / "Pendulums" / "noise-stock.zarr", stock=True, seed=3)
    first, second = (study_store(path, StudyOptions(map_rows=0)) for path in (store, other))
    same = compare(first, first)
    assert (same.distance, same.largest_difference, same.only_first) == (0, 0, 0)
    found = comparisons([first, second])
    assert [(one.first, one.second) for one in found] == [("noise", "noise-stock")]
    assert 0 <= found[0].distance <= 1
    with pytest.raises(UnknownNameError, match="figure format"):
        analyze([store], tmp_path, formats=["bmp"])
    with pytest.raises(InvalidSettingError, match="no store"):
        analyze([], tmp_path)


def test_findings_without_any_event(tmp_path):
    """The pattern changes while no constraint ever does, so that there is no recall."""
    from dynamic_sparsity.analysis.findings import findings_page

    attributes, columns, episodes = make_all(task="ReacherHard")
    columns["active_any"][...] = columns["active_all"][...] = 0
    columns["mask_s"][3, 0, 0] = 0
    path = tmp_path / "ReacherHard" / "noise.zarr"
    path.parent.mkdir()
    writer.create_store(path, attributes)
    writer.write_unit(path, 0, columns, episodes)
    writer.finalize(path)
    page = findings_page([study_store(path, StudyOptions(map_rows=0))])
    assert "precision 0.00 to 0.00 (median 0.00), recall –" in page


@pytest.mark.slow
def test_findings_of_data_that_differs(tmp_path):
    """The expert never makes the contact that couples two pendulums: its text says which edge it misses, and where."""
    from dynamic_sparsity.analysis.findings import findings_page
    from dynamic_sparsity.analysis.overview_figures import comparison_figure

    studies = []
    for name, touching in (("expert", 0), ("noise", 1)):
        attributes, columns, episodes = make_all(policy=name, task="CartpoleBalance")
        columns["active_any"][:, 2] &= touching
        rows = columns["active_any"][:, 2] == 1
        columns["J_s"][rows, 3, 1] = 0.5
        columns["mask_s"][rows, 3, 1] = 1
        path = tmp_path / "CartpoleBalance" / f"{name}.zarr"
        path.parent.mkdir(exist_ok=True)
        writer.create_store(path, attributes)
        writer.write_unit(path, 0, columns, episodes)
        writer.finalize(path)
        studies.append(study_store(path, StudyOptions(map_rows=0)))
    zeros = [f"{one.zeros.always_s.sum()}, {one.zeros.always_a.sum()} **≠**" for one in studies]
    page = findings_page(studies)
    assert f"| CartpoleBalance | 0, 0 | {zeros[0]} | {zeros[1]} | {zeros[1]} | 480 |" in page
    seen = 240 - int(studies[1].zeros.zeros_s[3, 1])
    assert f"The noise data has dpos1 → dvel0′ in {seen} rows" in page
    assert "1 entries are zero in every row of expert only, 0 of noise only" in page
    assert "[data of one task side by side](side_by_side.png)" in page
    axes = comparison_figure(studies).axes
    drawn = {line.get_label(): line.get_xdata()[0] for line in axes[0].lines}
    assert drawn == {one.source.name: one.sparsity.mean("s") for one in studies}


@pytest.mark.slow
def test_command_line(store, tmp_path, capsys):
    from dynamic_sparsity.cli import main

    out = tmp_path / "results"
    words = ["analyze", str(store), "--out", str(out), "--no-frames", "--map-rows", "40"]
    assert main(words) == 0
    assert "README.md" in capsys.readouterr().out
    for table in ("table1", "sparsity", "runs", "changes", "thresholds", "horizons", "comparisons"):
        rows = json.loads((out / f"{table}.json").read_text())
        assert list(csv.DictReader((out / f"{table}.csv").read_text().splitlines())) == [
            {name: "" if value is None else str(value) for name, value in row.items()} for row in rows
        ]
    (row,) = json.loads((out / "table1.json").read_text())
    names = ["task", "policy", "dynamics", "rows", "ds", "da"]
    names += ["zeros_J_s", "zeros_J_a", "paper_zeros_J_s", "paper_zeros_J_a"]
    assert list(row)[: len(names)] == names
    assert (row["task"], row["rows"], row["ds"], row["paper_zeros_J_s"]) == ("Pendulums", 220, 6, None)
    for name in ("zero_share", "embedding", "sparsity_over_time"):
        assert (out / "noise" / "Pendulums" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (out / "noise" / "Pendulums" / f"{name}.svg").read_bytes()
        assert (out / "noise" / "Pendulums" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert (out / "noise" / "run_durations.svg").exists()
    links = [link for link in re.findall(r"\]\(([^)]+)", (out / "README.md").read_text()) if "docs" not in link]
    assert len(links) == 7 + 3
    assert all((out / link).is_file() for link in links)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main([*words, "--format", "png"]) == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
