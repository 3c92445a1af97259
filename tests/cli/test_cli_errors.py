"""Wrong values of every option: a clear error before any work begins, nothing left behind, never our own fault."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dynamic_sparsity import cli
from dynamic_sparsity.errors import InvalidSettingError, UnknownNameError
from dynamic_sparsity.learners.runs.own_function import function_at
from dynamic_sparsity.testing import make_store

HUGE = "100000000000000000000000"
LONG = "9" * 5000
ENTRIES = str(Path(__file__).parents[2] / "results" / "leaderboard.csv")
STORE = "data/Pendulums/noise.zarr"
LEARN = ["train-learner", "Pendulums", "--protocol", "smoke", "--learner", "hold"]
EVALUATE = ["evaluate", "Pendulums", "--protocol", "smoke"]
FUNCTIONS = """
def fails(data, budget, seed): raise KeyError("theirs")
def leaves(data, budget, seed): raise SystemExit(0)
def number(data, budget, seed): return 3
class Model:
    def predict(self, state, action): raise ZeroDivisionError("theirs")
def model(data, budget, seed): return Model()
lambdas = lambda data, budget, seed: Model()
three = 3
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make_store(root / STORE)
    (root / "file").write_text("x")
    (root / "folder.md").mkdir()
    (root / "bad.csv").write_text("a,b\n1,2\n")
    (root / "bytes").write_bytes(b"\xff\xfe\x00")
    (root / "long.csv").write_text("a\n" + "x" * 200_000)
    (root / "own.py").write_text(FUNCTIONS)
    (root / "raises.py").write_text("raise RuntimeError('theirs')\n")
    (root / "leaves.py").write_text("import sys; sys.exit(0)\n")
    (root / "syntax.py").write_text("def fit(:\n")
    (root / "bytes.py").write_bytes(b"\xff\xfe\x00")
    (root / "imports.py").write_text("import no_such_package_of_mine\n")
    return root


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path / "here"


