"""Features that are supported: the step and its Jacobians are MuJoCo C's."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from feature_models import double_pendulum, fixed_tendon, ground
from mujoco_differences import Simulator, states

from dynamic_sparsity.generation.jacobians.engines import CLOSED_FORM
from dynamic_sparsity.generation.linearization import linearize

pytestmark = pytest.mark.slow

SPRINGS = {"a": 'stiffness="5"', "b": 'stiffness="3" springref="20"'}
TENDON = fixed_tendon('stiffness="4" damping=".3"')
SATURATING = """<position joint="a" kp="5" kv="1"/><position joint="b" kp="20" kv="2" forcerange="-4 4"/>
    <position tendon="t" kp="10" kv="1"/>
    <general joint="b" gaintype="affine" gainprm="2 0 -1" ctrlrange="-.3 .3" ctrllimited="true"/>"""
GROUPED = '<position joint="a" kp="20" kv="2" group="2" forcerange="1 2"/><motor joint="b"/>'
SITES = """<motor site="s" gear="1 2 3 .1 .2 .3"/><motor site="t" refsite="s" gear="1 0 1 0 0 0"/>
    <position jointinparent="b" kp="3"/>"""
SENSORS = '<sensor><rangefinder site="s"/><contact site="s" data="force"/></sensor>'
WRAP_AROUND = """<site name="w" pos="0 .3 2"/>
    <geom name="ball" pos="0 .1 1.9" size=".08" contype="0" conaffinity="0"/>"""
WRAPPED = """<tendon><spatial name="t" range="0 .55" limited="true" stiffness="10" springlength=".3" damping="1">
    <site site="w"/><geom geom="ball"/><site site="s"/><pulley divisor="2"/><site site="s"/><site site="t"/>
    </spatial></tendon>"""
PAIR = """<contact><pair geom1="floor" geom2="upper" condim="{}" solref=".03 1" friction=".5 .5 .1 .05 .05"/>
    </contact>"""
APART = 'contype="0" conaffinity="0"'
EQUALITIES = """<equality><joint joint1="a" joint2="b" polycoef=".1 1 .5 0 0"/><joint joint1="b" active="false"/>
    <tendon tendon1="t" polycoef=".2 0 0 0 0" solref=".05 1"/></equality>"""
BALLS = """<mujoco><option timestep=".01"/><worldbody><body pos="0 0 2"><joint type="ball" damping=".1"/>
    <geom size=".05 .2" type="capsule" pos=".1 0 -.2"/>
    <body pos="0 0 -.4"><joint type="ball" name="b" limited="true" range="0 20"/>
    <geom size=".05 .2" type="capsule" pos="0 .1 -.2"/></body></body></worldbody>
    <actuator><motor joint="b" gear="1 .5 .2"/></actuator></mujoco>"""
SHAPES = """<mujoco><option timestep=".004" gravity="0 0 -5"/><worldbody>
    <geom type="plane" size="5 5 .1" condim="4" conaffinity="3"/>
    <body pos="0 0 .15" gravcomp=".3"><freejoint/><geom type="box" size=".1 .12 .08" friction="1 .02 .001"/>
    <body pos="0 0 .2"><joint name="a" axis="0 1 0" range="-60 60"/>
    <geom type="cylinder" size=".03 .05" pos=".2 0 -.3" contype="2" conaffinity="0"/></body></body>
    <body pos="0 .02 .3"><freejoint/><geom size=".08" condim="6" friction="1 .02 .01"/></body></worldbody>
    <actuator><position joint="a" kp="5"/></actuator></mujoco>"""
SPATIAL = """<tendon><spatial name="t" stiffness="10"><site site="w"/><site site="s"/></spatial>
    <spatial name="u"><site site="s"/><site site="t"/></spatial></tendon>"""
ANCHOR = '<site name="w" pos="0 .3 2"/>'
TENDONS_EQUAL = '<equality><tendon tendon1="t" tendon2="u" polycoef=".1 .8 .5 -.3 .2" solref=".1 1"/></equality>'
IMPLICITFAST = 'integrator="implicitfast"'

MODELS = {
    "springs disabled": double_pendulum(
        **SPRINGS,
        tendon=TENDON,
        flags='<flag spring="disable" energy="enable" fwdinv="enable" invdiscrete="enable"/>',
        rest=SENSORS,
    ),
    "dampers disabled": double_pendulum(**SPRINGS, tendon=TENDON, flags='<flag damper="disable"/>'),
    "springs and dampers disabled": double_pendulum(
        **SPRINGS, body='gravcomp=".5"', flags='<flag spring="disable" damper="disable"/>'
    ),
    "an actuator group disabled": double_pendulum(option=f'{IMPLICITFAST} actuatorgroupdisable="2"', actuator=GROUPED),
    "implicitfast at its bounds": double_pendulum(
        option=IMPLICITFAST,
        a='actuatorfrcrange="-2 2"',
        tendon=fixed_tendon('actuatorfrcrange="-3 3"'),
        actuator=SATURATING,
    ),
    "gravity compensation": double_pendulum(
        body='gravcomp="1"', a='actuatorgravcomp="true"', b='actuatorfrcrange="-1 1"'
    ),
    "a medium with wind": double_pendulum(option='density="20" viscosity=".5" wind="1 2 0"'),
    "sites and parents": double_pendulum(actuator=SITES),
    "limits and friction": double_pendulum(
        option=IMPLICITFAST,
        a='range="-10 10" frictionloss=".5"',
        b='range="-15 20" margin=".1"',
        tendon=fixed_tendon('range="-.1 .2" frictionloss=".2"'),
    ),
    "limits and friction disabled": double_pendulum(
        a='range="-10 10" frictionloss=".5"',
        flags='<flag limit="disable" frictionloss="disable" clampctrl="disable" gravity="disable"/>',
    ),
    "constraints disabled": double_pendulum(
        a='range="-10 10"', world=ground(1.9), flags='<flag constraint="disable" actuation="disable"/>'
    ),
    "safe references disabled": double_pendulum(
        a='range="-10 10" solreflimit=".015 1"',
        world=ground(1.6, 'solref=".015 1"'),
        flags='<flag refsafe="disable"/>',
    ),
    "margin and gap": double_pendulum(world=ground(1.15, 'margin=".1" gap=".1"')),
    "torsional and rolling friction": double_pendulum(
        geom='condim="6" friction="1 .1 .05" priority="1"', world=ground(1.6, 'condim="4" friction=".8 .2 .1"')
    ),
    "an explicit pair": double_pendulum(world=ground(1.6, APART), rest=PAIR.format(3)),
    "equalities of joints and tendons": double_pendulum(
        a='range="-10 10" frictionloss=".1"', world=ground(1.6), tendon=TENDON, rest=EQUALITIES
    ),
    "equality of spatial tendons": double_pendulum(world=ANCHOR, tendon=SPATIAL, rest=TENDONS_EQUAL),
    "boxes and cylinders": SHAPES,
    "wrapped tendons": double_pendulum(world=WRAP_AROUND, tendon=WRAPPED, actuator='<motor tendon="t" gear="3"/>'),
    "balls at rest": BALLS,
    "equalities, a pair that rolls, gravity compensation": double_pendulum(
        a='range="-10 10" frictionloss=".1"',
        body='gravcomp=".4"',
        world=ground(1.6, APART),
        tendon=TENDON,
        rest=PAIR.format(6) + EQUALITIES,
    ),
}
SLOW_ENGINE = ("balls at rest", "sites and parents", "a medium with wind", "gravity compensation")
OTHER_POINTS = "boxes and cylinders"
"""MJX's contact points may be other ones than MuJoCo C's."""


@pytest.mark.sample(15)
@pytest.mark.parametrize("name", MODELS)
def test_step_and_jacobians_are_mujoco_c_s(name):
    model = mujoco.MjModel.from_xml_string(MODELS[name])
    step = linearize(model, substeps=2, checked_rows=0)
    assert (step.engine == CLOSED_FORM) == (name not in SLOW_ENGINE)
    qpos, qvel, ctrl = states(model, 12, width=0.05 if name == OTHER_POINTS else 0.3)
    if name.startswith(("balls at rest", "equalities")):
        qpos[0] = model.qpos0
    if name == "implicitfast at its bounds":
        ctrl *= 2
    next_state, A, B = step(qpos, qvel, ctrl)
    simulator = Simulator(step.model, substeps=2)
    errors = []
    for row in range(len(qpos)):
        inputs = {"qpos": qpos[row], "qvel": qvel[row], "ctrl": ctrl[row]}
        if name == OTHER_POINTS and np.abs(next_state[row] - simulator.step(**inputs)).max() > 1e-8:
            continue
        np.testing.assert_allclose(next_state[row], simulator.step(**inputs), atol=1e-8)
        truth, ours = (np.hstack(x) for x in (simulator.jacobians(**inputs), (A[row], B[row])))
        errors.append(np.linalg.norm(ours - truth) / np.linalg.norm(truth))
    assert len(errors) > 9
    assert np.median(errors) < 1e-6
    assert np.max(errors) < 1e-4
