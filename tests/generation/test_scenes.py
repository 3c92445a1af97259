"""The scenes that ship are those of the models, and the page poses robots as MuJoCo does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from browsers import launched_browser, serving

from dynamic_sparsity.explorer import SCENES
from dynamic_sparsity.explorer.server import ExplorerServer
from dynamic_sparsity.generation.jobs.scenes import describe_scene, drawn_geoms, write
from dynamic_sparsity.generation.tasks import ROBOTS, TASKS
from dynamic_sparsity.schemas import validate

POSES = 3
# The scenes have nine digits, states seven.
TOLERANCE = 1e-6


def test_every_task_has_a_scene_that_ships():
    assert {file.stem for file in SCENES.glob("*.json")} == set(TASKS) | set(ROBOTS)
    for file in SCENES.glob("*.json"):
        document = json.loads(file.read_text())
        validate(document, "scene", str(file))
        assert document["task"] == file.stem
        assert all(body["parent"] <= number for number, body in enumerate(document["bodies"]))


@pytest.mark.slow
def test_scenes_are_those_of_the_models(tmp_path):
    write(tmp_path, list(TASKS))
    for task in TASKS:
        assert (tmp_path / f"{task}.json").read_bytes() == (SCENES / f"{task}.json").read_bytes()


def test_a_mesh_is_the_box_around_it_where_nothing_else_is_drawn():
    """A box as a mesh, off its geom's frame; beside another shape it is left out, and so is a height field."""
    import mujoco

    corners = " ".join(f"{x} {y} {z}" for x in (1, 3) for y in (0, 1) for z in (0, 0.5))
    model = mujoco.MjModel.from_xml_string(f"""
        <mujoco>
          <asset>
            <mesh name="block" vertex="{corners}"/>
            <hfield name="hills" nrow="2" ncol="2" size="1 1 1 1" elevation="0 1 0 1"/>
          </asset>
          <worldbody>
            <geom type="hfield" hfield="hills"/>
            <body><freejoint/><geom type="mesh" mesh="block" pos="0 0 1" euler="0 0 90"/></body>
            <body><freejoint/><geom type="mesh" mesh="block"/><geom name="ball" size=".1"/></body>
          </worldbody>
        </mujoco>""")
    bodies = describe_scene("Blocks", model)["bodies"]
    assert bodies[0]["geoms"] == []
    (box,) = bodies[1]["geoms"]
    assert box["type"] == "box"
    assert sorted(box["size"]) == pytest.approx([0.25, 0.5, 1], rel=1e-4)
    assert box["pos"] == pytest.approx([-0.5, 2, 1.25], abs=1e-4), "the middle of the mesh, turned with its geom"
    assert [geom["name"] for geom in bodies[2]["geoms"]] == ["ball"]


@pytest.fixture(scope="module")
def page():
    with launched_browser() as browser, serving(ExplorerServer(None)) as address:
        found = browser.new_page()
        found.goto(address)
        found.wait_for_selector("#problem:not([hidden])")
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_poses_are_those_of_mujoco(task, page):
    import mujoco

    from dynamic_sparsity.generation.environments.loading import load_environment

    model = load_environment(task).mj_model
    scene = describe_scene(task, model)
    generator = np.random.default_rng(0)
    for _ in range(POSES):
        data = mujoco.MjData(model)
        data.qpos = model.qpos0 + generator.normal(size=model.nq)
        mujoco.mj_normalizeQuat(model, data.qpos)
        mujoco.mj_kinematics(model, data)
        bodies, geoms = page.evaluate(
            """([scene, qpos]) => {
                const { bodyPoses, geomPose } = window.explorerKinematics;
                const poses = bodyPoses(scene, qpos);
                const ofBody = (body, number) => body.geoms.map((geom) => geomPose(poses[number], geom));
                return [poses, scene.bodies.flatMap(ofBody)];
            }""",
            [scene, data.qpos.tolist()],
        )
        numbers = [geom for body in range(model.nbody) for geom in drawn_geoms(model, body)]
        _close([one["position"] for one in bodies], data.xpos)
        _close([one["position"] for one in geoms], data.geom_xpos[numbers])
        _close([_matrix(one["orientation"]) for one in bodies], data.xmat)
        _close([_matrix(one["orientation"]) for one in geoms], data.geom_xmat[numbers])


def _close(found, expected):
    np.testing.assert_allclose(np.array(found), expected, rtol=0, atol=TOLERANCE)


def _matrix(quaternion):
    import mujoco

    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, np.array(quaternion, dtype=float))
    return matrix
