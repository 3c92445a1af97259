"""The benchmark's files: rows and pages come back, nothing of others is replaced, entries are checked."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dynamic_sparsity import cli
from dynamic_sparsity.errors import CorruptResultError, InvalidSettingError
from dynamic_sparsity.learners import get_budget
from dynamic_sparsity.learners.leaderboard.benchmark_pages import benchmark_page, tracks_of
from dynamic_sparsity.learners.leaderboard.benchmark_rows import benchmark_rows, read_benchmark_csv, to_benchmark_csv
from dynamic_sparsity.learners.leaderboard.entries import read_entries
from dynamic_sparsity.learners.leaderboard.entry_check import check_entry
from dynamic_sparsity.learners.leaderboard.spreads import Spread, interquartile_mean, over_tasks, spread_of
from dynamic_sparsity.learners.leaderboard.writing import read_benchmark_rows, write_benchmark
from dynamic_sparsity.learners.references.baselines import Ridge
from dynamic_sparsity.learners.references.graphs import ReferenceGraph
from dynamic_sparsity.learners.runs.results import is_kept, read_results, write_result
from dynamic_sparsity.learners.runs.run_learner import Benchmark, run_learner
from dynamic_sparsity.testing import make_store

TASK = "Pendulums"
COLUMNS = (
    "dynamics,policy,test_policy,learner,track,seed,truth,local_graph_skill,when_skill,clusters,beyond_contact,"
    "gap_closed,jacobian_error,nmse"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_store(folder / TASK / "noise.zarr", episodes=20)
    make_store(folder / TASK / "expert.zarr", episodes=20, policy="expert")
    return folder


@pytest.fixture(scope="module")
def results(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    noise, expert = (
        Benchmark.read(root / TASK / f"{policy}.zarr", get_budget("smoke")) for policy in ("noise", "expert")
    )
    for learner in (Ridge(), ReferenceGraph("majority", "majority"), ReferenceGraph("true", "active-set-lookup")):
        for result in run_learner(noise, learner, [0, 1], others=[expert]):
            write_result(folder, result)
    return folder


@pytest.mark.slow
def test_policies_and_protocol_are_in_the_names(results: Path) -> None:
    names = {path.relative_to(results).as_posix() for path in results.rglob("ridge*.json")}
    here = f"smoke/{TASK}/noise"
    assert names == {f"{here}/ridge-none-{seed}{other}.json" for seed in (0, 1) for other in ("", "-on-expert")}


@pytest.mark.slow
def test_rows_come_back(results: Path, tmp_path: Path) -> None:
    rows = benchmark_rows(read_results(results))
    assert len(rows) == 3 * 2 * 2 * 3
    assert {(row.learner, row.track) for row in rows} == {
        ("ridge", "transitions"),
        ("majority", "reference"),
        ("active-set-lookup", "reference"),
    }
    assert {(row.policy, row.test_policy) for row in rows} == {("noise", "noise"), ("noise", "expert")}
    path = tmp_path / "benchmark.csv"
    path.write_text(to_benchmark_csv(rows))
    assert path.read_text().startswith(COLUMNS)
    assert to_benchmark_csv(read_benchmark_csv(path)) == path.read_text()
    for wrong in ("nan", "1e999", "x"):
        path.write_text(to_benchmark_csv(rows).replace(",T0,", f",T0,{wrong}", 1))
        with pytest.raises(CorruptResultError, match="line 2"):
            read_benchmark_csv(path)


@pytest.mark.slow
def test_references_stand_on_every_page(results: Path) -> None:
    rows = benchmark_rows(read_results(results))
    assert tracks_of(rows) == ["transitions"]
    page = benchmark_page(rows, "transitions")
    for word in (
        "majority (reference)",
        "active-set-lookup (reference)",
        "| ridge",
        TASK,
        "judged on expert",
        rows[0].test_sha256[:12],
    ):
        assert word in page, word


def test_files_of_others_are_left_alone(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "mine" / "LEADERBOARD.md"
    page.parent.mkdir()
    page.write_text("of somebody else")
    words = ["leaderboard", str(results), "--out", str(page)]
    assert cli.main(words) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert page.read_text() == "of somebody else"
    assert cli.main([*words, "--overwrite"]) == 0
    made = page.read_text()
    assert cli.main(words) == 0
    assert page.read_text() == made != "of somebody else"
    assert (page.parent / "benchmark" / "benchmark.csv").read_text().startswith(COLUMNS)
    table = tmp_path / "other" / "benchmark.csv"
    table.parent.mkdir()
    table.write_text("x")
    with pytest.raises(InvalidSettingError, match="was not made here"):
        write_benchmark(read_benchmark_rows(results), table.parent)


def test_rows_of_an_earlier_table_stay(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_benchmark(read_benchmark_rows(results), tmp_path / "now")
    rows = read_benchmark_csv(tmp_path / "now" / "benchmark.csv")
    other, old = replace(rows[0], learner="other", seed=7), replace(rows[0], seed=rows[0].seed, nmse=123.0)
    (tmp_path / "earlier.csv").write_text(to_benchmark_csv([other, old]))
    words = [
        "leaderboard",
        str(results),
        "--out",
        str(tmp_path / "page.md"),
        "--earlier",
        str(tmp_path / "earlier.csv"),
    ]
    assert cli.main(words) == 0
    kept = read_benchmark_csv(tmp_path / "benchmark" / "benchmark.csv")
    assert sorted(kept, key=repr) == sorted([*rows, other], key=repr)
    moved = replace(other, test_policy=other.policy, train_sha256="0" * 64, test_sha256="0" * 64)
    (tmp_path / "earlier.csv").write_text(to_benchmark_csv([moved]))
    assert cli.main(words) == 1
    assert "can't be compared" in " ".join(capsys.readouterr().err.split())
    assert read_benchmark_csv(tmp_path / "benchmark" / "benchmark.csv") == kept


def test_analyze_leaves_folders_of_others_alone(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text("of somebody else")
    store = str(root / TASK / "noise.zarr")
    assert cli.main(["analyze", store, "--out", str(tmp_path), "--no-frames"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_entries_are_checked(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(results.rglob("ridge-none-0.json"))
    document, wrong, known = check_entry(path)
    assert wrong == []
    assert any("episodes were judged" in line for line in known)
    assert cli.main(["check-entry", str(path)]) == 0
    assert "can be entered" in capsys.readouterr().out
    other = tmp_path / path.name
    document["result"]["truths"]["T0"]["misses"] = 1.5
    other.write_text(json.dumps(document))
    assert cli.main(["check-entry", str(other)]) == 1
    assert "misses at T0 is 1.5" in capsys.readouterr().err.replace("\n", " ")
    document["result"]["truths"]["T0"]["misses"] = "much"
    other.write_text(json.dumps(document))
    with pytest.raises(CorruptResultError, match=r"truths\.T0\.misses"):
        check_entry(other)
    del document["result"]["truths"]
    other.write_text(json.dumps(document))
    assert "no local graphs" in " ".join(check_entry(other)[1])


def test_a_model_trained_elsewhere_can_be_entered(root: Path, tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text("class Mine:\n    predict = lambda self, s, a: s\n\ndef load():\n    return Mine()\n")
    words = ["evaluate", TASK, f"{code}:load", "--root", str(root), "--protocol", "smoke", "--name", "mine"]
    assert cli.main([*words, "--out", str(tmp_path / "out"), "--test-policy", "expert"]) == 0
    folder = tmp_path / "out" / "smoke" / TASK / "noise"
    assert {path.name for path in folder.iterdir()} == {"mine-none-0.json", "mine-none-0-on-expert.json"}
    assert any("trained elsewhere" in line for line in check_entry(folder / "mine-none-0.json")[2])


def test_a_missing_framework_gets_a_hint(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text("raise ModuleNotFoundError('no', name='torch')\n")
    assert cli.main(["evaluate", TASK, f"{tmp_path / 'mine.py'}:fit", "--root", str(root)]) == 1
    assert "pip install 'dynamic-sparsity[torch]'" in capsys.readouterr().err.replace("\n", " ")


def test_intervals_over_seeds_and_episodes() -> None:
    """Half widths add in squares: 0.3 over episodes, and Student's t times the deviation over seeds by √3."""
    one, three = spread_of([1.0], [0.7], [1.4]), spread_of([0.9, 1.0, 1.1], [0.7] * 3, [1.3] * 3)
    assert one == Spread(1.0, None, pytest.approx(0.7), pytest.approx(1.4), 1)
    assert three is not None and three.low is not None
    assert 1 - three.low == pytest.approx(np.hypot(0.3, 4.30 * 0.1 / 3**0.5))
    assert one.text() == "1 [0.7, 1.4]" and three.text().startswith("1 ± 0.1 [")
    assert spread_of([]) is None and over_tasks([]) is None
    assert over_tasks([one] * 3) == Spread(1.0, None, None, None, 3)
    four = over_tasks([Spread(mean, None, mean, mean, 1) for mean in (0.0, 1.0, 2.0, 9.0)])
    assert four is not None and four.low is not None and four.high is not None
    assert four.mean == 1.5 and 0 <= four.low < 1.5 < four.high <= 9


