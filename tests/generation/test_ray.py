"""Units on Ray actors, and what is left when actors, the driver or a whole node die; rows of `fake_unit_runner`."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

import fake_unit_runner
import pytest
import test_scaling
from processes import kill, wait_for
from test_scaling import UNITS, digests, drive, shards_done, started, undisturbed  # noqa: F401 - a fixture

from dynamic_sparsity import cli

pytestmark = pytest.mark.slow

pytest.importorskip("ray", reason="the extra `ray` is not installed")

ACTORS = -2
_workers_find_the_fakes = test_scaling._workers_find_the_fakes


@pytest.fixture(autouse=True)
def _actors_are_not_starved(monkeypatch) -> None:
    """Ray has its workers give way to everything else on the machine."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


def actors(mark: int) -> list[int]:
    """Process ids of all Ray actors whose environment has a mark."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            is_actor = entry.name.isdigit() and b"ray::RayActor" in (entry / "cmdline").read_bytes()
            if is_actor and f"RAY_TEST={mark}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_survives_the_death_of_actors_and_driver(undisturbed, tmp_path):  # noqa: F811
    rng, mark = random.Random(0), os.getpid()
    environment = {fake_unit_runner.SECONDS: "1", "RAY_TEST": str(mark)}

    def wait_for_a_shard(driver: subprocess.Popen[str]) -> None:
        before = shards_done(tmp_path)
        wait_for(lambda: shards_done(tmp_path) > before, driver)

    for kills in (2, 1):
        with started(tmp_path, UNITS, ACTORS, **environment) as driver:
            for _ in range(kills):
                wait_for_a_shard(driver)
                time.sleep(rng.uniform(0, 0.5))
                if alive := actors(mark):
                    kill(rng.choice(alive))
            if kills == 2:
                wait_for_a_shard(driver)
                driver.kill()
            _, errors = driver.communicate(timeout=900)
    assert driver.returncode == 0, errors
    assert digests(tmp_path) == undisturbed


def test_a_unit_that_kills_its_actor_is_quarantined(undisturbed, tmp_path):  # noqa: F811
    finished = drive(tmp_path, ACTORS, **{fake_unit_runner.CRASHING: "2"})
    assert finished.returncode == 3
    assert "unit 2: WorkerError: the actor died" in finished.stderr
    assert drive(tmp_path, 0).returncode == 0
    assert digests(tmp_path) == undisturbed


@pytest.mark.exhaustive
# Ray starts nodes by forking, here beside the JAX of other tests; what is forked becomes another program at once.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_survives_the_death_of_a_node(undisturbed, tmp_path):  # noqa: F811
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    try:
        environment = {fake_unit_runner.SECONDS: "2", "RAY_ADDRESS": cluster.address}
        with started(tmp_path, UNITS, -3, **environment) as driver:
            wait_for(lambda: shards_done(tmp_path), driver)
            cluster.remove_node(nodes[0], allow_graceful=False)
            _, errors = driver.communicate(timeout=900)
        assert driver.returncode == 0, errors
    finally:
        cluster.shutdown()
    assert digests(tmp_path) == undisturbed


def test_no_cluster_there(capsys):
    assert cli.main(["generate", "CartpoleBalance", "--executor", "ray", "--ray-address", "127.0.0.1:1"]) == 1
    assert "no Ray cluster" in capsys.readouterr().err
