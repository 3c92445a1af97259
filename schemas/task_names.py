"""Names of the tasks and policies that come with the package, for messages of those who need no simulator."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

__all__ = ["POLICY_NAMES", "ROBOT_NAMES", "SUITE_NAMES", "TASK_NAMES", "close_names"]

SUITE_NAMES: Final = frozenset(
    {
        "AcrobotSwingup",
        "AcrobotSwingupSparse",
        "BallInCup",
        "CartpoleBalance",
        "CartpoleBalanceSparse",
        "CartpoleSwingup",
        "CartpoleSwingupSparse",
        "CheetahRun",
        "FingerSpin",
        "FingerTurnEasy",
        "FingerTurnHard",
        "FishSwim",
        "HopperHop",
        "HopperStand",
        "HumanoidRun",
        "HumanoidStand",
        "HumanoidWalk",
        "PendulumSwingup",
        "PointMass",
        "ReacherEasy",
        "ReacherHard",
        "SwimmerSwimmer6",
        "WalkerRun",
        "WalkerStand",
        "WalkerWalk",
    }
)
"""Tasks of the DM Control Suite, each of which has an expert policy."""

ROBOT_NAMES: Final = frozenset(
    {
        "AlohaHandOver",
        "AlohaSinglePegInsertion",
        "ApolloJoystickFlatTerrain",
        "BarkourJoystick",
        "BerkeleyHumanoidJoystickFlatTerrain",
        "BerkeleyHumanoidJoystickRoughTerrain",
        "G1JoystickFlatTerrain",
        "G1JoystickRoughTerrain",
        "Go1Footstand",
        "Go1Getup",
        "Go1Handstand",
        "Go1JoystickFlatTerrain",
        "Go1JoystickRoughTerrain",
        "H1InplaceGaitTracking",
        "H1JoystickGaitTracking",
        "LeapCubeRotateZAxis",
        "Op3Joystick",
        "PandaOpenCabinet",
        "PandaPickCube",
        "PandaPickCubeOrientation",
        "SpotFlatTerrainJoystick",
        "SpotGetup",
        "SpotJoystickGaitTracking",
        "T1JoystickFlatTerrain",
        "T1JoystickRoughTerrain",
    }
)
"""Tasks of robots, which have none."""

TASK_NAMES: Final = SUITE_NAMES | ROBOT_NAMES
"""All of them; `generation.tasks` says what each is."""

POLICY_NAMES: Final = frozenset({"noise", "expert", "expert-mean", "mixture"})
"""Policies that come with the package; `generation.settings` says what each is."""


def close_names(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names that may have been meant, the closest first.

    Args:
        name: What was asked for.
        known: The names that there are.
    """
    lowered = {one.lower(): one for one in known}
    return [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
