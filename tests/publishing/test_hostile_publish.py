"""Publishing what has rotted, or leads elsewhere: nothing of it is sent, and readers see what they saw before."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from dynamic_sparsity import cli, load_dataset
from dynamic_sparsity.errors import CorruptStoreError, DynamicSparsityError, InvalidSettingError, StoreLockedError
from dynamic_sparsity.publishing import parquet, versions
from dynamic_sparsity.publishing.publish import plan, publish
from dynamic_sparsity.testing import Fault, HubServer, make_store

REPO = "org/name"
STORE = "Pendulums/noise.zarr"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one store, of which all is made that is published; not to be changed."""
    root = tmp_path_factory.mktemp("made")
    make_store(root / STORE)
    plan(root, REPO, offline=True)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    shutil.copytree(made, tmp_path / "data", symlinks=True)
    return tmp_path / "data"


def rot(path: Path, place: int = 100) -> None:
    """Flip a bit where nothing tells: size and times stay."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def staged(root: Path, pattern: str) -> Path:
    (found,) = (root / ".publish").glob(f"*-*/{pattern}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["J_s/c/1/0/0", "mask_s/c/0/0/0", "episodes/zarr.json", "zarr.json"])
def test_a_store_that_rots_unseen_is_not_planned(name: str, root: Path, hub: HubServer) -> None:
    rot(root / STORE / name, 5)
    with pytest.raises(CorruptStoreError):
        plan(root, REPO)
    assert REPO not in hub.repositories


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["index.tar.xz", "train-*.parquet", "test-*.parquet"])
@pytest.mark.parametrize("damage", ["rot", "cut", "empty", "folder"])
def test_a_staged_file_that_rots_is_made_anew(damage: str, pattern: str, root: Path, hub: HubServer) -> None:
    path = staged(root, pattern)
    good = path.read_bytes()
    if damage == "rot":
        rot(path, len(good) // 2)
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(good[: len(good) // 2] if damage == "cut" else b"")
    if damage == "folder":
        with pytest.raises(OSError):
            plan(root, REPO)
        path.rmdir()
    publish(plan(root, REPO))
    assert path.read_bytes() == good
    (there,) = (
        name
        for name in hub.files(REPO)
        if Path(name).match(f"{'parquet/*/*/' * ('*' in pattern)}{pattern}")
        or (name.startswith("index/") and "*" not in pattern)
    )
    assert hub.content(REPO, there) == good


@pytest.mark.slow
@pytest.mark.parametrize("record", ["", "{}", "[]", '{"files": 3}', "garbage", None])
def test_a_record_that_rots_costs_only_time(record: str | None, root: Path, hub: HubServer) -> None:
    path, index = staged(root, "made.json"), staged(root, "index.tar.xz")
    good = index.read_bytes()
    rot(index, 50)
    path.unlink()
    if record is not None:
        path.write_text(record)
    plan(root, REPO)
    assert index.read_bytes() == good
    assert json.loads(path.read_text())["verified"] is True


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [f"{STORE}/J_s/c/0/0/0", f"{STORE}/zarr.json", f"{STORE}/manifest.json", "index.tar.xz", "train-*.parquet"]
)
def test_what_rots_after_the_plan_is_not_published(name: str, root: Path, hub: HubServer) -> None:
    made = plan(root, REPO, tag="v1.0.0")
    path = root / name if name.startswith(STORE) else staged(root, name)
    rot(path)
    with pytest.raises(CorruptStoreError, match="does not have the bytes"):
        publish(made)
    assert "publication.json" not in hub.files(REPO) and not hub.repositories[REPO].tags
    rot(path)
    publish(plan(root, REPO, tag="v1.0.0"))
    for file, source in made.files:
        assert hub.content(REPO, file.path) == source.read_bytes()


@pytest.mark.slow
def test_unfinished_files_do_not_stay(root: Path, hub: HubServer) -> None:
    left = staged(root, "made.json").parent / "train-00000-of-00001.parquet.abcd.partial"
    left.write_bytes(b"half")
    plan(root, REPO)
    assert not left.exists()
    assert not list((root / ".publish").rglob("*.partial"))


def test_parquet_is_read_back(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = parquet.plan_parquet(root / STORE)[0]
    target = tmp_path / "good.parquet"
    parquet.write_parquet(root / STORE, planned, target)
    assert pyarrow.parquet.read_metadata(target).num_rows == planned.stop - planned.start
    original = parquet.arrow_table

    def wrong(schema, batch):
        batch = {name: values.copy() for name, values in batch.items()}
        batch["J_s"].view(np.uint32)[-1, 0, 0] ^= 1
        return original(schema, batch)

    monkeypatch.setattr(parquet, "arrow_table", wrong)
    with pytest.raises(CorruptStoreError, match="does not read back"):
        parquet.write_parquet(root / STORE, planned, tmp_path / "bad.parquet")


def linked(path: Path, target: Path) -> None:
    """Move a file or folder to another place and leave a link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize("name", ["J_s/c/0/0/0", "J_s/c", "J_s", "zarr.json", "manifest.json", "shards"])
def test_links_out_of_a_store_are_refused(name: str, root: Path, hub: HubServer, tmp_path: Path) -> None:
    linked(root / STORE / name, tmp_path / "elsewhere" / "moved")
    with pytest.raises(DynamicSparsityError, match=r"link|not a regular file"):
        plan(root, REPO)
    assert REPO not in hub.repositories


@pytest.mark.parametrize("target", ["/etc/hostname", "nowhere", "more"])
def test_additional_links_are_refused(target: str, root: Path, hub: HubServer) -> None:
    (root / STORE / "J_s/more").symlink_to(target)
    with pytest.raises(CorruptStoreError):
        plan(root, REPO)


