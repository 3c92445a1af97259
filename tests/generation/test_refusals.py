"""Models that are refused: the message names the element and what to do; nothing is overlooked."""

from __future__ import annotations

import mujoco
import pytest
from feature_models import double_pendulum, fixed_tendon, ground

from dynamic_sparsity.errors import UnsupportedModelError
from dynamic_sparsity.generation.physics import counterpart, features

SERVO = '<position name="servo" joint="a" kp="3" {}/>'
BALL = """<mujoco><worldbody><body><joint name="socket" type="ball" {joint}/><geom size=".1"/></body></worldbody>
    <actuator>{actuator}</actuator></mujoco>"""
TWO = """<mujoco><worldbody><geom name="one" type="{0}" size=".1 .1 .1" /><body pos="0 0 1"><freejoint/>
    <geom name="two" type="{1}" size=".1 .1 .1"/></body></worldbody></mujoco>"""

PAIR = """<contact><pair name="touch" geom1="floor" geom2="upper" condim="{}" friction="{}"/></contact>"""

REFUSED = {
    "activation": (
        double_pendulum(actuator='<general name="slow" joint="a" dyntype="filter" dynprm=".1"/>'),
        'actuator "slow": `actuator_dyntype` is FILTER; supported: NONE: use an actuator without activation',
    ),
    "muscle": (
        double_pendulum(actuator='<muscle name="flexor" joint="a" lengthrange="0 1"/>'),
        'actuator "flexor".*MUSCLE',
    ),
    "slider-crank": (
        double_pendulum(actuator='<motor name="crank" cranksite="t" slidersite="s" cranklength=".3"/>'),
        'actuator "crank".*SLIDERCRANK.*joint, tendon or site',
    ),
    "delay": (
        double_pendulum(actuator=SERVO.format('delay=".02" nsample="3"')),
        'actuator "servo": a delay.*remove `delay`',
    ),
    "damping of an actuator": (
        double_pendulum(actuator=SERVO.format('damping="1"')),
        '"servo": damping of its own.*the joint',
    ),
    "armature of an actuator": (double_pendulum(actuator=SERVO.format('armature="1"')), '"servo": armature of its own'),
    "solver": (double_pendulum(option='solver="CG"'), "`solver` is CG; supported: NEWTON.*the solution is the same"),
    "cone": (double_pendulum(option='cone="elliptic"'), "`cone` is ELLIPTIC.*pyramidal"),
    "integrator": (double_pendulum(option='integrator="RK4"'), "`integrator` is RK4.*implicitfast"),
    "no-slip": (double_pendulum(option='noslip_iterations="3"'), 'a no-slip solver.*noslip_iterations="0"'),
    "override": (double_pendulum(flags='<flag override="enable"/>'), "the flag `override` is enabled: disable it"),
    "diagexact": (double_pendulum(flags='<flag diagexact="enable"/>'), "the flag `diagexact` is enabled"),
    "sleep": (double_pendulum(flags='<flag sleep="enable"/>'), "the flag `sleep` is enabled"),
    "surface velocity": (
        double_pendulum(world=ground(1.0, 'surfacevel="1 0 0 0 0 0"')),
        'geom "floor": a moving surface.*remove',
    ),
    "ellipsoid fluid": (
        double_pendulum(geom='fluidshape="ellipsoid"', option='density="1"'),
        'geom "upper": ellipsoid fluid forces.*inertia-box',
    ),
    "medium with implicitfast": (
        double_pendulum(option='density="1" integrator="implicitfast"'),
        'a medium.*with implicitfast: set `integrator="Euler"`',
    ),
    "polynomial spring": (double_pendulum(a='stiffness="1 2"'), 'joint "a": a spring that is not linear'),
    "polynomial damping": (
        double_pendulum(b='armature="0"').replace('damping=".2"', 'damping=".2 1"'),
        'joint "b": damping that is not linear',
    ),
    "polynomial tendon": (
        double_pendulum(tendon=fixed_tendon('stiffness="1 2"')),
        'tendon "t": a spring that is not linear',
    ),
    "armature of a tendon": (double_pendulum(tendon=fixed_tendon('armature="1"')), 'tendon "t": armature'),
    "weld": (
        double_pendulum(rest='<equality><weld name="glue" body1="lower"/></equality>'),
        'equality "glue": `eq_type` is WELD, which MJX does not step as MuJoCo C does.*supported: JOINT, TENDON',
    ),
    "connect": (
        double_pendulum(rest='<equality><connect name="pin" body1="lower" anchor="0 0 0"/></equality>'),
        'equality "pin": `eq_type` is CONNECT',
    ),
    "spring of a ball": (
        BALL.format(joint='stiffness="1"', actuator=""),
        'joint "socket": a spring of a rotation.*use hinges',
    ),
    "servo of a ball": (
        BALL.format(joint="", actuator='<position name="servo" joint="socket" gear="1 0 0" kp="1"/>'),
        'actuator "servo": feedback of the position of a ball joint',
    ),
    "servo between sites": (
        double_pendulum(actuator='<position name="servo" site="t" refsite="s" gear="0 0 0 0 1 0" kp="1"/>'),
        'actuator "servo": feedback of the position of the rotation between two sites',
    ),
    "pair that slides more easily in one direction": (
        double_pendulum(world=ground(1.6, ""), rest=PAIR.format(3, ".5 .4 .1 .05 .05")),
        'pair "touch": a `friction` that depends on the direction.*one value',
    ),
    "pair that rolls more easily in one direction": (
        double_pendulum(world=ground(1.6, ""), rest=PAIR.format(6, ".5 .5 .1 .05 .04")),
        'pair "touch": a `friction` that depends on the direction',
    ),
    "pair that MJX lacks": (
        TWO.format("box", "cylinder"),
        'geom "one" and geom "two"|geom "two" and geom "one"',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_message_names_the_element(name):
    xml, message = REFUSED[name]
    with pytest.raises(UnsupportedModelError, match=message):
        features.check_supported(mujoco.MjModel.from_xml_string(xml))


def test_every_feature_is_named_at_once():
    xml = double_pendulum(option='cone="elliptic" solver="CG"', a='stiffness="1 2"')
    with pytest.raises(UnsupportedModelError) as caught:
        features.check_supported(mujoco.MjModel.from_xml_string(xml))
    assert str(caught.value).count("\n- ") == 3


def test_every_field_of_the_model_is_classified():
    """A field that a new MuJoCo brings has to be put into one of the lists."""
    model = mujoco.MjModel.from_xml_string(double_pendulum())
    assert [name for name in features.fields(model) if not features.classified(name)] == []
    assert [name for name in features.fields(model.opt) if not features.option_classified(name)] == []
    for name in (*features.NEUTRAL, *features.CHOICES):
        assert name.removeprefix("opt.") in features.fields(model.opt if name.startswith("opt.") else model)


def test_an_unknown_field_is_refused_unless_it_is_zero(monkeypatch):
    model = mujoco.MjModel.from_xml_string(double_pendulum(a='armature="1"'))
    known = tuple(name for name in features.ANY_VALUE if name not in ("dof_armature", "jnt_stiffness"))
    monkeypatch.setattr(features, "ANY_VALUE", known)
    with pytest.raises(UnsupportedModelError, match="`dof_armature` is not zero, and is not known here") as caught:
        features.check_supported(model)
    assert "jnt_stiffness" not in str(caught.value)


def test_what_only_mjx_lacks_is_said_too():
    model = mujoco.MjModel.from_xml_string(double_pendulum(rest='<sensor><contact site="s" data="force"/></sensor>'))
    features.check_supported(model)
    with pytest.raises(UnsupportedModelError, match=r"MJX, which computes the step, does not implement.*[Ss]ite"):
        counterpart.mjx_model(model)
