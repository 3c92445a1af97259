"""Result documents that come from outside: what of them is used, checked before it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity.errors import CorruptResultError
from dynamic_sparsity.learners.budgets import budget_from
from dynamic_sparsity.learners.interface import SUPERVISIONS
from dynamic_sparsity.learners.measures import TRUTHS
from dynamic_sparsity.untrusted.documents import read_json
from dynamic_sparsity.untrusted.names import check_name

__all__ = [
    "IS_COMMIT",
    "IS_DIGEST",
    "IS_SUPERVISION",
    "RESULT_BYTES_MAX",
    "RESULT_FORMAT",
    "check_result",
    "data_of_training",
    "has_own_threshold",
    "read_result",
]

RESULT_FORMAT: Final = "dynamic-sparsity result 1"
RESULT_BYTES_MAX: Final = 16 * 2**20
_WHOLE_MAX: Final = 2**53

Check = Callable[[Any], bool]


def read_result(path: Path) -> dict[str, Any] | None:
    """Read a result, if the file holds one.

    Args:
        path: A JSON file.

    Returns:
        The document; None for JSON of another kind.

    Raises:
        CorruptResultError: The file can't be read, has another version of the format, or is incomplete.
    """
    document = read_json(path, CorruptResultError, RESULT_BYTES_MAX)
    # Those of another version of this format must not go unnoticed.
    name = document.get("format")
    if name == RESULT_FORMAT:
        return check_result(document, str(path))
    if isinstance(name, str) and name.startswith(RESULT_FORMAT.rstrip("0123456789")):
        raise CorruptResultError(f"{path} has the format {name!r:.99} where {RESULT_FORMAT!r} is read; train again")
    return None


def check_result(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a result's document, if all that is used of it is there and is what it must be.

    Args:
        document: What JSON made of it.
        where: What to call it in messages, usually its path.

    Raises:
        CorruptResultError: Something is missing, or is something else.
    """
    for key in ("learner", "loss"):
        check_name(document.get(key), f"{where}: {key}", CorruptResultError)
    for key in ("task", "policy"):
        check_name(_at(document, ("result", "data", key)), f"{where}: result.data.{key}", CorruptResultError)
    budget_from(document.get("protocol"), f"{where}: protocol")
    for place, legal in _PLACES.items():
        value = _at(document, tuple(place.split(".")))
        if not legal(value):
            found = "is missing" if value is _MISSING else f"is {value!r:.99}"
            raise CorruptResultError(f"{where}: {place} {found}; the result is incomplete or damaged: train again")
    _check_local_graphs(document, where)
    return dict(document)


def data_of_training(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return "policy" and "settings_sha256" of the data that a model was trained on; of old results, those judged on.

    Args:
        document: A result.
    """
    found: Mapping[str, Any] = document.get("trained_on") or document["result"]["data"]
    return found


def has_own_threshold(document: Mapping[str, Any]) -> bool:
    """Return whether the threshold was chosen on the data of the training, as it must be.

    Args:
        document: A result.
    """
    own = data_of_training(document)["settings_sha256"]
    return bool(document.get("threshold_from", own) == own)


def _check_local_graphs(document: Mapping[str, Any], where: str) -> None:
    """Refuse results whose local graphs, if there are any, are not what `judge_graph` gives."""
    trained, result = document.get("trained_on"), document["result"]
    if trained is not None:
        if not isinstance(trained, dict) or not IS_DIGEST(trained.get("settings_sha256")):
            raise CorruptResultError(f"{where}: trained_on is {trained!r:.99}; the result is damaged: train again")
        check_name(trained.get("policy"), f"{where}: trained_on.policy", CorruptResultError)
    truths = result.get("truths")
    for found in (truths, result.get("irrelevance"), (result["jacobian"] or {}).get("by_mode")):
        if found is not None and not isinstance(found, dict):
            raise CorruptResultError(f"{where}: {found!r:.99} is no object; the result is damaged: train again")
    numbers = {
        "irrelevance.rms": (result.get("irrelevance") or {}).get("rms"),
        "jacobian.by_mode.mean": ((result["jacobian"] or {}).get("by_mode") or {}).get("mean"),
    }
    for name in TRUTHS:
        found = (truths or {}).get(name)
        if found is None:
            continue
        for key, legal in _OF_A_TRUTH.items():
            value = found.get(key, _MISSING) if isinstance(found, dict) else _MISSING
            if not legal(value):
                raise CorruptResultError(f"{where}: truths.{name}.{key} is {value!r:.99}; the result is damaged")
    for place, value in numbers.items():
        if not _number(value):
            raise CorruptResultError(f"{where}: {place} is {value!r:.99}; the result is damaged: train again")


_MISSING: Final = object()


def _at(document: Any, keys: tuple[str, ...]) -> Any:
    """Return what is under some keys; None where an object above it is null that may be so."""
    for place, key in enumerate(keys):
        if document is None and ".".join(keys[:place]) in _NULLABLE:
            return None
        if not isinstance(document, dict) or key not in document:
            return _MISSING
        document = document[key]
    return document


def _digits(count: int) -> Check:
    pattern = re.compile(rf"[0-9a-f]{{{count}}}")
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < _WHOLE_MAX


def _number(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and abs(value) <= sys.float_info.max)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_number, value))


_NULLABLE: Final = ("result.jacobian", "result.structure", "result.switching", "result.calibration")
"""What a model may not have at all."""


def _bounds(value: Any) -> bool:
    return value is None or (isinstance(value, list) and len(value) == 2 and all(map(_number, value)))


_OF_A_TRUTH: Final[dict[str, Check]] = {
    **dict.fromkeys(("local_graph_skill", "when_skill", "beyond_contact", "gap_closed"), _number),
    **dict.fromkeys(("false_edges", "misses", "when_skill_shifted", "coverage"), _number),
    **{f"{name}_interval": _bounds for name in ("local_graph_skill", "when_skill", "beyond_contact")},
    **dict.fromkeys(("clusters", "episodes"), _whole),
}

IS_SUPERVISION: Final[Check] = lambda value: isinstance(value, str) and value in (*SUPERVISIONS, "oracle")  # noqa: E731
IS_DIGEST: Final = _digits(64)
IS_COMMIT: Final = _digits(40)

_PLACES: Final[dict[str, Check]] = {
    "seed": _whole,
    "supervision": IS_SUPERVISION,
    "adaptive": lambda value: isinstance(value, bool),
    "settings": lambda value: isinstance(value, dict),
    "result.data.settings_sha256": IS_DIGEST,
    "result.next_state.nmse": _number,
    "result.next_state.open_loop_nmse": _numbers,
    "result.jacobian.relative_error_median": _number,
    "result.sparsity.model": _number,
    "result.sparsity.truth": _number,
    "result.sparsity.relative": _number,
    **{f"result.structure.all.{name}": _number for name in ("auroc", "average_precision", "f1", "hamming")},
    "result.structure.switch.average_precision": _number,
    "result.switching.edge_auroc": _number,
    "result.calibration.contact_auroc": _number,
    "provenance.git_commit": lambda value: value is None or IS_COMMIT(value),
}
