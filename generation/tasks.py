"""MuJoCo Playground's tasks, the 25 of the DM Control Suite and robots: what each is, without importing a simulator.

Tasks whose models agree in every field that physics reads form one *dynamics group*; they share states, actions,
Jacobians' meaning and one compiled program. The tables below are checked against Playground itself by the tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from dynamic_sparsity.errors import UnknownNameError
from dynamic_sparsity.schemas.task_names import close_names

EPISODE_LENGTH = 1000
"""Control steps of an episode, as in Playground's own configuration of these tasks."""


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: Playground's name.
        group: Name of the group of tasks with the same dynamics.
        nq: Size of `qpos`; larger than `nv` where the task has quaternions.
        nv: Size of `qvel`.
        nu: Number of actuators.
        substeps: Physics steps in one control step.
        control_dt: Duration of a control step in seconds.
        memory: Numbers that the task remembers for the next control, behind (qpos, qvel) in its state: the control
            itself, where an action changes it.
        actions: Size of the action; None for one number for each actuator.
    """

    name: str
    group: str
    nq: int
    nv: int
    nu: int
    substeps: int
    control_dt: float
    memory: int = 0
    actions: int | None = None

    @property
    def ds(self) -> int:
        """Size of the ambient state (qpos, qvel, memory)."""
        return self.nq + self.nv + self.memory

    @property
    def dx(self) -> int:
        """Size of the state in tangent coordinates."""
        return 2 * self.nv + self.memory

    @property
    def da(self) -> int:
        """Size of the action."""
        return self.nu if self.actions is None else self.actions


# group: (nq, nv, nu, substeps, control_dt, tasks)
_GROUPS: dict[str, tuple[int, int, int, int, float, tuple[str, ...]]] = {
    "acrobot": (2, 2, 1, 1, 0.01, ("AcrobotSwingup", "AcrobotSwingupSparse")),
    "ball_in_cup": (4, 4, 2, 10, 0.02, ("BallInCup",)),
    "cartpole": (
        2, 2, 1, 1, 0.01,
        ("CartpoleBalance", "CartpoleBalanceSparse", "CartpoleSwingup", "CartpoleSwingupSparse"),
    ),
    "cheetah": (9, 9, 6, 1, 0.01, ("CheetahRun",)),
    "finger_spin": (3, 3, 2, 4, 0.02, ("FingerSpin",)),
    "finger_turn": (3, 3, 2, 4, 0.02, ("FingerTurnEasy", "FingerTurnHard")),
    "fish": (14, 13, 5, 20, 0.04, ("FishSwim",)),
    "hopper": (7, 7, 4, 4, 0.02, ("HopperHop", "HopperStand")),
    "humanoid": (28, 27, 21, 5, 0.025, ("HumanoidRun", "HumanoidStand", "HumanoidWalk")),
    "pendulum": (1, 1, 1, 2, 0.02, ("PendulumSwingup",)),
    "point_mass": (2, 2, 2, 1, 0.02, ("PointMass",)),
    "reacher_easy": (2, 2, 2, 4, 0.02, ("ReacherEasy",)),
    "reacher_hard": (2, 2, 2, 4, 0.02, ("ReacherHard",)),
    "swimmer6": (8, 8, 5, 10, 0.03, ("SwimmerSwimmer6",)),
    "walker": (9, 9, 6, 10, 0.025, ("WalkerRun", "WalkerStand", "WalkerWalk")),
}  # fmt: skip

TASKS: dict[str, Task] = {
    task.name: task
    for task in sorted(
        (
            Task(name, group, nq, nv, nu, substeps, control_dt)
            for group, (nq, nv, nu, substeps, control_dt, names) in _GROUPS.items()
            for name in names
        ),
        key=lambda task: task.name,
    )
}
"""The tasks of the DM Control Suite by name, in alphabetical order."""

ROBOTS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("AlohaHandOver", "aloha_hand_over", 23, 22, 14, 4, 0.02, memory=14),
        Task("AlohaSinglePegInsertion", "aloha_peg", 30, 28, 14, 1, 0.0025, memory=14),
        Task("ApolloJoystickFlatTerrain", "apollo", 39, 38, 32, 4, 0.02),
        Task("BarkourJoystick", "barkour", 19, 18, 12, 5, 0.02),
        Task("BerkeleyHumanoidJoystickFlatTerrain", "berkeley_flat", 19, 18, 12, 10, 0.02),
        Task("BerkeleyHumanoidJoystickRoughTerrain", "berkeley_rough", 19, 18, 12, 10, 0.02),
        Task("G1JoystickFlatTerrain", "g1_flat", 36, 35, 29, 10, 0.02),
        Task("G1JoystickRoughTerrain", "g1_rough", 36, 35, 29, 10, 0.02),
        Task("Go1Footstand", "go1_footstand", 19, 18, 12, 5, 0.02, memory=12),
        Task("Go1Getup", "go1_getup", 19, 18, 12, 5, 0.02),
        Task("Go1Handstand", "go1_handstand", 19, 18, 12, 5, 0.02, memory=12),
        Task("Go1JoystickFlatTerrain", "go1_flat", 19, 18, 12, 5, 0.02),
        Task("Go1JoystickRoughTerrain", "go1_rough", 19, 18, 12, 5, 0.02),
        Task("H1InplaceGaitTracking", "h1_inplace", 26, 25, 19, 5, 0.02),
        Task("H1JoystickGaitTracking", "h1_joystick", 26, 25, 19, 5, 0.02, memory=19),
        Task("LeapCubeRotateZAxis", "leap_rotate", 23, 22, 16, 5, 0.05),
        Task("Op3Joystick", "op3", 27, 26, 20, 5, 0.02),
        Task("PandaOpenCabinet", "panda_cabinet", 10, 10, 8, 4, 0.02, memory=8),
        Task("PandaPickCube", "panda_pick", 16, 15, 8, 4, 0.02, memory=8),
        Task("PandaPickCubeOrientation", "panda_orientation", 16, 15, 8, 4, 0.02, memory=8),
        Task("SpotFlatTerrainJoystick", "spot_flat", 19, 18, 12, 5, 0.02),
        Task("SpotGetup", "spot_getup", 19, 18, 12, 5, 0.02),
        Task("SpotJoystickGaitTracking", "spot_gait", 19, 18, 12, 5, 0.02),
        Task("T1JoystickFlatTerrain", "t1_flat", 30, 29, 23, 10, 0.02),
        Task("T1JoystickRoughTerrain", "t1_rough", 30, 29, 23, 10, 0.02),
    )
}
"""Tasks of robots, whose models are MuJoCo Menagerie's, by name, in alphabetical order."""

PAPER_TASKS = (
    "BallInCup",
    "CartpoleBalance",
    "CheetahRun",
    "ReacherHard",
    "FingerSpin",
    "FingerTurnEasy",
    "WalkerRun",
    "SwimmerSwimmer6",
)
"""The eight tasks of the paper, arXiv 2511.08086."""


def group_representatives() -> dict[str, str]:
    """Return one task name for each dynamics group: the task whose model the group's program is compiled from."""
    return {group: names[0] for group, (*_, names) in _GROUPS.items()}


def representative(task: Task) -> str:
    """Return the name of the task whose model a task's program is compiled from.

    Args:
        task: The task.
    """
    return group_representatives().get(task.group, task.name)


def get_task(name: str) -> Task:
    """Return a task.

    Args:
        name: Its name.

    Raises:
        UnknownNameError: There is no such task; the message names the closest ones.
    """
    known = TASKS | ROBOTS
    if name in known:
        return known[name]
    close = close_names(name, known)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    raise UnknownNameError(f"There is no task {name!r}. {hint}`dynamic-sparsity list` shows all {len(known)}.")
