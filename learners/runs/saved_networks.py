"""Trained networks as files: weights as plain arrays, settings as JSON, no pickle."""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.errors import (
    CorruptResultError,
    DynamicSparsityError,
    InvalidSettingError,
    StoreNotFoundError,
)
from dynamic_sparsity.learners.budgets import Budget, budget_from
from dynamic_sparsity.learners.data.rows import Scale
from dynamic_sparsity.learners.networks.training import NetworkLearner, NetworkModel, as_float32
from dynamic_sparsity.learners.registry import make_learner
from dynamic_sparsity.learners.runs.provenance import package_versions
from dynamic_sparsity.learners.runs.result_files import IS_DIGEST
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.untrusted.archives import read_npz, translated
from dynamic_sparsity.untrusted.documents import parse_json
from dynamic_sparsity.untrusted.names import check_name

DATA_KEYS = ("task", "policy", "dynamics", "settings_sha256")

__all__ = ["SavedModel", "load_model", "save_model"]


@dataclass(frozen=True)
class SavedModel:
    """A model from a file, and what made it.

    Attributes:
        model: Ready to predict.
        learner: With its settings.
        budget: Of its training.
        seed: Of its training.
        data: What it was trained on: "task", "policy", "dynamics", "settings_sha256"; None in files of old.
        versions: Of packages, by name.
    """

    model: NetworkModel
    learner: NetworkLearner
    budget: Budget
    seed: int
    data: dict[str, str] | None = None
    versions: dict[str, str | None] | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """ds and da."""
        ds = self.model.scale.output_std.size
        return ds, self.model.scale.input_std.size - ds


