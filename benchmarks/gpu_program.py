"""What `generate` would launch, move and compute on a GPU, read from programs that were compiled for one without it.

    python benchmarks/gpu_program.py [GROUP|TASK …] [--batch N …] [--target h100|h200|a100] [--programs NAME …]
        [--json PATH] [--markdown PATH] [--plot PATH] [--costs]
    python benchmarks/gpu_program.py [GROUP|TASK …] --measure ROOT

Needs `pip install -e '.[generate,gpu-check]'`, no GPU and no driver: XLA compiles for a GPU that is only described
(`gpu_targets.py`). Programs are counted in the text that the compiler gives (`gpu_hlo.py`). That they compile, what
they launch and how much memory they take are facts of these programs; rows per second are an *estimate* by the model
below, and nothing here was measured on a GPU.

Model: the time of a control step is the largest of three terms, as if the other two were hidden behind it:

- launches: `LAUNCH_S` for each kernel, and `HOST_ROUND_S` for each time that the host has to look whether a loop goes
  on. No command buffers (CUDA graphs), which would make launches cheaper;
- memory: bytes that kernels read and write, at the full bandwidth of the data sheet; no cache between kernels;
- arithmetic: float64 operations at half of the data sheet's rate, as few of them are a multiplication with an addition.

How often loops run that end when the last row is done was counted in stores of noise (`--measure`): Newton's
iterations, of which a row keeps the most of its substeps, are taken as the expected largest of a batch of independent
rows, in every substep, which is too many; contact points in touch likewise.
`generate` is the three programs of a control step (`act`, `transition`, `observe`), and an episode's share of the two
that begin it (`reset`, `start`); copying rows to the host, and all that the host does with them, is left out. Batches
that were not compiled are scaled from the one that was (`compiled_at`): bytes, operations and memory in proportion.
Texts of programs are kept in a folder, by what they were compiled from, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gpu_hlo import Count, Program
from gpu_loops import TRIPS, loop_trips, measure, row_bytes
from gpu_pages import launches, markdown, plot
from gpu_targets import TARGETS, devices
from provenance import SIMULATOR, made_with

LAUNCH_S = 3e-6
"""What a kernel costs to launch from the host, one after the other."""

HOST_ROUND_S = 10e-6
"""What it costs to copy a loop's condition to the host and to wait for it."""

MACHINE_CODE = {"xla_backend_optimization_level": 0}
"""Machine code of kernels is not optimised, which took most of the time: what is counted is settled before."""

FLOAT64_SHARE = 0.5
MEMORY_SHARE = 0.75
"""Of a GPU's memory, what JAX takes for itself by default."""

BATCHES = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
COMPILED = 4096
RESULTS = Path(__file__).parent / "results"
BEFORE = RESULTS / "gpu_before.json"
"""The transitions' records before anything was done otherwise for a GPU."""

COSTS = Path(__file__).parent.parent / "generation/rollout/gpu_costs.json"
PER_STEP, PER_EPISODE = ("transition", "act", "observe"), ("reset", "start")
WHOLE = "generate"


def programs(task: str, batch: int) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """The compiled functions of `generate` for a task, and the shapes of what they are given."""
    import jax
    import jax.numpy as jnp

    from dynamic_sparsity.generation.rollout.episodes import Episodes
    from dynamic_sparsity.generation.rollout.transition import transition_program
    from dynamic_sparsity.generation.tasks import representative

    episodes = Episodes.prepare(settings_of(task, batch))
    simulation, task_of = episodes.simulation, episodes.physics.task
    keys, number = jax.ShapeDtypeStruct((batch, 2), jnp.uint32), jax.ShapeDtypeStruct((), jnp.int64)
    starting = (keys, jax.ShapeDtypeStruct((batch,), jnp.int64))
    now, plan = jax.eval_shape(simulation.reset, keys), jax.eval_shape(episodes._plan, *starting)
    acting = (plan, number, now.observation)
    action = jax.eval_shape(episodes._act, *acting)
    transition = transition_program(representative(task_of), "converged")
    stepping = (now.carry, action, jax.ShapeDtypeStruct((), jnp.int32))
    _, after, _ = jax.eval_shape(transition, *stepping)
    looking = (now.task, action, now.observed, after)
    return {
        "transition": (transition, stepping),
        "act": (episodes._act, acting),
        "observe": (simulation._observe, looking),
        "reset": (simulation.reset, (keys,)),
        "start": (episodes._plan, starting),
    }


