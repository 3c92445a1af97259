"""What the Jacobians of robots show, beside those of DM Control: results/robots, and the tables of its page in docs/.

    python benchmarks/robot_results.py [TASK …] [--data DIR] [--episodes N] [--length N] [--batch N] [--no-generate]

Makes a small store with noise of each task (those that exist are kept), studies it, writes tables and figures, and the
part between two marks of the page. Tasks whose store is not there are left out with --no-generate. The numbers of DM
Control's tasks are those of results/, with noise.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from outputs import replace_part
from provenance import SIMULATOR, made_with
from robot_results_page import page_part

from dynamic_sparsity.analysis import StudyOptions, body_graph, contact_sets, study_store
from dynamic_sparsity.analysis.bodies import COARSE, MEANINGS, BodyGraph
from dynamic_sparsity.analysis.files import save_figure
from dynamic_sparsity.analysis.patterns import entropy
from dynamic_sparsity.analysis.sparsity import MODES
from dynamic_sparsity.analysis.study import EXCLUDED_FLAGS, Study
from dynamic_sparsity.analysis.tables import TABLES, write_table
from dynamic_sparsity.analysis.task_figures import bodies_figure
from dynamic_sparsity.analysis.touching import ContactSet
from dynamic_sparsity.loaders import open_dataset
from dynamic_sparsity.loaders.dataset import JacobianDataset
from dynamic_sparsity.schemas import FLAG_BITS

BEGIN, END = "<!-- made by benchmarks/robot_results.py -->", "<!-- end -->"
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "robot_results.md"
VERIFIED = (
    "Go1JoystickFlatTerrain", "Go1Getup", "BarkourJoystick", "SpotFlatTerrainJoystick", "H1InplaceGaitTracking",
    "H1JoystickGaitTracking", "BerkeleyHumanoidJoystickFlatTerrain", "T1JoystickFlatTerrain", "G1JoystickFlatTerrain",
    "PandaPickCube", "PandaOpenCabinet",
)  # fmt: skip
"""Robots of each kind, of those that docs/robots.md lists as verified."""
WRITTEN = ("table1", "sparsity", "patterns", "changes", "thresholds", "graph_size")
DRAWN = ("Go1JoystickFlatTerrain", "G1JoystickFlatTerrain", "H1InplaceGaitTracking")
"""Robots whose bodies are drawn, as far as they are there; the first and one of the others."""

Row = dict[str, Any]


def main() -> None:
    """Make the stores, study them, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="tasks of robots (default: some of each kind)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the stores (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "robots", help="default: %(default)s")
    parser.add_argument("--page", type=Path, default=PAGE, help="default: %(default)s")
    parser.add_argument("--toys", type=Path, default=ROOT / "results", help="results of DM Control (%(default)s)")
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--length", type=int, default=64, help="control steps of an episode (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="episodes side by side (default: %(default)s)")
    parser.add_argument("--no-generate", action="store_true", help="take the stores that are there, make none")
    options = parser.parse_args()
    tasks = options.tasks or list(VERIFIED)
    if not options.no_generate:
        words = ["--episodes", str(options.episodes), "--episode-length", str(options.length)]
        for task in tasks:
            _run("generate", task, *words, "--batch", str(options.batch), "--out", str(options.data))
    stores = [options.data / task / "noise.zarr" for task in tasks]
    stores = [store for store in stores if (store / "manifest.json").is_file()]
    if not stores:
        sys.exit(f"there is no store in {options.data}; without --no-generate they are made")
    _study(stores, options.out)
    replace_part(options.page, BEGIN, END, page_part(options.out, options.toys))


def _study(stores: list[Path], out: Path) -> None:
    """Write all tables and figures."""
    out.mkdir(parents=True, exist_ok=True)
    studies, graphs, sets, idle = [], {}, {}, []
    for store in stores:
        studies.append(study_store(store, StudyOptions(map_rows=0)))
        rows = open_dataset(store, exclude_flags=EXCLUDED_FLAGS)
        task = studies[-1].source.task
        graphs[task], sets[task] = body_graph(rows), contact_sets(rows)
        idle.append({"task": task, **_idle(rows)})
    for name in WRITTEN:
        write_table(TABLES[name](studies), out / name)
    write_table([row for task, one in sets.items() for row in _set_rows(task, one)], out / "touching")
    write_table([row for task, graph in graphs.items() for row in _graph_rows(task, graph)], out / "bodies")
    write_table([row for task, graph in graphs.items() for row in _influence_rows(task, graph)], out / "influence")
    write_table(idle, out / "idle_actions")
    flags = [_flags(one, store) for one, store in zip(studies, stores, strict=True)]
    facts = {"coarse": COARSE, "stores": flags, **made_with(*SIMULATOR)}
    (out / "made_with.json").write_text(json.dumps(facts, indent=1) + "\n")
    drawn = [task for task in DRAWN if task in graphs]
    for task in [*drawn[:1], *drawn[1:2]]:
        save_figure(bodies_figure(graphs[task], f"{task}, noise"), out / f"bodies_{task}", ["png"])
    save_figure(_touching_figure(sets), out / "touching", ["png"])


