import json
import math
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from processes import PATIENCE_S, running

from dynamic_sparsity.errors import (
    CorruptStoreError,
    IncompleteStoreError,
    InvalidSettingError,
    SettingsMismatchError,
    StoreNotFoundError,
)
from dynamic_sparsity.schemas.layout import array_layouts
from dynamic_sparsity.storage import writer
from dynamic_sparsity.storage.encoding import shard_values
from dynamic_sparsity.storage.manifests import shard_count, shard_range
from dynamic_sparsity.testing import stores as synthetic


def tree(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def open_strictly(path: Path) -> zarr.Group:
    return zarr.open_group(path, mode="r")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.make_store(tmp_path_factory.mktemp("reference") / "noise.zarr", early={3: 7})


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_run(tmp_path: Path, reference: Path) -> None:
    assert tree(synthetic.make_store(tmp_path / "again.zarr", early={3: 7})) == tree(reference)


def test_written_shards_are_left_alone(tmp_path: Path) -> None:
    path = synthetic.make_store(tmp_path / "noise.zarr", finalize=False)
    _, columns, episodes = synthetic.make_all()
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    other = {name: np.zeros_like(values) for name, values in columns.items()}
    assert writer.write_unit(path, 0, other, episodes) == []
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


def test_only_missing_shards_of_a_unit_are_written(tmp_path: Path, reference: Path) -> None:
    path = tmp_path / "noise.zarr"
    attributes, columns, episodes = synthetic.make_all(early={3: 7})
    writer.create_store(path, attributes)
    assert writer.missing_shards(path) == {0, 1, 2}
    assert writer.write_unit(path, 80, {k: v[80:160] for k, v in columns.items()}, episodes[4:8]) == [1]
    assert writer.finished_shards(path) == {1} and writer.missing_shards(path) == {0, 2}
    assert writer.write_unit(path, 0, columns, episodes) == [0, 2]
    writer.finalize(path)
    assert tree(path) == tree(reference)


def test_episodes_are_listed_where_they_start(tmp_path: Path) -> None:
    options = {"episodes": 8, "episode_length": 20, "chunk_rows": 16, "shard_rows": 32}
    path = tmp_path / "noise.zarr"
    attributes, columns, episodes = synthetic.make_all(**options)
    writer.create_store(path, attributes)
    writer.write_unit(path, 0, columns, episodes)
    listed = [json.loads((path / f"shards/{shard:05d}.json").read_bytes())["episodes"] for shard in range(5)]
    assert [[episode["index"] for episode in part] for part in listed] == [[0, 1], [2, 3], [4], [5, 6], [7]]


def test_numpy_scalars_and_nan_returns_are_spelt(tmp_path: Path) -> None:
    path = tmp_path / "noise.zarr"
    attributes, columns, episodes = synthetic.make_all()
    writer.create_store(path, attributes)
    episodes[0] |= {"return": np.float64("nan"), "seed": np.int64(0), "terminated": np.bool_(False)}
    episodes[1]["return"] = -math.inf
    writer.write_unit(path, 0, columns, episodes)
    writer.finalize(path)
    assert "NaN" not in (path / "shards/00000.json").read_text().replace('"NaN"', "")
    found = open_strictly(path)["episodes/return"][:2]
    assert math.isnan(found[0]) and found[1] == -math.inf


def test_rows_beyond_the_end_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "noise.zarr"
    attributes = synthetic.make_attributes(episodes=5)
    columns, episodes = synthetic.make_unit(attributes, range(8), {})
    writer.create_store(path, attributes)
    assert writer.write_unit(path, 0, columns, episodes) == [0, 1]
    writer.finalize(path)
    np.testing.assert_array_equal(open_strictly(path)["J_s"][...], columns["J_s"][:100])


def wrong_unit(case: str) -> tuple[int, dict[str, Any], list[dict[str, Any]]]:
    _, columns, episodes = synthetic.make_all()
    first_row = 0
    if case == "missing":
        del columns["J_s"]
    elif case == "unknown":
        columns["J_x"] = columns["J_s"]
    elif case == "dtype":
        columns["J_s"] = columns["J_s"].astype(np.float64)
    elif case == "shape":
        columns["J_s"] = columns["J_s"][:, :, :3]
    elif case == "lengths":
        columns["reward"] = columns["reward"][:-1]
    elif case == "start":
        first_row = 40
    elif case == "beyond":
        first_row = 240
    elif case == "cut":
        columns = {name: values[:100] for name, values in columns.items()}
    elif case == "episodes":
        episodes = episodes[1:]
    elif case == "order":
        episodes[0]["start"] = 20
    elif case == "long":
        episodes[2]["length"] = 21
    elif case == "field":
        del episodes[0]["split"]
    return first_row, columns, episodes


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing", r"missing: \['J_s'\]"),
        ("unknown", r"unknown: \['J_x'\]"),
        ("dtype", "J_s has shape .* dtype float64; expected .* float32"),
        ("shape", r"J_s has shape \(240, 6, 3\)"),
        ("lengths", r"reward has shape \(239,\)"),
        ("start", "can't start at row 40"),
        ("beyond", "can't start at row 240"),
        ("cut", "100 rows from row 0 does not fill whole shards"),
        ("episodes", r"has the episodes 1 to 11 \(11\); expected 0 to 11"),
        ("order", "starting at its index times 20"),
        ("long", r"\[2\] are longer than episode_length"),
        ("field", "'split' is a required property"),
    ],
)
def test_units_that_do_not_fit_are_refused(tmp_path: Path, case: str, message: str) -> None:
    path = tmp_path / "noise.zarr"
    writer.create_store(path, synthetic.make_attributes())
    with pytest.raises((InvalidSettingError, CorruptStoreError), match=message):
        writer.write_unit(path, *wrong_unit(case))
    assert not writer.finished_shards(path) and not list(path.rglob("c"))


