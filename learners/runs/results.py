"""Results as files: what they say of their origin, where they are, and when one may take the place of another."""

from __future__ import annotations

import dataclasses
import json
import platform
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dynamic_sparsity.errors import CorruptResultError, InvalidSettingError
from dynamic_sparsity.learners.budgets import Budget
from dynamic_sparsity.learners.runs.provenance import git_commit, package_versions
from dynamic_sparsity.learners.runs.result_files import (
    RESULT_FORMAT,
    check_result,
    data_of_training,
    has_own_threshold,
    read_result,
)
from dynamic_sparsity.storage.atomic import publish
from dynamic_sparsity.untrusted.names import check_name, inside

__all__ = ["is_kept", "read_results", "result_document", "result_path", "write_result"]


def result_document(
    *,
    learner: str,
    loss: str,
    seed: int,
    supervision: str,
    adaptive: bool,
    budget: Budget,
    result: dict[str, Any],
    trained_on: dict[str, str] | None = None,
    threshold_from: str | None = None,
    settings: dict[str, Any] | None = None,
    data_input: str = "memory",
    cost: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Return a result with all that must be known to compare it.

    Args:
        learner: Name of the learner.
        loss: Name of its variant.
        seed: Of the training.
        supervision: One of `SUPERVISIONS`, or "oracle".
        adaptive: Whether its causal graph is meant to depend on the state.
        budget: Of the training.
        result: What `evaluate` returned.
        trained_on: "policy" and "settings_sha256" of the data of the training; None: those judged on.
        threshold_from: Hash of the settings of the data on which thresholds were chosen; None: those of the training.
        settings: Of the learner.
        data_input: "memory", or "stream": the rows were read while training, in another order.
        cost: Seconds for reading, and per seed for training and, therein, for waiting for streamed rows.
    """
    trained_on = trained_on or {key: result["data"][key] for key in ("policy", "settings_sha256")}
    return {
        "format": RESULT_FORMAT,
        "learner": learner,
        "loss": loss,
        "seed": seed,
        "supervision": supervision,
        "adaptive": adaptive,
        "settings": settings or {},
        "protocol": dataclasses.asdict(budget),
        "input": data_input,
        "trained_on": trained_on,
        "threshold_from": threshold_from or trained_on["settings_sha256"],
        "result": result,
        "cost": cost or {},
        "provenance": {
            "packages": package_versions(),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "git_commit": git_commit(),
        },
    }


def result_path(root: Path, result: Mapping[str, Any]) -> Path:
    """Return where a result belongs: `ROOT/<protocol>/<Task>/<policy>/<learner>-<loss>-<seed>.json`.

    The policy is that of the training; if the model was judged on data of another, `-on-<policy>` follows the seed.

    Args:
        root: Folder of all results.
        result: The document.

    Raises:
        CorruptResultError: One of these can't be the name of a file, or the path leads out of the folder.
    """
    data = result["result"]["data"]
    trained = data_of_training(result)["policy"]
    other = "" if trained == data["policy"] else f"-on-{check_name(data['policy'], 'a policy', CorruptResultError)}"
    parts = {
        "protocol": result["protocol"]["name"],
        "task": data["task"],
        "policy": trained,
        "file": f"{result['learner']}-{result['loss']}-{result['seed']}{other}.json",
    }
    names = [check_name(name, f"a result's {what}", CorruptResultError) for what, name in parts.items()]
    return inside(root, "/".join(names), CorruptResultError)


def is_kept(root: Path, expected: Mapping[str, Any]) -> bool:
    """Return whether there is a result of the same name; one of another origin is an error, for it would be lost.

    Args:
        root: Folder of all results.
        expected: What a result's document must say of "protocol", "trained_on", "result.data", and perhaps "settings",
            with "learner", "loss" and "seed".

    Raises:
        InvalidSettingError: The result that is there is of other data, another budget or other settings.
        CorruptResultError: It is damaged.
    """
    path = result_path(root, expected)
    if not path.exists():
        return False
    kept = read_result(path) or {}
    for what, keys in _ORIGIN.items():
        ours, theirs = _at(expected, keys), _at(kept, keys)
        if ours is not None and json.loads(json.dumps(ours)) != theirs:
            raise InvalidSettingError(
                f"{path} is a result with other {what} ({_short(theirs)}, now {_short(ours)}); give another --out, or "
                "replace it by --again"
            )
    return True


_ORIGIN = {
    "data of the training": ("trained_on", "settings_sha256"),
    "data to judge on": ("result", "data", "settings_sha256"),
    "numbers of the protocol": ("protocol",),
    "settings": ("settings",),
}


def _at(document: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) else f"{json.dumps(value):.200}"


def write_result(root: Path, result: dict[str, Any], *, again: bool = True) -> Path:
    """Keep a result; an older one of the same protocol, task, policies, learner, loss and seed is replaced.

    Args:
        root: Folder of all results.
        result: The document; CorruptResultError if it is none.
        again: Replace also one of other data, another budget or other settings.

    Returns:
        The file.

    Raises:
        InvalidSettingError: There is one of other data, another budget or other settings, and `again` is not given; or
            the threshold is one of other data than the training's, which would pass for one that was not chosen anew.
    """
    path = result_path(root, check_result(result, "a result"))
    if not has_own_threshold(result):
        trained = data_of_training(result)
        raise InvalidSettingError(
            f"the threshold was chosen on the data judged on, for there is no store of the training "
            f"({trained['policy']}, settings {trained['settings_sha256'][:12]}) beside it; such a result is not kept"
        )
    if not again:
        is_kept(root, result)
    publish(path, [json.dumps(result, indent=1, allow_nan=False).encode(), b"\n"])
    return path


def read_results(root: Path, skipped: Callable[[CorruptResultError], None] | None = None) -> list[dict[str, Any]]:
    """Read all results below a folder.

    Args:
        root: The folder.
        skipped: Called for each file that is left out because it can't be read; None: such a file is an error.

    Raises:
        InvalidSettingError: There is none.
        CorruptResultError: A file there is damaged, incomplete, or has another version of the format.
    """
    found = []
    for path in sorted(root.rglob("*.json")):
        try:
            document = read_result(path)
        except CorruptResultError as error:
            if skipped is None:
                raise
            skipped(error)
            continue
        if document is not None:
            found.append(document)
    if not found:
        raise InvalidSettingError(
            f"there are no results below {root}; make some with "
            f"`{shlex.join(['dynamic-sparsity', 'train-learner', 'CheetahRun', '--out', str(root)])}`"
        )
    return found
