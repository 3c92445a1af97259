"""Everything that reads what strangers made, as functions of a case: what `server` calls in its children.

A reader returns digests of the values that it was given, by name, so that they can be compared with the original's;
commands return their exit code.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Case = dict[str, Any]

LIGHT = (
    "dynamic_sparsity.loaders.hdf5.reader",
    "dynamic_sparsity.loaders.streaming",
    "dynamic_sparsity.storage.verify",
    "dynamic_sparsity.policies.files",
    "dynamic_sparsity.cli.application",
    "dynamic_sparsity.loaders.hub.download",
    "dynamic_sparsity.loaders.store.summary",
    "dynamic_sparsity.learners.leaderboard.writing",
    "dynamic_sparsity.learners.runs.campaign",
    "google_crc32c",
    "h5py",
    "httpx",
    "huggingface_hub.file_download",
    "huggingface_hub.utils",
    "jsonschema",
    "numcodecs.blosc",
    "safetensors.numpy",
    "tarfile",
    "zarr",
)
HEAVY = (
    "dynamic_sparsity.analysis.files",
    "dynamic_sparsity.analysis.page",
    "dynamic_sparsity.analysis.tables",
    "dynamic_sparsity.learners.runs.saved_networks",
    "dynamic_sparsity.publishing.preparation",
    "matplotlib.pyplot",
    "PIL.Image",
    "pyarrow.parquet",
    "sklearn.manifold",
    "sklearn.neighbors",
)
CONTENT = ("rows", "episodes", "statistics")
"""The parts of `digests` that are data; the rest is what a store says of itself."""


def preload(groups: list[str]) -> None:
    for name in (*LIGHT, *(HEAVY if "heavy" in groups else ())):
        try:
            importlib.import_module(name)
        except ImportError:
            continue


def digest(values: Any) -> str:
    if not isinstance(values, np.ndarray):
        return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]
    head = f"{values.dtype.str} {values.shape} ".encode()
    return hashlib.sha256(head + np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def digests(dataset: Any) -> dict[str, str]:
    """Of all rows, the episode table, the statistics and the metadata of a data set."""
    found = {f"rows.{name}": digest(values) for name, values in dataset[:].items()}
    store = dataset.store
    for part in ("episodes", "statistics"):
        found |= {f"{part}.{name}": digest(values) for name, values in getattr(store, part).items()}
    return found | {f"metadata.{name}": digest(value) for name, value in store.metadata.items()}


def _load(case: Case) -> dict[str, str]:
    from dynamic_sparsity.loaders import open_dataset

    return digests(open_dataset(case["path"], verify=case.get("verify", "sha256")))


def _load_ambient(case: Case) -> dict[str, str]:
    from dynamic_sparsity.loaders import open_dataset

    dataset = open_dataset(case["path"], coordinates="ambient", split="train", exclude_flags=["not_converged"])
    return {f"rows.{name}": digest(values) for name, values in dataset[:].items()}


def _load_from_root(case: Case) -> dict[str, str]:
    from dynamic_sparsity import load_dataset

    return digests(load_dataset(case.get("task", "Pendulums"), root=case["root"], policy=case.get("policy", "noise")))


def _load_from_hub(case: Case) -> dict[str, str]:
    from dynamic_sparsity import load_dataset

    _use_cache(case)
    return digests(load_dataset("Pendulums", repo_id=case["repo"], progress=False, split=case.get("split")))


def _stream(case: Case) -> dict[str, str]:
    from dynamic_sparsity import load_dataset

    _use_cache(case)
    stream = load_dataset("Pendulums", repo_id=case["repo"], streaming=True, split=case.get("split"))
    return streamed(stream)


def streamed(stream: Any) -> dict[str, str]:
    """Digests of a stream's rows, sorted as in the store."""
    parts = list(stream.batches(64, seed=1))
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    order = np.lexsort((rows["step"], rows["episode"])) if {"step", "episode"} <= rows.keys() else slice(None)
    return {f"rows.{name}": digest(values[order]) for name, values in rows.items()}


def _hdf5(case: Case) -> dict[str, str]:
    from dynamic_sparsity.loaders import JacobianDataset

    return digests(JacobianDataset.from_hdf5(case["path"]))


def _policy(case: Case) -> dict[str, str]:
    from dynamic_sparsity.policies.files import load_policy, read_record

    policy = load_policy(case["path"])
    arrays = {"mean": policy.mean, "std": policy.std}
    for number, (kernel, bias) in enumerate(policy.layers):
        arrays |= {f"{number}.kernel": kernel, f"{number}.bias": bias}
    found = {f"rows.{name}": digest(value) for name, value in arrays.items()}
    found["metadata.task"] = digest(policy.task)
    if Path(case["path"]).with_suffix(".json").exists():
        found["metadata.record"] = digest(read_record(Path(case["path"])))
    return found


def _command(case: Case) -> dict[str, int]:
    """A command of the command line; an exception that it turned into words is raised again."""
    from dynamic_sparsity import cli

    _use_cache(case)
    seen: list[Exception] = []
    describe = cli.describe

    def recording(error: Exception) -> str:
        seen.append(error)
        return describe(error)

    cli.describe = recording
    code = cli.main(case["words"])
    if seen:
        raise seen[0]
    return {"exit": code}


def _use_cache(case: Case) -> None:
    """Put the cache of the Hub into the box, whose client looked it up at its import; ask again at once what fails."""
    from huggingface_hub import constants

    home = Path(case["box"]) / "home"
    constants.HF_HUB_CACHE = str(home / "hub")
    time.sleep = lambda seconds: None


READERS: Mapping[str, Callable[[Case], Any]] = {
    "load": _load,
    "load_ambient": _load_ambient,
    "load_from_root": _load_from_root,
    "load_from_hub": _load_from_hub,
    "stream": _stream,
    "hdf5": _hdf5,
    "policy": _policy,
    "command": _command,
}
