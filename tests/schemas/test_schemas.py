import math
from typing import Any

import numpy as np
import pytest

from dynamic_sparsity.errors import CorruptStoreError, InvalidSettingError, UnknownNameError
from dynamic_sparsity.schemas import (
    FLAG_BITS,
    SCHEMA_NAMES,
    episode_columns,
    fill_values,
    load_schema,
    row_arrays,
    statistics_arrays,
    validate,
)
from dynamic_sparsity.schemas.consistency import settings_digest
from dynamic_sparsity.schemas.splits import split_of, splits_of
from dynamic_sparsity.testing import stores as synthetic

SIZES = {"nq": 8, "nv": 7, "na": 1, "nu": 2, "ds": 16, "dx": 15, "da": 2, "nc": 3, "np": 2}


def test_shapes_follow_the_sizes() -> None:
    shapes = {spec.name: spec.shape(SIZES, 5) for spec in row_arrays(SIZES, "stock")}
    assert shapes["state"] == (5, 16)
    assert shapes["J_s"] == (5, 15, 15)
    assert shapes["mask_a"] == (5, 15, 2)
    assert shapes["reward"] == (5,)
    assert shapes["active_any"] == (5, 3)
    assert shapes["contact_force"] == (5, 2)
    assert shapes["qacc_warmstart"] == (5, 7)
    assert len(shapes) == 20


def test_arrays_without_entries_are_left_out() -> None:
    names = {spec.name for spec in row_arrays({**SIZES, "nc": 0, "np": 0, "da": 0}, "converged")}
    assert not names & {"active_any", "active_all", "contact_distance", "contact_force", "action", "J_a", "mask_a"}
    statistics = {spec.name for spec in statistics_arrays({**SIZES, "da": 0})}
    assert "action_mean" not in statistics and "zero_share_a" not in statistics and "action_count" in statistics


def test_only_stock_stores_have_the_warm_start() -> None:
    assert "qacc_warmstart" not in {spec.name for spec in row_arrays(SIZES, "converged")}


@pytest.mark.parametrize("spec", [*row_arrays(SIZES, "stock"), *episode_columns(), *statistics_arrays(SIZES)])
def test_every_array_is_fully_described(spec: Any) -> None:
    assert len(spec.dims) == len(spec.dimension_names)
    assert np.dtype(spec.dtype).name == spec.dtype
    assert spec.unit and spec.description
    assert math.isnan(spec.fill_value) == spec.dtype.startswith("float")
    assert fill_values().get(spec.name) is spec.fill_value or spec.storage == "plain"


def test_only_checked_stores_have_the_difference_from_mujoco() -> None:
    checked = {**SIZES, "nr": 1}
    assert "mujoco_difference" in {spec.name for spec in row_arrays(checked, "converged")}
    assert "mujoco_difference" not in {spec.name for spec in row_arrays(checked, "stock")}
    for sizes in (SIZES, {**SIZES, "nr": 0}):
        assert "mujoco_difference" not in {spec.name for spec in row_arrays(sizes, "converged")}


def test_attributes_of_both_versions_are_valid() -> None:
    present = synthetic.make_attributes()
    validate(present | {"sizes": present["sizes"] | {"nr": 1}}, "store", "present")
    old = dict(FLAG_BITS)
    del old["differs_from_mujoco"]
    validate(present | {"schema_version": "1.0.0", "flag_bits": old}, "store", "old")
    with pytest.raises(CorruptStoreError, match="flag_bits"):
        validate(present | {"flag_bits": {"nonfinite": 0}}, "store", "neither")


def test_a_task_may_remember_numbers_behind_the_state() -> None:
    present = synthetic.make_attributes()
    sizes, names = present["sizes"], [*present["state_names"], "ctrl:motor0"]
    larger = {"sizes": sizes | {"nm": 1, "ds": sizes["ds"] + 1, "dx": sizes["dx"] + 1}}
    validate(present | larger | {"state_names": names, "tangent_names": names}, "store", "here")
    with pytest.raises(CorruptStoreError, match=r"sizes\.ds: found 6, expected nq \+ nv \+ na \+ nm = 7"):
        validate(present | {"sizes": sizes | {"nm": 1}}, "store", "here")


