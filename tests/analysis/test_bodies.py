"""Bodies of large systems, and what touches: each number against a plain loop, on made-up stores."""

from __future__ import annotations

import numpy as np
import pytest

from dynamic_sparsity.analysis.bodies import BodyCounter, body_graph, parts_of
from dynamic_sparsity.analysis.collecting import collect
from dynamic_sparsity.analysis.sparsity import MODES, modes_of
from dynamic_sparsity.analysis.spectrum import tangent_scale
from dynamic_sparsity.analysis.study import StudyOptions, study_store, to_json
from dynamic_sparsity.analysis.touching import contact_sets, touching_parts
from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.load import open_dataset
from dynamic_sparsity.testing import make_attributes, make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A free body and seven hinges: 26 variables."""
    path = tmp_path_factory.mktemp("data") / "Pendulums" / "noise.zarr"
    return make_store(path, quaternion=True, hinges=7, activations=1, actions=3, early={1: 7})


@pytest.fixture(scope="module")
def dataset(store):
    return open_dataset(store)


def test_bodies_of_a_model():
    metadata = make_attributes(quaternion=True, hinges=2, activations=1)
    metadata["joints"][1]["name"] = "knee_joint"
    found = parts_of(metadata)
    assert found.names == ["base", "knee", "hinge1", "activation 0"]
    assert found.places == [[0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13], [6, 14], [7, 15], [16]]
    metadata["sizes"] |= {"nm": 2, "dx": 19}
    assert parts_of(metadata).names[-1] == "last control"
    assert parts_of(metadata).places[-1] == [17, 18]


def test_body_graph_against_a_loop(dataset):
    found, parts = body_graph(dataset), parts_of(dataset.metadata)
    rows, units = dataset[:], tangent_scale(dataset)
    assert found.rows.sum() == len(dataset)
    masks = {
        ("stored", "s"): rows["mask_s"] == 1,
        ("stored", "a"): rows["mask_a"] == 1,
        ("coarse", "s"): np.abs(rows["J_s"]) * (units / units[:, None]) >= 1e-2,
        ("coarse", "a"): np.abs(rows["J_a"]) / units[:, None] >= 1e-2,
    }
    modes = modes_of(rows["active_any"], dataset.metadata)
    for (meaning, which), present in masks.items():
        for number, mode in enumerate(MODES):
            chosen = present[modes == number]
            for effect, places in enumerate(parts.places):
                causes = parts.places if which == "s" else [[action] for action in range(3)]
                for cause, others in enumerate(causes):
                    expected = chosen[:, places][:, :, others].any(axis=(1, 2)).mean()
                    assert found.share(meaning, which, mode)[effect, cause] == pytest.approx(expected)


def test_densities_leave_out_the_bodies_themselves(dataset):
    """Pendulums do not influence each other, and all actions drive the one activation."""
    found = body_graph(dataset)
    assert found.density("stored") == found.union_density("stored") == 0
    assert np.isnan(found.share("stored", "s", "contact")).sum() == 0
    with pytest.raises(InvalidSettingError, match="jacobians=True"):
        collect(dataset, BodyCounter(dataset))


def test_what_touches():
    metadata = make_attributes(pairs=0)
    pairs = [("floor", "left_foot1"), ("left_foot2", "floor"), ("hand", "box"), ("ground", "floor"), ("floor", "7")]
    metadata["contact_pairs"] = [{"name": "", "geom1": one, "geom2": other} for one, other in pairs]
    assert touching_parts(metadata) == ["left_foot", "left_foot", "hand/box", "ground/floor", "7"]


def test_contact_sets_against_a_loop(dataset):
    """Both geoms of the made-up pairs are one part."""
    found = {one.parts: one for one in contact_sets(dataset)}
    rows = dataset[:]
    touching = rows["active_any"][:, -2:].any(axis=1)
    assert set(found) == {(), ("geom",)}
    for parts, chosen in (((), ~touching), (("geom",), touching)):
        assert found[parts].rows == chosen.sum()
        assert found[parts].sparsity_s == pytest.approx((rows["mask_s"][chosen] == 0).mean())
        assert found[parts].sparsity_a == pytest.approx((rows["mask_a"][chosen] == 0).mean())
    assert found[()].coarse_s >= found[()].sparsity_s


def test_contact_sets_without_contacts(tmp_path):
    made = make_store(tmp_path / "Pendulums" / "noise.zarr", pairs=0, limits=0)
    assert [(one.parts, one.rows) for one in contact_sets(open_dataset(made))] == [((), 240)]


@pytest.mark.slow
def test_large_systems_are_studied_and_drawn_by_bodies(store, tmp_path):
    from dynamic_sparsity.analysis.files import analyze

    (study,) = analyze([store], tmp_path / "large", options=StudyOptions(map_rows=0), formats=["png"])
    assert study.bodies is not None
    assert study.bodies.names[0] == "base"
    assert (tmp_path / "large/noise/Pendulums/bodies.png").is_file()
    assert "bodies](noise/Pendulums/bodies.png)" in (tmp_path / "large/README.md").read_text()
    before = (tmp_path / "large/noise/Pendulums/bodies.png").stat().st_mtime_ns
    (again,) = analyze([store], tmp_path / "large", options=StudyOptions(map_rows=0), formats=["png"])
    assert to_json(again) == to_json(study)
    assert (tmp_path / "large/noise/Pendulums/bodies.png").stat().st_mtime_ns == before, "not drawn again"
    small = make_store(tmp_path / "data" / "Pendulums" / "noise.zarr")
    assert study_store(small, StudyOptions(map_rows=0)).bodies is None


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["q FR_hip_joint", "q FR_calf_joint", "v RL_hip_joint"], ["q FR leg", "v RL leg"]),
        (["q fl_hx", "q fl_kn", "q hr_hy"], ["q FL leg", "q HR leg"]),
        (["q abduction_front_left", "q knee_front_left", "q hip_hind_right"], ["q front left leg", "q hind right leg"]),
        (["q left_hip_pitch_joint", "q left_knee_joint", "v waist_yaw_joint"], ["q left leg", "v waist"]),
        (["q Left_Ankle_Roll", "ctrl Left_Elbow_Yaw", "q Left_Hip_Yaw"], ["q left leg", "ctrl left arm"]),
        (["q joint0.x", "q joint0.rz", "q right_knee"], ["q joint0", "q right leg"]),
        (["q finger_joint1", "q finger_joint2", "q joint1"], ["q finger", "q joint"]),
    ],
)
def test_names_of_a_limb(names, groups):
    from dynamic_sparsity.analysis.task_figures import _limbs

    assert list(_limbs(names)) == groups
