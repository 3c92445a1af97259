"""Runs of the benchmark: causes without effect in its table, and every learner with its network kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("equinox")

from dynamic_sparsity import cli
from dynamic_sparsity.learners import get_budget
from dynamic_sparsity.learners.leaderboard.benchmark_pages import benchmark_page
from dynamic_sparsity.learners.leaderboard.benchmark_rows import benchmark_rows
from dynamic_sparsity.learners.networks.training import NetworkLearner
from dynamic_sparsity.learners.registry import all_learners, make_learner
from dynamic_sparsity.learners.runs.campaign import train_learners
from dynamic_sparsity.schemas.naming import parse_store_path
from dynamic_sparsity.testing import make_store

TASK = "Pendulums"


class Kept:
    """The progress of a run: its results."""

    def __init__(self):
        self.results = []

    def on_result(self, task, learner, result):
        self.results.append(result)

    def on_steps(self, steps):
        pass

    def on_started(self, task, learner):
        pass

    on_skipped = on_finished = on_started


@pytest.mark.slow
def test_causes_without_effect_are_in_the_table(root, tmp_path):
    """Ridge knows of no state in which a cause has none; who predicts no change reacts to nothing."""
    store, progress = parse_store_path(root / TASK / "noise.zarr"), Kept()
    learners = [make_learner("hold"), make_learner("ridge")]
    given = ([store], learners, get_budget("smoke"), [0], tmp_path, progress)
    train_learners(*given, simulate=lambda state, action: state.astype(np.float64))
    hold, ridge = (result["result"]["irrelevance"] for result in progress.results)
    assert hold["rms"] == 0 and hold["entries"] > 0
    assert ridge["rms"] > 0
    rows = benchmark_rows(progress.results)
    assert {row.irrelevance for row in rows if row.learner == "hold"} == {0}
    assert "Reaction to causes" in benchmark_page(rows, "transitions")
    progress.results.clear()
    train_learners(*given, again=True)
    assert "Reaction to causes" not in benchmark_page(benchmark_rows(progress.results), "transitions")


def untrained(root: Path) -> list[str]:
    return ["train-learner", TASK, "--learner", "mlp", "--loss", "untrained", "--seeds", "0", "--root", str(root)]


@pytest.mark.slow
def test_networks_are_kept_also_where_results_are(root, tmp_path, capsys):
    command = [*untrained(root), "--protocol", "smoke", "--out", str(tmp_path / "results")]
    assert cli.main(command) == 0
    assert cli.main([*command, "--models", str(tmp_path / "models")]) == 0
    assert (tmp_path / "models" / "smoke" / TASK / "noise" / "mlp-untrained-0.npz").exists()
    capsys.readouterr()
    assert cli.main([*command, "--models", str(tmp_path / "models")]) == 0
    assert "exist already" in capsys.readouterr().out


@pytest.mark.slow
def test_saved_networks_are_judged_under_their_protocol_and_threshold(tmp_path, capsys):
    """What was chosen on the data of the training is not chosen again on other data."""
    root = tmp_path / "data"
    for policy, seed in (("noise", 0), ("expert", 1)):
        make_store(root / TASK / f"{policy}.zarr", episodes=20, policy=policy, seed=seed)
    models = tmp_path / "models"
    command = [*untrained(root), "--protocol", "smoke", "--out", str(tmp_path / "results"), "--models", str(models)]
    assert cli.main([*command, "--test-policy", "expert"]) == 0
    (file,) = models.rglob("*.npz")
    evaluate = ["evaluate", TASK, str(file), "--root", str(root), "--policy", "expert"]
    assert cli.main([*evaluate, "--out", str(tmp_path / "again")]) == 0
    assert "trained on other data" in capsys.readouterr().out
    (here,), (there,) = (
        list((tmp_path / name).rglob("mlp-untrained-0-on-expert.json")) for name in ("results", "again")
    )
    first, second = (json.loads(path.read_text()) for path in (here, there))
    assert first["result"] == second["result"] and first["protocol"] == second["protocol"]
    assert cli.main([*evaluate, "--protocol", "mini"]) == 1
    assert "leave --protocol out" in capsys.readouterr().err.replace("\n", " ")
    shutil.rmtree(root / TASK / "noise.zarr")
    assert cli.main(evaluate) == 0
    assert "the threshold is chosen on the data judged on" in capsys.readouterr().out.replace("\n", " ")
    assert cli.main([*evaluate, "--out", str(tmp_path / "other")]) == 1
    assert not (tmp_path / "other").exists()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_all_learners_with_their_networks(root, tmp_path):
    command = ["train-learner", TASK, "--learner", "all", "--protocol", "smoke", "--seeds", "0", "--root", str(root)]
    assert cli.main([*command, "--out", str(tmp_path / "results"), "--models", str(tmp_path / "models")]) == 0
    learners = all_learners()
    assert len(list((tmp_path / "results").rglob("*.json"))) == len(learners)
    kept = {path.name for path in (tmp_path / "models").rglob("*.npz")}
    networks = [one for one in learners if isinstance(one, NetworkLearner)]
    assert kept >= {f"{one.name}-{one.loss}-0.npz" for one in networks if one.name != "oracle"}
