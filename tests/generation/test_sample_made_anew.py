"""Making the package's sample: marked, compressed, never from what other code has left; and put into the package."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_unit_runner
import pytest

from dynamic_sparsity.generation.executors.threads import ThreadExecutor
from dynamic_sparsity.generation.jobs import sample
from dynamic_sparsity.storage.manifests import read_attributes
from dynamic_sparsity.storage.verify import verify_store

STORE = "CartpoleBalance/noise.zarr"


class OtherVersion(fake_unit_runner.FakeUnitRunner):
    """The same rows, made by another commit."""

    def describe(self, settings: Any) -> dict[str, Any]:
        attributes = super().describe(settings)
        return attributes | {"provenance": attributes["provenance"] | {"git_commit": "0" * 40}}


def make(folder: Path, runner: fake_unit_runner.FakeUnitRunner | None = None, units: int = 2, **options: Any) -> Path:
    executor = ThreadExecutor(runner or fake_unit_runner.FakeUnitRunner())
    return sample.make(folder, [fake_unit_runner.settings(units, **options)], executor)


def test_its_settings() -> None:
    assert len(sample.sample_settings()) == 2 * len(sample.TASKS)
    few = sample.sample_settings(["CheetahRun", "HopperHop"], ["expert", "mixture"])
    assert [(settings.task, settings.policy) for settings in few] == [("CheetahRun", "expert")]


@pytest.mark.slow
def test_made_anew_only_where_the_code_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv(fake_unit_runner.MADE, str(log))
    made = make(tmp_path / "sample")
    attributes = read_attributes(made / STORE)
    assert (attributes["sample"], attributes["storage"]) == (True, "compact")
    assert list(verify_store(made / STORE)) == [] and not list(made.rglob("*.lock"))
    assert len(log.read_text().splitlines()) == 2
    make(tmp_path / "sample")
    assert len(log.read_text().splitlines()) == 2, "what is there is kept"
    make(tmp_path / "sample", OtherVersion())
    assert len(log.read_text().splitlines()) == 4, "another commit's rows are not"
    make(tmp_path / "sample", OtherVersion(), seed=5)
    assert len(log.read_text().splitlines()) == 6, "nor those of other settings"


@pytest.mark.slow
def test_what_differs_from_the_package(tmp_path: Path) -> None:
    packaged = tmp_path / "package/stores"
    made = make(tmp_path / "sample")
    assert sample.changed(made, packaged) == [STORE]
    sample.install(made, packaged)
    assert sample.changed(made, packaged) == []
    assert sample.changed(make(tmp_path / "again", OtherVersion()), packaged) == []
    other = make(tmp_path / "other", seed=5)
    assert sample.changed(other, packaged) == [STORE]
    (packaged / "Gone/noise.zarr").mkdir(parents=True)
    (packaged.parent / "stores.killed.partial").mkdir()
    sample.install(other, packaged)
    assert sample.changed(other, packaged) == [] and list(verify_store(packaged / STORE)) == []
    assert [path.name for path in packaged.parent.iterdir()] == ["stores"]
    assert [path.name for path in packaged.iterdir()] == ["CartpoleBalance"]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["exchange", "rename"])
def test_killed_at_any_moment_the_old_sample_is_there_or_the_new(tmp_path: Path, way: str) -> None:
    old, made = tmp_path / "old", tmp_path / "made"
    for folder, names in ((old, ["Gone/noise.zarr", "Kept/noise.zarr"]), (made, ["Kept/noise.zarr", "New/noise.zarr"])):
        for name in names:
            (folder / name / "shards").mkdir(parents=True)
            for file in ("zarr.json", "shards/0"):
                (folder / name / file).write_text(f"{folder.name} {name} {file}")
    script = Path(__file__).parents[1] / "helpers/killed_install.py"
    words = [sys.executable, str(script), str(made), str(old), str(tmp_path / "places"), way]
    finished = subprocess.run(words, capture_output=True, text=True, check=True)
    moments = [json.loads(line) for line in finished.stdout.splitlines()]
    assert len(moments) > 15 and [one["killed"] for one in moments] == [True] * (len(moments) - 1) + [False]
    whole = {folder: {"names": ["stores"], "sample": digests(folder)} for folder in (old, made)}
    for one in moments:
        assert one["repeated"] == whole[made]
        assert one["left"]["sample"] in ([whole[old]["sample"], whole[made]["sample"]] + [{}] * (way == "rename"))
    assert moments[0]["left"] == whole[old] and moments[-1]["left"] == whole[made]


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
