"""What executors cost, and what a second worker brings, compile time apart.

    python benchmarks/executors.py throughput [--json benchmarks/results/executors.json]
    python benchmarks/executors.py overhead [--ways direct local ray] [--json benchmarks/results/executors.json]

Every worker compiles its programs first and waits until all others have done so; the clock runs from then until the
executor has reported that the last unit is finished.

*throughput*: the same units by one local worker, which has all cores, and by two, which share them; taken in turns.

*overhead*: units of a minute and more by one worker of each executor, and directly, in threads of this process. The
engine's time is that in which at least one unit is being made in the worker; `idle` is the share of the total in which
none is. What the executor takes from the cores while units are made, such as Ray's daemons, does not show in that;
`slower` is by how much the total is longer than that of the direct run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from provenance import SIMULATOR, made_with

from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.generation.executors.protocol import Executor, UnitProgress
from dynamic_sparsity.generation.jobs.unit_runner import SimulationUnitRunner
from dynamic_sparsity.generation.jobs.units import Unit

LOG, WORKERS = "EXECUTORS_LOG", "EXECUTORS_WORKERS"
"""Environment variables: the folder where workers note times, and how many of them there are."""


class Timed(SimulationUnitRunner):
    """A unit runner that compiles at once, waits for the others, and notes when it makes units.

    Times are monotonic, and so the same for all processes of a Linux machine.
    """

    def __init__(self) -> None:
        jax_runtime.configure()
        super().__init__()

    def check(self, unit: Unit) -> None:
        super().check(unit)
        self._compiled_episodes(unit, self.devices()[0], _NoProgress())
        folder = Path(os.environ[LOG])
        (folder / f"{os.getpid()}.ready").touch()
        while len(list(folder.glob("*.ready"))) < int(os.environ[WORKERS]):
            time.sleep(0.01)
        with contextlib.suppress(FileExistsError), (folder / "began").open("x") as file:
            file.write(str(time.monotonic()))

    def run(self, unit: Unit, device: Any, progress: UnitProgress) -> None:
        began = time.monotonic()
        super().run(unit, device, progress)
        note = {"worker": os.getpid(), "began": began, "ended": time.monotonic()}
        (Path(os.environ[LOG]) / f"{unit.index}.json").write_text(json.dumps(note))


class _NoProgress:
    """Ignores progress."""

    def on_compiling(self, unit: Unit) -> None: ...

    def on_compiled(self, unit: Unit, seconds: float) -> None: ...

    def on_progress(self, unit: Unit, rows: int) -> None: ...


def executor_of(way: str, workers: int) -> Executor:
    """What makes the units."""
    # Workers import this very file.
    if way == "direct":
        from dynamic_sparsity.generation.executors.threads import ThreadExecutor

        return ThreadExecutor(Timed())
    if way == "ray":
        from dynamic_sparsity.generation.executors.ray_actors import RayExecutor

        return RayExecutor(None, workers, "executors:Timed")
    from dynamic_sparsity.generation.executors.processes import ProcessExecutor

    return ProcessExecutor(workers, "executors:Timed")


def run(way: str, workers: int, options: argparse.Namespace) -> dict[str, Any]:
    """Makes the units once, from a process of its own: no run profits from what another one has loaded."""
    words = [sys.executable, __file__, "once", "--ways", way, "--workers", str(workers), "--task", options.task]
    words += ["--units", str(options.units)] + ([] if options.batch is None else ["--batch", str(options.batch)])
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def once(way: str, workers: int, options: argparse.Namespace) -> dict[str, Any]:
    """Makes the units once; seconds of the whole and of the engine."""
    from dynamic_sparsity.generation.executors.threads import ThreadExecutor
    from dynamic_sparsity.generation.jobs import scheduler
    from dynamic_sparsity.generation.jobs.units import plan_units
    from dynamic_sparsity.generation.settings import Settings
    from dynamic_sparsity.storage import writer

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        log.mkdir()
        os.environ |= {LOG: str(log), WORKERS: str(workers)}
        with executor_of(way, workers) as executor:
            described = executor.describe(Settings(options.task, episodes=10**6, batch=options.batch))
            simulated = described["settings"]["unit_episodes"]
            settings = Settings(options.task, episodes=options.units * simulated, batch=options.batch)
            store = settings.store_path(Path(folder))
            attributes = executor.describe(settings)
            writer.create_store(store, attributes)
            units = plan_units(settings, store, attributes)
            if isinstance(executor, ThreadExecutor):
                executor.check(units[0])
            quarantined = scheduler.run_units(executor, iter(units), lambda event: None)
            ended = time.monotonic()
        if quarantined:
            raise SystemExit(f"{way}: {quarantined[0].failure}")
        notes = [json.loads((log / f"{unit.index}.json").read_text()) for unit in units]
        total = ended - float((log / "began").read_text())
    seconds = [note["ended"] - note["began"] for note in notes]
    return {
        "rows": sum(unit.rows for unit in units),
        "unit_s": statistics.median(seconds),
        "shortest_unit_s": min(seconds),
        "engine_s": sum(
            _busy([note for note in notes if note["worker"] == pid]) for pid in {n["worker"] for n in notes}
        ),
        "total_s": total,
    }


def _busy(notes: list[dict[str, Any]]) -> float:
    """Seconds in which at least one unit was being made."""
    seconds, until = 0.0, 0.0
    for note in sorted(notes, key=lambda note: float(note["began"])):
        seconds += max(0.0, note["ended"] - max(until, note["began"]))
        until = max(until, note["ended"])
    return seconds


def throughput(options: argparse.Namespace) -> dict[str, Any]:
    """One local worker against two, in turns."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for repetition in range(options.repetitions):
        # Neither is always the first.
        for workers in (1, 2) if repetition % 2 == 0 else (2, 1):
            result = run("local", workers, options)
            rates[workers].append(result["rows"] / result["total_s"])
            print(f"{workers} workers: {rates[workers][-1]:,.0f} rows/s", flush=True)
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return {
        "rows_per_s_of_1_worker": rates[1],
        "rows_per_s_of_2_workers": rates[2],
        "ratio": statistics.median(ratios),
    }


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    """Every way of having the units made, once by each."""
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in options.ways}
    for _ in range(options.repetitions):
        for way in options.ways:
            results[way].append(run(way, 1, options))
            print(way, results[way][-1], flush=True)
    record: dict[str, Any] = {}
    for way, runs in results.items():
        record[way] = {
            "unit_s": statistics.median(one["unit_s"] for one in runs),
            "shortest_unit_s": min(one["shortest_unit_s"] for one in runs),
            "engine_s": statistics.median(one["engine_s"] for one in runs),
            "total_s": statistics.median(one["total_s"] for one in runs),
            "idle": statistics.median(1 - one["engine_s"] / one["total_s"] for one in runs),
        }
        if "direct" in results and way != "direct":
            pairs = zip(runs, results["direct"], strict=True)
            record[way]["slower"] = statistics.median(one["total_s"] / direct["total_s"] - 1 for one, direct in pairs)
    return record


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("throughput", "overhead", "once"), help="once: what the others consist of")
    parser.add_argument("--task", default="CheetahRun")
    parser.add_argument("--batch", type=int, help="episodes of a unit; the task's default for throughput")
    parser.add_argument("--units", type=int, help="8 for throughput, 2 for overhead")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=("direct", "local", "ray"), default=("direct", "local", "ray"))
    parser.add_argument("--workers", type=int, default=1, help="of once")
    parser.add_argument("--json", type=Path, help="add the record to those of this file")
    options = parser.parse_args()
    if options.what == "overhead":
        options.batch = options.batch or 768
    options.units = options.units or {"throughput": 8, "overhead": 2, "once": 2}[options.what]
    os.environ["PYTHONPATH"] = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    # The class that workers find, so that it is one and the same everywhere.
    sys.path.insert(0, str(Path(__file__).parent))
    if options.what == "once":
        print(json.dumps(once(options.ways[0], options.workers, options)))
        return
    measured = throughput(options) if options.what == "throughput" else overhead(options)
    record = {
        "what": options.what,
        **({"ways": list(options.ways)} if options.what == "overhead" else {}),
        "task": options.task,
        "batch": options.batch,
        "units": options.units,
        "repetitions": options.repetitions,
        **measured,
        "device": f"cpu, {os.cpu_count()} cores",
        "load": round(os.getloadavg()[0], 1),
        **made_with(*SIMULATOR, "ray"),
    }
    print(json.dumps(record, indent=1))
    if options.json:
        records = json.loads(options.json.read_text()) if options.json.exists() else []
        keys = ("what", "task", "batch", "ways")
        kept = [one for one in records if any(one.get(key) != record.get(key) for key in keys)]
        options.json.write_text(json.dumps([*kept, record], indent=1) + "\n")


if __name__ == "__main__":
    main()
