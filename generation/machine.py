"""What this process may use of its machine: cores, memory, GPUs. Containers and schedulers allow less than there is.

Limits are those of the process's control groups, versions 1 and 2, and of every group above them that can be seen.

Source: Linux kernel documentation, admin-guide/cgroup-v1/{memory,cpusets}, scheduler/sched-bwc, admin-guide/cgroup-v2;
proc_pid_mountinfo(5), cgroups(7).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Final

from dynamic_sparsity.errors import UnsupportedPlatformError

ROOT = Path("/")
PLATFORM = os.name

WORKER_BYTES = 3 * 2**30
"""Memory that a worker without a GPU may need: two units, and the compiler while it works."""

_OOM_FILES: Final = {1: "memory.oom_control", 2: "memory.events"}
_V1_QUOTA, _V1_PERIOD, _V1_MEMORY = "cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.limit_in_bytes"
_V2_CPU, _V2_MEMORY = "cpu.max", ("memory.max", "memory.high")


def check_platform() -> None:
    """Refuse to generate where processes can't be kept apart or ended as on POSIX.

    Raises:
        UnsupportedPlatformError: This system is not POSIX.
    """
    if PLATFORM != "posix":
        raise UnsupportedPlatformError(
            f"generating data needs a POSIX system (Linux, macOS), and this is {sys.platform}; use the Windows "
            "Subsystem for Linux (`wsl --install`). Loading, streaming, exporting, verifying and evaluating work here"
        )


def cores(root: Path = ROOT) -> int:
    """Return the number of cores that this process may use, at least 1.

    Args:
        root: Where /proc and /sys are.
    """
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Half a core more than two makes no third worker as fast as the others.
    return max(1, int(min([present, *_core_limits(root)])))


def threads() -> int:
    """Return how many threads this process may keep busy: NPROC, which workers get and XLA reads; else `cores`."""
    share = os.environ.get("NPROC", "")
    return int(share) if share.isdecimal() and int(share) > 0 else cores()


def memory(root: Path = ROOT) -> int:
    """Return how much memory this process may use, bytes: the machine's, or less if its control groups say so.

    Args:
        root: Where /proc and /sys are.
    """
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([present, *_memory_limits(root)])


class OomKills:
    """Tells whether the kernel killed a process of this one's control group for want of memory."""

    def __init__(self, root: Path = ROOT) -> None:
        """Begin to count.

        Args:
            root: Where /proc and /sys are.
        """
        self._root = root
        self._explained = _oom_kills(root)

    def explain(self) -> bool | None:
        """Return whether the kernel has killed one more than this method has been told of; None where nobody counts.

        Ask once for each process that died by SIGKILL.
        """
        now = _oom_kills(self._root)
        if now is None or self._explained is None:
            return None
        if now == self._explained:
            return False
        self._explained += 1
        return True


def workers_on(cores: int, memory: float) -> int:
    """Return how many workers fit: one per core, as far as memory allows; at least 1.

    Args:
        cores: Number of cores.
        memory: Bytes.
    """
    return max(1, min(cores, int(memory // WORKER_BYTES)))


def visible_gpus(environment: Mapping[str, str] = os.environ, root: Path = ROOT) -> list[str]:
    """Return the names of the NVIDIA GPUs that this process may use, as in CUDA_VISIBLE_DEVICES.

    Args:
        environment: Environment variables.
        root: Where /proc and /dev are.
    """
    first = environment.get("JAX_PLATFORMS", "").lower().split(",")[0]
    if first not in ("", "cuda", "gpu") or not has_gpu_plugin():
        return []
    if "CUDA_VISIBLE_DEVICES" in environment:
        names = []
        for name in environment["CUDA_VISIBLE_DEVICES"].split(","):
            # CUDA sees nothing from the first name on that is no device's: "", "-1", "none".
            if not re.fullmatch(r"\d+|(GPU|MIG)-\S+", name.strip()):
                break
            names.append(name.strip())
        return names
    # A container that was not given the GPUs sees its host's in /proc, but has no device files for them.
    present = len(list((root / "proc/driver/nvidia/gpus").glob("*")))
    usable = sum(1 for file in (root / "dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", file.name))
    return [str(number) for number in range(min(present, usable))]


def has_gpu_plugin() -> bool:
    """Return whether JAX has what it needs to use NVIDIA's GPUs; without, it computes on the CPU."""
    return any("cuda" in point.name for point in metadata.entry_points(group="jax_plugins"))


def _core_limits(root: Path) -> Iterator[float]:
    for version, folder in _groups(root, "cpu"):
        if version == 2:
            words = _read(folder / _V2_CPU).split()
            quota, period = words if len(words) == 2 else ("max", "")
        else:
            quota, period = _read(folder / _V1_QUOTA), _read(folder / _V1_PERIOD)
        # "max", "-1" and files that are not there are no limits.
        if quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)


def _memory_limits(root: Path) -> Iterator[int]:
    for version, folder in _groups(root, "memory"):
        for name in _V2_MEMORY if version == 2 else (_V1_MEMORY,):
            limit = _read(folder / name)
            if limit.isdecimal():
                yield int(limit)


def _oom_kills(root: Path) -> int | None:
    """Return the kernel's count of the processes of this group that it killed for want of memory; None if it has none.

    Source: admin-guide/cgroup-v2 (memory.events); memory.oom_control of version 1, since Linux 4.13.
    """
    for version, folder in _groups(root, "memory"):
        for line in _read(folder / _OOM_FILES[version]).splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill" and number.isdecimal():
                return int(number)
    return None


def _groups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """Yield the version and the folder of this process's control group, and of those above it.

    Args:
        root: Where /proc and /sys are.
        controller: "cpu" or "memory".
    """
    paths = _group_paths(root)
    for line in _read(root / "proc/self/mountinfo").splitlines():
        # ID parent major:minor ROOT MOUNT_POINT options [optional fields…] - TYPE source SUPER_OPTIONS
        fields, _, after = line.partition(" - ")
        places, words = fields.split()[3:5], after.split()
        if len(places) < 2 or len(words) < 2:
            continue
        kind, options = words[0], words[-1]
        if kind == "cgroup2":
            version, path = 2, paths.get("")
        elif kind == "cgroup" and controller in options.split(","):
            version, path = 1, paths.get(controller)
        else:
            continue
        if path is None:
            continue
        mounted, point = (_unescaped(word) for word in places)
        top = root / point.lstrip("/")
        folder = top / _below(path, mounted)
        yield version, folder
        while folder != top:
            folder = folder.parent
            yield version, folder


def _group_paths(root: Path) -> dict[str, str]:
    """Return the process's groups: controller to path; "" is version 2's."""
    found: dict[str, str] = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        found |= dict.fromkeys(controllers.split(","), path)
    return found


def _below(path: str, mounted: str) -> PurePosixPath:
    """Return a group's path below the mount point at which the group `mounted` is; nothing if it is not below that."""
    try:
        relative = PurePosixPath(path).relative_to(mounted)
    except ValueError:
        # In a container without a namespace of its own for groups, the container's own group is the one mounted.
        return PurePosixPath()
    return PurePosixPath() if ".." in relative.parts else relative


def _unescaped(text: str) -> str:
    r"""Text of mountinfo: blanks and such are spelt as \040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
