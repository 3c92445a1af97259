"""Which models are supported: every feature is MuJoCo C's, or refused by a message that names it."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from mujoco_differences import Simulator, states

from dynamic_sparsity.generation.linearization import linearize

BODIES = """<body pos="0 0 2"><joint name="a" type="hinge" axis="0 1 0" damping=".1" {a}/>
    <geom name="upper" size=".05 .2" type="capsule" pos="0 0 -.2" {geom}/><site name="s" pos="0 .1 -.3"/>
    <body name="lower" pos="0 0 -.4" {body}><joint name="b" type="hinge" axis="1 1 0" damping=".2" {b}/>
    <geom size=".05 .2" type="capsule" pos="0 .1 -.2" mass="1"/><site name="t" pos=".1 0 -.3"/></body></body>"""
MODEL = """<mujoco><option timestep="0.01" {option}>{flags}</option><worldbody>{bodies}{world}</worldbody>
    {tendon}<actuator>{actuator}</actuator>{rest}</mujoco>"""
MOTORS = '<motor joint="a" ctrlrange="-1 1"/><motor joint="b" gear="2"/>'
FIXED_TENDON = """<tendon><fixed name="t" {}><joint joint="a" coef="1"/><joint joint="b" coef="-.5"/></fixed></tendon>"""
SPRINGS = {"a": 'stiffness="5"', "b": 'stiffness="3" springref="20"'}
GROUND = '<geom type="plane" size="5 5 .1" pos="0 0 {height}" {rest}/>'


def made(**parts):
    """A double pendulum with some features."""
    bodies = BODIES.format(**{"a": "", "b": "", "geom": "", "body": ""} | {k: parts.pop(k) for k in set(parts) & {"a", "b", "geom", "body"}})
    blank = dict.fromkeys(("option", "flags", "world", "tendon", "rest"), "") | {"bodies": bodies, "actuator": MOTORS}
    return MODEL.format(**blank | parts)


RIGHT = {
    "springs disabled": made(**SPRINGS, tendon=FIXED_TENDON.format('stiffness="4" damping=".3"'), flags='<flag spring="disable" energy="enable" fwdinv="enable" invdiscrete="enable"/>',
        rest='<sensor><rangefinder site="s"/><contact site="s" data="force"/></sensor>'),
    "dampers disabled": made(**SPRINGS, tendon=FIXED_TENDON.format('stiffness="4" damping=".3"'), flags='<flag damper="disable"/>'),
    "springs and dampers disabled": made(**SPRINGS, body='gravcomp=".5"', flags='<flag spring="disable" damper="disable"/>'),
    "an actuator group disabled": made(option='integrator="implicitfast" actuatorgroupdisable="2"', actuator='<position joint="a" kp="20" kv="2" group="2" forcerange="1 2"/><motor joint="b"/>'),
    "implicitfast at its bounds": made(option='integrator="implicitfast"', a='actuatorfrcrange="-2 2"', tendon=FIXED_TENDON.format('actuatorfrcrange="-3 3"'),
        actuator='<position joint="a" kp="5" kv="1"/><position joint="b" kp="20" kv="2" forcerange="-4 4"/><position tendon="t" kp="10" kv="1"/><general joint="b" gaintype="affine" gainprm="2 0 -1" ctrlrange="-.3 .3" ctrllimited="true"/>'),
    "gravity compensation": made(body='gravcomp="1"', a='actuatorgravcomp="true"', b='actuatorfrcrange="-1 1"'),
    "a medium with wind": made(option='density="20" viscosity=".5" wind="1 2 0"'),
    "sites and parents": made(actuator='<motor site="s" gear="1 2 3 .1 .2 .3"/><motor site="t" refsite="s" gear="1 0 1 0 0 0"/><position jointinparent="b" kp="3"/>'),
    "limits and friction": made(a='range="-10 10" frictionloss=".5"', b='range="-15 20" margin=".1"', tendon=FIXED_TENDON.format('range="-.1 .2" frictionloss=".2"'), option='integrator="implicitfast"'),
    "limits and friction disabled": made(a='range="-10 10" frictionloss=".5"', flags='<flag limit="disable" frictionloss="disable" clampctrl="disable" gravity="disable"/>'),
    "constraints disabled": made(a='range="-10 10"', world=GROUND.format(height="1.9", rest=""), flags='<flag constraint="disable" actuation="disable"/>'),
    "safe references disabled": made(a='range="-10 10" solreflimit=".015 1"', world=GROUND.format(height="1.6", rest='solref=".015 1"'), flags='<flag refsafe="disable" filterparent="disable"/>'),
    "margin and gap": made(world=GROUND.format(height="1.15", rest='margin=".1" gap=".1"')),
    "torsional and rolling friction": made(geom='condim="6" friction="1 .1 .05" priority="1"', world=GROUND.format(height="1.6", rest='condim="4" friction=".8 .2 .1"')),
    "an explicit pair": made(world=GROUND.format(height="1.6", rest='name="floor" contype="0" conaffinity="0"'), rest='<contact><pair geom1="floor" geom2="upper" condim="3" solref=".03 1" friction=".5 .5 .1 .1 .1"/></contact>'),
    "wrapped tendons": made(world='<site name="w" pos="0 .3 2"/><geom name="ball" pos="0 .1 1.9" size=".08" contype="0" conaffinity="0"/>',
        tendon='<tendon><spatial name="t" range="0 .55" limited="true" stiffness="10" springlength=".3" damping="1"><site site="w"/><geom geom="ball"/><site site="s"/><pulley divisor="2"/><site site="s"/><site site="t"/></spatial></tendon>',
        actuator='<motor tendon="t" gear="3"/>'),
    "balls and springs at rest": """<mujoco><option timestep=".01"/><worldbody><body pos="0 0 2"><joint type="ball" stiffness="4" damping=".1"/>
        <geom size=".05 .2" type="capsule" pos=".1 0 -.2"/><body pos="0 0 -.4"><joint type="ball" name="b" limited="true" range="0 20" stiffness="2"/>
        <geom size=".05 .2" type="capsule" pos="0 .1 -.2"/></body></body></worldbody><actuator><motor joint="b" gear="1 .5 .2"/></actuator></mujoco>""",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_features_are_mujoco_c_s(name):
    model = mujoco.MjModel.from_xml_string(RIGHT[name])
    step = linearize(model, substeps=2)
    qpos, qvel, ctrl = states(model, 12)
    if name == "balls and springs at rest":
        qpos[0] = model.qpos0
    if name == "implicitfast at its bounds":
        ctrl *= 2
    next_state, A, B = step(qpos, qvel, ctrl)
    simulator = Simulator(step.model, substeps=2)
    errors = []
    for row in range(len(qpos)):
        inputs = {"qpos": qpos[row], "qvel": qvel[row], "ctrl": ctrl[row]}
        np.testing.assert_allclose(next_state[row], simulator.step(**inputs), atol=1e-8)
        truth, ours = (np.hstack(x) for x in (simulator.jacobians(**inputs), (A[row], B[row])))
        errors.append(np.linalg.norm(ours - truth) / np.linalg.norm(truth))
    print(np.array(errors))
    assert np.median(errors) < 1e-6
    assert np.max(errors) < 1e-4
