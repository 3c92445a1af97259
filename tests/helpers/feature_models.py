"""A double pendulum with any feature of MuJoCo, as MJCF."""

from __future__ import annotations

_BODIES = """<body pos="0 0 2"><joint name="a" type="hinge" axis="0 1 0" damping=".1" {a}/>
    <geom name="upper" size=".05 .2" type="capsule" pos="0 0 -.2" {geom}/><site name="s" pos="0 .1 -.3"/>
    <body name="lower" pos="0 0 -.4" {body}><joint name="b" type="hinge" axis="1 1 0" damping=".2" {b}/>
    <geom size=".05 .2" type="capsule" pos="0 .1 -.2" mass="1"/><site name="t" pos=".1 0 -.3"/></body></body>"""
_MODEL = """<mujoco>{top}<option timestep="0.01" {option}>{flags}</option><worldbody>{bodies}{world}</worldbody>
    {tendon}<actuator>{actuator}</actuator>{rest}</mujoco>"""
MOTORS = '<motor name="m" joint="a" ctrlrange="-1 1"/><motor joint="b" gear="2"/>'


def double_pendulum(**parts: str) -> str:
    """Return the MJCF.

    Args:
        **parts: Attributes of the joints `a` and `b`, of the `geom` of the upper body, of the lower `body` and of
            `option`; and elements: `flags`, `world`, `tendon`, `actuator`, and `top` and `rest` of the whole model.
    """
    bodies = _BODIES.format(**{name: parts.get(name, "") for name in ("a", "b", "geom", "body")})
    named = {name: parts.get(name, "") for name in ("top", "option", "flags", "world", "tendon", "rest")}
    return _MODEL.format(bodies=bodies, actuator=parts.get("actuator", MOTORS), **named)


def fixed_tendon(attributes: str) -> str:
    """Return the element of a tendon `t` between the two joints."""
    joints = '<joint joint="a" coef="1"/><joint joint="b" coef="-.5"/>'
    return f'<tendon><fixed name="t" {attributes}>{joints}</fixed></tendon>'


def ground(height: float, attributes: str = "") -> str:
    """Return the element of a floor."""
    return f'<geom name="floor" type="plane" size="5 5 .1" pos="0 0 {height}" {attributes}/>'
