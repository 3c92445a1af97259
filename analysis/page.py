"""One self-contained page for all tasks: figures that can be read by hovering, episodes to move through."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis import bits
from dynamic_sparsity.analysis.blocks import constraint_kinds
from dynamic_sparsity.analysis.changes import EVENTS
from dynamic_sparsity.analysis.comparison import Comparison, comparisons
from dynamic_sparsity.analysis.episode_frames import FRAMES, frame_sheet
from dynamic_sparsity.analysis.episode_strips import episode_strips
from dynamic_sparsity.analysis.files import Renderer, StudyProgress, study_file
from dynamic_sparsity.analysis.runs import VALUES
from dynamic_sparsity.analysis.study import Study, StudyOptions, load_or_study, to_json
from dynamic_sparsity.analysis.style import COLOURS, MODE_NAMES
from dynamic_sparsity.analysis.tables import ACTIVE_SHARE, table1
from dynamic_sparsity.analysis.thresholds import SCALES
from dynamic_sparsity.errors import StoreNotFoundError
from dynamic_sparsity.loaders.load import open_dataset
from dynamic_sparsity.loaders.store.store import find_stores
from dynamic_sparsity.schemas.advice import example_command
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.untrusted.text import json_in_html

__all__ = ["SCRIPTS", "page", "report"]

SCRIPTS = ("page_charts.js", "page_matrix.js", "page_episodes.js", "page.js")
"""The page's one script, in this order."""
PLACE = re.compile(r"/\*\{(style|data|script|digest)\}\*/")


def report(
    root: Path,
    out: Path,
    *,
    results: Path | None = None,
    options: StudyOptions | None = None,
    frames: int = FRAMES,
    render: Renderer | None = None,
    progress: StudyProgress | None = None,
) -> Path:
    """Write the page of all complete stores below a folder.

    Args:
        root: Folder of all stores.
        out: Folder for the page, `index.html`; made if missing.
        results: Where `analyze` has left its results, so that these stores are not studied again; new studies are kept
            there too. None to keep them in `out`.
        options: Of the studies.
        frames: Pictures per episode.
        render: Makes them; none if None.
        progress: Receives the progress.

    Returns:
        The page's path.

    Raises:
        StoreNotFoundError: There is no complete store.
        DynamicSparsityError: A store can't be read, or has no usable rows.
        MissingDependencyError: scikit-learn is not installed.
    """
    stores = [location.path.absolute() for location in find_stores(root)]
    stores = [path for path in stores if (path / "manifest.json").is_file()]
    if not stores:
        raise StoreNotFoundError(f"{root} has no complete store; make one with `{example_command(root)}`")
    found = []
    for path in stores:
        advanced = None
        if progress is not None:
            progress.started(f"{path.parent.name} {path.name.removesuffix('.zarr')}", len(open_dataset(path)))
            advanced = progress.advanced
        kept = study_file(results or out, path)
        one = load_or_study(path, kept, options, advanced)
        publish(kept, [to_json(one)])
        if progress is not None:
            progress.phase("rendering")
        found.append((one, frame_sheet(one, path, frames, render), episode_strips(path, options)))
        if progress is not None:
            progress.phase("done")
    target = out / "index.html"
    publish(target, [page(found).encode()])
    return target