def save_model(
    path: Path,
    model: Any,
    learner: Any,
    sizes: tuple[int, int],
    budget: Budget,
    seed: int,
    data: dict[str, str] | None = None,
) -> Path:
    """Keep a trained network.

    Args:
        path: `….npz`.
        model: Of `NetworkLearner.fit`.
        learner: That made it.
        sizes: ds and da.
        budget: Of the training.
        seed: Of the training.
        data: What it was trained on: "task", "policy", "dynamics", "settings_sha256".

    Returns:
        `path`.

    Raises:
        InvalidSettingError: The model is no network: baselines train in no time.
    """
    if not isinstance(model, NetworkModel) or not isinstance(learner, NetworkLearner):
        raise InvalidSettingError(f"models of the learner {learner.name!r} can't be saved; training it takes no time")
    about = {
        "learner": learner.name,
        "loss": learner.loss,
        "settings": learner.settings(),
        "sizes": list(sizes),
        "budget": dataclasses.asdict(budget),
        "seed": seed,
        "weighed": model.influence is not None,
        "data": data,
        "versions": package_versions(),
    }
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(model.network, eqx.is_array))]
    arrays = {f"leaf_{number}": leaf for number, leaf in enumerate(leaves)}
    if model.influence is not None:
        arrays["influence"] = model.influence
    arrays |= {f"scale_{name}": value for name, value in vars(model.scale).items()}
    stream = io.BytesIO()
    np.savez_compressed(stream, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    publish(path, [stream.getvalue()])
    return path


def load_model(path: Path) -> SavedModel:
    """Read what `save_model` wrote.

    Args:
        path: `….npz`.

    Raises:
        StoreNotFoundError: There is no such file.
        CorruptResultError: It is something else.
    """
    if not path.exists():
        raise StoreNotFoundError(f"there is no model {path}; `train-learner TASK --models DIR` keeps models")
    where = f"{path} is no model of this package, train it again"
    arrays = read_npz(path, CorruptResultError)
    with translated(where, CorruptResultError):
        about = parse_json(arrays["about"].tobytes(), where, CorruptResultError)
        seed, (ds, da) = about["seed"], about["sizes"]
        if any(type(number) is not int or not 0 <= number < 2**53 for number in (seed, ds, da)):
            raise CorruptResultError(f"{where}: its seed is {seed!r:.99}, its sizes are {ds!r:.99} and {da!r:.99}")
        budget = budget_from(about["budget"], f"{where}: budget")
        scale = _scale(arrays, ds, da, where)
        learner = _learner(about, where)
        influence = _floats(arrays, "influence", (ds, ds + da), where) if about["weighed"] else None
        network = _network(learner, (ds, da), scale, budget, arrays, where)
        data = _data(about.get("data"), where)
        versions = _texts(about.get("versions"), f"{where}: versions")
    return SavedModel(learner.wrapped(network, scale, influence), learner, budget, seed, data, versions)


def _data(document: Any, where: str) -> dict[str, str] | None:
    """Return what a model was trained on, checked; None if its file does not say."""
    if document is None:
        return None
    found = _texts(document, f"{where}: data") or {}
    if found.keys() != set(DATA_KEYS) or not IS_DIGEST(found["settings_sha256"]):
        raise CorruptResultError(f"{where}: its data are {document!r:.99}; expected {', '.join(DATA_KEYS)}")
    return {name: check_name(found[name], f"{where}: data.{name}", CorruptResultError) for name in DATA_KEYS}


def _texts(document: Any, where: str) -> dict[str, str | None] | None:
    if document is None:
        return None
    if not isinstance(document, dict) or not all(
        value is None or isinstance(value, str) for value in document.values()
    ):
        raise CorruptResultError(f"{where} is {document!r:.99}, expected names and texts")
    return document


def _learner(about: dict[str, Any], where: str) -> NetworkLearner:
    settings = {name: value for name, value in about["settings"].items() if name not in ("term", "kind")}
    try:
        learner = make_learner(about["learner"], about["loss"], **settings)
    except DynamicSparsityError as error:
        raise CorruptResultError(f"{where}: {error}") from error
    if not isinstance(learner, NetworkLearner):
        raise CorruptResultError(f"{where}: {about['learner']} is no network")
    return learner


def _scale(arrays: dict[str, Any], ds: int, da: int, where: str) -> Scale:
    lengths = {"input_mean": ds + da, "input_std": ds + da, "output_mean": ds, "output_std": ds, "delta_std": ds}
    found = {name: _floats(arrays, f"scale_{name}", (length,), where) for name, length in lengths.items()}
    if not all((values > 0).all() for name, values in found.items() if name.endswith("_std")):
        raise CorruptResultError(f"{where}: a standard deviation is not positive")
    return Scale(**found)


def _floats(arrays: dict[str, Any], name: str, shape: tuple[int, ...], where: str) -> NDArray[np.float32]:
    found = arrays[name]
    if found.dtype != np.float32 or found.shape != shape or not np.isfinite(found).all():
        raise CorruptResultError(
            f"{where}: {name} is {found.dtype} of shape {found.shape}; expected finite float32 of shape {shape}"
        )
    return np.asarray(found, np.float32)


def _network(
    learner: NetworkLearner,
    sizes: tuple[int, int],
    scale: Scale,
    budget: Budget,
    arrays: dict[str, Any],
    where: str,
) -> Any:
    """Return the network with its weights; only shapes are computed from the settings, which may ask for any memory."""
    empty = eqx.filter_eval_shape(lambda key: as_float32(learner.network(sizes, scale, budget, key)), jax.random.key(0))
    leaves, structure = jax.tree.flatten(empty)
    numbers = [number for number, leaf in enumerate(leaves) if isinstance(leaf, jax.ShapeDtypeStruct)]
    weights = [name for name in arrays if name.startswith("leaf_")]
    if sorted(weights) != sorted(f"leaf_{place}" for place in range(len(numbers))):
        raise CorruptResultError(f"{where}: it has {len(weights)} arrays of weights, its settings say {len(numbers)}")
    for place, number in enumerate(numbers):
        stored, leaf = arrays[f"leaf_{place}"], leaves[number]
        if stored.shape != leaf.shape or stored.dtype != leaf.dtype or not np.isfinite(stored).all():
            raise CorruptResultError(
                f"{where}: weights are {stored.dtype} of shape {stored.shape}, where its settings say {leaf.dtype} of "
                f"shape {leaf.shape}, or are not finite"
            )
        leaves[number] = jax.numpy.asarray(stored)
    return jax.tree.unflatten(structure, leaves)
