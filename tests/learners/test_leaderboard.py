"""Results that the command line leaves, and the leaderboard, verdicts and findings that are made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dynamic_sparsity import cli
from dynamic_sparsity.errors import CorruptResultError, InvalidSettingError
from dynamic_sparsity.learners import Benchmark, get_budget, make_learner, run_learner
from dynamic_sparsity.learners.leaderboard.benchmark_rows import read_benchmark_csv
from dynamic_sparsity.learners.leaderboard.entries import entries_of, read_csv, read_entries, to_csv
from dynamic_sparsity.learners.leaderboard.page import compare, leaderboard_page
from dynamic_sparsity.learners.leaderboard.paper_findings import paper_findings, term_findings

EXAMPLES = Path(__file__).parents[2] / "examples"
TASK = "Pendulums"
COMMITTED = ((read_entries, "leaderboard.csv"), (read_benchmark_csv, "benchmark.csv"))


@pytest.fixture(scope="module")
def results(root, tmp_path_factory):
    """Results of a few learners, and of the example of one's own model in JAX, by the command line."""
    out = tmp_path_factory.mktemp("results")
    common = ["--root", str(root), "--protocol", "smoke", "--out", str(out)]
    words = ["train-learner", TASK, *common, "--seeds", "0,1"]
    assert cli.main([*words, "--learner", "mlp", "--models", str(out.parent / "models")]) == 0
    assert cli.main([*words, "--learner", "mlp", "--loss", "untrained"]) == 0
    assert cli.main([*words, "--learner", "gated", "--learner", "hold"]) == 0
    example = f"{EXAMPLES / 'own_model_jax.py'}:fit"
    assert cli.main(["evaluate", TASK, example, *common, "--name", "mine", "--seeds", "0,1"]) == 0
    return out


@pytest.fixture(scope="module")
def mlp_none(root):
    """An entry of the leaderboard; its numbers are those of a learner that costs nothing."""
    benchmark = Benchmark.read(root / TASK / "noise.zarr", get_budget("smoke"))
    (entry,) = entries_of(run_learner(benchmark, make_learner("hold"), [0]))
    return replace(entry, learner="mlp", loss="none")


@pytest.mark.slow
def test_results_say_where_they_come_from(results):
    path = results / "smoke" / TASK / "noise" / "gated-l0-1.json"
    document = json.loads(path.read_text())
    assert document["seed"] == 1
    assert document["protocol"]["name"] == "smoke"
    assert document["settings"]["term"] == "l0"
    assert document["result"]["data"]["split"] == "test"
    assert document["result"]["data"]["threshold_chosen_on"] == "validation"
    assert len(document["result"]["data"]["settings_sha256"]) == 64


@pytest.mark.slow
def test_finished_results_are_left_alone(root, results, capsys):
    path = results / "smoke" / TASK / "noise" / "hold-none-0.json"
    before = path.stat().st_mtime_ns
    words = ["train-learner", TASK, "--learner", "hold", "--root", str(root), "--protocol", "smoke"]
    assert cli.main([*words, "--out", str(results), "--seeds", "0,1"]) == 0
    assert "exist already" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == before


