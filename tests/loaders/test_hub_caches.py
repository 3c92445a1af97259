"""The Hub's cache as people have it: without links, moved, read-only, shared, full, and emptied by `hf cache rm`."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants, file_download, scan_cache_dir

from dynamic_sparsity import cli, load_dataset
from dynamic_sparsity.errors import HubNotFoundError, WriteFailedError
from dynamic_sparsity.storage import file_lock
from dynamic_sparsity.testing import HubServer

REPO, TASK = "org/name", "Pendulums"
Columns = list[str] | None
SPLITS = (None, "train", "validation", "test")


@pytest.fixture
def cache(published: HubServer) -> Path:
    """The folder that HF_HUB_CACHE names; no other one is known to the loaders."""
    return Path(constants.HF_HUB_CACHE)


def refused(number: int) -> Callable[..., None]:
    def function(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number), str(arguments[-1]))

    return function


def whole(*more: str) -> None:
    assert cli.main(["download", TASK, "--repo", REPO, *more]) == 0


def check(root: Path, splits: Sequence[str | None] = (None, "test"), subsets: Sequence[Columns] = (None,)) -> None:
    """Splits and columns give what the store gives."""
    for split in splits:
        for columns in subsets:
            found = load_dataset(TASK, repo_id=REPO, split=split, columns=columns)[:]
            for name, values in load_dataset(TASK, root=root, split=split, columns=columns)[:].items():
                np.testing.assert_array_equal(found[name], values, err_msg=name)


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize("links", ["symbolic", "hard", "none", "switched off"])
def test_any_kind_of_link_serves(links: str, cache: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_download, "_are_symlinks_supported_in_dir", {})
    if links == "switched off":
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    elif links != "symbolic":
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS_WARNING", True)
        monkeypatch.setattr(os, "symlink", refused(errno.EPERM))
    if links == "none":
        monkeypatch.setattr(os, "link", refused(errno.EPERM))
    whole()
    check(root)
    shards = [path for path in files_below(cache / "datasets--org--name/dynamic-sparsity") if "J_s/c/" in str(path)]
    assert shards
    for path in shards:
        assert path.is_symlink() == (links == "symbolic")
        assert (path.stat().st_nlink > 1) == (links in {"hard", "switched off"})


@pytest.mark.slow
def test_a_blob_that_another_download_moved_away(cache: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the client may not link, it moves a blob to its place, under another download of the same bytes."""
    download, gone = huggingface_hub.hf_hub_download, list[str]()

    def once_gone(repo_id: str, path: str, **options: Any) -> str:
        if "/c/" in path and not gone:
            gone.append(path)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "blobs/0123")
        return str(download(repo_id, path, **options))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", once_gone)
    whole()
    assert gone
    check(root)


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_after_a_whole_download_nothing_is_fetched(
    streaming: bool, cache: Path, published: HubServer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole()
    before = files_below(cache)
    for online in (True, False):
        published.requests.clear()
        if not online:
            offline(monkeypatch)
        if streaming:
            for split in SPLITS:
                stream = load_dataset(TASK, repo_id=REPO, split=split, columns=["state"], streaming=True)
                assert sum(len(batch["state"]) for batch in stream.batches(64, seed=0)) == len(stream)
        else:
            check(root, SPLITS, (None, ["state"]))
        assert {seen.method for seen in published.requests} == ({"HEAD"} if online else set())
    assert files_below(cache) == before
    whole("--split", "test")


@pytest.mark.slow
def test_a_split_beside_an_unfinished_whole_copy_is_fetched_alone(
    cache: Path, published: HubServer, root: Path
) -> None:
    whole("--columns", "state")
    published.requests.clear()
    check(root, ["test"])
    fetched = {seen.path.partition("/J_s/c/")[2] for seen in published.requests} - {""}
    assert 0 < len(fetched) < len(list((root / TASK / "noise.zarr/J_s/c").iterdir()))


@pytest.mark.slow
@pytest.mark.parametrize("links", [True, False])
def test_a_moved_cache_serves_offline(
    links: bool, cache: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    whole()
    offline(monkeypatch)
    moved = tmp_path / "elsewhere"
    shutil.copytree(cache, moved, symlinks=True)
    shutil.rmtree(cache)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(moved))
    # Nothing may be written there.
    for name in ("mkdir", "symlink", "link", "rename", "replace", "unlink"):
        monkeypatch.setattr(os, name, refused(errno.EROFS))
    check(root)


@pytest.mark.slow
def test_hf_cache_lists_and_removes_all(cache: Path, root: Path) -> None:
    whole()
    check(root, ["test"])
    load_dataset(TASK, repo_id=REPO, split="validation", columns=["state"])
    assert {path.name for path in cache.iterdir()} <= {"datasets--org--name", ".locks", "CACHEDIR.TAG"}
    found = scan_cache_dir(cache)
    assert not found.warnings
    (repository,) = found.repos
    found.delete_revisions(*(revision.commit_hash for revision in repository.revisions)).execute()
    assert not (cache / "datasets--org--name").exists()
    check(root, ["test"])


@pytest.mark.slow
def test_a_removed_blob_is_fetched_again(cache: Path, root: Path) -> None:
    whole()
    for path in files_below(cache / "datasets--org--name/blobs"):
        path.unlink()
    check(root)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "place"), [(errno.ENOSPC, "blobs"), (errno.EROFS, "blobs"), (errno.EACCES, "dynamic-sparsity")]
)
def test_what_the_disk_refuses_is_told(
    number: int,
    place: str,
    cache: Path,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        whole_mkdir = os.mkdir

        def mkdir(path: str, *arguments: object, **options: object) -> None:
            if f"/{place}" in os.fspath(path):
                raise OSError(number, os.strerror(number), os.fspath(path))
            whole_mkdir(path, *arguments, **options)  # type: ignore[arg-type]

        patch.setattr(os, "mkdir", mkdir)
        with pytest.raises(WriteFailedError, match=rf"{place}.*{os.strerror(number)}.*HF_HUB_CACHE"):
            load_dataset(TASK, repo_id=REPO)
        assert cli.main(["download", TASK, "--repo", REPO]) == 1
        assert "HF_HUB_CACHE" in capsys.readouterr().err
    assert not list(cache.rglob("*.partial"))
    check(root, ["test"])


def test_what_is_not_there_offline_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch)
    with pytest.raises(HubNotFoundError, match="dynamic-sparsity download"):
        load_dataset(TASK, repo_id=REPO)