@pytest.mark.slow
def test_a_store_may_lie_on_another_disk(root: Path, hub: HubServer, tmp_path: Path) -> None:
    linked(root / STORE, tmp_path / "elsewhere" / "noise.zarr")
    publish(plan(root, REPO))
    assert hub.content(REPO, f"{STORE}/zarr.json") == (root / STORE / "zarr.json").read_bytes()


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize("name", [".publish", ".publish/cards", ".publish/0123456789abcdef-1"])
def test_the_staging_folder_leads_nowhere_else(name: str, root: Path, hub: HubServer, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    for folder in ("0123456789abcdef-3", "Pendulums", "photos"):
        (victim / folder).mkdir(parents=True)
        (victim / folder / "mine.txt").write_text("mine")
    (victim / "README.md").write_text("mine")
    before = sorted(victim.rglob("*"))
    path = root / name
    if path.exists():
        shutil.rmtree(path)
    path.symlink_to(victim)
    if name.endswith("-1"):
        plan(root, REPO)  # not touched, as no store uses it
    else:
        with pytest.raises(InvalidSettingError, match="link"):
            plan(root, REPO)
    assert sorted(victim.rglob("*")) == before
    assert (victim / "README.md").read_text() == "mine"


@pytest.mark.slow
def test_the_staging_folder_keeps_what_is_not_its_own(root: Path, hub: HubServer) -> None:
    (root / ".publish/mine").mkdir()
    old = root / ".publish/0123456789abcdef-3"
    old.mkdir()
    plan(root, REPO)
    assert (root / ".publish/mine").is_dir() and not old.exists()


def test_a_lock_is_no_link(root: Path, hub: HubServer, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (root / ".publish.lock").symlink_to(victim)
    with pytest.raises(StoreLockedError, match="link"):
        plan(root, REPO)
    assert victim.read_text() == "mine"


def read_all(revision: str) -> dict[str, np.ndarray]:
    """All rows of the repository as a new reader of a revision finds them."""
    return load_dataset("Pendulums", repo_id=REPO, revision=revision)[:]


def update(root: Path) -> None:
    """Make the store anew with other rows, and add one."""
    shutil.rmtree(root / STORE)
    make_store(root / STORE, early={1: 5})
    make_store(root / "Pendulums/other.zarr", policy="other")


def fail_at(hub: HubServer, monkeypatch: pytest.MonkeyPatch, number: int) -> Callable[[], int]:
    """Let every request fail from the nth of those that change something; returns how many there were."""
    seen = 0
    original = hub.take_fault

    def take(method: str, path: str) -> Fault | None:
        nonlocal seen
        if method in ("PUT", "POST", "DELETE") and "paths-info" not in path and "validate-yaml" not in path:
            seen += 1
            if seen >= number:
                return Fault("status", status=500)
        return original(method, path)

    monkeypatch.setattr(hub, "take_fault", take)
    return lambda: seen


@pytest.mark.slow
def test_an_interrupted_update_changes_nothing(
    root: Path, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exhaustive: bool
) -> None:
    monkeypatch.setattr("dynamic_sparsity.publishing.upload.TRIES", 1)
    monkeypatch.setattr("dynamic_sparsity.publishing.upload.BATCH_FILES", 20)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    publish(plan(root, REPO, tag="v1.0.0"))
    before, blobs = read_all("main"), set(hub.blob("").iterdir())
    update(root)
    expected = load_dataset("Pendulums", root=root)[:]
    with monkeypatch.context() as patch:
        count = fail_at(hub, patch, 10**9)
        made = plan(root, REPO, tag="v2.0.0")
        files, commits = dict(hub.files(REPO)), len(hub.repositories[REPO].commits)
        publish(made)
        total = count()
    after = dict(hub.files(REPO))
    assert after != files and total > 30
    interrupted, numbers = 0, (1, total // 3, total - 20, total - 2, total - 1, total)
    for number in numbers if exhaustive else numbers[1::2]:
        repository = hub.repositories[REPO]
        for blob in set(hub.blob("").iterdir()) - blobs:
            blob.unlink()
        del repository.commits[commits:]
        repository.tags.pop("v2.0.0", None)
        with monkeypatch.context() as patch:
            fail_at(hub, patch, number)
            patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / f"cache{number}"))
            try:
                publish(plan(root, REPO, tag="v2.0.0"))
            except OSError:
                interrupted += 1
            found = read_all("main")
        # Either all of the old, or, if only the tag is missing, all of the new.
        right = expected if hub.files(REPO) == after else before
        for name, values in right.items():
            np.testing.assert_array_equal(found[name], values, err_msg=f"{name}, request {number} failed")
        for path in files if right is before else ():
            assert hub.files(REPO)[path] == files[path], path
    assert interrupted == (6 if exhaustive else 3)
    publish(plan(root, REPO, tag="v2.0.0"))
    assert hub.files(REPO) == after and "v2.0.0" in hub.repositories[REPO].tags


@pytest.mark.parametrize(
    "tag", ["v٣.0.0", "v1.0.0\n", "v1.²0.0", "v01.0.0", "v1.0.0 ", "v1.0." + "9" * 5000, "v-1.0.0", "V1.0.0"]
)
def test_tags_have_the_digits_0_to_9(tag: str, root: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidSettingError, match="three numbers"):
        versions.parse_tag(tag)
    assert cli.main(["publish", str(root), "--repo", REPO, "--tag", tag, "--dry-run"]) == 1
    assert "three numbers" in capsys.readouterr().err
