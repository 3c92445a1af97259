"""Publishing: what is sent, what is not sent again, what is refused; and that the plain clients read it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import DatasetCard

from dynamic_sparsity import cli, load_dataset
from dynamic_sparsity.errors import CorruptStoreError, HubAccessError, HubError
from dynamic_sparsity.publishing.publish import plan, publish
from dynamic_sparsity.testing import Fault, HubServer, make_store

REPO = "org/name"
GUIDE = Path(__file__).parents[2] / "docs" / "hub.md"
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)


def run_publish(*words: str) -> int:
    return cli.main(["publish", *words])


@pytest.mark.slow
def test_publish_then_nothing_is_sent_again(root: Path, hub: HubServer) -> None:
    first = plan(root, REPO, tag="v1.0.0")
    assert first.uploads == first.files and not first.remote.exists
    publish(first)
    files = hub.files(REPO)
    assert {file.path for file, _ in first.files} | {".gitattributes"} == set(files)
    for file, source in first.files:
        assert files[file.path].sha256 == file.sha256, file.path
        assert source.stat().st_size == file.bytes
    repository = hub.repositories[REPO]
    assert repository.tags == {"v1.0.0": repository.commits[-1][0]}
    for tag in (None, "v1.0.0"):
        hub.requests.clear()
        again = plan(root, REPO, tag=tag)
        assert not again.changes
        publish(again)
        assert not [seen for seen in hub.requests if seen.method in ("PUT", "POST")]
    shutil.rmtree(root / ".publish")
    assert not plan(root, REPO).changes  # made anew, to the same bits


@pytest.mark.slow
def test_nothing_is_built_on_what_somebody_else_has_published_meanwhile(
    root: Path, hub: HubServer, tmp_path: Path
) -> None:
    publish(plan(root, REPO))
    made = plan(root, REPO, tag="v1.0.0")
    shutil.copytree(root / "Swings", tmp_path / "other/Swings")
    publish(plan(tmp_path / "other", REPO, delete=True))
    between = list(hub.repositories[REPO].commits)
    with pytest.raises(HubError, match=r"somebody else has committed to the repository since this began.*run the same"):
        publish(replace(made, uploads=made.files))
    assert hub.repositories[REPO].commits == between and not hub.repositories[REPO].tags
    publish(plan(root, REPO))
    assert "Pendulums/noise.zarr/zarr.json" in hub.files(REPO)


@pytest.mark.slow
def test_every_file_of_every_store_is_there(root: Path, hub: HubServer) -> None:
    publish(plan(root, REPO))
    for name in ("Pendulums/noise.zarr", "Swings/noise-stock.zarr"):
        for file in (root / name).rglob("*"):
            if file.is_file():
                assert hub.content(REPO, file.relative_to(root).as_posix()) == file.read_bytes()
    publication = json.loads(hub.content(REPO, "publication.json"))
    assert [(store["task"], store["dynamics"]) for store in publication["stores"]] == [
        ("Pendulums", "converged"),
        ("Swings", "stock"),
    ]


@pytest.mark.slow
def test_an_interrupted_upload_goes_on(one: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynamic_sparsity.publishing.upload.BATCH_FILES", 40)
    monkeypatch.setattr("dynamic_sparsity.publishing.upload.TRIES", 1)
    made = plan(one, REPO)
    commits = 0
    original = hub.take_fault

    def fail_third_commit(method: str, path: str) -> Fault | None:
        nonlocal commits
        if "/commit/" in path:
            commits += 1
            if commits == 3:
                return Fault("status", status=500)
        return original(method, path)

    monkeypatch.setattr(hub, "take_fault", fail_third_commit)
    with pytest.raises(OSError, match="500"):
        publish(made)
    there = set(hub.files(REPO))
    assert 80 <= len(there) < len(made.files) and "publication.json" not in there
    rest = plan(one, REPO)
    assert len(rest.uploads) == len(made.files) - len(there) + 1  # + .gitattributes
    publish(rest)
    assert not plan(one, REPO).changes


@pytest.mark.slow
def test_a_damaged_store_is_not_published(one: Path, hub: HubServer) -> None:
    plan(one, REPO)
    shard = one / "Pendulums/noise.zarr/J_s/c/1/0/0"
    content = bytearray(shard.read_bytes())
    content[5] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CorruptStoreError, match=r"J_s/c/1/0/0"):
        plan(one, REPO)
    assert REPO not in hub.repositories


@pytest.mark.slow
def test_a_renamed_store_is_not_published(one: Path, hub: HubServer) -> None:
    (one / "Pendulums/noise.zarr").rename(one / "Pendulums/expert.zarr")
    with pytest.raises(CorruptStoreError, match="its policy is 'noise', its path says 'expert'"):
        plan(one, REPO)


@pytest.mark.slow
def test_dry_run_sends_nothing(root: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_publish(str(root), "--repo", REPO, "--tag", "v1.0.0", "--dry-run") == 0
    output = capsys.readouterr().out
    for word in ("files", "bytes", "requests", "2 stores", "Nothing was sent"):
        assert word in output
    assert not hub.repositories
    assert not [seen for seen in hub.requests if seen.method not in ("GET", "HEAD")]


@pytest.mark.slow
def test_command(one: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(one), "--repo", REPO, "--private", "--tag", "v1.0.0"]
    assert run_publish(*words) == 0
    assert "Published" in capsys.readouterr().out
    assert hub.repositories[REPO].private
    assert run_publish(*words) == 0
    assert "up to date" in capsys.readouterr().out


@pytest.mark.slow
def test_busy_hub(one: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    hub.faults = [
        Fault("status", "/commit/", "POST", status=503, retry_after=7),
        Fault("status", "/commit/", "POST", status=429, retry_after=11),
        Fault("status", "/lfs/", "PUT", status=500),
        Fault("status", "/tag/", "POST", status=503, retry_after=3),
    ]
    publish(plan(one, REPO, tag="v1.0.0"))
    assert {7, 11, 3} <= {round(wait) for wait in waits} | {round(wait - 1) for wait in waits}
    assert not plan(one, REPO, tag="v1.0.0").changes


@pytest.mark.slow
def test_no_token(one: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.delenv("HF_TOKEN")
    made = plan(one, REPO)
    with pytest.raises(HubAccessError, match="HF_TOKEN"):
        publish(made)
    assert run_publish(str(one), "--repo", REPO) == 1
    assert "hf auth login" in capsys.readouterr().err
    assert not hub.repositories


@pytest.mark.slow
@pytest.mark.parametrize(("token", "status"), [("hf_reader", "403"), ("hf_expiredSecret", "401")])
def test_no_right_to_write(token: str, status: str, one: Path, hub: HubServer, monkeypatch, capfd) -> None:
    publish(plan(one, REPO))
    make_store(one / "Pendulums/other.zarr", policy="other")
    monkeypatch.setenv("HF_TOKEN", token)
    assert run_publish(str(one), "--repo", REPO) == 1
    output = "".join(capfd.readouterr())
    assert status in output and "Traceback" not in output
    assert token not in output


@pytest.mark.slow
def test_token_is_never_shown(one: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_SecretOfMine")
    assert run_publish(str(one), "--repo", REPO) == 1
    with pytest.raises(HubAccessError):
        run_publish(str(one), "--repo", REPO, "--debug")
    assert "SecretOfMine" not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_card(root: Path, hub: HubServer, tmp_path: Path) -> None:
    publish(plan(root, REPO, tag="v1.0.0"))
    text = hub.content(REPO, "README.md").decode()
    _, header, body = text.split("---\n", 2)
    parsed = yaml.safe_load(header)
    assert parsed["license"] == "cc-by-4.0"
    read = DatasetCard(text)
    assert read.data.to_dict() == parsed and read.text.strip() == body.strip()
    assert [config["config_name"] for config in parsed["configs"]] == ["Pendulums-noise", "Swings-noise-stock"]
    for config in parsed["configs"]:
        for entry in config["data_files"]:
            assert all(path in hub.files(REPO) for path in entry["path"])
    assert "{{" not in body and "template" not in body
    for target in re.findall(r"\]\(([^)#:]+)\)", body):
        assert target in hub.files(REPO), target
    local = load_dataset("Pendulums", root=root)
    for measured in (
        f"{local.store.episodes['return'].mean():.1f} ± {local.store.episodes['return'].std():.1f}",
        f"{100 * local.store.statistics['zero_share_s'].mean():.1f}",
    ):
        assert f"| {measured} |" in body
    page = hub.content(REPO, "Pendulums/README.md").decode()
    assert "`qpos0`" in page and "noise.sparsity.png" in page
    assert hub.content(REPO, "Pendulums/noise.sparsity.png").startswith(b"\x89PNG")
    statistics = json.loads(hub.content(REPO, "Pendulums/statistics.json"))["Pendulums-noise"]
    np.testing.assert_array_equal(statistics["statistics"]["state_mean"], local.store.statistics["state_mean"])
    guide = GUIDE.read_text().replace("CheetahRun", "Pendulums").replace("ORG/NAME", REPO)
    snippets = [*SNIPPET.findall(body), *SNIPPET.findall(guide)]
    assert len(snippets) == 6
    if find_spec("torch") is None:
        snippets = [snippet for snippet in snippets if "from torch" not in snippet]
    checked = re.sub(r"^(\S.*?)\s+# (\(.*?\)):.*$", r"assert \1 == \2", "\n".join(snippets), flags=re.MULTILINE)
    assert checked.count("assert ") == 2
    subprocess.run([sys.executable, "-W", "error", "-c", checked], check=True, cwd=tmp_path)