def test_an_action_is_the_control_unless_the_task_has_a_control_of_its_own() -> None:
    present = synthetic.make_attributes()
    other = {"sizes": present["sizes"] | {"nu": 5}}
    with pytest.raises(CorruptStoreError, match=r"sizes\.da: found 2, expected nu = 5"):
        validate(present | other, "store", "here")
    settings = present["settings"] | {"physics_sha256": "0" * 64}
    validate(present | other | {"settings": settings, "settings_sha256": settings_digest(settings)}, "store", "here")


def test_flag_bits_are_distinct_and_fit_the_column() -> None:
    assert sorted(FLAG_BITS.values()) == list(range(len(FLAG_BITS)))
    assert len(FLAG_BITS) < 16


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_schemas_are_valid_schemas(name: str) -> None:
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(load_schema(name))


def test_unknown_schema() -> None:
    with pytest.raises(UnknownNameError, match=r"'dataset'.*store, shard_manifest"):
        load_schema("dataset")


def test_synthetic_attributes_are_valid() -> None:
    validate(synthetic.make_attributes(quaternion=True, stock=True, activations=1), "store", "here")


def changed(**changes: Any) -> dict[str, Any]:
    return {**synthetic.make_attributes(), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dynamics": "exact"}, r'here: dynamics: found "exact", expected enum \["converged", "stock"\]'),
        ({"rows": -1}, "rows: found -1, expected minimum 1"),
        ({"rows": True}, 'rows: found true, expected type "integer"'),
        ({"rows": 7}, "rows: found 7, expected episodes times episode_length = 240"),
        ({"extra": 1}, "'extra' was unexpected"),
        ({"chunk_rows": 20, "shard_rows": 40}, "chunk_rows: found 20, expected a power of two"),
        ({"shard_rows": 81}, "shard_rows modulo chunk_rows: found 1"),
        ({"state_names": ["a"]}, "state_names: found 1, expected ds names = 6"),
        ({"settings": {"seed": 9}}, "settings_sha256"),
        ({"constraints": [{"name": f"c{i}", "kind": "contact"} for i in range(4)]}, "the last np entries"),
        ({"flag_bits": {"nonfinite": 1}}, "flag_bits: found"),
        ({"schema_version": "2.0.0"}, 'schema_version: found "2.0.0"'),
    ],
)
def test_wrong_attributes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CorruptStoreError, match=message):
        validate(changed(**changes), "store", "here")


def test_missing_attributes_are_named() -> None:
    attributes = synthetic.make_attributes()
    del attributes["sizes"]
    with pytest.raises(CorruptStoreError, match="'sizes' is a required property"):
        validate(attributes, "store", "here")


def test_many_errors_are_cut_short() -> None:
    with pytest.raises(CorruptStoreError, match="and 26 more"):
        validate({}, "store", "here")


@pytest.mark.parametrize("name", ["/etc/passwd", "../other", "state/../../x", "a b"])
def test_manifests_name_files_inside_the_store(name: str) -> None:
    manifest = {"schema_version": "1.0.0", "complete": True, "rows": 1, "episodes": 1}
    record = {"sha256": "0" * 64, "bytes": 1}
    validate({**manifest, "files": {"state/c/0/0": record}}, "manifest", "here")
    with pytest.raises(CorruptStoreError, match="expected pattern"):
        validate({**manifest, "files": {name: record}}, "manifest", "here")


def test_settings_digest_ignores_the_order_of_keys() -> None:
    assert settings_digest({"a": 1, "b": {"c": 2, "d": 3}}) == settings_digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert settings_digest({"a": 1}) != settings_digest({"a": 1.0})


def test_each_block_of_ten_has_eight_one_one() -> None:
    for block in splits_of(500).reshape(-1, 10):
        assert np.bincount(block, minlength=3).tolist() == [8, 1, 1]


def test_splits_never_change() -> None:
    # Published stores depend on it.
    assert splits_of(20).tolist() == [0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]


def test_a_longer_data_set_only_adds_splits() -> None:
    assert splits_of(33).tolist() == splits_of(100)[:33].tolist() == [split_of(index) for index in range(33)]


def test_no_split_for_negative_episodes() -> None:
    with pytest.raises(InvalidSettingError, match="-1"):
        split_of(-1)
