"""What every record of a benchmark says about how it came about."""

from __future__ import annotations

import datetime
import importlib.metadata
from typing import Any

SIMULATOR = ("jax", "jaxlib", "mujoco", "mujoco-mjx", "playground")


def made_with(*packages: str) -> dict[str, Any]:
    """Versions of packages, and today's date."""
    return {
        "versions": {package: importlib.metadata.version(package) for package in packages},
        "date": datetime.date.today().isoformat(),
    }


def sentence(record: dict[str, Any]) -> str:
    """What `made_with` put into a record, for people: the date and the versions."""
    return f"{record['date']}; " + ", ".join(f"{name} {version}" for name, version in record["versions"].items())
