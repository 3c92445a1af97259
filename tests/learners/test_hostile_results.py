"""Policies, results, models and leaderboards of strangers: our errors, nothing outside, nothing half-done."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hostile_results import NAMES, OUTSIDE, changed, hostile_results
from hostile_runs import in_child

from dynamic_sparsity import cli
from dynamic_sparsity.analysis.files import analyze, study_file
from dynamic_sparsity.analysis.study import load_or_study
from dynamic_sparsity.errors import CorruptInputError, CorruptResultError, InvalidSettingError
from dynamic_sparsity.learners.budgets import get_budget
from dynamic_sparsity.learners.leaderboard.entries import read_entries
from dynamic_sparsity.learners.runs.results import read_results, result_document, write_result
from dynamic_sparsity.policies.files import FOLDER
from dynamic_sparsity.storage.atomic import check_output_folder
from dynamic_sparsity.testing import make_store

TASK = "Pendulums"

RUN = """
import itertools, json, sys
from pathlib import Path
import numpy as np
import hostile_results
from hostile_runs import run_cases

folder, kind = Path(sys.argv[1]), sys.argv[2]
good = (folder / kind).read_bytes()

def policies():
    from dynamic_sparsity.policies import load_policy
    record = json.loads((folder / "record").read_bytes())
    (folder / "good.safetensors").write_bytes(good)
    expected = load_policy(folder / "good.safetensors")
    def judge(path):
        found = load_policy(path)
        # Without a record beside it, a policy may call its task what it likes.
        same = found.task in (expected.task, "print") and np.array_equal(found.mean, expected.mean)
        return same and all(
            one.dtype == np.float32 and np.array_equal(one, other)
            for layer, known in zip(found.layers, expected.layers, strict=True)
            for one, other in zip(layer, known, strict=True)
        )
    return hostile_results.hostile_policies(good, record), "x.safetensors", judge

def results():
    from dynamic_sparsity.learners.leaderboard.entries import read_entries
    from dynamic_sparsity.untrusted.names import is_name
    def judge(path):
        for entry in read_entries(path.parent):
            assert all(map(is_name, (entry.task, entry.policy, entry.learner, entry.loss, entry.protocol)))
        return True
    return hostile_results.hostile_results(json.loads(good)), "x.json", judge

def leaderboards():
    from dynamic_sparsity.learners.leaderboard.entries import read_entries
    from dynamic_sparsity.learners.leaderboard.page import leaderboard_page
    def judge(path):
        page = leaderboard_page(read_entries(path), None)
        return all(one not in page for one in ("<script", "../..", "\\x1b"))
    return hostile_results.hostile_leaderboards(good.decode()), "x.csv", judge

def models():
    from dynamic_sparsity.learners.runs.saved_networks import load_model
    from dynamic_sparsity.learners.runs.results import result_path
    load_model(folder / kind)
    state = np.zeros((3, 4), np.float32)
    def judge(path):
        saved = load_model(path)
        data = {"task": "T", "policy": "p"}
        names = {"learner": saved.learner.name, "loss": saved.learner.loss, "seed": saved.seed}
        result_path(folder / "out", names | {"protocol": {"name": saved.budget.name}, "result": {"data": data}})
        return saved.sizes == (4, 1) and saved.model.predict(state, state[:, :1]).shape == (3, 4)
    return hostile_results.hostile_models(good), "x.npz", judge