def _set_rows(task: str, sets: list[ContactSet]) -> Iterable[Row]:
    """One row for each set of parts that touch at once."""
    total = sum(one.rows for one in sets)
    for one in sets:
        numbers = {name: getattr(one, name) for name in ("sparsity_s", "sparsity_a", "coarse_s", "coarse_a")}
        touching = {"touching": len(one.parts), "parts": "; ".join(one.parts) or "nothing"}
        yield {"task": task, **touching, "rows": one.rows, "share": one.rows / total, **numbers}


def _graph_rows(task: str, graph: BodyGraph) -> Iterable[Row]:
    """One row for each meaning and mode."""
    for meaning in MEANINGS:
        for number, mode in enumerate((None, *MODES)):
            rows = int(graph.rows.sum() if mode is None else graph.rows[number - 1])
            density = {"density": graph.density(meaning, mode), "density_of_some_row": graph.union_density(meaning)}
            row = {"task": task, "bodies": len(graph.names), "meaning": meaning, "mode": mode or "all"}
            yield {**row, "rows": rows, **density}


def _influence_rows(task: str, graph: BodyGraph) -> Iterable[Row]:
    """One row for each pair of bodies, and of an action and a body."""
    for which, causes in (("s", graph.names), ("a", graph.actions)):
        shares = [graph.share(meaning, which) for meaning in MEANINGS]
        for effect, name in enumerate(graph.names):
            for cause, other in enumerate(causes):
                found = {f"share_{meaning}": one[effect, cause] for meaning, one in zip(MEANINGS, shares, strict=True)}
                yield {"task": task, "matrix": f"J_{which}", "effect": name, "cause": other, **found}


def _flags(one: Study, store: Path) -> Row:
    """How many rows there are, and what the flags say of them."""
    rows = open_dataset(store)
    flags = rows[:]["flags"]
    counts = {name: int(((flags >> bit) & 1).sum()) for name, bit in FLAG_BITS.items()}
    episodes = {"episodes": one.source.episodes, "episode_length": int(rows.metadata["episode_length"])}
    model = {"bodies": len(rows.metadata["joints"]), "memory": rows.metadata["sizes"].get("nm", 0)}
    return {"task": one.source.task, "rows": len(rows), **episodes, **model, "flags": counts}


def _idle(rows: JacobianDataset) -> Row:
    """Actions that have no effect in a row, as that of a motor at its limit, and what of the pattern they explain."""
    found = rows[:]
    mask_s, mask_a, active = (found[name] for name in ("mask_s", "mask_a", "active_any"))
    without = (mask_a == 0).all(axis=1)
    zeros = int((mask_a == 0).sum())
    of_idle = int(without.sum()) * mask_a.shape[1]
    patterns = [np.packbits(mask.reshape(len(mask), -1), axis=1) for mask in (mask_s, mask_a)]
    both = np.concatenate(patterns, axis=1)
    causes = np.concatenate([active, without], axis=1)
    bits = _bits(both)
    given = _bits(np.concatenate([both, causes], axis=1)) - _bits(causes)
    return {
        "actions": without.shape[1],
        "idle": float(without.sum(axis=1).mean()),
        "rows_with_idle": float(without.any(axis=1).mean()),
        "share_of_zeros_J_a": of_idle / zeros if zeros else None,
        "bits_J_s": _bits(patterns[0]),
        "bits_J_a": _bits(patterns[1]),
        "explained_by_active_set_and_idle": 1 - given / bits if bits else None,
    }


def _bits(keys: np.ndarray[Any, Any]) -> float:
    """Entropy of rows."""
    return entropy(np.unique(keys, axis=0, return_counts=True)[1])


def _touching_figure(sets: dict[str, list[ContactSet]]) -> Any:
    """Share of zeros by how many parts touch, in both meanings of zero."""
    from dynamic_sparsity.analysis.style import figure

    with figure(4.2, 1.15 * -(-len(sets) // 2) + 1.0) as made:
        axes = made.subplots(-(-len(sets) // 2), 2, squeeze=False, sharex=True, sharey=True).flatten().tolist()
        for ax, (task, found) in zip(axes, sets.items(), strict=False):
            numbers = sorted({len(one.parts) for one in found})
            for name, look, words in (
                ("sparsity_s", ("-", "o", "#0072B2"), "zero: below 1e-12"),
                ("coarse_s", ("--", "s", "#D55E00"), f"below {COARSE:g} standard deviations"),
            ):
                chosen = [[one for one in found if len(one.parts) == number] for number in numbers]
                values = [np.average([getattr(one, name) for one in some], weights=[o.rows for o in some])
                          for some in chosen]  # fmt: skip
                line, marker, colour = look
                ax.plot(numbers, values, line, marker=marker, color=colour, markersize=3, linewidth=1, label=words)
            ax.set_title(task, fontsize=7)
            ax.set(ylim=(0, 1), xticks=range(5))
        for ax in axes[len(sets) :]:
            ax.axis("off")
        made.supxlabel("parts of the robot that touch something", fontsize=8)
        made.supylabel("mean share of zeros in J_s", fontsize=8)
        made.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=1, frameon=False)
    return made


def _run(*words: str) -> None:
    print("$ dynamic-sparsity", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "dynamic_sparsity.cli", *words], check=True)


if __name__ == "__main__":
    main()
