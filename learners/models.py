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

from dynamic_sparsity.errors import CorruptStoreError, InvalidSettingError, StoreNotFoundError
from dynamic_sparsity.learners.data import Scale
from dynamic_sparsity.learners.protocol import Budget
from dynamic_sparsity.learners.registry import make_learner
from dynamic_sparsity.learners.training import NetworkLearner, NetworkModel, as_float32
from dynamic_sparsity.storage.atomic import publish

__all__ = ["SavedModel", "load_model", "save_model"]


@dataclass(frozen=True)
class SavedModel:
    """A model from a file, and what made it.

    Attributes:
        model: Ready to predict.
        learner: With its settings.
        budget: Of its training.
        seed: Of its training.
    """

    model: NetworkModel
    learner: NetworkLearner
    budget: Budget
    seed: int


def save_model(path: Path, model: Any, learner: Any, sizes: tuple[int, int], budget: Budget, seed: int) -> Path:
    """Keep a trained network.

    Args:
        path: `….npz`.
        model: Of `NetworkLearner.fit`.
        learner: That made it.
        sizes: ds and da.
        budget: Of the training.
        seed: Of the training.

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
        CorruptStoreError: It is something else.
    """
    if not path.is_file():
        raise StoreNotFoundError(f"there is no model {path}; `train-learner TASK --models DIR` keeps models")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            scale = Scale(**{field.name: arrays[f"scale_{field.name}"] for field in dataclasses.fields(Scale)})
            settings = {name: value for name, value in about["settings"].items() if name not in ("term", "kind")}
            learner = make_learner(about["learner"], about["loss"], **settings)
            if not isinstance(learner, NetworkLearner):
                raise ValueError(f"{about['learner']} is no network")
            budget, sizes = Budget(**about["budget"]), (about["sizes"][0], about["sizes"][1])
            empty = as_float32(learner.network(sizes, scale, budget, jax.random.key(0)))
            dynamic, static = eqx.partition(empty, eqx.is_array)
            leaves, structure = jax.tree.flatten(dynamic)
            stored = [arrays[f"leaf_{number}"] for number in range(len(leaves))]
            if [leaf.shape for leaf in stored] != [leaf.shape for leaf in leaves]:
                raise ValueError("its weights have other shapes than its settings say")
            influence = arrays["influence"] if about["weighed"] else None
            network = eqx.combine(jax.tree.unflatten(structure, [jax.numpy.asarray(leaf) for leaf in stored]), static)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CorruptStoreError(f"{path} is no model of this package ({error}); train it again") from error
    return SavedModel(NetworkModel(network, scale, influence), learner, budget, about["seed"])
