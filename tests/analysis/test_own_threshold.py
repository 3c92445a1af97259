"""Everything that is asked of a store, at a threshold of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dynamic_sparsity import cli
from dynamic_sparsity.analysis.own_threshold import open_rows
from dynamic_sparsity.analysis.page import report
from dynamic_sparsity.analysis.spectrum import tangent_scale
from dynamic_sparsity.analysis.study import StudyOptions, study_store
from dynamic_sparsity.errors import InvalidSettingError, UnknownNameError
from dynamic_sparsity.loaders import open_dataset
from dynamic_sparsity.testing import make_store

AT = 0.3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "Pendulums" / "noise.zarr", early={1: 7})


def sizes(store: Path, scale: str) -> tuple[np.ndarray, np.ndarray]:
    """|J_s| and |J_a| in the units of a scale, as docs/analysis.md defines them."""
    dataset = open_dataset(store)
    rows, unit = dataset[:], tangent_scale(dataset)
    size_s, size_a = np.abs(rows["J_s"]), np.abs(rows["J_a"])
    if scale == "dimensionless":
        return size_s * unit / unit[:, None], size_a / unit[:, None]
    if scale == "relative":
        return size_s / size_s.max(axis=(1, 2), keepdims=True), size_a / size_a.max(axis=(1, 2), keepdims=True)
    return size_s, size_a


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["absolute", "dimensionless", "relative"])
def test_masks_and_all_answers_follow_the_threshold(store: Path, scale: str) -> None:
    size_s, size_a = sizes(store, scale)
    dataset = open_rows(store, AT, scale)
    rows = dataset[::-1]
    assert (rows["mask_s"] == (size_s >= AT)[::-1]).all() and (rows["mask_a"] == (size_a >= AT)[::-1]).all()
    assert dataset.with_columns("mask_s")[3].keys() == {"mask_s"}
    assert 0 < rows["mask_s"].mean() < 1
    found = study_store(store, StudyOptions(map_rows=0, threshold=AT, scale=scale))
    assert found.sparsity.mean("s") == pytest.approx((size_s < AT).mean())
    assert (found.zeros.zeros_s == (size_s < AT).sum(axis=0)).all()
    assert (found.zeros.zeros_a == (size_a < AT).sum(axis=0)).all()
    stated = found.source.metadata
    assert (stated["mask_threshold"], stated["mask_scale"]) == (AT, scale)
    # The table of thresholds, of the stored Jacobians, says the same where it has this scale and a lower threshold.
    assert study_store(store, StudyOptions(map_rows=0)).sparsity.mean("s") != found.sparsity.mean("s")


def test_missing_jacobians_stay_missing(tmp_path: Path) -> None:
    path = make_store(tmp_path / "Pendulums" / "noise.zarr")
    reader = open_rows(path, AT).store.reader
    original = reader._reader  # type: ignore[attr-defined]

    class WithoutFirst:
        def read(self, names: list[str], start: int, stop: int) -> dict[str, np.ndarray]:
            batch = original.read(names, start, stop)
            batch["J_s"][0] = np.nan
            return batch

    reader._reader = WithoutFirst()  # type: ignore[attr-defined]
    masks = reader.read(["mask_s"], 0, 3)["mask_s"]
    assert (masks[0] == 255).all() and set(np.unique(masks[1:])) <= {0, 1}


@pytest.mark.slow
def test_command_and_page_say_what_zero_means(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--threshold", str(AT), "--scale", "dimensionless", "--map-rows", "0"]
    out = tmp_path / "coarse"
    assert cli.main(["analyze", str(store), "--out", str(out), "--no-frames", "--format", "png", *words]) == 0
    assert "|J| < 0.3 with all variables in units of their standard deviation" in (out / "README.md").read_text()
    (study,) = out.glob("noise/Pendulums/study.json")
    assert json.loads(study.read_bytes())["study"]["options"]["threshold"] == AT
    options = StudyOptions(map_rows=0, threshold=AT, scale="dimensionless")
    page = report(store.parents[1], tmp_path / "page", results=out, options=options, frames=0).read_text()
    assert '"mask_scale": "dimensionless"' in page or '"mask_scale":"dimensionless"' in page
    capsys.readouterr()
    for wrong, reason in ((["--threshold", "0"], "greater than 0"), (["--scale", "dimensionless"], "--threshold 0.01")):
        assert cli.main(["analyze", str(store), "--out", str(tmp_path / "none"), *wrong]) != 0
        assert reason in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "none").exists()
    with pytest.raises(UnknownNameError, match="absolute, relative, dimensionless"):
        StudyOptions(threshold=AT, scale="Absolute")
    with pytest.raises(InvalidSettingError, match="greater than 0"):
        StudyOptions(threshold=float("nan"))
