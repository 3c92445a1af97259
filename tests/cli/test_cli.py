"""The command line: what it prints, how it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from dynamic_sparsity import __version__, cli
from dynamic_sparsity.cli.tables import byte_size
from dynamic_sparsity.testing import make_store


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dynamic_sparsity.cli", *words], capture_output=True, text=True)


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "CheetahRun" / "noise.zarr"
    return make_store(path, task="CheetahRun")


def test_version():
    assert run("--version").stdout.strip() == f"dynamic-sparsity {__version__}"


@pytest.mark.parametrize(
    "words", [[], ["list"], ["generate"], ["info"], ["verify"], ["publish"], ["download"], ["regenerate"]]
)
def test_help_teaches(words, capsys):
    assert cli.main([*words, "--help"]) == 0
    shown = capsys.readouterr()
    assert "Usage: dynamic-sparsity" in shown.out
    assert shown.err == ""


def test_help_is_wrapped_at_the_width_of_the_terminal():
    from dynamic_sparsity.cli.application import application

    for name, command in application.commands.items():
        assert command.help, name
        assert all("\n" not in paragraph for paragraph in command.help.split("\n\n")), name


def test_list_tasks(capsys):
    assert cli.main(["list"]) == 0
    output = capsys.readouterr().out
    for word in ("CheetahRun", "humanoid", "substeps", "BerkeleyHumanoidJoystickRoughTerrain"):
        assert word in output
    (cheetah,) = (line.split() for line in output.splitlines() if "CheetahRun" in line)
    assert cheetah == ["CheetahRun", "cheetah", "18", "6", "1", "0.01"], "whole at 80 columns"


def test_list_stores(store, capsys):
    assert cli.main(["list", "--root", str(store.parent.parent)]) == 0
    output = capsys.readouterr().out
    assert "CheetahRun" in output
    assert "complete" in output
    (store / "manifest.json").unlink()
    assert cli.main(["list", "--root", str(store.parent.parent)]) == 0
    assert "incomplete" in capsys.readouterr().out


def test_list_nothing(tmp_path, capsys):
    assert cli.main(["list", "--root", str(tmp_path)]) == 0
    assert "no stores" in capsys.readouterr().out


def test_info(store, capsys):
    assert cli.main(["info", str(store)]) == 0
    output = capsys.readouterr().out
    for word in ("settings", "provenance", "J_s", "bytes/row", "zero in every row"):
        assert word in output


def test_verify(store, capsys):
    assert cli.main(["verify", str(store)]) == 0
    assert "right" in capsys.readouterr().out


def test_verify_lists_what_is_wrong(store, capsys):
    shard = store / "J_s" / "c" / "0" / "0" / "0"
    damaged = bytearray(shard.read_bytes())
    damaged[100] ^= 1
    shard.write_bytes(damaged)
    assert cli.main(["verify", str(store)]) == 1
    captured = capsys.readouterr()
    assert "J_s" in captured.err
    assert "right" not in captured.out


@pytest.mark.slow
def test_folders_of_stores_stand_for_their_stores(store, capsys):
    make_store(store.with_name("other.zarr"), task="CheetahRun", policy="other")
    root = store.parent.parent
    assert cli.main(["verify", str(root), str(store)]) == 0
    shown = capsys.readouterr().out
    assert [shown.count(name) for name in ("noise.zarr", "other.zarr")] == [1, 1]


def test_json_for_programs(store, capsys):
    assert cli.main(["info", str(store), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["task"] == "CheetahRun" and 0 < shown["zero_shares"]["s"] < 1
    (store / "manifest.json").write_text("{}")
    assert cli.main(["verify", str(store), "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["store"] == str(store) and "manifest.json" in found["problems"][0]


@pytest.mark.slow
def test_verify_looks_at_every_store(store, tmp_path, capsys):
    broken = tmp_path / "broken.zarr"
    shutil.copytree(store, broken)
    (broken / "state/c/0/0").write_bytes(b"")
    assert cli.main(["verify", str(broken), str(store)]) == 1
    captured = capsys.readouterr()
    assert str(broken) in captured.err
    assert f"{store}: structure, checksums and values are right" in captured.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["generate"], ["No task", "--all"]),
        (["generate", "Cheetah"], ["no task 'Cheetah'", "CheetahRun"]),
        (["generate", "CheetahRun", "--all"], ["not both"]),
        (["generate", "CheetahRun", "--episodes", "0"], ["episodes is 0", "at least 1"]),
        (["generate", "CheetahRun", "--episode-length", "-4"], ["episode_length is -4"]),
        (["generate", "CheetahRun", "--seed", "-1"], ["seed is -1"]),
        (["generate", "CheetahRun", "--noise-beta", "7"], ["noise_beta is 7", "pink"]),
        (["generate", "CheetahRun", "--dynamics", "exact"], ["'exact'", "converged, stock"]),
        (["generate", "CheetahRun", "--policy", "master"], ["'master'", "noise"]),
        (["generate", "CheetahRun", "--batch", "0"], ["batch is 0"]),
        (["info", "nowhere/CheetahRun/noise.zarr"], ["no store", "dynamic-sparsity generate CheetahRun"]),
        (["verify", "nowhere/CheetahRun/noise.zarr"], ["no store"]),
        (["info", "nowhere"], ["no store"]),
    ],
)
def test_bad_input_is_explained(words, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    for part in expected:
        assert part in error.replace("\n", " ")


@pytest.mark.parametrize(
    "words", [["conquer"], ["generate", "CheetahRun", "--episodes", "many"], ["verify"], ["list", "--rooot", "x"]]
)
def test_unknown_words(words, capsys):
    assert cli.main(words) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
def test_debug_shows_where(tmp_path):
    finished = run("info", str(tmp_path / "CheetahRun" / "noise.zarr"), "--debug")
    assert finished.returncode != 0
    assert "Traceback" in finished.stderr


def test_incomplete_store_says_how_to_go_on(store, capsys):
    (store / "manifest.json").unlink()
    assert cli.main(["info", str(store)]) == 1
    assert "dynamic-sparsity generate" in capsys.readouterr().err


@pytest.mark.slow
def test_looking_needs_no_simulator(store):
    script = (
        "import sys; from dynamic_sparsity import cli; "
        f"assert cli.main(['info', {str(store)!r}]) == 0 and cli.main(['verify', {str(store)!r}]) == 0; "
        "assert cli.main(['list']) == 0; "
        "loaded = {'jax', 'mujoco', 'mujoco_playground', 'brax'} & set(sys.modules); assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2.5e9, "2.5 GB"), (3e15, "3000.0 TB")]
)
def test_size(number, text):
    assert byte_size(number) == text


@pytest.mark.slow
def test_generating_without_a_simulator_says_what_to_install(tmp_path):
    (tmp_path / "jax.py").write_text("raise ModuleNotFoundError('No module named jax', name='jax')\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    words = [
        sys.executable,
        "-m",
        "dynamic_sparsity.cli",
        "generate",
        "CartpoleBalance",
        "--out",
        str(tmp_path / "data"),
    ]
    finished = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert finished.returncode == 1
    assert "dynamic-sparsity[generate]" in finished.stderr
    assert "Traceback" not in finished.stderr