def settings_of(task: str, episodes: int) -> Any:
    """Settings with the task's expert, or with noise if it has none."""
    from dynamic_sparsity.errors import DynamicSparsityError
    from dynamic_sparsity.generation.settings import Settings

    try:
        return Settings(task, episodes, policy="expert")
    except DynamicSparsityError:
        return Settings(task, episodes)


def compile_for(target: str, function: Any, shapes: Any, kept: Path, device: int = 0, of: int = 1) -> dict[str, Any]:
    """A program's text and sizes, from the folder if it was compiled before."""
    import jax
    import jaxlib
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(devices(target, of)[device : device + 1], dtype=object), ("device",))
    there = NamedSharding(mesh, PartitionSpec())
    placed = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there), shapes)
    lowered = function.trace(*placed).lower()
    asked = lowered.as_text() + TARGETS[target].text() + jaxlib.__version__ + f"{device} of {of}, {MACHINE_CODE}"
    path = kept / f"{hashlib.sha256(asked.encode()).hexdigest()}.json.gz"
    if path.exists():
        found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
        return found
    began = time.perf_counter()
    compiled = lowered.compile(compiler_options=MACHINE_CODE)
    memory = compiled.memory_analysis()
    sizes = {name: int(getattr(memory, f"{name}_size_in_bytes")) for name in ("temp", "argument", "output")}
    result = {"text": compiled.as_text(), **sizes, "compile_s": time.perf_counter() - began}
    kept.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_bytes(gzip.compress(json.dumps(result).encode()))
    partial.replace(path)
    return result


def record_of(program: str, group: str, target: str, batch: int, made: dict[str, Any], count: Count) -> dict[str, Any]:
    """One record: what a program does at a batch, and how long that is estimated to take."""
    from dynamic_sparsity.generation.executors.protocol import UNITS_AT_ONCE
    from dynamic_sparsity.generation.rollout.recorder import IN_FLIGHT

    scale = batch / made["batch"]
    # Rows wait on the device until they are copied, and each device has several units at a time.
    held = (made["temp"] + made["argument"] + (1 + IN_FLIGHT) * made["output"]) * UNITS_AT_ONCE / made["batch"]
    room = int(MEMORY_SHARE * TARGETS[target].memory / held)
    return {
        "program": program,
        "group": group,
        "target": target,
        "batch": batch,
        "compiles": True,
        "compiled_at": made["batch"],
        "devices": made["devices"],
        "kernels_per_step": round(count.kernels, 2),
        "host_rounds": round(count.host_rounds, 2),
        "bytes": round(count.bytes * scale),
        "flops": round(count.flops * scale),
        "temp_bytes": round(made["temp"] * scale),
        "argument_bytes": round(made["argument"] * scale),
        "output_bytes": round(made["output"] * scale),
        "largest_batch": 1 << (room.bit_length() - 1),
        "custom_calls": dict(count.custom_calls),
        "loops": {name.replace("/while", "").replace("/body", ""): round(n, 2) for name, n in count.loops.items()},
        "kernels_by_source": {
            name: round(kernels, 1) for name, kernels in Counter(count.by_source).most_common(12) if kernels >= 1
        },
        "compile_s": round(made["compile_s"], 1),
    }