@pytest.mark.slow
def test_saved_models_are_judged_alike(root, results, capsys, tmp_path):
    model = next(results.parent.glob("models/**/mlp-none-1.npz"))
    words = ["evaluate", TASK, str(model), "--root", str(root), "--protocol", "smoke", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    (path,) = tmp_path.rglob("*.json")
    trained = json.loads((results / path.relative_to(tmp_path)).read_text())
    assert json.loads(path.read_text())["result"] == trained["result"]
    assert "average_precision" in capsys.readouterr().out


@pytest.mark.slow
def test_leaderboard(results, tmp_path, capsys):
    page, table, figure = tmp_path / "LEADERBOARD.md", tmp_path / "leaderboard.csv", tmp_path / "figure.png"
    assert cli.main(["leaderboard", str(results), "--out", str(page), "--csv", str(table)]) == 0
    text = page.read_text()
    for word in ("mlp none", "mlp untrained", "gated l0", "hold", "mine", TASK, "seeds 0, 1"):
        assert word in text, word
    pytest.importorskip("matplotlib")
    assert cli.main(["leaderboard", str(table), "--out", str(page), "--figure", str(figure)]) == 0
    assert figure.read_bytes()[:4] == b"\x89PNG"
    assert "](figure.png)" in page.read_text()
    assert str(figure) in capsys.readouterr().out


@pytest.mark.slow
def test_csv_comes_back(results, tmp_path):
    entries = read_entries(results)
    path = tmp_path / "leaderboard.csv"
    path.write_text(to_csv(entries))
    assert to_csv(read_csv(path)) == path.read_text()
    path.write_text("task,seed\nPendulums,0\n")
    with pytest.raises(CorruptResultError, match="line 2"):
        read_csv(path)


def test_committed_leaderboard_is_that_of_its_results():
    root = EXAMPLES.parent
    entries, rows = (read(root / "results" / name) for read, name in COMMITTED)
    page = leaderboard_page(
        entries, "results/figure8.png", rows=rows, folder="results", definitions="docs/benchmark.md"
    )
    assert (root / "LEADERBOARD.md").read_text() == page
    assert (root / "results" / "figure8.png").exists()


def test_only_results_are_results(tmp_path):
    with pytest.raises(InvalidSettingError, match="no results below"):
        read_entries(tmp_path)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InvalidSettingError, match="no results below"):
        read_entries(tmp_path)
    for text, message in (("{", "is not JSON"), ('{"format": "dynamic-sparsity result 9"}', "result 9")):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(CorruptResultError, match=message):
            read_entries(tmp_path)


@pytest.mark.slow
def test_verdicts(mlp_none):
    """Higher precision at a worse error is no win; only what is no worse counts."""
    mlp = replace(mlp_none, average_precision=0.8, nmse=0.1)
    gated = replace(mlp_none, learner="gated", loss="l0", adaptive=1, average_precision=0.9, nmse=0.2)
    assert not compare([mlp, gated], ["transitions"])[0].won
    assert compare([mlp, replace(gated, nmse=0.1)], ["transitions"])[0].won
    assert not compare([mlp, replace(gated, nmse=0.1, average_precision=0.7)], ["transitions"])[0].won
    assert compare([mlp, replace(gated, supervision="Jacobian")], ["transitions"]) == []
    assert "1 of 1 tasks" in leaderboard_page([mlp, replace(gated, nmse=0.1)])


def test_paper_findings(mlp_none):
    """Means, counts of tasks and geometric means, on numbers that can be checked by hand."""

    def runs(loss, task, sparsities, error):
        return [
            replace(mlp_none, loss=loss, task=task, seed=seed, relative_sparsity=sparsity, nmse=error)
            for seed, sparsity in enumerate(sparsities)
        ]

    entries = runs("untrained", "A", (1e-4, 1e-4), 1.0) + runs("untrained", "B", (1e-4, 3e-4), 1.0)
    entries += runs("none", "A", (2e-4, 2e-4), 0.1) + runs("none", "B", (1.5e-4, 1.5e-4), 0.2)
    entries += runs("l1", "A", (4e-4, 4e-4), 0.4) + runs("l1", "B", (2e-4, 3e-4), 0.2)
    none, l1 = term_findings(entries)
    assert (l1.tasks, l1.above, l1.clearly_above, l1.clearly_below) == (2, 2, 1, 0)
    assert (none.above, none.clearly_above) == (1, 1)
    assert l1.sparsity == pytest.approx(3.25e-4)
    assert l1.error == pytest.approx(2)
    text = "\n".join(paper_findings(entries))
    assert "*L1 hurts it*: **holds**" in text
    assert "+100.0 %, worse on 1 of 2" in text
    assert paper_findings([entry for entry in entries if entry.loss != "untrained"]) == []
