"""Compact storage: the same values in fewer bytes, for our reader and for others."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from dynamic_sparsity import cli, load_dataset
from dynamic_sparsity.cli.publishing import note_compact
from dynamic_sparsity.errors import CorruptStoreError, InvalidSettingError, SettingsMismatchError
from dynamic_sparsity.loaders import open_store
from dynamic_sparsity.loaders.store.store import Store
from dynamic_sparsity.schemas.layout import array_layouts
from dynamic_sparsity.storage import convert
from dynamic_sparsity.storage.convert import convert_store
from dynamic_sparsity.storage.verify import verify_store
from dynamic_sparsity.testing import make_store
from dynamic_sparsity.untrusted.console import PlainConsole


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("raw") / "Pendulums/noise.zarr", quaternion=True, early={2: 7, 5: 1})


@pytest.fixture(scope="module")
def compact(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_store(raw, tmp_path_factory.mktemp("compact"), "compact")


def files_of(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_same_rows(raw: Path, compact: Path) -> None:
    one, other = (load_dataset("Pendulums", root=store.parent.parent) for store in (raw, compact))
    assert other.metadata["storage"] == "compact" and "storage" not in one.metadata
    rows = np.random.default_rng(0).permutation(len(one))
    for key in (slice(None), rows, 3):
        found, expected = other[key], one[key]
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
            assert found[name].dtype == values.dtype and found[name].flags.c_contiguous
    assert {layout.storage for layout in array_layouts(other.metadata).values()} == {"packed", "compact"}


@pytest.mark.slow
def test_chunks_that_are_decoded_when_they_are_needed(raw: Path, compact: Path) -> None:
    one, other = open_store(raw), open_store(compact, decoded_bytes=0)
    rows = np.random.default_rng(1).integers(0, one.rows, 50)
    for name in one.arrays:
        np.testing.assert_array_equal(other.reader.gather([name], rows)[name], one.reader.gather([name], rows)[name])
        np.testing.assert_array_equal(other.reader.read([name], 3, 61)[name], one.reader.read([name], 3, 61)[name])


@pytest.mark.slow
def test_zarr_reads_the_same(raw: Path, compact: Path) -> None:
    one: Any = zarr.open_group(raw, mode="r")
    other: Any = zarr.open_group(compact, mode="r")
    for name in open_store(raw).arrays:
        np.testing.assert_array_equal(other[name][:], one[name][:], err_msg=name)
    document = json.loads((compact / "J_s/zarr.json").read_text())
    names = [codec["name"] for codec in document["codecs"][0]["configuration"]["codecs"]]
    assert names == ["transpose", "bytes", "blosc", "crc32c"]


@pytest.mark.slow
def test_verify_finds_damage(compact: Path, tmp_path: Path) -> None:
    assert list(verify_store(compact)) == []
    store = convert_store(compact, tmp_path, "compact")
    path = next((store / "J_s/c").rglob("0"))
    path = path if path.is_file() else next(one for one in path.rglob("*") if one.is_file())
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 3] ^= 4
    path.write_bytes(contents)
    assert list(verify_store(store))
    with pytest.raises(CorruptStoreError, match="J_s"):
        load_dataset("Pendulums", root=tmp_path)[:]


def test_there_and_back(raw: Path, compact: Path, tmp_path: Path) -> None:
    assert files_of(convert_store(compact, tmp_path, "raw")) == files_of(raw)


def test_interrupted(raw: Path, compact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(convert, "finalize", killed)
        with pytest.raises(KeyboardInterrupt):
            convert_store(raw, tmp_path, "compact")
    assert not (tmp_path / "Pendulums/noise.zarr/manifest.json").exists()
    assert files_of(convert_store(raw, tmp_path, "compact")) == files_of(compact)


@pytest.mark.slow
@pytest.mark.parametrize("sync", [5, 150, 330])
def test_killed_at_any_moment_a_repeated_conversion_gives_the_same_bytes(
    sync: int, raw: Path, compact: Path, tmp_path: Path
) -> None:
    target = tmp_path / "Pendulums/noise.zarr"
    script = Path(__file__).parents[1] / "helpers/killed_writer.py"
    ended = subprocess.run([sys.executable, script, target, str(sync), raw], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (target / "manifest.json").exists()
    assert files_of(convert_store(raw, tmp_path, "compact")) == files_of(compact)
    assert [entry.name for entry in target.parent.iterdir()] == ["noise.zarr"]


def test_refused(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="storage is 'zip'; it must be one of: raw, compact"):
        convert_store(raw, tmp_path, "zip")
    with pytest.raises(InvalidSettingError, match="in its own place"):
        convert_store(raw, raw.parent.parent, "compact")
    make_store(tmp_path / "Pendulums/noise.zarr", seed=9)
    with pytest.raises(SettingsMismatchError, match="seed"):
        convert_store(raw, tmp_path, "compact")


def test_the_command(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["convert", str(raw), "--storage", "compact", "--out", str(tmp_path)]) == 0
    assert isinstance(open_store(tmp_path / "Pendulums/noise.zarr"), Store)
    assert "bytes" in capsys.readouterr().out
    assert cli.main(["convert", str(raw), "--storage", "compact", "--out", str(raw.parent.parent)]) == 1
    assert "in its own place" in capsys.readouterr().err


def test_publishing_says_which_stores_are_compact(raw: Path, compact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = PlainConsole(soft_wrap=True)
    note_compact(console, [raw])
    assert capsys.readouterr().out == ""
    note_compact(console, [raw, compact])
    said = capsys.readouterr().out
    assert str(compact) in said and str(raw) not in said and f"convert {compact} --storage raw" in said
