"""Loading from the Hub with the real client: what is fetched, what is checked, and what happens when it fails."""

from __future__ import annotations

import pickle
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from published_root import publish_root

from dynamic_sparsity import cli, load_dataset
from dynamic_sparsity.errors import (
    CorruptStoreError,
    DynamicSparsityError,
    HubAccessError,
    HubError,
    HubNotFoundError,
    IncompleteStoreError,
    InvalidSettingError,
    UnknownNameError,
)
from dynamic_sparsity.loaders import JacobianDataset
from dynamic_sparsity.loaders.store.store import open_store
from dynamic_sparsity.publishing.publish import plan, publish
from dynamic_sparsity.testing import Fault, HubServer, Repository, make_store

REPO = "org/name"
SIZES = {"episodes": 20, "episode_length": 128, "chunk_rows": 512, "shard_rows": 512, "hinges": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a store of 2560 rows in five shards, and a small one with quaternions."""
    root = tmp_path_factory.mktemp("data")
    make_store(root / "Pendulums/noise.zarr", early={3: 100, 13: 7}, **SIZES)
    make_store(root / "Swings/noise-stock.zarr", task="Swings", stock=True, quaternion=True)
    return root


@pytest.fixture(scope="module")
def snapshot(root: Path) -> dict[str, Repository]:
    """The server's repositories when both stores are published."""
    return publish_root(root, REPO, tag="v1.0.0")


def same(found: JacobianDataset, expected: JacobianDataset) -> None:
    assert len(found) == len(expected)
    rows, others = found[:], expected[:]
    assert list(rows) == list(others)
    for name, values in others.items():
        np.testing.assert_array_equal(rows[name], values, err_msg=name)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited for, s, without waiting."""
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits


@pytest.mark.fast_sample(3)
@pytest.mark.parametrize("split", [None, "train", "validation", "test"])
def test_same_rows_as_from_the_folder(split: str | None, published: HubServer, root: Path) -> None:
    found = load_dataset("Pendulums", repo_id=REPO, split=split)
    same(found, load_dataset("Pendulums", root=root, split=split))
    number = np.random.default_rng(0).permutation(len(found))[:50]
    expected = load_dataset("Pendulums", root=root, split=split)[number]
    for name, values in pickle.loads(pickle.dumps(found))[number].items():
        np.testing.assert_array_equal(values, expected[name])
    assert found.statistics["state"]["mean"].shape == (4,)
    assert found.sparsity()["rows_all"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"coordinates": "ambient"}, {"exclude_flags": ["active_set_changed"]}])
@pytest.mark.parametrize("columns", [None, "J_a", ["mask_s", "reward"]])
def test_same_options_as_from_the_folder(options, columns, published: HubServer, root: Path) -> None:
    options = options | {"dynamics": "stock", "columns": columns, "split": "test"}
    same(load_dataset("Swings", repo_id=REPO, **options), load_dataset("Swings", root=root, **options))


def test_only_what_is_needed_is_fetched(published: HubServer, root: Path) -> None:
    whole = sum(file.size for path, file in published.files(REPO).items() if path.startswith("Pendulums/noise.zarr"))
    load_dataset("Pendulums", repo_id=REPO, split="test", columns=["J_s"])
    asked = {
        seen.path.split("noise.zarr/")[-1].split("/")[0] for seen in published.requests if "noise.zarr/" in seen.path
    }
    assert asked == {"J_s"}
    # 10 % of the rows, in pieces of a few more, and the index; the index of a small store is large.
    index = published.files(REPO)["index/Pendulums/noise.tar.xz"].size
    J_s = sum(file.size for path, file in published.files(REPO).items() if path.startswith("Pendulums/noise.zarr/J_s"))
    assert published.bytes_sent() - index < 0.5 * J_s
    assert J_s < whole


def test_second_load_asks_once(published: HubServer) -> None:
    for _ in range(2):
        published.requests.clear()
        load_dataset("Pendulums", repo_id=REPO, split="test", revision="v1.0.0")[:5]
    assert [seen.method for seen in published.requests] == ["HEAD"]
    published.requests.clear()
    commit = published.repositories[REPO].tags["v1.0.0"]
    load_dataset("Pendulums", repo_id=REPO, split="test", revision=commit)
    assert len(published.requests) <= 2
    published.requests.clear()
    load_dataset("Pendulums", repo_id=REPO, split="test", revision=commit)
    assert not published.requests


def test_more_columns_are_added(published: HubServer, root: Path) -> None:
    few = load_dataset("Pendulums", repo_id=REPO, split="test", columns=["state"])
    assert few.columns == ("state",)
    for use in (lambda: few.mask(1e-3), lambda: JacobianDataset(few.store.path, columns=["J_s"])):
        with pytest.raises(UnknownNameError, match="not downloaded"):
            use()
    published.requests.clear()
    load_dataset("Pendulums", repo_id=REPO, split="test", columns=["state", "reward"])
    assert not [seen for seen in published.requests if "/state/" in seen.path]
    same(load_dataset("Pendulums", repo_id=REPO, split="test"), load_dataset("Pendulums", root=root, split="test"))


def test_a_part_is_not_taken_for_the_whole(published: HubServer) -> None:
    path = load_dataset("Pendulums", repo_id=REPO, split="test").store.path
    with pytest.raises(IncompleteStoreError, match="split 'test'"):
        JacobianDataset(path)[:]
    with pytest.raises(IncompleteStoreError):
        open_store(path).reader.gather(["J_s"], np.arange(2560))
    with pytest.raises(IncompleteStoreError):
        JacobianDataset(path, split="train")[[0, 5]]


@pytest.mark.slow
def test_offline(published: HubServer, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    load_dataset("Pendulums", repo_id=REPO, split="test", revision="v1.0.0")
    published.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    expected = load_dataset("Pendulums", root=root, split="test")
    same(load_dataset("Pendulums", repo_id=REPO, split="test", revision="v1.0.0"), expected)
    for options in ({"split": "train", "revision": "v1.0.0"}, {"revision": "v3.0.0"}):
        with pytest.raises(HubNotFoundError, match="dynamic-sparsity download"):
            load_dataset("Pendulums", repo_id=REPO, **options)
    assert not published.requests


def test_default_repository(published: HubServer, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DYNAMIC_SPARSITY_REPOSITORY", REPO)
    assert len(load_dataset("Pendulums", split="test")) == len(load_dataset("Pendulums", root=root, split="test"))
    monkeypatch.chdir(root.parent)
    (root.parent / "data").exists() or (root.parent / "data").symlink_to(root)
    published.requests.clear()
    load_dataset("Pendulums", split="test")
    assert not published.requests


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"task": "Cheetah"}, HubNotFoundError, ["'Cheetah'", "Pendulums, Swings"]),
        ({"policy": "expert"}, HubNotFoundError, ["expert", "noise"]),
        ({"revision": "v9.0.0"}, HubNotFoundError, ["no such revision", "tags"]),
        ({"repo_id": "org/other"}, HubError, ["org/other"]),
        ({"repo_id": "nonsense"}, InvalidSettingError, ["ORG/NAME"]),
        ({"split": "dev"}, UnknownNameError, ["'dev'", "'validation'"]),
        ({"columns": ["J"]}, UnknownNameError, ["'J'", "'J_s'"]),
        ({"coordinates": "polar"}, UnknownNameError, ["'polar'"]),
        ({"root": "data"}, InvalidSettingError, ["not both"]),
        ({"repo_id": None, "streaming": True}, InvalidSettingError, ["repo_id"]),
    ],
)
def test_bad_requests_are_explained(options, error, words, published: HubServer) -> None:
    options = {"task": "Pendulums", "repo_id": REPO, **options}
    with pytest.raises(error) as caught:
        load_dataset(**options)
    for word in words:
        assert word in str(caught.value)


FAULTS = [
    Fault("drop", "/resolve/.*J_s", "GET", 3),
    Fault("drop", "/resolve/.*J_s", "GET", 3),
    Fault("drop", "/resolve/.*index", "GET", 2),
    Fault("status", "/resolve/", "GET", 2, status=429, retry_after=5),
    Fault("status", "/resolve/.*xz", "GET", 1, status=429, retry_after=5),
    Fault("status", "/resolve/", "HEAD", 1, status=503, retry_after=4),
    Fault("status", "/resolve/.*J_a", None, 2, status=503, retry_after=4),
    Fault("corrupt", "/resolve/.*J_s", "GET", 1),
    Fault("corrupt", "/resolve/.*J_s", "GET", 1),
    Fault("corrupt", "/resolve/.*index", "GET", 1),
    Fault("corrupt", "/resolve/.*/state/", "GET", 1),
    Fault("truncate", "/resolve/.*state", None, 1),
    Fault("truncate", "/resolve/.*J_a", "GET", 1),
]


@pytest.mark.fast_sample(100)
@pytest.mark.parametrize(("fault", "split"), list(zip(FAULTS, cycle([None, "test"]), strict=False)))
def test_passing_faults_are_mended(fault: Fault, split, published: HubServer, root: Path, no_waiting) -> None:
    published.faults = [Fault(**vars(fault))]
    found = load_dataset("Pendulums", repo_id=REPO, split=split)
    assert published.faults[0].times == 0
    if fault.retry_after is not None and fault.method == "GET":
        assert any(wait >= fault.retry_after for wait in no_waiting)
    same(found, load_dataset("Pendulums", root=root, split=split))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("corrupt", CorruptStoreError, "not those that were published"),
        ("truncate", DynamicSparsityError, "bytes|416"),  # 416: the range begins behind the end
        ("missing", HubNotFoundError, "no such file"),
        ("status", HubError, "503"),
        ("drop", HubError, "try again later"),
    ],
)
@pytest.mark.parametrize("split", [None, "test"])
def test_lasting_faults_are_clear_errors(
    kind, error, words, split, published: HubServer, root: Path, no_waiting
) -> None:
    published.faults = [Fault(kind, "/resolve/.*J_s/c/", "GET" if kind != "truncate" else None, times=10**6)]
    for _ in range(2):
        with pytest.raises(error, match=words) as caught:
            load_dataset("Pendulums", repo_id=REPO, split=split)
        assert isinstance(caught.value, DynamicSparsityError) and "J_s/c/" in str(caught.value)
    # What is there is good, and is not taken for more than it is.
    published.faults = []
    same(load_dataset("Pendulums", repo_id=REPO, split=split), load_dataset("Pendulums", root=root, split=split))


@pytest.mark.slow
@pytest.mark.parametrize("split", [None, "test"])
def test_an_interrupted_download_goes_on(split, published: HubServer, root: Path, tmp_path: Path, no_waiting) -> None:
    published.faults = [Fault("status", "/resolve/.*J_s/c/", "GET", times=10**6, status=500)]
    with pytest.raises(HubError):
        load_dataset("Pendulums", repo_id=REPO, split=split)
    path = root / "Pendulums/noise.zarr"
    (copy,) = (found.parent for found in (tmp_path / "cache/hub").rglob("partial.json"))
    there = {file.relative_to(copy).as_posix() for file in copy.rglob("c/**/*") if file.is_file()}
    assert there and not list(copy.rglob("*.partial")) and all((path / name).exists() for name in there)
    published.faults, published.requests = [], []
    same(load_dataset("Pendulums", repo_id=REPO, split=split), load_dataset("Pendulums", root=root, split=split))
    assert not there & {seen.path.split("noise.zarr/")[-1] for seen in published.requests}


def test_progress_is_told(published: HubServer) -> None:
    told: list[tuple[str, object]] = []

    class Told:
        def started(self, what: str, total: int) -> None:
            told.append((what, total))

        def advanced(self, count: int) -> None:
            told.append(("bytes", count))

        def finished(self) -> None:
            told.append(("finished", 0))

    load_dataset("Pendulums", repo_id=REPO, columns=["J_s"], progress=Told())
    assert told[0][0] == "Pendulums noise" and told[-1][0] == "finished"
    assert sum(count for what, count in told if what == "bytes") == told[0][1] > 0
    told.clear()
    load_dataset("Pendulums", repo_id=REPO, columns=["J_s"], progress=Told())
    assert not told


@pytest.mark.slow
def test_a_new_version_replaces_the_old(published: HubServer, root: Path, tmp_path: Path) -> None:
    before = load_dataset("Pendulums", repo_id=REPO, split="test")[:]
    make_store(tmp_path / "new/Pendulums/noise.zarr", seed=5, **SIZES)
    publish(plan(tmp_path / "new", REPO, tag="v2.0.0", delete=True))
    after = load_dataset("Pendulums", repo_id=REPO, split="test")
    same(after, load_dataset("Pendulums", root=tmp_path / "new", split="test"))
    assert not np.array_equal(before["state"], after[:]["state"])
    old = load_dataset("Pendulums", repo_id=REPO, split="test", revision="v1.0.0")
    np.testing.assert_array_equal(old[:]["state"], before["state"])


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_cache_is_noticed(damage: str, published: HubServer, root: Path, tmp_path: Path, capsys) -> None:
    expected = load_dataset("Pendulums", root=root)
    path = load_dataset("Pendulums", repo_id=REPO).store.path / "J_s/c/1/0/0"
    blob = path.resolve()
    content = bytearray(blob.read_bytes())
    content[700] ^= 1
    blob.unlink() if damage == "delete" else blob.write_bytes(content if damage == "flip" else content[:-100])
    if damage == "flip":  # The size is right, so that it comes out at the first use.
        with pytest.raises(CorruptStoreError, match="again with --force"):
            load_dataset("Pendulums", repo_id=REPO)[:]
        assert cli.main(["download", "Pendulums", "--repo", REPO, "--force"]) == 0
    same(load_dataset("Pendulums", repo_id=REPO), expected)


def test_a_damaged_piece_is_noticed(published: HubServer, root: Path) -> None:
    dataset = load_dataset("Pendulums", repo_id=REPO, split="test")
    files = [path for path in (dataset.store.path / "J_s/c").rglob("*") if path.is_file()]
    path = next(path for path in files if not path.is_symlink())
    content = np.fromfile(path, np.uint8)
    content[np.flatnonzero(content)[50]] ^= 1
    content.tofile(path)
    with pytest.raises(CorruptStoreError, match="not the ones that were written"):
        load_dataset("Pendulums", repo_id=REPO, split="test")[:]


def test_private_repositories_need_a_token(published: HubServer, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    published.repositories[REPO].private = True
    load_dataset("Swings", repo_id=REPO, dynamics="stock", split="test")
    monkeypatch.setenv("HF_TOKEN", "hf_WrongSecret")
    with pytest.raises(HubAccessError, match="401"):
        load_dataset("Pendulums", repo_id="org/name", revision="main", split="test")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubAccessError, match="HF_TOKEN"):
        load_dataset("Pendulums", repo_id=REPO)
    assert cli.main(["download", "Pendulums", "--repo", REPO]) == 1
    assert "WrongSecret" not in "".join(capfd.readouterr())


def test_download_command(published: HubServer, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["download", "Pendulums", "--repo", f"{REPO}@v1.0.0", "--split", "test", "--columns", "state,J_s"]
    assert cli.main([*words, "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "Nothing was fetched" in output and "requests" in output and "1.0.0" in output
    assert not [seen for seen in published.requests if "noise.zarr/" in seen.path]
    assert cli.main(words) == 0
    assert "load_dataset('Pendulums', repo_id='org/name', revision='v1.0.0'" in capsys.readouterr().out
    published.requests.clear()
    load_dataset("Pendulums", repo_id=REPO, revision="v1.0.0", split="test", columns=["state", "J_s"])
    assert len(published.requests) == 1
    assert cli.main(["download", "--all", "--repo", REPO, "--dynamics", "stock"]) == 1
    assert "no noise policy with stock" in capsys.readouterr().err
    assert cli.main(["download", "--repo", REPO]) == 1
    assert "Pendulums, Swings" in capsys.readouterr().err
    assert cli.main(["download", "Pendulums"]) == 1
    assert "DYNAMIC_SPARSITY_REPOSITORY" in capsys.readouterr().err
