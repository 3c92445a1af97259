"""Copies of published stores on this machine: repaired by force, swept of what killed downloads left, readable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dynamic_sparsity import cli, load_dataset
from dynamic_sparsity.errors import CorruptStoreError, DynamicSparsityError
from dynamic_sparsity.loaders.hub import leftovers
from dynamic_sparsity.loaders.store.partial import PARTIAL_FILE, PartialLedger
from dynamic_sparsity.testing import HubServer

REPO, TASK = "org/name", "Pendulums"
DEAD = 2**22 + 1
"""No process has that number: it is larger than any may be."""


@pytest.fixture
def copy(published: HubServer) -> Path:
    """The folder of a copy of the test split."""
    return load_dataset(TASK, repo_id=REPO, split="test").store.path


def check(root: Path) -> None:
    """The copy gives what the store gives."""
    found = load_dataset(TASK, repo_id=REPO, split="test")[:]
    for name, values in load_dataset(TASK, root=root, split="test")[:].items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def flip(path: Path) -> None:
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    # What is in the Hub's cache stays as it is.
    replace(path, lambda path: path.write_bytes(contents))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flip": flip,
    "empty": lambda path: replace(path, lambda path: path.write_bytes(b"")),
    "nested": lambda path: replace(path, lambda path: path.write_bytes(b"[" * 100_000)),
    "delete": lambda path: path.unlink(),
    "folder": lambda path: replace(path, lambda path: (path / "more").mkdir(parents=True)),
    "fifo": lambda path: replace(path, os.mkfifo),
    "link": lambda path: replace(path, lambda path: path.symlink_to("/nowhere")),
}


@pytest.mark.sample(8)
@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name",
    ["manifest.json", "pieces.json", PARTIAL_FILE, "zarr.json", "state/zarr.json", "episodes/split/c/0", "flags/c/1"],
)
def test_force_repairs_small_files(name: str, damage: str, copy: Path, root: Path) -> None:
    DAMAGE[damage](copy / name)
    try:
        check(root)
    except CorruptStoreError as error:
        assert "again with --force" in str(error)
    assert cli.main(["download", TASK, "--repo", REPO, "--split", "test", "--force"]) == 0
    check(root)
    assert not list(copy.parent.rglob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["folder", "fifo", "link", "file for a folder", "link for a folder"])
def test_force_repairs_shards(damage: str, copy: Path, root: Path, tmp_path: Path) -> None:
    shard = next(path for path in (copy / "J_s/c").rglob("0") if path.is_file())
    outside = tmp_path / "outside"
    outside.mkdir()
    if damage in DAMAGE:
        DAMAGE[damage](shard)
    else:
        shutil.rmtree(copy / "J_s/c")
        replace_folder = (copy / "J_s/c").touch if damage.startswith("file") else lambda: None
        replace_folder()
        if damage.startswith("link"):
            (copy / "J_s/c").symlink_to(outside)
    code = cli.main(["download", TASK, "--repo", REPO, "--split", "test", "--force"])
    assert not list(outside.iterdir())
    if damage == "link for a folder":  # a message says which link is to be removed
        assert code == 1
        (copy / "J_s/c").unlink()
        code = cli.main(["download", TASK, "--repo", REPO, "--split", "test", "--force"])
    assert code == 0
    check(root)


@pytest.mark.slow
def test_an_index_that_went_bad_in_the_cache_is_fetched_again(
    copy: Path, root: Path, published: HubServer, tmp_path: Path
) -> None:
    (link,) = (tmp_path / "cache/hub").rglob("noise.tar.xz")
    blob = link.resolve()
    blob.write_bytes(bytes(blob.stat().st_size))
    shutil.rmtree(copy)
    check(root)


def test_a_copy_of_another_manifest_is_not_read(copy: Path, root: Path, tmp_path: Path) -> None:
    """As a reader before this check may have laid it out: all its digests agree with its own manifest."""
    manifest = json.loads((copy / "manifest.json").read_bytes())
    (copy / "manifest.json").write_text(json.dumps(manifest, indent=7))
    with pytest.raises(CorruptStoreError, match=r"not the one that was published.*again with --force"):
        load_dataset(TASK, repo_id=REPO, split="test")


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize(
    "change",
    [
        {"ranges": [[-1, 3]]},
        {"ranges": [[3, 3]]},
        {"ranges": [[0, 10**9]]},
        {"ranges": [[0, 5], [4, 8]]},
        {"ranges": [[0, 1.0]]},
        {"ranges": [[0, True]]},
        {"ranges": [0, 1]},
        {"ranges": {}},
        {"ranges": [[2**70, 2**71]]},
        {"rows": 2**40},
        {"rows": 0},
        {"shard_rows": 0},
        {"shard_rows": 7},
        {"shard_rows": 80.0},
        {"split": "dev"},
        {"split": []},
        {"more": 1},
    ],
    ids=str,
)
def test_which_rows_are_there_is_checked(change: dict[str, object], copy: Path) -> None:
    document = json.loads((copy / PARTIAL_FILE).read_bytes())
    (copy / PARTIAL_FILE).write_text(json.dumps(document | change))
    with pytest.raises(CorruptStoreError, match=r"partial\.json.*again with --force"):
        load_dataset(TASK, repo_id=REPO, split="test")[:]


def test_absurd_rows_cost_nothing(copy: Path) -> None:
    """No loop over declared rows, and no memory for them."""
    rows = 20 * 2**36
    document = {"split": None, "rows": rows, "shard_rows": 1, "ranges": [[0, rows]]}
    (copy / PARTIAL_FILE).write_text(json.dumps(document))
    ledger = PartialLedger(copy, {f"state/c/{shard}/0": ("", 1) for shard in range(5)})
    assert len(ledger.wanted_files) == 5 and ledger.holds(rows - 1, rows)
    ledger.require(slice(0, rows))
    ledger.require(np.array([0, rows - 1]))


def test_a_copy_as_older_versions_made_it(published: HubServer, root: Path, tmp_path: Path) -> None:
    """The place and the files of a copy are those that they were."""
    copy = load_dataset(TASK, repo_id=REPO, split="test").store.path
    digest = json.loads(published.content(REPO, "publication.json"))["stores"][0]["manifest_sha256"]
    folder = tmp_path / "cache/hub/datasets--org--name/dynamic-sparsity"
    assert copy == folder / f"{digest[:16]}-test" / TASK / "noise.zarr"
    document = json.loads((copy / PARTIAL_FILE).read_bytes())
    assert list(document) == ["split", "rows", "shard_rows", "ranges"]
    (copy / PARTIAL_FILE).write_text(json.dumps(document) + "\n")
    copy.with_name("noise.zarr.lock").unlink()
    published.requests.clear()
    check(root)
    assert [seen.method for seen in published.requests] == ["HEAD"]


def leave(copy: Path, process: int) -> list[Path]:
    """What a killed process of older versions leaves."""
    files = [copy / f"J_s/c/1/0/0.{process}-77.partial", copy / f"state/c/1/0.{process}-77.partial"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
    folder = copy.with_name(f"noise.zarr.{process}-77.partial")
    (folder / "state").mkdir(parents=True)
    return [*files, folder]


@pytest.mark.slow
def test_what_killed_downloads_left_is_swept(copy: Path, root: Path, tmp_path: Path) -> None:
    gone, alive = leave(copy, DEAD), leave(copy, os.getppid())
    link = copy / "state/c/1/1.partial"
    link.symlink_to(root)
    (copy / "reward").mkdir(exist_ok=True)
    load_dataset(TASK, repo_id=REPO, split="test")  # nothing is to be fetched
    assert all(path.exists() for path in gone)
    assert cli.main(["download", TASK, "--repo", REPO, "--split", "test", "--force"]) == 0
    assert not [path for path in gone if path.exists()] and not link.is_symlink()
    assert all(path.exists() for path in alive) and (root / TASK).exists()
    check(root)


WORKER = """
import sys
from pathlib import Path
from dynamic_sparsity.loaders.hub import leftovers
if sys.argv[1] == "folder":
    print(leftovers.owned_folder(), flush=True)
    input()