def estimated(record: dict[str, Any]) -> dict[str, Any]:
    """The record with its estimate."""
    gpu = TARGETS[record["target"]]
    terms = {
        "launches": LAUNCH_S * record["kernels_per_step"] + HOST_ROUND_S * record["host_rounds"],
        "memory": record["bytes"] / gpu.bandwidth,
        "arithmetic": record["flops"] / (FLOAT64_SHARE * gpu.float64),
    }
    binds = max(terms, key=lambda name: terms[name])
    seconds = {f"estimated_{name}_s": float(f"{value:.4g}") for name, value in terms.items()}
    rate = round(record["batch"] / terms[binds]) if terms[binds] else None
    return record | seconds | {"estimated_rows_per_s": rate, "bound_by": binds}


def whole(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of `generate`: the programs of a control step, and an episode's share of those that begin it."""
    from dynamic_sparsity.generation.tasks import EPISODE_LENGTH

    def total(name: str) -> float:
        return sum(part[name] / (EPISODE_LENGTH if part["program"] in PER_EPISODE else 1) for part in parts)

    summed = {name: round(total(name), 2) for name in ("kernels_per_step", "host_rounds", "bytes", "flops")}
    largest = {name: max(part[name] for part in parts) for name in ("temp_bytes", "argument_bytes", "output_bytes")}
    calls = sum((Counter(part["custom_calls"]) for part in parts), Counter())
    head = {name: parts[0][name] for name in ("group", "target", "batch", "compiled_at")}
    return estimated(
        {"program": WHOLE, **head, "compiles": True, **summed, **largest, "custom_calls": dict(calls)}
        | {"largest_batch": min(part["largest_batch"] for part in parts)}
    )


def records_of(task: str, group: str, options: argparse.Namespace) -> Iterable[dict[str, Any]]:
    """The records of a group, program by program."""
    from dynamic_sparsity.generation import target

    measured = json.loads(TRIPS.read_text()) if TRIPS.exists() else {}
    counted: dict[str, tuple[dict[str, Any], Program]] = {}
    batches = sorted({*options.batch, *options.scaled})
    with target.compiling_for("gpu"):
        made_from = {batch: programs(task, batch) for batch in options.batch}
        for program in options.programs:
            for batch in options.batch:
                try:
                    # A unit is made on one device; the programs of each must compile.
                    for device in reversed(range(options.devices)):
                        made = compile_for(
                            options.target, *made_from[batch][program], options.kept, device, options.devices
                        )
                    made |= {"batch": batch, "devices": options.devices}
                except Exception as error:  # what the compiler throws is the result
                    yield {
                        "program": program, "group": group, "target": options.target, "batch": batch,
                        "compiles": False, "why": f"{type(error).__name__}: {error}"[:500],
                    }  # fmt: skip
                    continue
                counted[f"{program}@{batch}"] = made, Program(made["text"])
    parts: dict[int, list[dict[str, Any]]] = {batch: [] for batch in batches}
    for batch in batches:
        for program in options.programs:
            usable = [at for at in options.batch if f"{program}@{at}" in counted]
            if not usable:
                continue
            nearest = batch if batch in usable else min(usable, key=lambda at: abs(math.log(at / batch)))
            made, text = counted[f"{program}@{nearest}"]
            count = text.count(loop_trips(measured.get(group), batch))
            parts[batch].append(estimated(record_of(program, group, options.target, batch, made, count)))
        yield from parts[batch]
        if {part["program"] for part in parts[batch]} >= {*PER_STEP, *PER_EPISODE}:
            yield whole(parts[batch])


def costs(records: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What the default batch on a GPU follows from: the costs of each group's programs, by the model for an H100."""
    from dynamic_sparsity.generation.executors.protocol import UNITS_AT_ONCE
    from dynamic_sparsity.generation.rollout.recorder import IN_FLIGHT

    counted = [one for one in records if one["compiles"] and (one["target"], one["batch"]) == ("h100", COMPILED)]
    found: dict[str, dict[str, float]] = {}
    # The whole where there is one; else the transition, which has most of it.
    for program in ("transition", WHOLE):
        for one in counted:
            if one["program"] == program:
                work = max(one["estimated_memory_s"], one["estimated_arithmetic_s"])
                held = one["temp_bytes"] + one["argument_bytes"] + (1 + IN_FLIGHT) * one["output_bytes"]
                found[one["group"]] = {
                    "launch_s": one["estimated_launches_s"],
                    "row_s": float(f"{work / COMPILED:.4g}"),
                    "held_bytes": round(held * UNITS_AT_ONCE / COMPILED),
                    "row_bytes": one["row_bytes"],
                }
    return found


def chosen(names: list[str]) -> dict[str, str]:
    """Groups to the tasks that their programs are compiled from."""
    from dynamic_sparsity.generation.tasks import ROBOTS, get_task, group_representatives

    groups = group_representatives()
    robots = {robot.group: robot.name for robot in ROBOTS.values()}
    found = {}
    for name in names or groups:
        if name not in groups | robots:
            name = get_task(name).group
        found[name] = (groups | robots)[name]
    return found


def save(path: Path, records: list[dict[str, Any]]) -> None:
    """Puts records into a file, in the place of earlier ones of the same programs."""

    def key(record: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(record[name] for name in ("target", "group", "batch", "program"))

    old = json.loads(path.read_text()) if path.exists() else []
    merged = {key(record): record for record in [*old, *records]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([merged[name] for name in sorted(merged)], indent=1) + "\n")


def main() -> None:
    """Compiles, counts, estimates and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help="groups of dynamics, or tasks; all 15 groups by default")
    parser.add_argument("--batch", type=int, nargs="+", default=[COMPILED], help="batches to compile for")
    parser.add_argument("--scaled", type=int, nargs="*", default=list(BATCHES), help="batches to scale to")
    parser.add_argument("--target", choices=sorted(TARGETS), default="h100")
    parser.add_argument("--programs", nargs="+", default=[*PER_STEP, *PER_EPISODE], help="which programs")
    parser.add_argument("--devices", type=int, default=1, help="compile for each GPU of a machine with so many")
    parser.add_argument("--kept", type=Path, help="where compiled texts are kept")
    parser.add_argument("--measure", type=Path, help="count loops in stores below this folder")
    parser.add_argument("--json", type=Path, default=RESULTS / "gpu_program.json")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--plot", type=Path, help="write a picture here")
    parser.add_argument("--launches", type=Path, help="write the comparison with gpu_before.json here")
    parser.add_argument("--costs", action="store_true", help="write what the default batch on a GPU follows from")
    parser.add_argument("--report", action="store_true", help="compile nothing, make the table and the picture")
    options = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from dynamic_sparsity import compilation_cache
    from dynamic_sparsity.generation import jax_runtime

    jax_runtime.configure()
    options.kept = options.kept or compilation_cache.cache_directory() / "gpu_programs"
    for group, task in {} if options.report else chosen(options.groups).items():
        if options.measure:
            found = json.loads(TRIPS.read_text()) if TRIPS.exists() else {}
            found[group] = measure(task, options.measure)
            TRIPS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
            continue
        for record in records_of(task, group, options):
            save(options.json, [record | {"row_bytes": row_bytes(task)} | made_with(*SIMULATOR)])
            if record["batch"] in options.batch:
                names = ("program", "kernels_per_step", "estimated_rows_per_s", "bound_by", "why")
                print(group, record["batch"], *(record.get(name, "") for name in names), file=sys.stderr, flush=True)
    if options.markdown or options.plot or options.costs or options.launches:
        records = json.loads(options.json.read_text()) if options.json.exists() else []
        if options.costs:
            # Of groups that were not counted since, the earlier records.
            found = costs([*json.loads(BEFORE.read_text()), *records])
            COSTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        if options.launches:
            before = json.loads(BEFORE.read_text())
            options.launches.write_text(launches(before, records, COMPILED))
        if options.markdown:
            options.markdown.write_text(markdown(records, COMPILED))
        if options.plot:
            plot(records, options.plot)


if __name__ == "__main__":
    main()
