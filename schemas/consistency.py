"""What a JSON Schema cannot express: that a store's attributes do not contradict each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

CHUNK_BYTES_MAX: Final = 64 * 2**20
"""How large one chunk of the Jacobians and their masks may be; `storage.layout` makes them smaller by far."""

SHARD_BYTES_MAX: Final = 512 * 2**20
"""How large one shard of them may be: what `verify` has in memory."""

ROW_ENTRY_BYTES: Final = 5
"""Of one entry of a Jacobian, float32, and its mask."""

UNRECORDED_SETTINGS: Final[Mapping[str, Any]] = {
    "prng": "threefry2x32",
    "threefry_partitionable": True,
    "xla_flags": [],
}
"""What settings are taken to say that lack these keys: those of stores made before they were recorded."""


def complete_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with all keys, to be compared with others.

    Args:
        settings: The metadata's `settings`.
    """
    return {**UNRECORDED_SETTINGS, **settings}


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Return the sha256 of settings, independent of the order of their keys.

    Args:
        settings: The metadata's `settings`, made of what JSON can hold.

    Returns:
        64 hexadecimal digits.
    """
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def attribute_contradictions(attributes: Mapping[str, Any]) -> list[str]:
    """Say where a store's attributes contradict each other.

    Args:
        attributes: The root group's attributes, already valid by `store.schema.json`.

    Returns:
        One sentence per contradiction; empty if there is none.
    """
    sizes = attributes["sizes"]
    memory = sizes.get("nm", 0)
    episodes, length = attributes["episodes"], attributes["episode_length"]
    chunk_rows, shard_rows = attributes["chunk_rows"], attributes["shard_rows"]
    contacts = [constraint["kind"] == "contact" for constraint in attributes["constraints"]]
    first_contact = sizes["nc"] - sizes["np"]
    settings_sha256 = settings_digest(attributes["settings"])
    equalities = [
        ("sizes.ds", sizes["ds"], "nq + nv + na + nm", sizes["nq"] + sizes["nv"] + sizes["na"] + memory),
        ("sizes.dx", sizes["dx"], "2 nv + na + nm", 2 * sizes["nv"] + sizes["na"] + memory),
        ("rows", attributes["rows"], "episodes times episode_length", episodes * length),
        ("state_names", len(attributes["state_names"]), "ds names", sizes["ds"]),
        ("tangent_names", len(attributes["tangent_names"]), "dx names", sizes["dx"]),
        ("action_names", len(attributes["action_names"]), "da names", sizes["da"]),
        ("constraints", len(attributes["constraints"]), "nc entries", sizes["nc"]),
        ("contact_pairs", len(attributes["contact_pairs"]), "np entries", sizes["np"]),
        ("shard_rows modulo chunk_rows", shard_rows % chunk_rows, "zero", 0),
        ("settings_sha256", attributes["settings_sha256"], "the digest of settings", settings_sha256),
    ]
    if "physics_sha256" not in attributes["settings"]:
        # Of other tasks the control may be a function of an action of any size.
        equalities.append(("sizes.da", sizes["da"], "nu", sizes["nu"]))
    problems = [
        f"{name}: found {found}, expected {rule} = {value}" for name, found, rule, value in equalities if found != value
    ]
    for key in ("state_names", "tangent_names", "action_names", "policies"):
        if len(set(attributes[key])) < len(attributes[key]):
            problems.append(f"{key}: expected each name once")
    if attributes["policy"].endswith("-stock"):
        problems.append("policy: found a name that ends in -stock, expected dynamics to say that")
    for key in ("storage", "sample"):
        if key in attributes and attributes["schema_version"] == "1.0.0":
            problems.append(f"{key}: found it, expected that version 1.0.0 does not have it")
    row_bytes = ROW_ENTRY_BYTES * sizes["dx"] * (sizes["dx"] + sizes["da"])
    for key, most in (("chunk_rows", CHUNK_BYTES_MAX), ("shard_rows", SHARD_BYTES_MAX)):
        if attributes[key] * row_bytes > most:
            problems.append(f"{key}: found {attributes[key]}, expected at most {most} bytes of Jacobians and masks")
    if chunk_rows & (chunk_rows - 1):
        problems.append(f"chunk_rows: found {chunk_rows}, expected a power of two")
    if any(contacts[:first_contact]) or not all(contacts[max(first_contact, 0) :]):
        problems.append("constraints: expected the contacts, and only them, to be the last np entries")
    qpos_ends = _ends(attributes["joints"], "qpos_address", {"free": 7, "ball": 4})
    dof_ends = _ends(attributes["joints"], "dof_address", {"free": 6, "ball": 3})
    if (qpos_ends, dof_ends) != (sizes["nq"], sizes["nv"]):
        problems.append("joints: expected addresses that follow each other and fill nq and nv")
    return problems


def _ends(joints: Sequence[Mapping[str, Any]], address: str, widths: Mapping[str, int]) -> int | None:
    """Return where the last joint's coordinates end; None if one does not begin where the one before it ended."""
    end = 0
    for joint in joints:
        if joint[address] != end:
            return None
        end += widths.get(joint["type"], 1)
    return end
