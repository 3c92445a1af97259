"""What a training run stores: parameters as safetensors, the curve as JSON. No pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dynamic_sparsity.errors import CorruptPolicyError, SettingsMismatchError
from dynamic_sparsity.policies import ExpertPolicy
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.training.hyperparameters import TrainingSettings
from dynamic_sparsity.untrusted.archives import translated
from dynamic_sparsity.untrusted.documents import read_json
from dynamic_sparsity.untrusted.files import read_regular
from dynamic_sparsity.untrusted.tensors import read_safetensors

CHECKPOINT_BYTES_MAX = 512 * 2**20
POINT = ("seconds", "mean", "deviation")
_COUNT = "normaliser/count"
_LEARNER = "learner"


@dataclass
class Point:
    """One evaluation during training.

    Attributes:
        steps: Control steps so far.
        seconds: Wall time so far.
        mean: Mean stochastic return of the evaluation's episodes.
        deviation: Their standard deviation.
    """

    steps: int
    seconds: float
    mean: float
    deviation: float


@dataclass
class TrainingFolder:
    """The folder of a run.

    Attributes:
        path: The folder.
        settings: The run's settings.
        curve: Evaluations so far, in order.
        steps: Steps that the checkpoint has behind it; 0 without one.
    """

    path: Path
    settings: TrainingSettings
    curve: list[Point] = field(default_factory=list)
    steps: int = 0

    @classmethod
    def open(cls, path: Path, settings: TrainingSettings) -> TrainingFolder:
        """Open a run's folder, or create it.

        Args:
            path: The folder.
            settings: The run's settings.

        Raises:
            SettingsMismatchError: Another run is there.
            CorruptPolicyError: What is there is damaged.
        """
        state = path / "run.json"
        if not state.exists():
            return cls(path, settings)
        document = read_json(state, CorruptPolicyError)
        with translated(f"{state}: is not a training run's record; delete the folder {path}", CorruptPolicyError):
            if document["digest"] != settings.digest():
                there = ", ".join(f"{k} {document['settings'][k]}" for k in ("algorithm", "profile", "seed"))
                raise SettingsMismatchError(
                    f"{path}: there is a training run with other settings ({there}). Repeat those to resume it, "
                    "delete the folder, or give another --out."
                )
            curve = [Point(int(one["steps"]), *(float(one[k]) for k in POINT)) for one in document["curve"]]
            return cls(path, settings, curve, int(document["steps"]))

    @property
    def best(self) -> Point | None:
        """The best evaluation so far."""
        return max(self.curve, key=lambda point: point.mean, default=None)

    def record(self, point: Point, parameters: Any, learner: Any = None) -> bool:
        """Store an evaluation and its parameters; return whether it is the best so far.

        Args:
            point: The evaluation.
            parameters: brax's.
            learner: All else that training needs to be resumed from here, as a tree of arrays.
        """
        is_best = self.best is None or point.mean > self.best.mean
        if is_best:
            publish(self.path / "best.safetensors", [encode(parameters)])
        publish(self.path / "latest.safetensors", [encode(parameters, learner)])
        self.curve.append(point)
        self.steps = point.steps
        document = {
            "digest": self.settings.digest(),
            "settings": self.settings.document(),
            "steps": self.steps,
            "curve": [vars(one) for one in self.curve],
        }
        publish(self.path / "run.json", [json.dumps(document, indent=1).encode()])
        return is_best

    def parameters(self, name: str) -> Any:
        """Return the parameters of an evaluation, in brax's form.

        Args:
            name: "latest" or "best".
        """
        path = self.path / f"{name}.safetensors"
        return decode(read_regular(path, CHECKPOINT_BYTES_MAX, CorruptPolicyError), str(path))

    def learner(self, form: Any) -> Any:
        """Return what `record` last got as `learner`, in the form of a tree that is like it.

        Args:
            form: A tree of the same structure.
        """
        file = self.path / "latest.safetensors"
        arrays = _arrays(read_regular(file, CHECKPOINT_BYTES_MAX, CorruptPolicyError), str(file))
        with translated(str(file), CorruptPolicyError):
            return jax.tree_util.tree_map_with_path(lambda path, _: arrays[_name(path)], form)


def _name(path: Any) -> str:
    return _LEARNER + jax.tree_util.keystr(path)


def encode(parameters: Any, learner: Any = None) -> bytes:
    """Return brax's parameters (normaliser, policy and, for PPO, value) as the bytes of a safetensors file.

    Args:
        parameters: brax's.
        learner: A tree of arrays to add.
    """
    from flax import traverse_util as untyped
    from safetensors.numpy import save

    traverse_util: Any = untyped
    normaliser, *networks = parameters
    tree = dict(zip(("policy", "value"), networks, strict=False))
    arrays = {name: np.asarray(value) for name, value in traverse_util.flatten_dict(tree, sep="/").items()}
    for name in ("mean", "std", "summed_variance"):
        arrays[f"normaliser/{name}"] = np.asarray(getattr(normaliser, name))
    arrays[_COUNT] = np.array([int(normaliser.count.hi), int(normaliser.count.lo)], np.uint32)
    for path, leaf in jax.tree_util.tree_leaves_with_path(learner):
        arrays[_name(path)] = np.asarray(leaf)
    content: bytes = save(arrays)
    return content


def decode(content: bytes, where: str = "the checkpoint") -> tuple[Any, ...]:
    """Return brax's parameters from a file's bytes: the inverse of `encode`.

    Args:
        content: Of the file.
        where: What to call it in messages, usually its path.

    Raises:
        CorruptPolicyError: It is something else.
    """
    import jax.numpy as jnp
    from brax.training.acme.running_statistics import RunningStatisticsState
    from brax.training.types import UInt64
    from flax import traverse_util as untyped

    traverse_util: Any = untyped
    found = _arrays(content, where)
    with translated(where, CorruptPolicyError):
        arrays = {k: jnp.asarray(value) for k, value in found.items() if not k.startswith(_LEARNER)}
        high, low = arrays.pop(_COUNT)
        normaliser = {name: arrays.pop(f"normaliser/{name}") for name in ("mean", "std", "summed_variance")}
        tree = traverse_util.unflatten_dict(arrays, sep="/")
        state = RunningStatisticsState(count=UInt64(hi=high, lo=low), **normaliser)
        return (state, *(tree[name] for name in ("policy", "value") if name in tree))


def _arrays(content: bytes, where: str) -> dict[str, Any]:
    return read_safetensors(content, where, CorruptPolicyError)[0]


def expert_from(task: str, algorithm: str, parameters: Any) -> ExpertPolicy:
    """Return the policy in brax's parameters.

    Args:
        task: Name of the task.
        algorithm: "ppo" or "sac".
        parameters: brax's.
    """
    normaliser, network = parameters[0], parameters[1]["params"]
    layers = tuple(
        (np.asarray(network[f"hidden_{i}"]["kernel"]), np.asarray(network[f"hidden_{i}"]["bias"]))
        for i in range(len(network))
    )
    activation = "swish" if algorithm == "ppo" else "relu"
    return ExpertPolicy(task, activation, np.asarray(normaliser.mean), np.asarray(normaliser.std), layers, "")
