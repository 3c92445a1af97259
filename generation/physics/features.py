"""Which models have an exact Jacobian here: an allow-list of the fields of MuJoCo's model.

Every field is in one of three lists. `ANY_VALUE`: the step and its derivative are MuJoCo's whatever is in it, or
physics does not read it. `NEUTRAL`: only one value, that of a model without the feature. `CHOICES`: only some values of
an enumeration. What is in none is refused where it is not zero, so that a feature of a later MuJoCo is not overlooked.
Fields of `opt` have lists of their own, and conditions on more than one field are functions.

A refusal names the elements, what is in the field, and what to do. The tests try every entry.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from dynamic_sparsity.errors import UnsupportedModelError
from dynamic_sparsity.generation.physics import mjx_private

_NAMED_AT_MOST = 5
"""Elements of one feature that a message names."""

ANY_VALUE: tuple[str, ...] = (
    # Sizes, addresses and what the compiler derives.
    "n[a-zBCDMJ]*", "M_*", "B_*", "D_*", "map*", "flg_*", "efm0_*", "efmC_*", "ten_J_*", "signature", "*adr",
    "*num", "tree_*", "exclude_signature", "dof_length", "dof_M0", "dof_simplenum", "*_treeid", "*_invweight0",
    "body_simple", "body_sameframe", "body_margin", "body_subtreemass", "jnt_actuatorid", "tendon_actuatorid",
    "actuator_acc0", "actuator_length0", "actuator_lengthrange", "actuator_cranklength", "tendon_length0", "opt",
    # What is drawn, named or measured.
    "cam_*", "light_*", "geom_castshadow", "mat_*", "tex_*", "skin_*", "vis", "stat", "*_rgba", "*_matid", "*_group",
    "*_user", "names*", "name_*", "paths", "text_*", "tuple_*", "numeric_*", "key_*", "bvh_*", "oct_*", "sensor_*",
    "tendon_width",
    # Flexible bodies and plug-ins are refused by their number.
    "flex_*", "flexedge_*", "plugin_*", "plugin",
    # Physics.
    "qpos0", "qpos_spring", "mesh_*", "hfield_*", "site_*", "wrap_*", "body_parentid", "body_rootid", "body_weldid",
    "body_mocapid", "body_pos", "body_quat", "body_ipos", "body_iquat", "body_mass", "body_inertia", "body_gravcomp",
    "body_contype", "body_conaffinity", "jnt_type", "jnt_bodyid", "jnt_pos", "jnt_axis", "jnt_stiffness", "jnt_limited",
    "jnt_range", "jnt_margin", "jnt_solref", "jnt_solimp", "jnt_actfrclimited", "jnt_actfrcrange", "jnt_actgravcomp",
    "dof_bodyid", "dof_jntid", "dof_parentid", "dof_armature", "dof_damping", "dof_frictionloss", "dof_solref",
    "dof_solimp", "geom_type", "geom_bodyid", "geom_dataid", "geom_contype", "geom_conaffinity", "geom_condim",
    "geom_priority", "geom_solmix", "geom_solref", "geom_solimp", "geom_friction", "geom_margin", "geom_gap",
    "geom_size", "geom_aabb", "geom_rbound", "geom_pos", "geom_quat", "geom_sameframe", "pair_dim", "pair_geom1",
    "pair_geom2", "pair_signature", "pair_solref", "pair_solreffriction", "pair_solimp", "pair_margin", "pair_gap",
    "pair_friction", "tendon_type", "tendon_limited", "tendon_range", "tendon_margin", "tendon_stiffness",
    "tendon_damping", "tendon_frictionloss", "tendon_lengthspring", "tendon_solref_*", "tendon_solimp_*",
    "tendon_actfrclimited", "tendon_actfrcrange", "actuator_trnid", "actuator_gainprm", "actuator_biasprm",
    "actuator_dynprm", "actuator_gear", "actuator_ctrllimited", "actuator_ctrlrange", "actuator_forcelimited",
    "actuator_forcerange", "actuator_actlimited", "actuator_actrange", "actuator_actearly", "actuator_ctrlspec",
    "eq_obj1id", "eq_obj2id", "eq_objtype", "eq_active0", "eq_solref", "eq_solimp", "eq_data", "eq_type",
)  # fmt: skip
"""Fields, or patterns of names of fields, that may hold anything."""


@dataclass(frozen=True)
class Neutral:
    """A field that must hold one value.

    Attributes:
        value: That value, in every entry.
        feature: What the model has where the value is another one.
        remedy: What to do.
    """

    value: int
    feature: str
    remedy: str


NEUTRAL: dict[str, Neutral] = {
    "nflex": Neutral(0, "flexible bodies", "remove the `flex`"),
    "nplugin": Neutral(0, "plug-ins", "remove the plug-in"),
    "body_plugin": Neutral(-1, "a plug-in", "remove the plug-in"),
    "jnt_stiffnesspoly": Neutral(0, "a spring that is not linear", "keep the first number of `stiffness` only"),
    "jnt_springyield": Neutral(0, "a plastic spring", "remove `springyield`"),
    "jnt_plasticadr": Neutral(-1, "a plastic spring", "remove `springyield`"),
    "dof_dampingpoly": Neutral(0, "damping that is not linear", "keep the first number of `damping` only"),
    "geom_plugin": Neutral(-1, "a plug-in", "remove the plug-in"),
    "geom_fluid": Neutral(0, "ellipsoid fluid forces", "remove `fluidshape`: the inertia-box model is supported"),
    "geom_adhesion": Neutral(0, "adhesion", "remove `adhesion`"),
    "geom_surfacevel": Neutral(0, "a moving surface", "remove `surfacevel`"),
    "pair_adhesion": Neutral(0, "adhesion", "remove `adhesion`"),
    "tendon_stiffnesspoly": Neutral(0, "a spring that is not linear", "keep the first number of `stiffness` only"),
    "tendon_dampingpoly": Neutral(0, "damping that is not linear", "keep the first number of `damping` only"),
    "tendon_springyield": Neutral(0, "a plastic spring", "remove `springyield`"),
    "tendon_plasticadr": Neutral(-1, "a plastic spring", "remove `springyield`"),
    "tendon_armature": Neutral(0, "armature", "remove the tendon's `armature`, or put it on its joints"),
    "actuator_plugin": Neutral(-1, "a plug-in", "remove the plug-in"),
    "actuator_damping": Neutral(0, "damping of its own", "put the `damping` on the joint"),
    "actuator_dampingpoly": Neutral(0, "damping of its own", "put the `damping` on the joint"),
    "actuator_armature": Neutral(0, "armature of its own", "put the `armature` on the joint"),
    "actuator_delay": Neutral(0, "a delay, which is hidden state", "remove `delay`"),
    "actuator_history": Neutral(0, "a history, which is hidden state", "remove `nsample`"),
    "actuator_ctrlnum": Neutral(1, "more than one control", "use one actuator for each control"),
    "actuator_outnum": Neutral(1, "more than one force", "use one actuator for each force"),
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A field of an enumeration, some values of which are supported.

    Attributes:
        enumeration: MuJoCo's enumeration.
        prefix: What its members' names begin with.
        legal: The supported members, without the prefix.
        remedy: What to do.
    """

    enumeration: Any
    prefix: str
    legal: tuple[str, ...]
    remedy: str

    def name(self, value: int) -> str:
        """Return a member's name without the prefix.

        Args:
            value: Of the member.
        """
        return str(self.enumeration(value).name).removeprefix(self.prefix)


