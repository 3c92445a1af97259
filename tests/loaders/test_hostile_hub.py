"""Hostile repositories: right data or one of our errors, nothing written outside the cache, nothing left behind."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hostile_hub
import hostile_hub_stores
import hub_files
import pytest
from conftest import SERVER
from hub_files import Files, Mutation

from dynamic_sparsity.publishing.publish import plan, publish
from dynamic_sparsity.testing import make_store

pytestmark = pytest.mark.slow

REPO, TASK = "org/hostile", "Pendulums"
SECONDS_MAX = 20
MEMORY_MAX = 10**9
CLIENT = Path(__file__).parents[1] / "helpers" / "hostile_client.py"


class Client:
    """A process that loads what it is told to; one that dies or hangs is replaced."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> subprocess.Popen[str]:
        for name in ("home", "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
        environment = os.environ | {"HOME": f"{self.folder}/home", "TMPDIR": f"{self.folder}/tmp"}
        environment |= {"HF_HOME": f"{self.folder}/home/hf", "HF_TOKEN": "hf_reader"}
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, str(CLIENT)], stdin=pipe, stdout=pipe, text=True, env=environment)

    def use(self, cache: Path, uses: Sequence[str]) -> dict[str, Any]:
        """What came of using the repository; an entry "process" if the process died or hung."""
        process = self.process = self.process or self.start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"repository": REPO, "cache": str(cache), "task": TASK, "uses": uses}) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], SECONDS_MAX * 5)
        line = process.stdout.readline() if ready else ""
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        self.close()
        return {"found": {"process": ["hung" if not ready else f"died with {process.returncode}", "", 0]}, "memory": 0}

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a good repository with one store of 400 rows in five shards."""
    root = tmp_path_factory.mktemp("data")
    make_store(root / TASK / "noise.zarr", episodes=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_writer")
        SERVER.repositories.clear()
        SERVER.faults.clear()
        publish(plan(root, REPO, tag="v1.0.0"))
        return hub_files.files_of(SERVER, REPO)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    made = Client(tmp_path)
    yield made
    made.close()


def listing(folder: Path) -> set[str]:
    """All that lies in a folder outside of the cache."""
    ours = ("cache", "home/hf")
    paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return {path for path in paths if not path.startswith(ours)}


def problems_of(client: Client, folder: Path, reference: dict[str, Any], uses: Sequence[str]) -> list[str]:
    """Use the repository with an empty cache; say what is wrong with what came of it."""
    cache, before = folder / "cache", listing(folder)
    shutil.rmtree(cache, ignore_errors=True)
    answer = client.use(cache, uses)
    problems = []
    for name, (kind, what, seconds) in answer["found"].items():
        right = kind == "data" and what == reference[name][1]
        if not right and kind != "error":
            problems.append(f"{name}: {kind} {what}")
        if seconds > SECONDS_MAX:
            problems.append(f"{name}: took {seconds} s")
    if answer["memory"] > MEMORY_MAX:
        problems.append(f"took {answer['memory'] / 1e6:.0f} MB")
        client.close()
    left = [f"left {path}" for path in sorted(listing(folder) - before)]
    left += [f"left {path.relative_to(cache)}" for path in cache.rglob("*.partial")]
    for path in cache.rglob("dynamic-sparsity/**/*"):
        inside = any(parent.name == "noise.zarr" for parent in path.parents)
        if path.is_file() and not inside and path.name != "noise.zarr.lock":
            left.append(f"wrote {path.relative_to(cache)}")
    return problems + left[:3]


STEP, PART = 30, 3
"""By every use, so many mutations make one that is tried; and of those, every so many-th without `--exhaustive`."""
ALL = ("load", "load a split", "stream", "download", "download again")
GROUPS: dict[str, tuple[Callable[[], Iterator[Mutation]], tuple[str, ...]]] = {
    "publication": (hostile_hub.publication_mutations, ("load",)),
    "archive": (hostile_hub.archive_mutations, ("load", "download again")),
    "manifest": (hostile_hub_stores.manifest_mutations, ("load", "stream")),
    "attributes": (hostile_hub_stores.attribute_mutations, ("load", "stream")),
    "pieces": (hostile_hub_stores.pieces_mutations, ("load a split", "stream")),
    "shards": (hostile_hub_stores.shard_mutations, ALL),
}


@pytest.mark.parametrize("group", GROUPS)
def test_hostile_repositories(group: str, good: Files, client: Client, tmp_path: Path, exhaustive: bool) -> None:
    SERVER.faults.clear()
    hub_files.install(SERVER, REPO, good)
    reference = client.use(tmp_path / "cache", ALL)["found"]
    assert {kind for kind, _, _ in reference.values()} == {"data"}, reference
    found, count = [], 0
    mutations, uses = GROUPS[group]
    # By every use, some of each kind; `hostile/test_campaign.py` loads and streams all of them.
    step = max(1, STEP // len(uses)) * (1 if exhaustive else PART)
    for name, mutate in itertools.islice(mutations(), 0, None, step):
        files = dict(good)
        mutate(files)
        hub_files.install(SERVER, REPO, files)
        found += [f"{name}: {problem}" for problem in problems_of(client, tmp_path, reference, uses)]
        count += 1
    assert not found, f"{len(found)} problems in {count} repositories:\n" + "\n".join(found)
    print(group, count)
    assert count >= (4 if exhaustive else 2)