WRONG = [
    *(
        (["generate", "CheetahRun", "--out", "new", option, value], words)
        for option, value, words in (
            ("--batch", HUGE, "batch is 1"),
            ("--batch", "0", "batch is 0"),
            ("--episodes", HUGE, "too many"),
            ("--episode-length", HUGE, "too many"),
            ("--seed", HUGE, "below 2**63"),
            ("--seed", "-1", "seed is -1"),
            ("--workers", HUGE, "at most"),
            ("--workers", "0", "at least 1"),
            ("--shard-count", HUGE, "at most"),
            ("--shard-index", HUGE, "from 0 to 0"),
            ("--noise-beta", "nan", "noise_beta is nan"),
            ("--noise-beta", "1e400", "noise_beta is inf"),
            ("--executor", "slurm", "local, ray"),
            ("--policy", "../nowhere", "policy is"),
            ("--policy", "file", "policy is"),
            ("--out", "file", "not a folder"),
            ("--out", "file/below", "not a folder"),
        )
    ),
    (["list", "--root", "NOWHERE"], "does not exist"),
    (["list", "--root", "file"], "is not a folder"),
    (["finalize", "NOWHERE/x"], "no store"),
    (["finalize", "NOWHERE/CheetahRun/noise.zarr"], "no store"),
    (["finalize", STORE, "NOWHERE/CheetahRun/noise.zarr"], "no store"),
    (["finalize", "data"], "no store"),
    (["status", "NOWHERE/x"], "no store"),
    (["info", "file"], "no store"),
    (["verify", "NOWHERE"], "no store"),
    (["train", "CheetahRun", "--out", "file"], "not a folder"),
    (["train", "CheetahRun", "--out", "file/below"], "not a folder"),
    (["train", "CheetahRun", "--out", "new", "--seed", HUGE], "--seed is 1"),
    (["train", "CheetahRun", "--out", "new", "--seed", "-1"], "--seed is -1"),
    (["train", "CheetahRun", "--out", "new", "--steps", HUGE], "--steps is 1"),
    (["train", "CheetahRun", "--out", "new", "--steps", "0"], "--steps is 0"),
    (["train", "Cheetah"], "CheetahRun"),
    (["publish", "NOWHERE", "--repo", "org/name"], "no folder NOWHERE"),
    (["publish", "file", "--repo", "org/name", "--dry-run"], "no folder file"),
    (["publish", "data", "--repo", "name"], "ORG/NAME"),
    (["publish", "data", "--repo", "org/name", "--tag", "v٣.0.0"], "three numbers"),
    (["publish", "data", "--repo", "org/name", "--tag", f"v1.0.{LONG}"], "three numbers"),
    (["download", "CheetahRun"], "--repo"),
    (["download", "CheetahRun", "--repo", "name"], "ORG/NAME"),
    (["download", "CheetahRun", "--repo", "org/name@"], "without a revision"),
    (["download", "CheetahRun", "--repo", "org/name", "--split", "all"], "split is 'all'"),
    (["download", "CheetahRun", "--repo", "org/name", "--dynamics", "exact"], "dynamics is 'exact'"),
    (["download", "../x", "--repo", "org/name"], "task is '../x'"),
    (["download", "CheetahRun", "--repo", "org/name", "--policy", "../x"], "policy is '../x'"),
    (["regenerate", "org/name", "CheetahRun", "--check", "-1"], "--check is -1"),
    (["regenerate", "org/name", "CheetahRun", "--seed", "-1"], "--seed is -1"),
    (["regenerate", "org/name", "CheetahRun", "--out", "file"], "not a folder"),
    (["regenerate", "org/name", "../x"], "task is '../x'"),
    (["analyze", STORE, "--out", "file"], "not a folder"),
    (["analyze", STORE, "--format", "gif"], "'gif'"),
    (["analyze", "NOWHERE"], "no store's path"),
    (["report", "NOWHERE"], "does not exist"),
    (["report", "data", "--out", "file"], "not a folder"),
    (["report", "data", "--results", "file", "--out", "new"], "--results is 'file'"),
    ([*LEARN, "--out", "file"], "not a folder"),
    ([*LEARN, "--out", "new", "--models", "file"], "--models is 'file'"),
    ([*LEARN, "--out", "new", "--seeds", "٣"], "seeds are"),
    ([*LEARN, "--out", "new", "--seeds", LONG], "seeds are"),
    ([*LEARN, "--out", "new", "--seeds", HUGE], "seeds are"),
    ([*LEARN, "--out", "new", "--seeds", "0,-1"], "seeds are"),
    ([*LEARN, "--out", "new", "--seeds", "0,,1"], "seeds are"),
    ([*LEARN, "--out", "new", "--learner", "x"], "no learner 'x'"),
    (["train-learner", "Pendulums", "--out", "new", "--weight", "nan"], "weight is nan"),
    (["train-learner", "Pendulums", "--out", "new", "--weight", "1e400"], "weight is inf"),
    ([*LEARN[:2], "Elsewhere", *LEARN[2:], "--out", "new"], "Elsewhere"),
    ([*EVALUATE, "no_such_module:fit"], "no module 'no_such_module'"),
    ([*EVALUATE, "os.nowhere:fit"], "no module 'os.nowhere'"),
    ([*EVALUATE, "..:fit"], "no name of a module"),
    ([*EVALUATE, "a b:fit"], "no name of a module"),
    ([*EVALUATE, "os:nothing"], "no function 'nothing'"),
    ([*EVALUATE, "own.py:three"], "no function 'three'"),
    ([*EVALUATE, "NOWHERE.py:fit"], "no file NOWHERE.py"),
    ([*EVALUATE, "raises.py:fit"], "importing raises.py failed with RuntimeError: theirs"),
    ([*EVALUATE, "leaves.py:fit"], "importing leaves.py failed with SystemExit"),
    ([*EVALUATE, "syntax.py:fit"], "importing syntax.py failed with SyntaxError"),
    ([*EVALUATE, "bytes.py:fit"], "importing bytes.py failed with"),
    ([*EVALUATE, "imports.py:fit"], "importing imports.py failed with ModuleNotFoundError"),
    ([*EVALUATE, "own.py:fails"], "own.py:fails failed with KeyError: 'theirs'"),
    ([*EVALUATE, "own.py:leaves"], "own.py:leaves failed with SystemExit"),
    ([*EVALUATE, "own.py:number"], "returned int, which is no model"),
    ([*EVALUATE, "own.py:model"], "evaluating own.py:model failed with ZeroDivisionError: theirs"),
    ([*EVALUATE, "own.py:lambdas"], "--name"),
    ([*EVALUATE, "own.py:model", "--name", "../x", "--out", "new"], "the learner's name is '../x'"),
    ([*EVALUATE, "own.py:model", "--seeds", "x"], "seeds are 'x'"),
    ([*EVALUATE, "own.py:model", "--supervision", "x"], "supervision is 'x'"),
    ([*EVALUATE, "own.py:model", "--out", "file"], "not a folder"),
    ([*EVALUATE, "own"], "is no model"),
    ([*EVALUATE, "NOWHERE.npz"], "NOWHERE.npz"),
    (["leaderboard", "NOWHERE"], "no results"),
    (["leaderboard", "bad.csv"], "line 2"),
    (["leaderboard", "long.csv"], "long.csv"),
    (["leaderboard", "bytes"], "can't be read"),
    (["leaderboard", ENTRIES, "--out", "folder.md"], "which is a folder"),
    (["leaderboard", ENTRIES, "--out", "file/x.md"], "not a folder"),
    (["leaderboard", ENTRIES, "--out", "new.md", "--csv", "folder.md"], "--csv is 'folder.md'"),
    (["leaderboard", ENTRIES, "--out", "new.md", "--figure", "new.xyz"], ".png or .svg or .pdf"),
    (["leaderboard", ENTRIES, "--out", "new.md", "--figure", "new"], ".png or .svg or .pdf"),
]