CHOICES: dict[str, Choice] = {
    "actuator_dyntype": Choice(mujoco.mjtDyn, "mjDYN_", ("NONE",), "use an actuator without activation"),
    "actuator_gaintype": Choice(
        mujoco.mjtGain, "mjGAIN_", ("FIXED", "AFFINE"), "use a motor, a position, velocity or damper actuator"
    ),
    "actuator_biastype": Choice(
        mujoco.mjtBias, "mjBIAS_", ("NONE", "AFFINE"), "use a motor, a position, velocity or damper actuator"
    ),
    "actuator_trntype": Choice(
        mujoco.mjtTrn, "mjTRN_", ("JOINT", "JOINTINPARENT", "TENDON", "SITE"), "act on a joint, tendon or site"
    ),
    "opt.solver": Choice(
        mujoco.mjtSolver, "mjSOL_", ("NEWTON",), "set `solver=\"Newton\"`: the solution is the same one"
    ),
    "opt.cone": Choice(mujoco.mjtCone, "mjCONE_", ("PYRAMIDAL",), "set `cone=\"pyramidal\"`"),
    "opt.integrator": Choice(
        mujoco.mjtIntegrator, "mjINT_", ("EULER", "IMPLICITFAST"), "set `integrator=\"Euler\"` or \"implicitfast\""
    ),
}  # fmt: skip

