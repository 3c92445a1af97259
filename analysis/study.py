"""Everything that is asked of one store, in one result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.analysis import records
from dynamic_sparsity.analysis.bodies import MANY, BodyCounter, BodyGraph
from dynamic_sparsity.analysis.changes import ChangeCounter, ChangeTable
from dynamic_sparsity.analysis.collecting import Accumulator, collect
from dynamic_sparsity.analysis.embedding import Embedding, embed
from dynamic_sparsity.analysis.horizons import Horizon, multi_step_zeros
from dynamic_sparsity.analysis.own_threshold import check_threshold, open_rows
from dynamic_sparsity.analysis.patterns import Pattern, PatternCounter, Patterns, PatternTable, summarise_patterns
from dynamic_sparsity.analysis.runs import RunCounter, RunLengths
from dynamic_sparsity.analysis.sparsity import SparsityCounter, SparsityDistribution
from dynamic_sparsity.analysis.spectrum import Spectrum, spectra, tangent_scale
from dynamic_sparsity.analysis.thresholds import LargestEntries, LargestEntry, Sensitivity, threshold_sensitivity
from dynamic_sparsity.analysis.timeline import LiveliestSegment, Timeline, read_timeline
from dynamic_sparsity.analysis.zeros import GlobalZeros, ZeroCounter
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.dataset import JacobianDataset
from dynamic_sparsity.untrusted.archives import translated
from dynamic_sparsity.untrusted.documents import DOCUMENT_BYTES_MAX, read_json
from dynamic_sparsity.untrusted.files import read_regular

__all__ = [
    "EXCLUDED_FLAGS",
    "Patterns",
    "Source",
    "Study",
    "StudyOptions",
    "Totals",
    "load_or_study",
    "study_store",
    "totals",
]

VERSION = 4
"""Changes with the meaning of any number here, so that older files are made again."""
STORED = "stored"
"""The `mask_scale` of masks that are the store's own."""
EXCLUDED_FLAGS = ("nonfinite", "not_converged", "tangents_lost")
"""Rows whose Jacobian is missing or wrong."""


@dataclass(frozen=True)
class StudyOptions:
    """What decides the numbers, beside the store.

    Attributes:
        sample_rows: Rows used for the thresholds.
        map_rows: Rows of the map of (s, a, s'); 0 for no map.
        windows: Windows used for several steps.
        perplexity: Of t-SNE.
        seed: Of the samples and of t-SNE.
        threshold: From which size on an entry counts; None for the masks of the store, decided in float64.
        scale: In which unit, one of `thresholds.SCALES`.
    """

    sample_rows: int = 10_000
    map_rows: int = 1000
    windows: int = 200
    perplexity: float = 50.0
    seed: int = 0
    threshold: float | None = None
    scale: str = "absolute"

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            InvalidSettingError: A number is out of range.
            UnknownNameError: There is no such scale.
        """
        check_threshold(self.threshold, self.scale)
        smallest = {"sample_rows": 1, "map_rows": 0, "windows": 1, "perplexity": 1, "seed": 0}
        for name, least in smallest.items():
            if getattr(self, name) < least:
                raise InvalidSettingError(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True)
class Source:
    """Where the numbers come from.

    Attributes:
        task, policy, dynamics: Which store.
        manifest_sha256: Of its manifest, which has the hash of every byte.
        rows: Rows that were read.
        excluded: Rows left out for their flags (`EXCLUDED_FLAGS`).
        episodes: Their episodes.
        mean_return: Mean sum of rewards of an episode.
        metadata: What else the store states: sizes, names, constraints, control_dt, mask_threshold; and mask_scale,
            `STORED`, or one of `thresholds.SCALES` for masks that were decided anew.
    """

    task: str
    policy: str
    dynamics: str
    manifest_sha256: str
    rows: int
    excluded: int
    episodes: int
    mean_return: float
    metadata: dict[str, Any]

    @property
    def name(self) -> str:
        """The policy, and the dynamics if these are not `converged`."""
        return self.policy if self.dynamics == "converged" else f"{self.policy}-{self.dynamics}"


@dataclass(frozen=True)
class Totals:
    """What one pass over all rows gives.

    Attributes:
        zeros: Zeros of each entry.
        sparsity: Its distribution.
        table: Patterns and active sets.
        runs: Durations.
        changes: Coincidences.
        largest: Largest entries.
        liveliest: Position of the first row of the episode in which most entries switch.
        bodies: None where there are few variables.
    """

    zeros: GlobalZeros
    sparsity: SparsityDistribution
    table: PatternTable
    runs: RunLengths
    changes: ChangeTable
    largest: LargestEntries
    liveliest: int
    bodies: BodyGraph | None


@dataclass(frozen=True)
class Study:
    """The answers for one store.

    Attributes:
        source: Where they come from.
        options: What else decides them.
        zeros, sparsity, patterns, runs, changes, largest: From all rows.
        thresholds, spectra, horizons, embedding: From samples; the embedding is None where there are too few rows.
        timeline: The episode in which most entries switch.
        bodies: From all rows; None where there are few variables.
    """

    source: Source
    options: StudyOptions
    zeros: GlobalZeros
    sparsity: SparsityDistribution
    patterns: Patterns
    runs: RunLengths
    changes: ChangeTable
    largest: LargestEntries
    thresholds: list[Sensitivity]
    spectra: list[Spectrum]
    horizons: list[Horizon]
    embedding: Embedding | None
    timeline: Timeline
    bodies: BodyGraph | None = None

    @property
    def state_names(self) -> list[str]:
        """Names of the (tangent) state's variables."""
        return list(self.source.metadata["tangent_names"])

    @property
    def action_names(self) -> list[str]:
        """Names of the actions."""
        return list(self.source.metadata["action_names"])

    @property
    def constraint_names(self) -> list[str]:
        """Names of the constraints: a contact's pair of geoms, or the joint or tendon and what acts on it."""
        words = {"contact": "", "friction_loss": " sticks", "equality": ""}
        constraints = self.source.metadata["constraints"]
        return [f"{one['name']}{words.get(one['kind'], ' limit')}" for one in constraints]