def test_a_store_with_the_same_settings_is_gone_on_with(tmp_path: Path) -> None:
    path = synthetic.make_store(tmp_path / "noise.zarr")
    before = tree(path)
    attributes = synthetic.make_attributes()
    attributes["provenance"] = {"packages": {"numpy": "9.9"}}
    del attributes["settings_sha256"]
    writer.create_store(path, attributes)
    assert tree(path) == before


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    path = synthetic.make_store(tmp_path / "noise.zarr", finalize=False)
    before = tree(path)
    with pytest.raises(SettingsMismatchError) as caught:
        writer.create_store(path, synthetic.make_attributes(seed=1, episodes=20))
    message = str(caught.value)
    assert "settings.seed: the store has 0, now asked for 1" in message
    assert "settings.episodes: the store has 12, now asked for 20" in message
    assert "solver" not in message and "--out" in message and "delete the store" in message
    assert tree(path) == before


def test_wrong_attributes_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(CorruptStoreError, match="rows"):
        writer.create_store(tmp_path / "noise.zarr", {**synthetic.make_attributes(), "rows": 1})
    assert not list(tmp_path.iterdir())


def test_the_leftover_of_a_killed_template_is_swept(tmp_path: Path) -> None:
    leftover = tmp_path / "noise.zarr.0123abcd.partial" / "state"
    leftover.mkdir(parents=True)
    (leftover / "zarr.json").touch()
    writer.create_store(tmp_path / "noise.zarr", synthetic.make_attributes())
    assert writer.sweep(tmp_path / "noise.zarr") == [leftover / "zarr.json"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["noise.zarr"]


def test_no_store() -> None:
    for function in (writer.missing_shards, writer.finalize):
        with pytest.raises(StoreNotFoundError, match=r"no store at nowhere\.zarr.*generate"):
            function(Path("nowhere.zarr"))


def test_finalize_refuses_a_store_with_missing_shards(tmp_path: Path) -> None:
    path = tmp_path / "noise.zarr"
    attributes, columns, episodes = synthetic.make_all()
    writer.create_store(path, attributes)
    writer.write_unit(path, 0, {k: v[:80] for k, v in columns.items()}, episodes[:4])
    with pytest.raises(IncompleteStoreError, match=r"lacks 2 of its 3 shards \(1, 2\); run the command"):
        writer.finalize(path)
    assert not (path / "manifest.json").exists()
    assert open_strictly(path).attrs["complete"] is False


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize("sealed", [False, True])
def test_finalize_refuses_damage_and_says_how_to_mend_it(tmp_path: Path, reference: Path, sealed: bool) -> None:
    path = synthetic.make_store(tmp_path / "noise.zarr", finalize=sealed, early={3: 7})
    flip(path / "J_s/c/1/0/0", 100)
    (path / "reward/c/2").unlink()
    with (path / "state/c/0/0").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(CorruptStoreError) as caught:
        writer.finalize(path)
    for part in ("J_s/c/1/0/0 has other bytes", "reward/c/2 is missing", "state/c/0/0 has", "manifest.json", "verify"):
        assert part in str(caught.value)
    # The remedy of the message.
    for name in ("manifest.json", "shards/00000.json", "shards/00001.json", "shards/00002.json"):
        (path / name).unlink(missing_ok=True)
    attributes, columns, episodes = synthetic.make_all(early={3: 7})
    writer.create_store(path, attributes)
    writer.write_unit(path, 0, columns, episodes)
    writer.finalize(path)
    assert tree(path) == tree(reference)


def test_finalize_refuses_edited_metadata(tmp_path: Path) -> None:
    path = synthetic.make_store(tmp_path / "noise.zarr", finalize=False)
    document = path / "state" / "zarr.json"
    document.write_text(document.read_text().replace("float32", "float64"))
    with pytest.raises(CorruptStoreError, match=r"state/zarr\.json differs from the template"):
        writer.finalize(path)


def test_finalize_refuses_manifests_of_other_rows(tmp_path: Path) -> None:
    path = synthetic.make_store(tmp_path / "noise.zarr", finalize=False)
    (path / "shards/00001.json").write_bytes((path / "shards/00000.json").read_bytes())
    with pytest.raises(CorruptStoreError, match=r"shards/00001\.json is the manifest of other rows"):
        writer.finalize(path)


@pytest.mark.slow
def test_shards_are_read_back_as_zarr_reads_them(reference: Path) -> None:
    attributes = json.loads((reference / "zarr.json").read_bytes())["attributes"]
    for name, layout in array_layouts(attributes).items():
        for shard in range(shard_count(attributes)):
            start, stop = shard_range(attributes, shard)
            found = shard_values(layout, shard, (reference / layout.shard_name(shard)).read_bytes())
            expected = open_strictly(reference)[name][start:stop]
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_finalize_twice_changes_nothing(reference: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in reference.rglob("*")}
    writer.finalize(reference)
    assert {file: file.stat().st_mtime_ns for file in reference.rglob("*")} == before


def test_the_manifest_names_every_file(reference: Path) -> None:
    manifest = json.loads((reference / "manifest.json").read_bytes())
    assert set(manifest["files"]) == set(tree(reference)) - {"manifest.json"}


def test_sweep_deletes_leftovers_only(tmp_path: Path, reference: Path) -> None:
    path = synthetic.make_store(tmp_path / "noise.zarr", early={3: 7})
    (path / "state/c/0/0.partial").write_bytes(b"half")
    (path / "manifest.json.partial").write_bytes(b"half")
    assert len(writer.sweep(path)) == 2
    assert tree(path) == tree(reference)
    assert writer.sweep(tmp_path / "nowhere.zarr") == []


HELPERS = Path(__file__).parents[1] / "helpers"


def child(*arguments: object, **options: Any) -> AbstractContextManager[subprocess.Popen[Any]]:
    return running([sys.executable, *arguments], cwd=HELPERS, **options)


# Syncs of a whole run are about 435: kills fall into the template, the shards, the tables and the seal.
KILL_AT = (5, 170, 300, 420)


@pytest.mark.slow
def test_killed_at_any_moment_a_resumed_run_gives_the_same_bytes(tmp_path: Path, reference: Path) -> None:
    script = HELPERS / "killed_writer.py"
    left: set[int] = set()
    with ExitStack() as stack:
        children = {}
        for moment in KILL_AT:
            path = tmp_path / str(moment) / "noise.zarr"
            path.parent.mkdir()
            children[path] = stack.enter_context(child(script, path, moment))
        codes = {path: one.wait(PATIENCE_S) for path, one in children.items()}
    for path, code in codes.items():
        assert code == -signal.SIGKILL
        left.add(len(writer.finished_shards(path)))
        assert not (path / "manifest.json").exists()
        with writer.lock(path):
            writer.sweep(path)
            synthetic.make_store(path, early={3: 7})
        assert tree(path) == tree(reference), path
        assert [entry.name for entry in path.parent.iterdir()] == ["noise.zarr"]
    assert len(left) > 2, f"the kills should fall into different shards, but left {left}"


def test_no_simulator_is_imported() -> None:
    code = """
import sys
import dynamic_sparsity.storage.writer, dynamic_sparsity.storage.verify
loaded = {"jax", "mujoco", "brax", "mujoco_playground"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)