ENABLE_FLAGS = ("ENERGY", "FWDINV", "INVDISCRETE")
"""Flags that may be enabled: they change no step."""

OPTION_NEUTRAL: dict[str, Neutral] = {
    "noslip_iterations": Neutral(0, "a no-slip solver", "set `noslip_iterations=\"0\"`"),
}  # fmt: skip

OPTION_ANY_VALUE: tuple[str, ...] = (
    "timestep", "gravity", "wind", "magnetic", "density", "viscosity", "impratio", "tolerance", "ls_tolerance",
    "noslip_tolerance", "iterations", "ls_iterations", "ccd_*", "sdf_*", "o_*", "jacobian", "disableflags",
    "enableflags", "disableactuator", "sleep_tolerance",
)  # fmt: skip

_KINDS = {
    "body": mujoco.mjtObj.mjOBJ_BODY, "jnt": mujoco.mjtObj.mjOBJ_JOINT, "dof": mujoco.mjtObj.mjOBJ_JOINT,
    "geom": mujoco.mjtObj.mjOBJ_GEOM, "pair": mujoco.mjtObj.mjOBJ_PAIR, "tendon": mujoco.mjtObj.mjOBJ_TENDON,
    "actuator": mujoco.mjtObj.mjOBJ_ACTUATOR, "eq": mujoco.mjtObj.mjOBJ_EQUALITY, "site": mujoco.mjtObj.mjOBJ_SITE,
}  # fmt: skip