def page(found: Sequence[tuple[Study, dict[str, Any] | None, dict[str, Any]]]) -> str:
    """Return the page as HTML, with all that it needs inside.

    Args:
        found: What it shows, in this order: studies, each with what `frame_sheet` and `episode_strips` give.
    """
    entries = [_entry(one, sheet) | {"strips": strips} for one, sheet, strips in found]
    studies = [one for one, _, _ in found]
    compared = [[one.task, *_comparison(one)] for one in comparisons(studies)]
    script = "".join(map(_resource, SCRIPTS))
    parts = {
        "style": _resource("page.css"),
        "data": json_in_html({"studies": entries, "comparisons": compared}),
        "script": script,
        # The one script that a browser runs in this page.
        "digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    # All at once: what was put in is not searched for the next place.
    return PLACE.sub(lambda found: parts[found[1]], _resource("page.html"))


def _entry(one: Study, sheet: dict[str, Any] | None) -> dict[str, Any]:
    metadata, kinds = one.source.metadata, constraint_kinds(one.source.metadata)
    constraints = [
        {"name": name, "kind": next(kind for kind in kinds if kinds[kind][number])}
        for number, name in enumerate(one.constraint_names)
    ]
    return {
        "task": one.source.task,
        "data": one.source.name,
        "rows": one.zeros.rows,
        "episodes": one.source.episodes,
        "dt": metadata["control_dt"],
        "mask_threshold": metadata["mask_threshold"],
        "mask_scale": metadata["mask_scale"],
        "effects": one.state_names,
        "actions": one.action_names,
        "constraints": constraints,
        "zeros": [*one.zeros.zeros_s.flatten().tolist(), *one.zeros.zeros_a.flatten().tolist()],
        "switches": [*one.runs.switches_s.flatten().tolist(), *one.runs.switches_a.flatten().tolist()],
        "largest": [_rounded(float(size)) for size in np.concatenate([_flat(one, "s"), _flat(one, "a")])],
        "levels": {"J_s": _levels(one.sparsity.counts_s), "J_a": _levels(one.sparsity.counts_a)},
        "summary": _summary(one),
        "patterns": _patterns(one),
        "changes": _changes(one),
        "runs": _runs(one),
        "longest": one.runs.counts.shape[-1],
        "thresholds": _thresholds(one),
        "horizons": _horizons(one),
        "spectra": _spectra(one),
        "map": _map(one),
        "timeline": _timeline(one, sheet),
    }


def _flat(one: Study, which: str) -> NDArray[np.float32]:
    """Return the largest |J| of each entry in any row, J_s or J_a, row-major."""
    return np.asarray(getattr(one.largest, f"absolute_{which}"), np.float32).reshape(-1)


def _summary(one: Study) -> dict[str, Any]:
    (row,) = table1([one])
    constant = int(one.runs.constant.sum())
    numbers = {
        "contact": row["rows_with_contact"] / row["rows"],
        "limit": row["rows_with_limit_only"] / row["rows"],
        "mean_return": one.source.mean_return,
        "zeros_s": row["zeros_J_s"],
        "zeros_a": row["zeros_J_a"],
        "paper_s": row["paper_zeros_J_s"],
        "paper_a": row["paper_zeros_J_a"],
        "sparsity_s": one.sparsity.mean("s"),
        "sparsity_a": one.sparsity.mean("a"),
        "patterns": one.patterns.patterns,
        "covering": one.patterns.covering,
        "explained": one.patterns.entropies["explained"],
        "changes": one.changes.patterns / max(1, one.changes.steps),
        "precision": one.changes.precision("constraint"),
        "recall": one.changes.recall("constraint"),
        "zero_run": one.runs.survival_mean("both", "zero"),
        "nonzero_run": one.runs.survival_mean("both", "nonzero"),
        "never_switch": constant,
    }
    return {name: _number(value) for name, value in numbers.items()}


def _levels(counts: NDArray[np.int64]) -> list[list[float]]:
    """Return sparsity and rows by mode, for each level that occurs."""
    entries = max(1, counts.shape[1] - 1)
    return [[round(zeros / entries, 5), *counts[:, zeros].tolist()] for zeros in np.flatnonzero(counts.sum(axis=0))]


def _patterns(one: Study) -> list[dict[str, Any]]:
    rows = []
    for pattern in one.patterns.top:
        active = sorted(zip(pattern.active, one.constraint_names, strict=True), reverse=True)
        listed = [f"{name} {share:.2f}" for share, name in active if share >= ACTIVE_SHARE]
        more = f" and {len(listed) - 6} more" if len(listed) > 6 else ""
        words = (", ".join(listed[:6]) + more) or "nothing"
        row = {"share": pattern.share, "sparsity": pattern.sparsity, "active": words}
        rows.append(row | {"zeros_s": pattern.zeros_s, "zeros_a": pattern.zeros_a})
    return rows


def _changes(one: Study) -> list[list[str]]:
    names = {"constraint": "all active constraints", "contact": "active contacts only"}
    found = one.changes
    rows = []
    for number, event in enumerate(EVENTS):
        shares = _digits(found.precision(event), found.recall(event), found.base_rate(event), found.mean_lag(event))
        rows.append([names[event], f"{found.events[number]:,}", *shares])
    return rows


def _spectra(one: Study) -> list[list[str]]:
    rows = []
    for found in one.spectra:
        ranks = _digits(found.effective_rank, found.rank)
        rows.append([found.matrix, found.mode, f"{found.rows:,}", *ranks, str(found.singular_values.size)])
    return rows


def _comparison(one: Comparison) -> list[str]:
    numbers = (one.sparsity_first, one.sparsity_second, one.changes_first, one.changes_second)
    differences = (one.mean_difference, one.largest_difference, one.distance)
    zeros = (one.zeros_first, one.zeros_second, one.only_first, one.only_second)
    return [one.first, one.second, *(f"{count:,}" for count in zeros), *_digits(*numbers, *differences)]


def _runs(one: Study) -> list[dict[str, Any]]:
    series = []
    for value in VALUES:
        counts = one.runs.total("both", value)
        for name, chosen, dash in (("all", counts.sum(axis=0), ""), ("complete", counts[0], "4 3")):
            words = {"zero": "zero", "nonzero": "non-zero"}[value]
            points = _binned(chosen)
            if points:
                series.append({"name": f"{words}, {name}", "colour": COLOURS[value], "dash": dash, "points": points})
    return series


def _binned(counts: NDArray[np.int64]) -> list[list[float | None]]:
    """Return runs per control step of duration in bins that grow by a quarter of a doubling."""
    edges = np.unique(np.round(2 ** np.arange(0, np.log2(max(2, counts.size)) + 0.25, 0.25)).astype(int))
    found, _ = np.histogram(np.arange(counts.size), edges - 0.5, weights=counts)
    centres = np.sqrt(edges[:-1] * (edges[1:] - 1.0))
    density = found / np.diff(edges)
    return [[_rounded(x), _rounded(y)] for x, y in zip(centres, density, strict=True) if y > 0]


def _thresholds(one: Study) -> list[dict[str, Any]]:
    series = []
    entries = one.zeros.zeros_s.size
    for scale, dash in zip(SCALES, ("", "4 3", "1 2"), strict=True):
        rows = [row for row in one.thresholds if row.scale == scale]
        means = [[row.threshold, _rounded(row.sparsity_s)] for row in rows]
        always = [[row.threshold, _rounded(one.largest.zeros("s", scale, row.threshold) / entries)] for row in rows]
        series.append({"name": f"mean, {scale}", "colour": COLOURS["J_s"], "dash": dash, "points": means})
        series.append({"name": f"in every row, {scale}", "colour": COLOURS["nonzero"], "dash": dash, "points": always})
    return series


def _horizons(one: Study) -> list[dict[str, Any]]:
    curves = (
        ("structural", "no path through the masks", COLOURS["J_s"], ""),
        ("numeric", "below 1e-6 of the largest entry", COLOURS["J_s"], "4 3"),
        ("always", "no path in any window", COLOURS["nonzero"], ""),
        ("action", "no path from the first action", COLOURS["J_a"], ""),
    )
    series = []
    for name, words, colour, dash in curves:
        points = [[found.steps, _rounded(getattr(found, name))] for found in one.horizons]
        series.append(
            {"name": words, "colour": colour, "dash": dash, "points": [p for p in points if p[1] is not None]}
        )
    return series


def _map(one: Study) -> dict[str, Any] | None:
    found = one.embedding
    if found is None:
        return None
    low, high = found.points.min(axis=0), found.points.max(axis=0)
    places = np.round((found.points - low) / max(1e-9, float((high - low).max())) * 1000).astype(int)
    return {
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        "sparsity": np.round(found.sparsity, 4).tolist(),
        "modes": found.modes.tolist(),
        "legend": [[words, COLOURS[mode]] for mode, words in MODE_NAMES.items()],
        "rows": found.positions.tolist(),
        "sequence": found.sequence.tolist(),
        "perplexity": round(found.perplexity, 1),
    }


def _timeline(one: Study, sheet: dict[str, Any] | None) -> dict[str, Any]:
    found = one.timeline
    count = len(found.patterns_s)
    masks = np.concatenate([found.patterns_s.reshape(count, -1), found.patterns_a.reshape(count, -1)], axis=1)
    size = -(-masks.shape[1] // 8)
    packed = [words.tobytes()[:size] for words in bits.pack(masks).astype("<u8")]
    active = []
    for place, constraint in enumerate(found.constraints.tolist()):
        edges = np.flatnonzero(np.diff(found.active[:, place], prepend=0, append=0))
        active.append([constraint, edges.reshape(-1, 2).tolist()])
    return {
        "episode": found.episode,
        "pattern": found.pattern.tolist(),
        "masks": [base64.b64encode(one_mask).decode() for one_mask in packed],
        "active": active,
        "frames": sheet,
    }


def _resource(name: str) -> str:
    return resources.files(__package__ or __name__).joinpath(name).read_text(encoding="utf-8")


def _number(value: Any) -> Any:
    return _rounded(value) if isinstance(value, float) else value


def _rounded(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _digits(*values: float) -> list[str]:
    return [f"{value:.3g}" if math.isfinite(value) else "–" for value in values]