else:
    with leftovers.working_on(Path(sys.argv[1])):
        partial = leftovers.own_partial(Path(sys.argv[1]) / "file")
        partial.rename(partial) if partial.exists() else partial.write_bytes(b"half")
        print(partial, flush=True)
        input()
"""


def worker(argument: str, folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that has begun something, and what."""
    environment = os.environ | {"TMPDIR": str(folder)}
    words = [sys.executable, "-c", WORKER, argument]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.slow
def test_only_what_no_process_owns_is_swept(tmp_path: Path) -> None:
    store = tmp_path / "noise.zarr"
    store.mkdir()
    first, partial = worker(str(store), tmp_path)
    try:
        assert partial.exists()
        # A process in another container may have any number, that of a dead one here too.
        other = partial.rename(store / f"file.{DEAD}-1.partial")
        with leftovers.working_on(store):
            assert other.exists()
    finally:
        first.kill()
        first.communicate()
    with leftovers.working_on(store):
        assert not other.exists()


@pytest.mark.slow
def test_folders_of_killed_processes_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    process, folder = worker("folder", tmp_path)
    foreign = tmp_path / "dynamic-sparsity-foreign"
    foreign.mkdir()
    target = tmp_path / "target"
    (target / "kept").mkdir(parents=True)
    (target / leftovers.OWNER_FILE).touch()
    (tmp_path / "dynamic-sparsity-link").symlink_to(target)
    try:
        own = leftovers.owned_folder()
        assert folder.exists() and own.exists()
    finally:
        process.kill()
        process.communicate()
    another = leftovers.owned_folder()
    assert not folder.exists() and own.exists() and foreign.exists() and (target / "kept").exists()
    for path in (own, another):
        leftovers.release(path)
        assert not path.exists()


def test_no_extraction_of_tar_files(published: HubServer, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11.0 to 3.11.3 have no filters, and those of later ones have had holes."""
    for name in ("extract", "extractall"):
        monkeypatch.delattr(tarfile.TarFile, name)
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    check(root)


@pytest.mark.slow
def test_errors_are_ours(copy: Path) -> None:
    for name in ("zarr.json", "pieces.json", PARTIAL_FILE):
        (copy / name).write_bytes(b'{"a":' * 100_000)
    with pytest.raises(DynamicSparsityError):
        load_dataset(TASK, repo_id=REPO, split="test")