def _element(model: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> str:
    noun = str(kind.name).removeprefix("mjOBJ_").lower()
    name = mujoco.mj_id2name(model, kind, index)
    return f'{noun} "{name}"' if name else f"{noun} {index}"


def _elements(model: mujoco.MjModel, field: str, indices: Any) -> str:
    """Return the names of the elements of a field's entries."""
    prefix = field.split("_")[0]
    owners = model.dof_jntid[indices] if prefix == "dof" else indices
    unique = list(dict.fromkeys(int(i) for i in owners))
    names = ", ".join(_element(model, _KINDS[prefix], i) for i in unique[:_NAMED_AT_MOST])
    more = f" and {len(unique) - _NAMED_AT_MOST} more" if len(unique) > _NAMED_AT_MOST else ""
    return names + more


def fields(structure: Any) -> list[str]:
    """Return the names of the data fields of MuJoCo's model, or of its options.

    Args:
        structure: `MjModel` or `MjOption`.
    """
    return [n for n in dir(structure) if not n.startswith("_") and not callable(getattr(structure, n))]


def classified(name: str) -> bool:
    """Return whether a field of MuJoCo's model is in one of the lists.

    Args:
        name: Of the field.
    """
    return name in NEUTRAL or name in CHOICES or any(fnmatch.fnmatchcase(name, p) for p in ANY_VALUE)


def option_classified(name: str) -> bool:
    """Return whether a field of MuJoCo's options is in one of the lists.

    Args:
        name: Of the field.
    """
    listed = name in OPTION_NEUTRAL or f"opt.{name}" in CHOICES
    return listed or any(fnmatch.fnmatchcase(name, p) for p in OPTION_ANY_VALUE)


def _not_neutral(model: mujoco.MjModel) -> Iterator[str]:
    for name, rule in NEUTRAL.items():
        value = np.asarray(getattr(model, name))
        if not value.ndim:
            if value != rule.value:
                yield f"the model has {rule.feature} (`{name}` is {int(value)}): {rule.remedy}"
            continue
        wrong = np.flatnonzero((value.reshape(len(value), value[:1].size) != rule.value).any(axis=1))
        if len(wrong):
            shown = ", ".join(f"{x:g}" for x in value[wrong[0]].flat[:3]) + ", …" * (value[wrong[0]].size > 3)
            yield f"{_elements(model, name, wrong)}: {rule.feature} (`{name}` is {shown}): {rule.remedy}"
    for name, rule in OPTION_NEUTRAL.items():
        value = getattr(model.opt, name)
        if value != rule.value:
            yield f"the model has {rule.feature} (`{name}` is {value}): {rule.remedy}"


def _not_chosen(model: mujoco.MjModel) -> Iterator[str]:
    for name, choice in CHOICES.items():
        legal = [int(getattr(choice.enumeration, choice.prefix + member)) for member in choice.legal]
        short = name.removeprefix("opt.")
        value = np.atleast_1d(getattr(model.opt if short != name else model, short))
        wrong = np.flatnonzero(~np.isin(value, legal))
        if len(wrong):
            who = f"{_elements(model, name, wrong)}: " if short == name else ""
            is_ = choice.name(int(value[wrong[0]]))
            yield f"{who}`{short}` is {is_}; supported: {', '.join(choice.legal)}: {choice.remedy}"


def _flags(model: mujoco.MjModel) -> Iterator[str]:
    for name in dir(mujoco.mjtEnableBit):
        flag = name.removeprefix("mjENBL_")
        if flag != name and flag not in ENABLE_FLAGS and model.opt.enableflags & getattr(mujoco.mjtEnableBit, name):
            yield f"the flag `{flag.lower()}` is enabled: disable it in `<option><flag>`"


def _unknown(model: mujoco.MjModel) -> Iterator[str]:
    for structure, known, prefix in ((model, classified, ""), (model.opt, option_classified, "opt.")):
        for name in fields(structure):
            if not known(name) and np.any(np.asarray(getattr(structure, name)) != 0):
                yield f"`{prefix}{name}` is not zero, and is not known here: a newer MuJoCo's feature"


def _combinations(model: mujoco.MjModel) -> Iterator[str]:
    """Yield conditions on more than one field."""
    opt = model.opt
    medium = opt.density > 0 or opt.viscosity > 0 or bool(np.any(opt.wind))
    if opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST and medium:
        yield 'a medium (`density`, `viscosity` or `wind`) with implicitfast: set `integrator="Euler"`'
    turns = np.isin(model.jnt_type, (mujoco.mjtJoint.mjJNT_BALL, mujoco.mjtJoint.mjJNT_FREE))
    sprung = np.flatnonzero(turns & (model.jnt_stiffness != 0))
    if len(sprung):
        who = _elements(model, "jnt_", sprung)
        yield f"{who}: a spring of a rotation, whose derivative MJX loses at rest: use hinges, or remove `stiffness`"
    feedback = (model.actuator_gainprm[:, 1] != 0) | (model.actuator_biasprm[:, 1] != 0)
    joint = np.isin(model.actuator_trntype, (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT))
    on_ball = np.zeros_like(joint)
    on_ball[joint] = model.jnt_type[model.actuator_trnid[joint, 0]] == mujoco.mjtJoint.mjJNT_BALL
    to_site = (model.actuator_trntype == mujoco.mjtTrn.mjTRN_SITE) & (model.actuator_trnid[:, 1] >= 0)
    turning = to_site & (model.actuator_gear[:, 3:] != 0).any(axis=1)
    for what, where in (("a ball joint", on_ball), ("the rotation between two sites", turning)):
        found = np.flatnonzero(feedback & where)
        if len(found):
            who = _elements(model, "actuator_", found)
            yield f"{who}: feedback of the position of {what}, whose derivative MJX loses at rest: use a motor"


def _equality(model: mujoco.MjModel) -> Iterator[str]:
    disabled = mujoco.mjtDisableBit.mjDSBL_EQUALITY | mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    if model.opt.disableflags & disabled:
        return
    names = Choice(mujoco.mjtEq, "mjEQ_", ("JOINT", "TENDON"), "")
    wrong = np.flatnonzero(~np.isin(model.eq_type, (mujoco.mjtEq.mjEQ_JOINT, mujoco.mjtEq.mjEQ_TENDON)))
    if len(wrong):
        kind = names.name(int(model.eq_type[wrong[0]]))
        # Measured on models at speed: C's reference acceleration is -J̇ v - b J v - k r, MJX's the same without -J̇ v.
        why = ", which MJX does not step as MuJoCo C does: its constraint lacks a term of the velocity"
        yield (
            f"{_elements(model, 'eq_', wrong)}: `eq_type` is {kind}{why * (kind in ('WELD', 'CONNECT'))}; supported: "
            f"{', '.join(names.legal)}: remove the constraint, or disable all in `<option><flag>`"
        )


def _pairs(model: mujoco.MjModel) -> Iterator[str]:
    """Yield pairs of geoms that MJX can't collide."""
    off = mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    if model.opt.disableflags & off:
        return
    no_margin = (mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_HFIELD)
    remedy = "use other shapes, or keep the pair apart with `contype` and `conaffinity`"
    for first, second, pair in mjx_private.geom_pairs(model):
        kinds = [mujoco.mjtGeom(model.geom_type[g]) for g in (first, second)]
        names = " and ".join(_element(model, mujoco.mjtObj.mjOBJ_GEOM, int(g)) for g in (first, second))
        words = " and ".join(str(k.name).removeprefix("mjGEOM_").lower() for k in kinds)
        if not mjx_private.has_collision_function(*kinds):
            yield f"{names}: contacts of {words}, which MJX does not compute: {remedy}"
            return
        margin = model.pair_margin[pair] if pair >= 0 else model.geom_margin[[first, second]].sum()
        if margin and any(k in no_margin for k in kinds):
            yield f"{names}: a `margin` of contacts of {words}, which MJX does not compute: set it to 0"
            return


def _uneven_pairs(model: mujoco.MjModel) -> Iterator[str]:
    """Yield explicit pairs whose friction depends on the direction: MJX turns contact frames about the normal."""
    off = mujoco.mjtDisableBit.mjDSBL_CONTACT | mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    if model.opt.disableflags & off:
        return
    friction, dimensions = model.pair_friction, model.pair_dim
    slides = (dimensions > 1) & (friction[:, 0] != friction[:, 1])
    rolls = (dimensions > 4) & (friction[:, 3] != friction[:, 4])
    uneven = np.flatnonzero(slides | rolls)
    if len(uneven):
        yield (
            f"{_elements(model, 'pair_', uneven)}: a `friction` that depends on the direction, which MJX does not "
            "compute as MuJoCo C does, as its contact frames are turned: give both directions one value"
        )


_CHECKS = (_not_neutral, _not_chosen, _flags, _combinations, _equality, _pairs, _uneven_pairs, _unknown)


def check_supported(model: mujoco.MjModel) -> None:
    """Check that a model has only features whose step and derivative are MuJoCo's here.

    Args:
        model: MuJoCo's model.

    Raises:
        UnsupportedModelError: It has others; the message names the elements, and says what to do.
    """
    found = list(dict.fromkeys(text for check in _CHECKS for text in check(model)))
    if found:
        listed = "".join(f"\n- {text}." for text in found)
        raise UnsupportedModelError(f"No exact Jacobian is implemented for what this model has:{listed}")