cases, name, judge = {"policy": policies, "result": results, "leaderboard": leaderboards, "model.npz": models}[kind]()
run_cases(itertools.islice(cases, 0, None, int(sys.argv[3])), folder, name, judge)
"""


def a_result() -> dict:
    numbers = {"auroc": 0.9, "average_precision": 0.8, "f1": 0.7, "hamming": 3.0}
    result = {
        "next_state": {"nmse": 0.1, "open_loop_nmse": [0.1, 0.2], "relative_to_hold": None},
        "jacobian": {"relative_error_median": 0.5},
        "sparsity": {"model": 0.2, "truth": 0.4, "relative": 0.5},
        "structure": {"all": numbers, "switch": numbers},
        "switching": {"edge_auroc": None},
        "calibration": {"contact_auroc": 0.6},
        "data": {"task": TASK, "policy": "noise", "dynamics": "converged", "settings_sha256": "0" * 64},
    }
    document = result_document(
        learner="mlp",
        loss="none",
        seed=0,
        supervision="transitions",
        adaptive=False,
        budget=get_budget("smoke"),
        result=result,
    )
    return json.loads(json.dumps(document))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dynamic_sparsity.learners.leaderboard.entries import entries_of, to_csv

    folder = tmp_path_factory.mktemp("results")
    (folder / "policy").write_bytes((FOLDER / "CartpoleBalance.safetensors").read_bytes())
    (folder / "record").write_bytes((FOLDER / "CartpoleBalance.json").read_bytes())
    (folder / "result").write_text(json.dumps(a_result()))
    (folder / "leaderboard").write_text(to_csv(entries_of([a_result()])))
    return folder


@pytest.mark.parametrize(("kind", "least"), [("policy", 200), ("result", 600), ("leaderboard", 300)])
@pytest.mark.slow
def test_nothing_foreign_comes_out(kind: str, least: int, folder: Path) -> None:
    outcomes = in_child(RUN, str(folder), kind, "1")
    assert set(outcomes) <= {"right", "refused"} and sum(outcomes.values()) >= least, outcomes
    assert outcomes["refused"] > 0.3 * least, outcomes


@pytest.mark.slow
def test_models_of_strangers(folder: Path, exhaustive: bool) -> None:
    jax = pytest.importorskip("jax")
    pytest.importorskip("equinox")
    from dynamic_sparsity.learners import make_learner
    from dynamic_sparsity.learners.data.rows import Scale
    from dynamic_sparsity.learners.networks.training import NetworkModel, as_float32
    from dynamic_sparsity.learners.runs.saved_networks import save_model

    learner, budget = make_learner("gated", "l0"), get_budget("smoke")
    ones = [np.ones(5, np.float32)] * 2 + [np.ones(4, np.float32)] * 3
    scale = Scale(*ones)
    network = as_float32(learner.network((4, 1), scale, budget, jax.random.key(0)))  # type: ignore[attr-defined]
    model = NetworkModel(network, scale, np.ones((4, 5), np.float32))
    save_model(folder / "model.npz", model, learner, (4, 1), budget, 0)
    part = 1 if exhaustive else 4
    outcomes = in_child(RUN, str(folder), "model.npz", str(part))
    assert set(outcomes) <= {"right", "refused"} and sum(outcomes.values()) >= 300 // part, outcomes
    assert outcomes["refused"] > 200 // part, outcomes


def test_an_incomplete_result_is_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = write_result(tmp_path / "results", a_result())
    for name, text in (("cut", json.dumps(a_result())[:400]), ("short", json.dumps({"format": a_result()["format"]}))):
        kept.with_name(f"{name}.json").write_text(text)
    with pytest.raises(CorruptResultError, match=r"cut\.json"):
        read_results(tmp_path / "results")
    told: list[CorruptResultError] = []
    assert len(read_entries(tmp_path / "results", told.append)) == 1 and len(told) == 2
    assert cli.main(["leaderboard", str(tmp_path / "results"), "--out", str(tmp_path / "page.md")]) == 0
    assert TASK in (tmp_path / "page.md").read_text()
    complaints = capsys.readouterr().err
    assert "cut.json" in complaints and "short.json" in complaints
    kept.unlink()
    with pytest.raises(InvalidSettingError, match="no results"):
        read_entries(tmp_path / "results", told.append)


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.slow
def test_no_result_is_written_outside(name: str, tmp_path: Path) -> None:
    root = tmp_path / "deep" / "results"
    for keys in NAMES:
        with pytest.raises(CorruptResultError):
            write_result(root, changed(a_result(), keys, name))
    with pytest.raises(CorruptResultError):
        write_result(root, a_result() | {"seed": name})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_links_do_not_lead_outside(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results" / "smoke").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptResultError, match="link"):
        write_result(tmp_path / "results", a_result())
    (tmp_path / "results" / "noise").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptInputError, match="link"):
        study_file(tmp_path / "results", tmp_path / TASK / "noise.zarr")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("lie", [{"task": "Cheetahs"}, {"policy": "other"}, {"policy": "x/../../../escaped"}])
def test_stores_do_not_decide_where_results_go(lie: dict[str, str], tmp_path: Path) -> None:
    """A store's own name is not that of its folder."""
    pytest.importorskip("matplotlib")
    from dynamic_sparsity.errors import DynamicSparsityError

    try:
        store = make_store(tmp_path / "data" / TASK / "noise.zarr", **lie)
    except DynamicSparsityError:
        return  # The writer refuses such a name.
    before = set(tmp_path.rglob("*"))
    with pytest.raises(CorruptInputError):
        analyze([store], tmp_path / "out", formats=["png"])
    words = ["train-learner", TASK, "--learner", "hold", "--protocol", "smoke", "--seeds", "0"]
    cli.main([*words, "--root", str(tmp_path / "data"), "--out", str(tmp_path / "learned")])
    made = set(tmp_path.rglob("*")) - before
    inside = [
        path for path in made if path.is_relative_to(tmp_path / "out") or path.is_relative_to(tmp_path / "learned")
    ]
    assert len(inside) == len(made), made


def test_kept_studies_of_no_use_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr("dynamic_sparsity.analysis.study.study_store", lambda *args: made.append(args))
    store = make_store(tmp_path / TASK / "noise.zarr")
    kept = tmp_path / "study.json"
    for number, (_, make) in enumerate(hostile_results({"a": {"b": 1}}), 1):
        if number > 16:
            break
        if kept.is_dir() and not kept.is_symlink():
            kept.rmdir()
        kept.unlink(missing_ok=True)
        make(kept)
        load_or_study(store, kept)
        assert len(made) == number


@pytest.mark.parametrize(
    "command",
    [
        ["train", "CartpoleBalance", "--out", "{}"],
        ["train-learner", TASK, "--out", "{}"],
        ["train-learner", TASK, "--models", "{}/below"],
        ["analyze", "x/Pendulums/noise.zarr", "--out", "{}"],
    ],
)
def test_a_file_is_no_folder(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said before anything is loaded, compiled or read."""
    file = tmp_path / "file"
    file.write_bytes(b"x")
    assert cli.main([word.format(file) for word in command]) == 1
    assert "is not a folder" in capsys.readouterr().err
    assert file.read_bytes() == b"x"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_locked_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(InvalidSettingError, match="can't be written to"):
        check_output_folder(tmp_path / "out")
    tmp_path.chmod(0o755)
