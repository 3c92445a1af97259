import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dynamic_sparsity.errors import StoreNotFoundError
from dynamic_sparsity.schemas.documents import plain_file, store_arrays
from dynamic_sparsity.storage import writer
from dynamic_sparsity.storage.encoding import encode_chunk
from dynamic_sparsity.storage.verify import verify_store
from dynamic_sparsity.testing import stores as synthetic

EARLY = {3: 7}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.make_store(tmp_path_factory.mktemp("original") / "noise.zarr", early=EARLY)


@pytest.fixture
def store(original: Path, tmp_path: Path) -> Path:
    path = tmp_path / "noise.zarr"
    shutil.copytree(original, path)
    return path


def reseal(path: Path) -> None:
    """Record the bytes that are there now, as a forger would."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    for name, record in manifest["files"].items():
        content = (path / name).read_bytes()
        record |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quaternion": True, "stock": True, "activations": 1, "early": {0: 1, 5: 19}},
        {"limits": 0, "pairs": 0, "actions": 0},
        {"episodes": 9, "episode_length": 30, "shard_rows": 48},
        {"episodes": 1, "episode_length": 1, "chunk_rows": 1, "shard_rows": 1},
    ],
)
def test_sound_stores_have_no_problems(tmp_path: Path, options: dict[str, Any]) -> None:
    attributes, columns, episodes = synthetic.make_all(**options)
    writer.create_store(tmp_path / "noise.zarr", attributes)
    writer.write_unit(tmp_path / "noise.zarr", 0, columns, episodes)
    writer.finalize(tmp_path / "noise.zarr")
    assert verify_store(tmp_path / "noise.zarr") == []


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="generate"):
        verify_store(tmp_path / "noise.zarr")


def test_unfinished_stores_are_named(tmp_path: Path) -> None:
    writer.create_store(tmp_path / "noise.zarr", synthetic.make_attributes())
    (problem,) = verify_store(tmp_path / "noise.zarr")
    assert "never sealed; 3 of its 3 shards are missing" in problem.what and "repeat the command" in problem.fix


def edit_bytes(path: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray(path.read_bytes())
    changed = change(content)
    path.write_bytes(changed if isinstance(changed, bytes) else content)


def flip_bit(name: str, offset: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        def change(content: bytearray) -> None:
            content[offset] ^= 0b100

        edit_bytes(path / name, change)

    return damage


def swap(first: str, second: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        (path / first).rename(path / "aside")
        (path / second).rename(path / first)
        (path / "aside").rename(path / second)

    return damage


def replace(name: str, content: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: edit_bytes(path / name, lambda old: content(bytes(old)))


Damage = Callable[[Path], None]
DAMAGES: list[tuple[Damage, str, str]] = [
    # A J_s chunk of 16 rows has 2304 + 4 bytes.
    (flip_bit("J_s/c/0/0/0", 100), "J_s/c/0/0/0", "other bytes than were written, in rows 0 to 15"),
    (flip_bit("J_s/c/1/0/0", 2308 + 5), "J_s/c/1/0/0", "other bytes than were written, in rows 96 to 111"),
    (flip_bit("J_s/c/1/0/0", -20), "J_s/c/1/0/0", "in the shard's index"),
    (flip_bit("mask_s/c/2/0/0", 20), "mask_s/c/2/0/0", "other bytes than were written, in rows 160 to 175"),
    (flip_bit("flags/c/0", -1), "flags/c/0", "in the shard's index"),
    (lambda path: (path / "mask_a/c/1/0/0").unlink(), "mask_a/c/1/0/0", "is missing"),
    (lambda path: shutil.rmtree(path / "J_a/c/2"), "J_a/c/2/0/0", "is missing"),
    (swap("J_s/c/0/0/0", "J_s/c/1/0/0"), "J_s/c/0/0/0", "holds the bytes of J_s/c/1/0/0"),
    (swap("reward/c/0", "step/c/0"), "step/c/0", "holds the bytes of reward/c/0"),
    (replace("state/c/0/0", lambda old: old[:-7]), "state/c/0/0", "is truncated"),
    (replace("state/c/0/0", lambda old: old + b"xy"), "state/c/0/0", "2 more than were written"),
    (replace("state/c/0/0", lambda _: b""), "state/c/0/0", "is empty"),
    (replace("state/c/0/0", lambda old: bytes(len(old))), "state/c/0/0", "every byte is zero"),
    (replace("episodes/seed/c/0", lambda old: bytes(len(old))), "episodes/seed/c/0", "every byte is zero"),
    (flip_bit("statistics/state_mean/c/0", 3), "statistics/state_mean/c/0", "other bytes"),
    (flip_bit("statistics/rows_all/c", 0), "statistics/rows_all/c", "other bytes"),
    (lambda path: (path / "shards/00001.json").unlink(), "shards/00001.json", "is missing"),
    (replace("shards/00001.json", lambda _: b"{"), "shards/00001.json", "is not JSON"),
    (swap("shards/00000.json", "shards/00001.json"), "shards/00000.json", "row_stop are (1, 80, 160)"),
    (lambda path: (path / "J_s/c/0/0/0.partial").touch(), "J_s/c/0/0/0.partial", "interrupted write"),
    (lambda path: (path / "notes.txt").touch(), "notes.txt", "is not part of the store"),
    (
        replace("J_s/zarr.json", lambda old: old.replace(b"float32", b"float64")),
        "J_s/zarr.json",
        "data_type is 'float64'",
    ),
    (replace("mask_s/zarr.json", lambda old: old.replace(b"255", b"0")), "mask_s/zarr.json", "fill_value is 0"),
    (replace("state/zarr.json", lambda old: old.replace(b"row", b"time")), "state/zarr.json", "dimension_names is"),
    (replace("state/zarr.json", lambda old: old.replace(b"crc32c", b"gzip")), "state/zarr.json", "codecs is"),
    (replace("state/zarr.json", lambda old: old.replace(b"240", b"241")), "state/zarr.json", "shape is [241, 6]"),
    (replace("state/zarr.json", lambda _: b"[]"), "state/zarr.json", "is list, expected an object"),
    (replace("zarr.json", lambda old: old.replace(b'"noise"', b'"human"')), "zarr.json", "other bytes"),
    (replace("zarr.json", lambda old: old.replace(b'"rows": 240', b'"rows": 241')), "zarr.json", "rows: found 241"),
    (replace("manifest.json", lambda old: old[:99]), "manifest.json", "is not JSON"),
    (replace("manifest.json", lambda old: old.replace(b"true", b"false")), "manifest.json", "complete: found false"),
    (lambda path: (path / "zarr.json").unlink(), "zarr.json", "no store"),
    (lambda path: (path / "manifest.json").unlink(), "manifest.json", "never sealed; 0 of its 3"),
]


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize(("damage", "where", "what"), DAMAGES)
def test_damage_is_found_and_named(store: Path, damage: Damage, where: str, what: str) -> None:
    damage(store)
    problems = verify_store(store)
    assert any(where in problem.where and what in problem.what for problem in problems), problems
    assert all(problem.fix and str(problem) for problem in problems)
    if where.count("/") > 1:
        assert len({problem.where for problem in problems}) <= 2, "damage to one file should not be blamed on others"


def edit_manifest(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(path: Path) -> None:
        manifest = json.loads((path / "manifest.json").read_bytes())
        change(manifest)
        (path / "manifest.json").write_text(json.dumps(manifest))

    return damage


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (edit_manifest(lambda manifest: manifest["files"].pop("J_s/c/1/0/0")), "does not list J_s/c/1/0/0"),
        (edit_manifest(lambda manifest: manifest["files"].update(x=manifest["files"]["zarr.json"])), "lists x"),
        (edit_manifest(lambda manifest: manifest.update(episodes=3)), "episodes is 3, but 12"),
    ],
)
def test_edited_manifests(store: Path, damage: Damage, what: str) -> None:
    damage(store)
    assert any(problem.where == "manifest.json" and what in problem.what for problem in verify_store(store))


def test_a_forged_seal_does_not_hide_edited_bytes(store: Path) -> None:
    flip_bit("J_s/c/1/0/0", 100)(store)
    shutil.copy(store / "J_s/c/0/0/0", store / "J_s/c/2/0/0")
    reseal(store)
    found = {problem.where: problem.what for problem in verify_store(store)}
    assert "another digest or size of J_s/c/1/0/0" in found["shards/00001.json"]
    assert "can't be decoded: chunk 0, rows 80 to 95, does not match" in found["J_s/c/1/0/0"]


def forge(name: str, change: Callable[[Any], Any]) -> Damage:
    """Replace a plain array's values, checksums and digests and all."""

    def damage(path: Path) -> None:
        spec, shape = store_arrays(json.loads((path / "zarr.json").read_bytes())["attributes"])[name]
        file = path / plain_file(name, spec)
        values = np.frombuffer(file.read_bytes()[:-4], spec.dtype).reshape(shape).copy()
        file.write_bytes(encode_chunk(spec, np.asarray(change(values), dtype=spec.dtype)))
        reseal(path)

    return damage


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "where", "what"),
    [
        (
            forge("statistics/state_std", lambda values: values * 1.001),
            "statistics/state_std",
            "not what the rows give",
        ),
        (forge("statistics/rows_contact", lambda values: values + 1), "statistics/rows_contact", "not what the rows"),
        (forge("statistics/zero_share_s", lambda values: 1 - values), "statistics/zero_share_s", "not what the rows"),
        (forge("episodes/return", lambda values: values + 0.01), "episodes/return", "its rewards sum to"),
        (forge("episodes/split", lambda values: 2 - values), "episodes/split", "contradicts the split rule"),
        (forge("episodes/start", lambda values: values + 1), "episodes/start", "index times episode_length"),
        (forge("episodes/length", lambda values: values + 1), "episodes/length", "is not in 1 to 20"),
        (forge("episodes/length", lambda values: values - 1), "shard 0, row 19", "the episode has ended"),
        (forge("episodes/policy", lambda values: values + 1), "episodes/policy", "names no policy"),
        (forge("episodes/terminated", lambda values: 0 * values), "episodes/terminated", "in episode 3"),
        (forge("episodes/seed", lambda values: values + 1), "shards/00000.json", "says seed of episode 0 is 0"),
    ],
)
def test_forged_tables(store: Path, damage: Damage, where: str, what: str) -> None:
    damage(store)
    problems = verify_store(store)
    assert any(problem.where == where and what in problem.what for problem in problems), problems


@pytest.mark.slow
def test_wrong_values_are_found_through_the_store(tmp_path: Path) -> None:
    path = tmp_path / "noise.zarr"
    attributes, columns, episodes = synthetic.make_all(early=EARLY)
    columns["mask_s"][85, 0, 0] ^= 1
    columns["state"][160:] = columns["state"][160:][::-1]
    writer.create_store(path, attributes)
    writer.write_unit(path, 0, columns, episodes)
    writer.finalize(path)
    found = {problem.where: problem.what for problem in verify_store(path)}
    assert found["shard 1, row 85"].startswith("mask_s is 0 where abs(J_s) is at least 1e-12 (in 1 row ")
    assert "not bitwise the row before's next_state" in found["shard 2, row 161"]
