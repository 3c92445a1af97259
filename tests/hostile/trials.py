"""The campaign's harness: give hostile input to a reader, and judge what it did.

The only outcomes that are allowed are right data and one of our errors, with nothing written outside the output's
folders, nothing left behind, within limits of memory and time. `server` runs the readers.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RSS_MIB_MAX = 1024
OUTPUT_BYTES_MAX = 300 * 2**20
PERTURBATIONS = (0, 0x5A)
"""What memory that was taken and not filled holds, in two runs that must agree."""
ALLOWED = ("right", "refused")
FOLDERS = ("in", "out", "home", "tmp")

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Hostile:
    """One hostile input, and how it is given to a reader.

    Attributes:
        kind: What is wrong with it; failures are counted by it.
        reader: Name in `readers.READERS`.
        make: Writes it below the folder `in` of a box (`out` for commands that may change it), and returns the
            reader's arguments.
        expect: Digests that right data have, by name; None where the input may hold any values, which must then be
            the same in two runs with other garbage in memory.
        may_write: Whether files in `out` may stay after an error.
        check: Says of a box what is wrong with the output of a command that ended well; nothing if all is right.
        stays: Whether what was written into `in` may stay there for the next input, whose `make` mends it.
    """

    kind: str
    reader: str
    make: Callable[[Path], Arguments]
    expect: Mapping[str, str] | None = None
    may_write: bool = False
    check: Callable[[Path], str] | None = None
    stays: bool = False


@dataclass(frozen=True)
class Finding:
    """A hostile input that was not dealt with as it must be."""

    kind: str
    reader: str
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reader} of {self.kind}: {self.what}: {self.detail}"


@dataclass
class Record:
    """What came of many trials."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    rss_mib: int = 0
    cpu_s: float = 0.0
    longest_cpu_s: float = 0.0

    @property
    def inputs(self) -> int:
        return self.outcomes.total()

    def add(self, hostile: Hostile, outcome: str, detail: str, answers: Iterable[Mapping[str, Any]]) -> None:
        self.outcomes[outcome] += 1
        if outcome not in ALLOWED:
            self.findings.append(Finding(hostile.kind, hostile.reader, outcome, detail))
        for answer in answers:
            self.rss_mib = max(self.rss_mib, answer["rss_mib"])
            self.cpu_s += answer["cpu_s"]
            self.longest_cpu_s = max(self.longest_cpu_s, answer["cpu_s"])

    def keep(self) -> None:
        """Add a line to the file that HOSTILE_RECORDS names, for `benchmarks/hostile_campaign.py`."""
        if "HOSTILE_RECORDS" in os.environ:
            document = {
                "test": os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].partition(" ")[0],
                "inputs": self.inputs,
                "outcomes": dict(self.outcomes.most_common()),
                "findings": len(self.findings),
                "most_memory_mib": self.rss_mib,
                "longest_cpu_s": round(self.longest_cpu_s, 2),
            }
            with Path(os.environ["HOSTILE_RECORDS"]).open("a", encoding="utf-8") as file:
                file.write(json.dumps(document) + "\n")

    def summary(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.outcomes.most_common())
        lines = [f"{self.inputs} inputs: {counts}; at most {self.rss_mib} MiB and {self.longest_cpu_s:.1f} s each"]
        by_kind = Counter((one.reader, one.kind, one.what) for one in self.findings)
        details = {(one.reader, one.kind, one.what): one.detail for one in reversed(self.findings)}
        lines += [f"{n} × {' | '.join(key)} | {details[key][:400]}" for key, n in by_kind.most_common(100)]
        return "\n".join(lines)


class Box:
    """A reader's world: its input, what it may write to, and, around them, what must stay as it is."""

    def __init__(self, base: Path):
        self.base, self.path = base, base / "box"
        outside = base / "outside"
        (outside / "folder").mkdir(parents=True)
        (outside / ".bashrc").write_text("# must stay as it is\n")
        (outside / "folder/secret.bin").write_bytes(bytes(range(256)) * 256)
        (base / ".ssh").mkdir()
        for name in FOLDERS:
            (self.path / name).mkdir(parents=True)
        self._outside = self._surroundings()

    def _surroundings(self) -> dict[str, tuple[int, ...]]:
        around = listing(self.base, skip=self.path)
        return around | {f"box/{entry.name}": () for entry in self.path.iterdir()}

    def changes_outside(self) -> list[str]:
        now = self._surroundings()
        return sorted(name for name in now.keys() | self._outside.keys() if now.get(name) != self._outside.get(name))

    def left_behind(self, *, failed: bool) -> list[str]:
        files = {name: listing(self.path / name) for name in ("out", "home", "tmp")}
        found = [f"tmp/{name}" for name in files["tmp"]]
        found += [f"{where}/{name}" for where in ("out", "home") for name in files[where] if ".partial" in name]
        return found + ([f"out/{name}" for name in files["out"]] if failed else [])

    def output_bytes(self) -> int:
        return sum(entry[1] for name in ("out", "home", "tmp") for entry in listing(self.path / name).values())

    def clear(self, *names: str) -> None:
        for name in names:
            shutil.rmtree(self.path / name, ignore_errors=True)
            (self.path / name).mkdir(exist_ok=True)


