"""Tries readers on hostile input, each in a forked child with limits: run by `trials`, which says what to try.

Imports are paid once, then every trial is a fork: tens of trials per second. A request is a line of JSON on stdin, its
answer a line on stdout. Nothing here decides what is right; it tells what happened.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import gc
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

MIB = 2**20
EXTRA_ADDRESS_BYTES = 3 * 2**30
"""What a child may map beside what the server has: more than it may use, so that what it uses is measured."""
FILE_BYTES_MAX = 2**30
CPU_S_MAX = 20.0
BLOCKED_S_MAX = 20.0
"""A child hangs if it has used that much processor time, or none at all for that long: a busy machine is no hang."""
LIFE_S_MAX = 300.0
OUTPUT_BYTES_SHOWN = 8000
M_PERTURB = -6
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "os.chmod"}
CODE = {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile"}
DEVICES = ("/dev/null", "/dev/tty", "/dev/ptmx")


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    warnings.simplefilter("ignore")
    import readers

    readers.preload(sys.argv[1:])
    atexit._clear()  # what was imported here ends with the server
    gc.collect()
    gc.freeze()  # else every child would copy what its collector touches
    for line in sys.stdin:
        print(json.dumps(tried(json.loads(line))), file=answers, flush=True)


def tried(case: dict[str, Any]) -> dict[str, Any]:
    """Fork a child for a case, wait for it, and tell how it ended."""
    receiving, sending = os.pipe()
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            os.close(receiving)
            _run(case, sending, output)
        os.close(sending)
        said, hung = _listen(receiving, child)
        if hung:
            os.kill(child, signal.SIGUSR1)  # where it hangs
            time.sleep(1)
            os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
        with suppress(OSError):
            os.killpg(child, signal.SIGKILL)  # what it may have started
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - OUTPUT_BYTES_SHOWN))
        words = output.read().decode(errors="replace")
    return said | {
        "hung": hung,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) and not hung else 0,
        "rss_mib": usage.ru_maxrss // 1024,
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "wall_s": round(time.monotonic() - started, 3),
        "output": words,
    }


def _listen(receiving: int, child: int) -> tuple[dict[str, Any], bool]:
    """What a child says, joined, and whether it hangs."""
    parts: list[bytes] = []
    begun = moved = time.monotonic()
    used = 0.0
    hung = False
    while not hung:
        if select.select([receiving], [], [], 0.5)[0]:
            part = os.read(receiving, MIB)
            if not part:
                break
            parts.append(part)
            continue
        now = time.monotonic()
        cpu = _cpu_seconds(child)
        if cpu > used:
            used, moved = cpu, now
        hung = used > CPU_S_MAX or now - moved > BLOCKED_S_MAX or now - begun > LIFE_S_MAX
    os.close(receiving)
    said: dict[str, Any] = {"events": []}
    for line in b"".join(parts).splitlines():
        try:
            word = json.loads(line)
        except ValueError:
            continue  # cut off by the child's death
        if "event" in word:
            said["events"].append(word["event"])
        else:
            said |= word
    return said, hung


def _cpu_seconds(child: int) -> float:
    try:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _run(case: dict[str, Any], sending: int, output: BinaryIO) -> None:
    """The child: read the input, say how it went, and end."""
    code = 1
    try:
        os.setsid()
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
        _limit()
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
        box = Path(case["box"])
        os.chdir(box / "out")
        os.environ.update({"HOME": str(box / "home"), "TMPDIR": str(box / "tmp")})
        tempfile.tempdir = str(box / "tmp")
        # What is freed, or taken and not filled, holds this byte: nobody can take it for data.
        ctypes.CDLL(None).mallopt(M_PERTURB, case.get("perturb", 0))
        _watch(sending, [str(box / name) for name in ("out", "home", "tmp")])
        import readers

        try:
            said = {"values": readers.READERS[case["reader"]](case)}
        except BaseException as error:
            said = _described(error)
        atexit._run_exitfuncs()  # which a process that ends by `_exit` would leave out
        os.write(sending, json.dumps(said).encode() + b"\n")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _limit() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + EXTRA_ADDRESS_BYTES
    for kind, limit in (
        (resource.RLIMIT_AS, most),
        (resource.RLIMIT_FSIZE, FILE_BYTES_MAX),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def _watch(sending: int, allowed: list[str]) -> None:
    """Tell of every change outside the allowed folders, and of code that input could bring along."""

    def tell(event: str) -> None:
        os.write(sending, json.dumps({"event": event}).encode() + b"\n")

    def is_inside(path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return True  # an open file
        name = os.fsdecode(path)
        folder = os.path.realpath(Path(name).parent)
        return name in DEVICES or any(folder == root or folder.startswith(root + os.sep) for root in allowed)

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and not is_inside(path):
                tell(f"opened {os.fsdecode(path)!r} to write")
        elif name in CHANGES:
            # A link's own place counts, not what it leads to.
            places = {"os.symlink": slice(1, 2), "os.link": slice(1, 2), "os.rename": slice(0, 2)}
            for path in arguments[places.get(name, slice(0, 1))]:
                made_before = name == "os.mkdir" and Path(os.fsdecode(path)).is_dir()
                if not made_before and not is_inside(path):
                    tell(f"{name} {os.fsdecode(path)!r}")
        elif name in CODE:
            tell(f"{name} {arguments[:2]!r}")
        elif name == "subprocess.Popen" and not _is_known(arguments[0]):
            tell(f"started {arguments[0]!r}")
        elif name == "socket.connect":
            address = arguments[1]
            if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
                tell(f"connected to {address!r}")

    sys.addaudithook(hook)


def _is_known(program: object) -> bool:
    """Whether a program is one that the package starts: git for the code's version, Python where libhdf5 may crash."""
    return str(program) == sys.executable or Path(str(program)).name == "git"


def _described(error: BaseException) -> dict[str, Any]:
    from dynamic_sparsity.errors import DynamicSparsityError

    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return {
        "error": type(error).__name__,
        "message": str(error)[:600],
        "ours": isinstance(error, DynamicSparsityError),
        "memory": any(isinstance(one, MemoryError) for one in chain),
        "place": "" if isinstance(error, DynamicSparsityError) else traceback.format_exc(limit=-4)[-1500:],
    }


if __name__ == "__main__":
    main()
