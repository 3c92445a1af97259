"""What holds for the repository as a whole: versions agree, the package is complete, the docs build, tutorials run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dynamic_sparsity

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


def test_one_version():
    (cited,) = re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited == dynamic_sparsity.__version__
    assert PROJECT["project"]["dynamic"] == ["version"]


def test_every_package_is_in_the_wheel():
    source = ROOT / "src"
    found = {
        ".".join(path.parent.relative_to(source).parts)
        for folder in [source / "dynamic_sparsity", *(source / "dynamic_sparsity").iterdir()]
        for path in folder.rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_commands_of_the_workflow_exist():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    scripts = set(re.findall(r"run: (\.ci/\w+)", workflow))
    assert scripts >= {".ci/fuzz", ".ci/lint", ".ci/fast", ".ci/docs", ".ci/wheel", ".ci/run"}
    for script in scripts:
        assert (ROOT / script).stat().st_mode & 0o111, script


def test_workflows_are_valid():
    pytest.importorskip("check_jsonschema")
    workflows = sorted(map(str, (ROOT / ".github/workflows").glob("*.yml")))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_extras_of_the_workflow_exist():
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    lists = re.findall(r"extra: \[(.*?)\]", workflow) + re.findall(r"'\.\[([\w,-]+)\]'", workflow)
    named = set(re.findall(r"[\w-]+", " ".join(lists)))
    assert len(named) >= 8 and named <= set(PROJECT["project"]["optional-dependencies"])


def test_imports_go_one_way():
    pytest.importorskip("importlinter")
    done = subprocess.run(["lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_docs_build(tmp_path):
    pytest.importorskip("mkdocs_gen_files")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site/reference/python/index.html").read_text()
    assert "load_dataset" in reference
    assert "CorruptStoreError" in reference
    assert "--episodes" in (tmp_path / "site/reference/command_line/index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        # What it shows of a simulator, README's snippets and the tests of `regenerate` show as well.
        pytest.param(path, id=path.stem, marks=[pytest.mark.exhaustive] if path.stem.startswith("regenerate") else [])
        for path in TUTORIALS
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tutorials_run(path, tmp_path):
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    assert all(cell.get("outputs") is not None for cell in notebook.cells if cell.cell_type == "code")
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()


def test_constraints_are_tested_versions_in_our_ranges():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(
        re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)", line).groups() for line in lines if line[0] != "#"
    )
    versions = {canonicalize_name(name): version for name, version in pinned.items()}
    extras = PROJECT["project"]["optional-dependencies"]
    requirements = [
        Requirement(line) for line in (*PROJECT["project"]["dependencies"], *extras["dev"], *extras["generate"])
    ]
    ours = [one for one in requirements if one.name != "dynamic-sparsity"]
    assert len(ours) > 10
    for one in ours:
        assert one.specifier.contains(versions[canonicalize_name(one.name)]), one