TRAINING = ("train-learner", "evaluate")
"""Commands whose settings are those of learners: to check them imports a simulator."""
CASES = [pytest.param(*case, marks=[pytest.mark.slow] if case[0][0] in TRAINING else []) for case in WRONG]


@pytest.mark.fast_sample(16)
@pytest.mark.parametrize(("words", "expected"), CASES, ids=lambda value: " ".join(value)[:60] if value else "")
def test_wrong_values(words: list[str], expected: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*") if "__pycache__" not in path.parts}
    assert cli.main(words) == 1
    error = capsys.readouterr().err
    assert expected in error.replace("\n", " ")
    for bad in ("Traceback", "not expected", "report it", "Finished work"):
        assert bad not in error
    assert len(error) < 1000
    after = {path: path.stat().st_mtime_ns for path in here.rglob("*") if "__pycache__" not in path.parts}
    assert after == before


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "CheetahRun", "--batch", "1e23"],
        ["generate", "CheetahRun", "--seed", LONG],
        ["verify", STORE, "--sample", "0"],
        ["verify", STORE, "--sample", HUGE],
        ["verify", STORE, "--seed", HUGE],
        ["analyze", STORE, "--seed", HUGE],
        ["analyze", STORE, "--map-rows", HUGE],
        ["report", "data", "--frames", HUGE],
        ["report", "data", "--map-rows", "-1"],
        ["publish", "data"],
    ],
    ids=lambda words: " ".join(words)[:60],
)
def test_misused(words: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(here.rglob("*"))
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert "Usage: dynamic-sparsity" in error and "--help` shows the options" in error and "Error:" in error
    assert sorted(here.rglob("*")) == before


def test_a_module_that_failed_is_not_kept(here: Path) -> None:
    for _ in range(2):
        with pytest.raises(InvalidSettingError, match="RuntimeError: theirs"):
            function_at("raises.py:fit")
    with pytest.raises(UnknownNameError, match="no function"):
        function_at("own.py:three")


def test_not_writable(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # whoever runs the tests may write everywhere
    assert cli.main(["generate", "CheetahRun", "--out", "new"]) == 1
    assert "can't be written to" in capsys.readouterr().err
