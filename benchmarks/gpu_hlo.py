"""What a GPU's program launches, moves and computes, read from its text: XLA's optimised and scheduled HLO.

Every operation that is not free (`FREE`) is a kernel, or a copy, which costs as much to launch. Loops count as often as
they run: their trip count where the compiler knows it; for others, what the caller says of loops with that name.

- *bytes*: what a kernel's operands and results hold; of an operand that is only sliced or gathered from, what is taken.
- *flops*: float64 additions, multiplications, comparisons and so on, one for each element, `WEIGHTS` of them for those
  that are series of such; each value once, though a kernel may compute it again for each of its uses.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

FREE = frozenset({
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id",
    "opt-barrier", "iota", "copy-done", "async-done", "all-reduce-done",
})  # fmt: skip
"""Operations that launch nothing; an iota outside of a fusion does not occur."""

MOVES = frozenset({
    "bitcast", "broadcast", "concatenate", "copy", "slice", "dynamic-slice", "dynamic-update-slice", "gather",
    "scatter", "transpose", "reshape", "pad", "select", "convert", "parameter", "constant", "tuple",
    "get-tuple-element", "iota", "reverse", "sort", "while", "fusion", "custom-call",
})  # fmt: skip
WEIGHTS = {
    name: weight
    for weight, names in {
        10: "divide sqrt rsqrt remainder cbrt",
        40: "sine cosine tan exponential exponential-minus-one log log-plus-one tanh power atan2 logistic erf",
    }.items()
    for name in names.split()
}
SIZES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s32": 4, "u32": 4, "f32": 4} | {
    "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16,
}  # fmt: skip
SORT_TILE = 1024
"""Numbers that one kernel of a sort compares in shared memory."""

_SHAPE = re.compile(r"\b([a-z][a-z0-9]*)\[([0-9,]*)\]")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_FRAME = re.compile(r"stack_frame_id=(\d+)")


@dataclass(frozen=True)
class Operation:
    """One line of the text."""

    name: str
    shape: str
    code: str
    operands: tuple[str, ...]
    rest: str

    def called(self, what: str) -> str | None:
        """The computation that it names as its `calls`, `body` and so on."""
        found = re.search(rf"\b{what}=%?([\w.\-]+)", self.rest)
        return found.group(1) if found else None

    @property
    def trips(self) -> int | None:
        """How often a loop runs, if the compiler knows."""
        found = re.search(r'"known_trip_count":\{"n":"(\d+)"', self.rest)
        return int(found.group(1)) if found else None

    @property
    def scope(self) -> str:
        """Where the source's program has it: names of loops and scopes."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found.group(1) if found else ""


def elements(shape: str) -> int:
    """Numbers in a shape."""
    return sum(math.prod(int(n) for n in dims.split(",") if n) for kind, dims in _SHAPE.findall(shape) if kind in SIZES)


def size(shape: str) -> int:
    """Bytes of a shape, or of all parts of a tuple's."""
    found = (
        (kind, math.prod(int(n) for n in dims.split(",") if n)) for kind, dims in _SHAPE.findall(shape) if kind in SIZES
    )
    return sum(SIZES[kind] * count for kind, count in found)


