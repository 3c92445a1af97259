"""Which body each state and action belongs to, and which body hangs on which."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.explorer import SCENES

__all__ = ["KinematicTree", "tree_of"]

BODIES_MAX = 1000


@dataclass(frozen=True)
class KinematicTree:
    """Bodies, numbered; number 0 is the world.

    Attributes:
        scalars: Number of the body of each state, then of each action.
        parents: Number of the parent of each body; that of the world is itself.
    """

    scalars: tuple[int, ...]
    parents: tuple[int, ...]

    def check(self) -> None:
        """Raise ValueError if parents do not come before their children, or a body is not there."""
        if len(self.parents) > BODIES_MAX or not all(type(one) is int for one in (*self.scalars, *self.parents)):
            raise ValueError(f"at most {BODIES_MAX} bodies, and whole numbers, are expected")
        if any(not 0 <= parent < max(1, body) for body, parent in enumerate(self.parents)):
            raise ValueError(f"parents are {self.parents}; each must come before its body")
        if any(not 0 <= body < len(self.parents) for body in self.scalars):
            raise ValueError(f"scalars are {self.scalars}; there are {len(self.parents)} bodies")

    def neighbours(self) -> NDArray[np.bool_]:
        """Return which bodies are joined, shape (bodies, bodies), symmetric."""
        near = np.zeros((len(self.parents),) * 2, bool)
        for body, parent in enumerate(self.parents):
            near[body, parent] = near[parent, body] = body != parent
        return near

    def diameter(self) -> int:
        """Return how many joints are between the two bodies that are farthest apart, at least 1."""
        near, reached, hops = self.neighbours(), np.eye(len(self.parents), dtype=bool), 0
        while not reached.all():
            reached, hops = reached | (reached @ near), hops + 1
        return max(1, hops)


def tree_of(metadata: dict[str, Any]) -> KinematicTree:
    """Return the tree of a task; bodies without joints of their own count as the body that they are fixed to.

    Args:
        metadata: Of a data set. Tasks whose bodies this package does not know are taken to hang, joint by joint, on
            the world.

    Returns:
        The tree. States and actions without a joint of their name belong to the world.
    """
    joints = metadata["joints"]
    body_of, parents = _scene(metadata["task"])
    if not all(joint["name"] in body_of for joint in joints):
        body_of = {joint["name"]: 1 + place for place, joint in enumerate(joints)}
        parents = (0,) * (1 + len(joints))
    states = [body_of.get(_joint(name, body_of), 0) for name in metadata["state_names"]]
    actions = [body_of.get(name, 0) for name in metadata["action_names"]]
    return KinematicTree((*states, *actions), parents)


def _joint(state_name: str, joints: dict[str, int]) -> str:
    """Return the joint of a state such as "qpos:hinge" or "qvel:root.wx"."""
    name = state_name.partition(":")[2]
    return name if name in joints else name.rpartition(".")[0]


def _scene(task: str) -> tuple[dict[str, int], tuple[int, ...]]:
    """Return the body of each joint, and parents, from the task's scene; nothing if there is no such file."""
    path = SCENES / f"{task}.json"
    if not path.is_file():
        return {}, ()
    bodies = json.loads(path.read_bytes())["bodies"]
    kept: list[int] = []
    parents: list[int] = []
    body_of: dict[str, int] = {}
    for place, body in enumerate(bodies):
        moves = place == 0 or bool(body["joints"])
        parent = kept[body["parent"]] if place else 0
        kept.append(len(parents) if moves else parent)
        if moves:
            parents.append(parent)
        for joint in body["joints"]:
            body_of[joint["name"]] = kept[place]
    return body_of, tuple(parents)
