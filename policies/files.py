"""Files of policies: safetensors for what decides actions, JSON beside it for what is known of the policy. No pickle.

The safetensors file has all that its actions depend on: the arrays `mean`, `std` and, per layer i, `layers.i.kernel`
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
from dynamic_sparsity.untrusted.archives import translated
from dynamic_sparsity.untrusted.documents import read_json
from dynamic_sparsity.untrusted.files import read_regular
from dynamic_sparsity.untrusted.names import is_name
from dynamic_sparsity.untrusted.tensors import read_safetensors

FOLDER = Path(__file__).resolve().parent
"""Folder of the policies that come with the package."""

SUFFIX = ".safetensors"
FORMAT = "dynamic-sparsity policy 1"
"""Entry `format` of the header's metadata."""

POLICY_BYTES_MAX = 64 * 2**20
RECORD_BYTES_MAX = 2**20
LAYERS_MAX = 64


def available(folder: Path = FOLDER) -> list[str]:
    """Return the names of the tasks that have an expert in a folder, in alphabetical order.

    Args:
        folder: Folder of policies; by default those that come with the package.
    """
    return sorted(path.stem for path in folder.glob(f"*{SUFFIX}"))


def expert_path(task: str, folder: Path = FOLDER) -> Path:
    """Return the file of a task's expert.

    Args:
        task: Name of the task.
        folder: Folder of policies; by default those that come with the package.

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
    """Read a policy.

    Args:
        source: Name of a task, for the expert that comes with the package, or the path of a safetensors file.

    Raises:
        UnknownNameError: The task has no expert.
        CorruptPolicyError: The file is missing, not a policy, or not the one that the JSON beside it describes.
    """
    by_name = not str(source).endswith(SUFFIX)
    path = expert_path(str(source)) if by_name else Path(source)
    content = read_regular(path, POLICY_BYTES_MAX, CorruptPolicyError)
    arrays, metadata = read_safetensors(content, str(path), CorruptPolicyError)
    wrong = _contradiction(arrays, metadata)
    if wrong:
        raise CorruptPolicyError(f"{path}: {wrong}. `dynamic-sparsity train --help` says how to write one.")
    task, sha256 = metadata["task"], hashlib.sha256(content).hexdigest()
    if by_name and task != str(source):
        raise CorruptPolicyError(f"{path}: is a policy for {task}, not for {source}")
    if path.with_suffix(".json").exists():
        record = read_record(path)
        if record["sha256"] != sha256:
            raise CorruptPolicyError(f"{path}: its sha256 is {sha256}, not the one that {path.stem}.json has")
        if record["task"] != task:
            raise CorruptPolicyError(
                f"{path}: is a policy for {task}, but {path.stem}.json describes the one for {record['task']}"
            )
    count = len(arrays) // 2 - 1
    layers = tuple((arrays[f"layers.{i}.kernel"], arrays[f"layers.{i}.bias"]) for i in range(count))
    return ExpertPolicy(task, metadata["activation"], arrays["mean"], arrays["std"], layers, sha256)


def save_policy(path: Path, policy: ExpertPolicy, record: Mapping[str, Any]) -> None:
    """Write a policy and its record; each file is complete whenever it exists.

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
    """Return the bytes of a policy's safetensors file; equal policies have equal bytes.

    Args:
        policy: The policy.

    Raises:
        MissingDependencyError: safetensors is not installed.
    """
    arrays = {"mean": policy.mean, "std": policy.std}
    for index, (kernel, bias) in enumerate(policy.layers):
        arrays |= {f"layers.{index}.kernel": kernel, f"layers.{index}.bias": bias}
    metadata = {"format": FORMAT, "task": policy.task, "activation": policy.activation}
    content: bytes = _safetensors().save({k: np.ascontiguousarray(v, np.float32) for k, v in arrays.items()}, metadata)
    # The library writes the metadata in an order that changes from call to call; the sha256 must not.
    header, data = _split(content)
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def read_record(path: Path) -> dict[str, Any]:
    """Read what is known of a policy: how it was trained, and what it reaches.

    Args:
        path: The safetensors file, or the JSON file beside it.

    Raises:
        CorruptPolicyError: The record contradicts its schema.
    """
    path = path.with_suffix(".json")
    record = read_json(path, CorruptPolicyError, RECORD_BYTES_MAX)
    with translated(f"{path}: is not a policy's record", CorruptPolicyError):
        try:
            validate(record, "policy", str(path))
        except CorruptStoreError as error:
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
    """Return header and data of a safetensors file: 8 bytes with the header's length, the header as JSON, arrays."""
    start = 8 + int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8:start])
    return header, content[start:]


def _contradiction(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> str | None:
    """Return what makes these no policy; None if nothing does."""
    if metadata.get("format") != FORMAT or not is_name(metadata.get("task")):
        return (
            f"its metadata's format is {metadata.get('format')!r:.60}, not {FORMAT!r}, or its task "
            f"{metadata.get('task')!r:.60} can't be a task's name"
        )
    if metadata.get("activation") not in ACTIVATIONS:
        return f"its activation is {metadata.get('activation')!r:.60}; it can be {' or '.join(ACTIVATIONS)}"
    count = len(arrays) // 2 - 1
    layers = [f"layers.{i}.{part}" for i in range(count) for part in ("kernel", "bias")]
    if count < 1 or count > LAYERS_MAX or set(arrays) != {"mean", "std", *layers}:
        found = ", ".join(sorted(arrays))
        return f"its arrays are {found:.200}; they must be mean, std, layers.<i>.kernel, layers.<i>.bias"
    for name, value in arrays.items():
        dimensions = 2 if name.endswith(".kernel") else 1
        if value.dtype != np.float32 or value.ndim != dimensions or value.size == 0:
            return f"{name} is {value.dtype} of shape {value.shape}; it must be float32 with {dimensions} dimensions"
    size = arrays["mean"].size
    for i in range(count):
        kernel, bias = arrays[f"layers.{i}.kernel"], arrays[f"layers.{i}.bias"]
        if kernel.shape != (size, bias.size):
            return f"layer {i} has a kernel of shape {kernel.shape} for {size} inputs and {bias.size} outputs"
        size = bias.size
    if arrays["std"].shape != arrays["mean"].shape or size % 2:
        return "mean and std must have one shape, and the last layer an even number of outputs"
    if not all(np.isfinite(value).all() for value in arrays.values()) or (arrays["std"] <= 0).any():
        return "it has values that are not finite, or a std that is not positive"
    return None