def test_a_group_may_share_a_cache(cache: Path, root: Path) -> None:
    """What a user of the group makes, others of it may change: the umask alone decides."""
    before = os.umask(0o002)
    try:
        whole()
        load_dataset(TASK, repo_id=REPO, split="test")
    finally:
        os.umask(before)
    for path in (cache / "datasets--org--name/dynamic-sparsity").rglob("*"):
        assert path.is_symlink() or path.stat().st_mode & 0o060 == 0o060, path


@pytest.mark.slow
def test_locks_of_other_users(cache: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file that another user made is not in the way."""
    opened = os.open

    def only_for_reading(path: str, flags: int, *arguments: object, **options: object) -> int:
        if os.fspath(path).endswith("noise.zarr.lock") and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, *arguments, **options)  # type: ignore[arg-type]

    check(root, ["test"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", only_for_reading)
        whole()
        whole("--split", "test", "--force")
    check(root)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_disk_without_locks(number: int, cache: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's client works without some locks; where it does not, the error says why, and what to do."""

    def flock(descriptor: int, kind: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(file_lock.fcntl, "flock", flock)
        if number == errno.ENOSYS:
            whole()
        else:
            with pytest.raises(WriteFailedError, match=r"No locks available.*HF_HUB_CACHE"):
                load_dataset(TASK, repo_id=REPO)
    check(root)
