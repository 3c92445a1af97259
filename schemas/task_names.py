"""Names of the tasks that come with the package, for messages of those who need no simulator."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

__all__ = ["TASK_NAMES", "close_names"]

TASK_NAMES: Final = frozenset(
    {
        "AcrobotSwingup",
        "AcrobotSwingupSparse",
        "BallInCup",
        "BarkourJoystick",
        "CartpoleBalance",
        "CartpoleBalanceSparse",
        "CartpoleSwingup",
        "CartpoleSwingupSparse",
        "CheetahRun",
        "FingerSpin",
        "FingerTurnEasy",
        "FingerTurnHard",
        "FishSwim",
        "Go1JoystickFlatTerrain",
        "H1InplaceGaitTracking",
        "H1JoystickGaitTracking",
        "HopperHop",
        "HopperStand",
        "HumanoidRun",
        "HumanoidStand",
        "HumanoidWalk",
        "PendulumSwingup",
        "PointMass",
        "ReacherEasy",
        "ReacherHard",
        "SpotFlatTerrainJoystick",
        "SpotJoystickGaitTracking",
        "SwimmerSwimmer6",
        "WalkerRun",
        "WalkerStand",
        "WalkerWalk",
    }
)
"""Tasks of the DM Control Suite and of robots; `generation.tasks` says what each is."""


def close_names(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names that may have been meant, the closest first.

    Args:
        name: What was asked for.
        known: The names that there are.
    """
    lowered = {one.lower(): one for one in known}
    return [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