@pytest.mark.slow
def test_a_learner_judged_elsewhere_is_no_entry_of_that_data(results: Path, tmp_path: Path) -> None:
    assert {entry.policy for entry in read_entries(results)} == {"noise"}
    page = tmp_path / "LEADERBOARD.md"
    assert cli.main(["leaderboard", str(results), "--out", str(page)]) == 0
    text = page.read_text()
    assert "Taught with transitions: [tables by task](benchmark/transitions.md)" in text
    assert "| majority (reference) | 1 |" in text and "skill, judged on expert" in text
    again = tmp_path / "again" / "LEADERBOARD.md"
    assert cli.main(["leaderboard", str(results), "--out", str(again), "--csv", str(tmp_path / "one.csv")]) == 0
    (tmp_path / "one.csv").rename(tmp_path / "benchmark" / "leaderboard.csv")
    assert cli.main(["leaderboard", str(tmp_path / "benchmark" / "leaderboard.csv"), "--out", str(page)]) == 0
    assert page.read_text() == text


def test_results_of_other_data_or_settings_are_not_lost(results: Path, tmp_path: Path) -> None:
    document = json.loads(next(results.rglob("ridge-none-0.json")).read_text())
    path = write_result(tmp_path, document)
    assert is_kept(tmp_path, document)
    other = copy.deepcopy(document)
    other["result"]["data"]["settings_sha256"] = other["trained_on"]["settings_sha256"] = "0" * 64
    other["threshold_from"] = "0" * 64
    for changed in (other, {**document, "settings": {"price": 3}}):
        with pytest.raises(InvalidSettingError, match="--again"):
            write_result(tmp_path, changed, again=False)
    assert json.loads(path.read_text()) == document
    write_result(tmp_path, other)
    assert json.loads(path.read_text()) == other
    with pytest.raises(InvalidSettingError, match="chosen on the data judged on"):
        write_result(tmp_path, {**document, "threshold_from": "1" * 64})


def test_the_middle_half() -> None:
    assert interquartile_mean([1, 2, 3, 100]) == 2.5
    assert interquartile_mean([1, 4]) == 2.5


def test_committed_pages_are_those_of_their_table():
    folder = Path(__file__).parents[2] / "results"
    rows = read_benchmark_csv(folder / "benchmark.csv")
    for track in tracks_of(rows):
        assert (folder / f"{track}.md").read_text() == benchmark_page(rows, track), track