def sort_kernels(count: int) -> int:
    """Kernels of XLA's bitonic sort: a stage whose partners are further apart than a tile is a kernel of its own."""
    stages = max(1, math.ceil(math.log2(max(2, count))))
    kernels = 1
    for stage in range(stages):
        far = sum(1 for step in range(stage + 1) if 1 << (stage - step) >= SORT_TILE // 2)
        kernels += far + 1 if far else 0
    return kernels


@dataclass
class Count:
    """What a program does when it runs once.

    Attributes:
        kernels: Launches.
        bytes: Read and written.
        flops: Of float64.
        host_rounds: Times that the host waits for the device, to know whether a loop goes on.
        custom_calls: Libraries' functions, and how often each is called.
        by_source: Kernels by the function of ours, or of MJX, that asked for them.
        loops: Loops whose trip count the compiler does not know, and the count that was taken.
    """

    kernels: float = 0.0
    bytes: float = 0.0
    flops: float = 0.0
    host_rounds: float = 0.0
    custom_calls: Counter[str] = field(default_factory=Counter)
    by_source: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    loops: dict[str, float] = field(default_factory=dict)


class Program:
    """A program's text, taken apart."""

    def __init__(self, text: str) -> None:
        self.computations: dict[str, dict[str, Operation]] = {}
        self.entry = ""
        self._tables: dict[str, dict[str, str]] = {}
        current: dict[str, Operation] = {}
        table = ""
        for line in text.splitlines():
            if line in ("FileNames", "FunctionNames", "FileLocations", "StackFrames"):
                table = line
                self._tables[table] = {}
            elif table and (entry := re.match(r"^(\d+) (.*)$", line)):
                self._tables[table][entry.group(1)] = entry.group(2)
            elif head := _HEAD.match(line):
                table, current = "", {}
                self.computations[head.group(2)] = current
                if head.group(1):
                    self.entry = head.group(2)
            elif found := _LINE.match(line):
                operation = _operation(found.group(2), found.group(3))
                current[operation.name] = operation

    def source(self, operation: Operation) -> str:
        """The innermost function of ours, or of MJX, that asked for an operation."""
        found = _FRAME.search(operation.rest)
        at = found.group(1) if found else ""
        seen = set()
        while at in self._tables.get("StackFrames", {}) and at not in seen:
            seen.add(at)
            frame = dict(re.findall(r"(\w+)=(\d+)", self._tables["StackFrames"][at]))
            place = dict(re.findall(r"(\w+)=(\d+)", self._tables["FileLocations"][frame["file_location_id"]]))
            path = self._tables["FileNames"][place["file_name_id"]].strip('"')
            if "dynamic_sparsity" in path or "mujoco" in path:
                function = self._tables["FunctionNames"][place["function_name_id"]].strip('"').split(".<locals>")[0]
                return f"{path.rpartition('/')[2].removesuffix('.py')}.{function}"
            at = frame.get("parent_frame_id", "")
        return "compiler"

    def count(self, trips: Callable[[Operation], float]) -> Count:
        """What the program does.

        Args:
            trips: How often a loop runs whose trip count the compiler does not know.
        """
        total = Count()
        self._count(self.entry, 1.0, trips, total)
        return total

    def _count(self, name: str, times: float, trips: Callable[[Operation], float], total: Count) -> None:
        body = self.computations[name]
        for operation in body.values():
            # What is empty is not launched.
            if operation.code in FREE or not elements(operation.shape):
                continue
            if operation.code == "while":
                self._loop(operation, times, trips, total)
            elif operation.code in ("call", "async-start") and (called := operation.called(r"(?:to_apply|calls)")):
                self._count(called, times, trips, total)
            elif operation.code == "conditional":
                total.host_rounds += times
                for branch in re.findall(r"%([\w.\-]+)", operation.rest.split("branch_computations", 1)[-1])[:2]:
                    if branch in self.computations:
                        self._count(branch, times, trips, total)
            else:
                self._kernel(body, operation, times, total)

    def _loop(self, operation: Operation, times: float, trips: Callable[[Operation], float], total: Count) -> None:
        often, body, condition = operation.trips, operation.called("body"), operation.called("condition")
        assert body and condition, operation
        if often is None:
            run = trips(operation)
            total.loops[operation.scope] = run
            total.host_rounds += times * (run + 1)
            self._count(condition, times * (run + 1), trips, total)
        else:
            run = float(often)
        self._count(body, times * run, trips, total)

    def _kernel(self, body: dict[str, Operation], operation: Operation, times: float, total: Count) -> None:
        called = operation.called("calls")
        inner = self.computations.get(called, {}) if called else {}
        sorts = [one for one in (operation, *inner.values()) if one.code == "sort"]
        kernels = times * (sort_kernels(elements(sorts[0].shape) // max(1, len(sorts[0].operands))) if sorts else 1)
        total.kernels += kernels
        total.by_source[self.source(operation)] += kernels
        if operation.code == "custom-call":
            target = re.search(r'custom_call_target="([^"]*)"', operation.rest)
            total.custom_calls[target.group(1) if target else "?"] += round(times)
        read = sum(_taken(inner, index, body[one].shape) for index, one in enumerate(operation.operands) if one in body)
        total.bytes += kernels * (read + size(operation.shape)) if sorts else times * (read + size(operation.shape))
        total.flops += times * sum(map(self._flops, inner.values() or [operation]))

    def _flops(self, operation: Operation) -> float:
        if operation.code in MOVES or "f64[" not in operation.shape:
            return 0.0
        weight = float(WEIGHTS.get(operation.code, 1))
        if operation.code == "dot":
            return 2.0 * elements(operation.shape) * self._contracted(operation)
        if operation.code in ("reduce", "reduce-window"):
            for computation in self.computations.values():
                if computation.get(operation.name) is operation:
                    first = computation.get(operation.operands[0])
                    return float(elements(first.shape)) if first else 0.0
        return weight * elements(operation.shape)

    def _contracted(self, operation: Operation) -> int:
        dims = re.search(r"lhs_contracting_dims=\{([0-9,]*)\}", operation.rest)
        for computation in self.computations.values():
            if computation.get(operation.name) is operation and dims and operation.operands[0] in computation:
                found = _SHAPE.search(computation[operation.operands[0]].shape)
                shape = [int(n) for n in found.group(2).split(",") if n] if found else []
                return math.prod(shape[int(d)] for d in dims.group(1).split(",") if d)
        return 1


def _taken(inner: dict[str, Operation], index: int, shape: str) -> int:
    """Bytes that a kernel reads of an operand: all, or what its slices and gathers take."""
    whole = size(shape)
    names = [one.name for one in inner.values() if one.code == "parameter" and one.rest.startswith(f"{index})")]
    if not names:
        return whole
    users = [one for one in inner.values() if names[0] in one.operands]
    if users and all(one.code in ("slice", "dynamic-slice", "gather") and one.operands[0] == names[0] for one in users):
        return min(whole, sum(size(one.shape) for one in users))
    return whole


def _operation(name: str, text: str) -> Operation:
    """One line's operation: its shape, code, operands, and all else."""
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    shape, text = text[:end], text[end:].lstrip()
    # A layout follows the shape of an array.
    code, _, rest = text.partition("(")
    close = _closing("(" + rest, 0) - 1
    inside, attributes = rest[:close], rest[close + 1 :]
    if code.strip() == "parameter":
        return Operation(name, shape, "parameter", (), f"{inside}){attributes}")
    return Operation(name, shape, code.strip(), tuple(re.findall(r"%([\w.\-]+)", inside)), attributes)


def _closing(text: str, start: int) -> int:
    """Index of the bracket that closes the one at `start`."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if not depth:
            return at
    raise ValueError(f"no closing bracket in {text[:80]!r}")