CLASSES: dict[str, type] = {
    one.__name__: one
    for one in (
        *(Study, StudyOptions, Source, GlobalZeros, SparsityDistribution, Patterns, Pattern, RunLengths, ChangeTable),
        *(LargestEntries, Sensitivity, Spectrum, Horizon, Embedding, Timeline, BodyGraph),
    )
}


def totals(dataset: JacobianDataset, advanced: Callable[[int], None] | None = None) -> Totals:
    """Read a data set once and answer Q1 to Q3 from all its rows.

    Args:
        dataset: In ascending order of rows.
        advanced: Called with the number of rows since the last call.

    Raises:
        InvalidSettingError: The data set is empty or not in order.
    """
    metadata = dataset.metadata
    zeros, sparsity, patterns, runs = ZeroCounter(), SparsityCounter(metadata), PatternCounter(), RunCounter()
    changes, largest, liveliest = ChangeCounter(metadata), LargestEntry(tangent_scale(dataset)), LiveliestSegment()
    bodies = BodyCounter(dataset) if metadata["sizes"]["dx"] > MANY else None
    everything: list[Accumulator] = [zeros, sparsity, patterns, runs, changes, largest, liveliest]
    everything += [] if bodies is None else [bodies]
    collect(dataset, *everything, jacobians=True, advanced=advanced)
    results = (zeros.result(), sparsity.result(), patterns.result(), runs.result(), changes.result())
    return Totals(*results, largest.result(), liveliest.first, None if bodies is None else bodies.result())


def study_store(
    path: str | Path, options: StudyOptions | None = None, advanced: Callable[[int], None] | None = None
) -> Study:
    """Answer everything for one store.

    Args:
        path: The store.
        options: Sizes of samples; the defaults if None.
        advanced: Called with the number of rows since the last call, in the one pass over all of them.

    Raises:
        DynamicSparsityError: The store can't be read, or has no usable rows.
        MissingDependencyError: scikit-learn is not installed, and a map is wanted.
    """
    options = options or StudyOptions()
    dataset = open_rows(path, options.threshold, options.scale, exclude_flags=EXCLUDED_FLAGS)
    found = totals(dataset, advanced)
    episode = read_timeline(dataset, found.liveliest)
    mapped = None
    if options.map_rows and len(dataset) >= 10:
        around = episode.first + episode.liveliest_window(60)
        mapped = embed(dataset, around, rows=options.map_rows, perplexity=options.perplexity, seed=options.seed)
    return Study(
        _source(dataset),
        options,
        found.zeros,
        found.sparsity,
        summarise_patterns(dataset, found.table),
        found.runs,
        found.changes,
        found.largest,
        threshold_sensitivity(dataset, rows=options.sample_rows),
        spectra(dataset, seed=options.seed),
        multi_step_zeros(dataset, windows=options.windows),
        mapped,
        episode,
        found.bodies,
    )


def load_or_study(
    path: str | Path, kept: Path, options: StudyOptions | None = None, advanced: Callable[[int], None] | None = None
) -> Study:
    """Return the study of a store from an earlier call's file if that is still true; else make it again.

    Args:
        path: The store.
        kept: The file; the caller writes it, by `to_json`.
        options: As of `study_store`.
        advanced: As of `study_store`.

    Raises:
        DynamicSparsityError: As `study_store`.
    """
    options = options or StudyOptions()
    try:
        document = read_json(kept, not_finite=True)
        fresh = document["version"] == VERSION and document["study"]["options"] == records.encode(options)
        if fresh and document["study"]["source"]["manifest_sha256"] == manifest_digest(Path(path)):
            with translated(str(kept)):
                found = records.decode(document["study"], CLASSES)
            if isinstance(found, Study):
                return found
    except (OSError, KeyError, TypeError, ValueError):
        pass  # Not there, or of no use: then it is made.
    return study_store(path, options, advanced)


def to_json(result: Study) -> bytes:
    """Return a study as JSON, for `load_or_study`.

    Args:
        result: The study.
    """
    return json.dumps({"version": VERSION, "study": records.encode(result)}).encode()


def manifest_digest(path: Path) -> str:
    """Return the SHA-256 of a store's manifest, hexadecimal.

    Args:
        path: The store.
    """
    return hashlib.sha256(read_regular(path / "manifest.json", DOCUMENT_BYTES_MAX)).hexdigest()


def _source(dataset: JacobianDataset) -> Source:
    store, metadata = dataset.store, dataset.metadata
    names = ("sizes", "tangent_names", "action_names", "constraints", "control_dt", "mask_threshold", "substeps")
    returns: NDArray[np.float64] = store.episodes["return"]
    return Source(
        store.task,
        store.policy,
        store.dynamics,
        manifest_digest(store.path),
        len(dataset),
        int(store.episodes["length"].sum()) - len(dataset),
        int(metadata["episodes"]),
        float(np.mean(returns)),
        {name: metadata[name] for name in names} | {"mask_scale": metadata.get("mask_scale", STORED)},
    )
