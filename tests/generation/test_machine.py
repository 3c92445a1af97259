"""Cores, memory and GPUs as containers and schedulers give them: fake /proc, /sys and /dev."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dynamic_sparsity.errors import DynamicSparsityWarning
from dynamic_sparsity.generation import machine
from dynamic_sparsity.generation.executors import processes
from dynamic_sparsity.generation.executors.processes import ProcessExecutor
from dynamic_sparsity.generation.executors.protocol import UNITS_AT_ONCE
from dynamic_sparsity.generation.machine import OomKills, cores, memory, visible_gpus, workers_on

GIB = 2**30
V2 = "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
NO_LIMIT_V1 = "9223372036854771712\n"


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 cores and 256 GiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 256 * GIB // 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)


def make(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


def group(folder: str, files: dict[str, str]) -> dict[str, str]:
    return {f"sys/fs/cgroup/{folder}/{name}": content for name, content in files.items()}


def v1_mounts(*points: tuple[str, str, str]) -> str:
    lines = [
        f"{40 + number} 30 0:{30 + number} {mounted} /sys/fs/cgroup/{folder} rw,nosuid - cgroup cgroup rw,{of}\n"
        for number, (mounted, folder, of) in enumerate(points)
    ]
    return "22 27 0:21 / /proc rw,relatime - proc proc rw\n" + "".join(lines)


CASES = {
    "no groups at all": ({}, 64, 256),
    "version 2, a container with a namespace of its own": (
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2,
            **group("", {"cpu.max": "150000 100000\n", "memory.max": f"{8 * GIB}\n"}),
        },
        1,
        8,
    ),
    "version 2, nothing limited": (
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2,
            **group("", {"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.high": "max\n"}),
        },
        64,
        256,
    ),
    "version 2, limits of a group above, and a soft one": (
        {
            "proc/self/cgroup": "0::/user.slice/job.scope\n",
            "proc/self/mountinfo": V2,
            **group("user.slice", {"cpu.max": "1200000 100000\n", "memory.max": f"{48 * GIB}\n"}),
            **group("user.slice/job.scope", {"cpu.max": "max 100000\n", "memory.high": f"{20 * GIB}\n"}),
        },
        12,
        20,
    ),
    "version 2, a group outside of what is mounted": (
        {
            "proc/self/cgroup": "0::/../other\n",
            "proc/self/mountinfo": V2,
            **group("", {"cpu.max": "400000 100000\n", "memory.max": f"{5 * GIB}\n"}),
        },
        4,
        5,
    ),
    "version 1, Docker": (
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n",
            "proc/self/mountinfo": v1_mounts(
                ("/docker/abc", "cpu,cpuacct", "cpu,cpuacct"), ("/docker/abc", "memory", "memory")
            ),
            **group("cpu,cpuacct", {"cpu.cfs_quota_us": "800000\n", "cpu.cfs_period_us": "100000\n"}),
            **group("memory", {"memory.limit_in_bytes": f"{16 * GIB}\n"}),
        },
        8,
        16,
    ),
    "version 1, Slurm on a node: the job's group below the root": (
        {
            "proc/self/cgroup": "5:cpu:/slurm/uid_1/job_2/step_0\n4:memory:/slurm/uid_1/job_2/step_0\n",
            "proc/self/mountinfo": v1_mounts(("/", "cpu", "cpu"), ("/", "memory", "memory")),
            **group("cpu/slurm/uid_1/job_2/step_0", {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}),
            **group("memory/slurm/uid_1/job_2/step_0", {"memory.limit_in_bytes": NO_LIMIT_V1}),
            **group("memory/slurm/uid_1/job_2", {"memory.limit_in_bytes": f"{32 * GIB}\n"}),
        },
        64,
        32,
    ),
    "both versions, the controllers with version 1": (
        {
            "proc/self/cgroup": "4:memory:/box\n1:cpu:/\n0::/\n",
            "proc/self/mountinfo": v1_mounts(("/", "memory", "memory"), ("/", "cpu", "cpu"))
            + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"),
            **group("memory/box", {"memory.limit_in_bytes": f"{3 * GIB}\n"}),
            **group("cpu", {"cpu.shares": "1024\n"}),
        },
        64,
        3,
    ),
    "a mount point with a blank": (
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2.replace("/sys/fs/cgroup", r"/sys/c\040g"),
            "sys/c g/memory.max": f"{7 * GIB}\n",
        },
        64,
        7,
    ),
    "nonsense": (
        {
            "proc/self/cgroup": "what\n0::/\n",
            "proc/self/mountinfo": "\n - \n1 2 - cgroup2\n" + V2,
            **group("", {"cpu.max": "lots\n", "memory.max": "-5\n"}),
        },
        64,
        256,
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("unlimited")
def test_limits_of_control_groups(case: str, tmp_path: Path) -> None:
    files, expected_cores, gib = CASES[case]
    root = make(tmp_path, files)
    assert (cores(root), memory(root)) == (expected_cores, gib * GIB)


OOM_COUNTS = {
    "version 2": (V2, "0::/job\n", "job/memory.events", "low 0\noom 7\noom_kill {}\noom_group_kill 0\n"),
    "version 2, a container": (V2, "0::/\n", "memory.events", "oom_kill {}\n"),
    "version 1": (
        v1_mounts(("/", "memory", "memory")),
        "4:memory:/slurm/step_0\n",
        "memory/slurm/step_0/memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n",
    ),
}


@pytest.mark.parametrize("case", OOM_COUNTS)
def test_kills_for_want_of_memory(case: str, tmp_path: Path) -> None:
    mounts, groups, name, content = OOM_COUNTS[case]
    make(tmp_path, {"proc/self/mountinfo": mounts, "proc/self/cgroup": groups, **group("", {name: content.format(3)})})
    kills = OomKills(tmp_path)
    assert kills.explain() is False
    make(tmp_path, group("", {name: content.format(5)}))
    assert [kills.explain() for _ in range(3)] == [True, True, False], "two died of it"
    (tmp_path / "sys/fs/cgroup" / name).unlink()
    assert kills.explain() is None


@pytest.mark.usefixtures("unlimited")
def test_pinned_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    root = make(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": V2,
            **group("", {"cpu.max": "50000 100000\n"}),
        },
    )
    assert cores(tmp_path / "elsewhere") == 2
    assert cores(root) == 1, "half a core is one worker"


def test_threads_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for share, expected in (("3", 3), ("0", cores()), ("many", cores()), ("", cores())):
        monkeypatch.setenv("NPROC", share)
        assert machine.threads() == expected


def test_this_machine() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
    assert 0 < memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_workers_are_as_many_as_the_limits_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "visible_gpus", list)
    assert [workers_on(16, gib * GIB) for gib in (1, 24, 480)] == [1, 8, 16], "cores, as far as memory allows"
    for of_cores, gib, expected in ((8, 256, 8), (8, 7, 2), (1, 256, 1)):
        monkeypatch.setattr(processes, "cores", lambda of_cores=of_cores: of_cores)
        monkeypatch.setattr(processes, "memory", lambda gib=gib: gib * GIB)
        assert ProcessExecutor().capacity == expected * UNITS_AT_ONCE
    monkeypatch.setattr(processes, "memory", lambda: GIB)
    with pytest.warns(DynamicSparsityWarning, match=r"1\.0 GiB may be used here .* smaller --batch"):
        assert ProcessExecutor().capacity == UNITS_AT_ONCE


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,2,5"}, ["0", "2", "5"]),
        ({"CUDA_VISIBLE_DEVICES": " 1 , 0 "}, ["1", "0"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8932f937,MIG-a-b"}, ["GPU-8932f937", "MIG-a-b"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, []),
        ({"CUDA_VISIBLE_DEVICES": "none"}, []),
        # CUDA looks no further than the first that is none.
        ({"CUDA_VISIBLE_DEVICES": "1,-1,0"}, ["1"]),
        ({"CUDA_VISIBLE_DEVICES": "0", "JAX_PLATFORMS": "cpu"}, []),
        ({"CUDA_VISIBLE_DEVICES": "0", "JAX_PLATFORMS": "cpu,cuda"}, []),
        ({"CUDA_VISIBLE_DEVICES": "0", "JAX_PLATFORMS": "cuda,cpu"}, ["0"]),
        ({"CUDA_VISIBLE_DEVICES": "0", "JAX_PLATFORMS": ""}, ["0"]),
        ({}, []),
    ],
)
def test_gpus_that_are_named(
    environment: dict[str, str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "has_gpu_plugin", lambda: True)
    assert visible_gpus(environment, tmp_path) == expected


def test_gpus_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_gpu_plugin", lambda: True)
    buses = {f"proc/driver/nvidia/gpus/0000:{bus}:00.0/information": "" for bus in ("01", "02")}
    assert visible_gpus({}, make(tmp_path, buses)) == [], "a container without devices sees those of its host"
    make(tmp_path, {"dev/nvidia0": "", "dev/nvidia1": "", "dev/nvidiactl": "", "dev/nvidia-uvm": ""})
    assert visible_gpus({}, tmp_path) == ["0", "1"]
    monkeypatch.setattr(machine, "has_gpu_plugin", lambda: False)
    assert visible_gpus({}, tmp_path) == [], "JAX does not use them"
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}, tmp_path) == []
