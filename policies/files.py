"""Files of policies: safetensors for what decides actions, JSON beside it for what is known of the policy. No pickle.

The safetensors file says all that its actions depend on: the arrays `mean`, `std` and, per layer i, `layers.i.kernel`
and `layers.i.bias`; in its header's metadata the `task` and the `activation`. Its sha256 names a policy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dynamic_sparsity.errors import CorruptPolicyError, CorruptStoreError, MissingDependencyError, UnknownNameError
from dynamic_sparsity.policies.network import ACTIVATIONS, Array, ExpertPolicy
from dynamic_sparsity.schemas import validate
from dynamic_sparsity.storage.atomic import publish

FOLDER = Path(__file__).resolve().parent
"""Where the policies that come with the package lie."""

SUFFIX = ".safetensors"
FORMAT = "dynamic-sparsity policy 1"
"""Entry `format` of the header's metadata."""


def available(folder: Path = FOLDER) -> list[str]:
    """Names of the tasks that have an expert in a folder, in alphabetical order."""
    return sorted(path.stem for path in folder.glob(f"*{SUFFIX}"))


def expert_path(task: str, folder: Path = FOLDER) -> Path:
    """The file of a task's expert.

    Raises:
        UnknownNameError: There is none.
    """
    path = folder / f"{task}{SUFFIX}"
    if not path.is_file():
        raise UnknownNameError(
            f"There is no expert policy for {task}; there are some for {', '.join(available(folder)) or 'no task'}. "
            f"`dynamic-sparsity train {task}` makes one, and `--policy PATH` takes it."
        )
    return path


def load_policy(source: str | Path) -> ExpertPolicy:
    """Reads a policy.

    Args:
        source: Name of a task, for the expert that comes with the package, or the path of a safetensors file.

    Raises:
        UnknownNameError: The task has no expert.
        CorruptPolicyError: The file is not a policy, or not the one that the JSON beside it speaks of.
        MissingDependencyError: safetensors is not installed.
    """
    path = Path(source) if str(source).endswith(SUFFIX) else expert_path(str(source))
    content = path.read_bytes()
    arrays, metadata = _decode(path, content)
    sha256 = hashlib.sha256(content).hexdigest()
    if path.with_suffix(".json").is_file() and read_record(path)["sha256"] != sha256:
        raise CorruptPolicyError(f"{path}: its sha256 is {sha256}, not the one that {path.stem}.json has")
    count = sum(name.endswith(".kernel") for name in arrays)
    layers = tuple((arrays[f"layers.{i}.kernel"], arrays[f"layers.{i}.bias"]) for i in range(count))
    return ExpertPolicy(metadata["task"], metadata["activation"], arrays["mean"], arrays["std"], layers, sha256)


def save_policy(path: Path, policy: ExpertPolicy, record: Mapping[str, Any]) -> None:
    """Writes a policy and its record; each file appears whole or not at all.

    Args:
        path: The safetensors file; the record is put beside it.
        policy: The policy; its `sha256` is ignored.
        record: What is known of it, without `sha256`.
    """
    content = encode_policy(policy)
    document = {**record, "sha256": hashlib.sha256(content).hexdigest()}
    validate(document, "policy", str(path.with_suffix(".json")))
    publish(path, [content])
    publish(path.with_suffix(".json"), [(json.dumps(document, indent=2, sort_keys=True) + "\n").encode()])


def encode_policy(policy: ExpertPolicy) -> bytes:
    """The bytes of a policy's safetensors file; equal policies have equal bytes.

    Raises:
        MissingDependencyError: safetensors is not installed.
    """
    arrays = {"mean": policy.mean, "std": policy.std}
    for index, (kernel, bias) in enumerate(policy.layers):
        arrays |= {f"layers.{index}.kernel": kernel, f"layers.{index}.bias": bias}
    metadata = {"format": FORMAT, "task": policy.task, "activation": policy.activation}
    content: bytes = _safetensors().save({k: np.ascontiguousarray(v, np.float32) for k, v in arrays.items()}, metadata)
    # The library writes the metadata in an order that changes from call to call; the sha256 shall not.
    header, data = _split(content)
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def read_record(path: Path) -> dict[str, Any]:
    """What is known of a policy: how it was trained, and what it reaches.

    Args:
        path: The safetensors file, or the JSON file beside it.

    Raises:
        CorruptPolicyError: The record is not what its schema says.
    """
    path = path.with_suffix(".json")
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        validate(record, "policy", str(path))
    except (ValueError, CorruptStoreError) as error:
        raise CorruptPolicyError(f"{path}: is not a policy's record ({error})") from error
    return record


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise MissingDependencyError(
            "Policies are stored as safetensors, which is not installed: pip install 'dynamic-sparsity[generate]'"
        ) from error
    return safetensors.numpy


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file: 8 bytes with the header's length, the header as JSON, the arrays."""
    start = 8 + int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8:start])
    return header, content[start:]


def _decode(path: Path, content: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    """Arrays and header metadata of a policy's file, checked."""
    library = _safetensors()
    try:
        arrays: dict[str, Array] = library.load(content)
        header, _ = _split(content)
    except Exception as error:  # the library's own error class is not public
        raise CorruptPolicyError(f"{path}: is not a safetensors file ({error})") from error
    metadata: dict[str, str] = header.get("__metadata__", {})
    wrong = _contradiction(arrays, metadata)
    if wrong:
        raise CorruptPolicyError(f"{path}: {wrong}. `dynamic-sparsity train` writes files of the right form.")
    return arrays, metadata


def _contradiction(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> str | None:
    """What makes these no policy; None if nothing does."""
    if metadata.get("format") != FORMAT or "task" not in metadata:
        return f"its metadata's format is {metadata.get('format')!r}, not {FORMAT!r}"
    if metadata.get("activation") not in ACTIVATIONS:
        return f"its activation is {metadata.get('activation')!r}; it can be {' or '.join(ACTIVATIONS)}"
    count = sum(name.endswith(".kernel") for name in arrays)
    layers = [f"layers.{i}.{part}" for i in range(count) for part in ("kernel", "bias")]
    if not count or set(arrays) != {"mean", "std", *layers}:
        return f"its arrays are {', '.join(sorted(arrays))}; they must be mean, std, layers.<i>.kernel, layers.<i>.bias"
    size = len(arrays["mean"])
    for i in range(count):
        kernel, bias = arrays[f"layers.{i}.kernel"], arrays[f"layers.{i}.bias"]
        if kernel.shape != (size, len(bias)):
            return f"layer {i} has a kernel of shape {kernel.shape} for {size} inputs and {len(bias)} outputs"
        size = len(bias)
    if arrays["std"].shape != arrays["mean"].shape or size % 2:
        return "mean and std must have one shape, and the last layer an even number of outputs"
    if not all(np.isfinite(value).all() for value in arrays.values()) or (arrays["std"] <= 0).any():
        return "it has values that are not finite, or a std that is not positive"
    return None
