"""What a training run leaves behind while it goes on: parameters as safetensors, the curve as JSON. No pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dynamic_sparsity.errors import SettingsMismatchError
from dynamic_sparsity.policies import ExpertPolicy
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.training.settings import TrainingSettings

_COUNT = "normaliser/count"


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
class Workplace:
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
    def open(cls, path: Path, settings: TrainingSettings) -> Workplace:
        """Opens a run's folder, or begins one.

        Raises:
            SettingsMismatchError: Another run lies there.
        """
        state = path / "run.json"
        if not state.is_file():
            return cls(path, settings)
        document = json.loads(state.read_bytes())
        if document["digest"] != settings.digest():
            there = ", ".join(f"{k} {document['settings'][k]}" for k in ("algorithm", "profile", "seed"))
            raise SettingsMismatchError(
                f"{path}: a training run with other settings lies there ({there}). Repeat those to go on with it, "
                "delete the folder, or give another --out."
            )
        return cls(path, settings, [Point(**point) for point in document["curve"]], document["steps"])

    @property
    def best(self) -> Point | None:
        """The best evaluation so far."""
        return max(self.curve, key=lambda point: point.mean, default=None)

    def record(self, point: Point, parameters: Any) -> bool:
        """Keeps an evaluation and its parameters; returns whether it is the best so far."""
        is_best = self.best is None or point.mean > self.best.mean
        content = encode(parameters)
        if is_best:
            publish(self.path / "best.safetensors", [content])
        publish(self.path / "latest.safetensors", [content])
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
        """The parameters of the "latest" or the "best" evaluation, in brax's form."""
        return decode((self.path / f"{name}.safetensors").read_bytes())


def encode(parameters: Any) -> bytes:
    """brax's parameters (normaliser, policy and, for PPO, value) as the bytes of a safetensors file."""
    from flax import traverse_util as untyped
    from safetensors.numpy import save

    traverse_util: Any = untyped
    normaliser, *networks = parameters
    tree = dict(zip(("policy", "value"), networks, strict=False))
    arrays = {name: np.asarray(value) for name, value in traverse_util.flatten_dict(tree, sep="/").items()}
    for name in ("mean", "std", "summed_variance"):
        arrays[f"normaliser/{name}"] = np.asarray(getattr(normaliser, name))
    arrays[_COUNT] = np.array([int(normaliser.count.hi), int(normaliser.count.lo)], np.uint32)
    content: bytes = save(arrays)
    return content


def decode(content: bytes) -> tuple[Any, ...]:
    """The inverse of `encode`."""
    import jax.numpy as jnp
    from brax.training.acme.running_statistics import RunningStatisticsState
    from brax.training.types import UInt64
    from flax import traverse_util as untyped
    from safetensors.numpy import load

    traverse_util: Any = untyped
    arrays = {name: jnp.asarray(value) for name, value in load(content).items()}
    high, low = arrays.pop(_COUNT)
    normaliser = {name: arrays.pop(f"normaliser/{name}") for name in ("mean", "std", "summed_variance")}
    tree = traverse_util.unflatten_dict(arrays, sep="/")
    state = RunningStatisticsState(count=UInt64(hi=high, lo=low), **normaliser)
    return (state, *(tree[name] for name in ("policy", "value") if name in tree))


def expert_from(task: str, algorithm: str, parameters: Any) -> ExpertPolicy:
    """The policy in brax's parameters."""
    normaliser, network = parameters[0], parameters[1]["params"]
    layers = tuple(
        (np.asarray(network[f"hidden_{i}"]["kernel"]), np.asarray(network[f"hidden_{i}"]["bias"]))
        for i in range(len(network))
    )
    activation = "swish" if algorithm == "ppo" else "relu"
    return ExpertPolicy(task, activation, np.asarray(normaliser.mean), np.asarray(normaliser.std), layers, "")