def listing(folder: Path, skip: Path | None = None) -> dict[str, tuple[int, ...]]:
    """Every file below a folder (folders themselves do not count): mode, size, time of change, number."""
    found: dict[str, tuple[int, ...]] = {}
    pending, start = [str(folder)], len(str(folder)) + 1
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if skip is not None and entry.path == str(skip):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    status = entry.stat(follow_symlinks=False)
                    found[entry.path[start:]] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
    return found


class Server:
    """A process that runs readers; see `server`."""

    def __init__(self, *groups: str):
        words = [sys.executable, "-X", "faulthandler", str(HERE / "server.py"), *groups]
        one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        environment = os.environ | one_thread | {"PYTHONDONTWRITEBYTECODE": "1", "JAX_PLATFORMS": "cpu"}
        environment |= {"COLUMNS": "200", "HF_TOKEN": "hf_writer", "JAX_ENABLE_COMPILATION_CACHE": "false"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, env=environment, text=True)

    def ask(self, case: Arguments) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(case), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the server of the campaign has died"
        return dict(json.loads(answer))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Campaign:
    """Servers with their boxes; trials run side by side."""

    def __init__(self, folder: Path, *groups: str, servers: int = 2):
        self._free: queue.SimpleQueue[tuple[Server, Box]] = queue.SimpleQueue()
        self._stack = ExitStack()
        self._servers = servers
        for number in range(servers):
            server = Server(*groups)
            self._stack.callback(server.close)
            self._free.put((server, Box(folder / f"world{number}")))

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, inputs: Iterable[Hostile]) -> Record:
        """Try all inputs; each is made when a server is free for it."""
        record, left, turn = Record(), iter(inputs), threading.Lock()

        def work() -> None:
            while True:
                with turn:
                    hostile = next(left, None)
                if hostile is None:
                    return
                outcome, detail, answers = self.attempt(hostile)
                with turn:
                    record.add(hostile, outcome, detail, answers)

        with ThreadPoolExecutor(self._servers) as pool:
            for done in [pool.submit(work) for _ in range(self._servers)]:
                done.result()
        return record

    def attempt(self, hostile: Hostile) -> tuple[str, str, list[dict[str, Any]]]:
        """Try one input: the outcome, more words, and the server's answers."""
        server, box = self._free.get()
        answers = []
        try:
            values: list[Any] = []
            for perturb in PERTURBATIONS if hostile.expect is None else PERTURBATIONS[:1]:
                arguments = hostile.make(box.path)
                before = listing(box.path / "in")
                case = arguments | {"reader": hostile.reader, "box": str(box.path), "perturb": perturb}
                answers.append(server.ask(case))
                outcome, detail = judge(hostile, answers[-1], box, before)
                box.clear(*(name for name in FOLDERS if name != "in" and any((box.path / name).iterdir())))
                if not hostile.stays or outcome not in ALLOWED or len(list((box.path / "in").iterdir())) > 1:
                    box.clear("in")
                if outcome != "right":
                    return outcome, detail, answers
                values.append(answers[-1]["values"])
            if any(one != values[0] for one in values):
                return "memory of the process returned", _difference(*values), answers
            return outcome, detail, answers
        finally:
            self._free.put((server, box))


def judge(
    hostile: Hostile, answer: Mapping[str, Any], box: Box, before: Mapping[str, tuple[int, ...]]
) -> tuple[str, str]:
    """The outcome of a trial: "right", "refused", or what is wrong; and more words about it."""
    output = answer["output"].strip()[-300:]
    events = [event for event in answer["events"] if str(box.path / "in") not in event] or answer["events"]
    changed = box.changes_outside()
    if changed or answer["events"]:
        return "wrote outside", "; ".join([*changed, *events][:5])
    if listing(box.path / "in") != before:
        return "changed its input", output
    if answer["hung"]:
        return "hung", f"after {answer['cpu_s']} s of processor time {answer['output'].strip()[-1500:]}"
    if answer["signal"]:
        return f"died by signal {answer['signal']}", output
    if answer["rss_mib"] > RSS_MIB_MAX or answer.get("memory"):
        return "took too much memory", f"{answer['rss_mib']} MiB; {answer.get('message', '')}"
    if (size := box.output_bytes()) > OUTPUT_BYTES_MAX:
        return "filled the disk", f"{size} bytes"
    failed = "error" in answer or answer.get("values", {}).get("exit", 0) != 0
    if left := box.left_behind(failed=failed and not hostile.may_write):
        return "left behind", ", ".join(left[:5])
    if "error" in answer:
        if not answer["ours"]:
            return f"raised {answer['error']}", f"{answer['message'][:200]} {answer['place'][-500:]}"
        return "refused", answer["message"]
    if "values" not in answer:
        return "ended without a word", output
    values = answer["values"]
    if "exit" in values:
        if "was not expected" in answer["output"]:
            return "said that it was not expected", output
        if values["exit"] == 0 and hostile.check is not None and (wrong := hostile.check(box.path)):
            return "wrong output", wrong
        return ("right" if values["exit"] == 0 else "refused"), output
    if hostile.expect is not None:
        parts = {name.partition(".")[0] for name in hostile.expect}
        found = {name: value for name, value in values.items() if name.partition(".")[0] in parts}
        if found != dict(hostile.expect):
            return "wrong data", _difference(hostile.expect, found)
    return "right", ""


def _difference(left: Mapping[str, Any], right: Mapping[str, Any]) -> str:
    return ", ".join(name for name in sorted(left.keys() | right.keys()) if left.get(name) != right.get(name))[:300]
