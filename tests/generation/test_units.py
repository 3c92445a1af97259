"""Units of work: planned up front, the same ones for everybody."""

from __future__ import annotations

import json
from pathlib import Path

import fake_unit_runner
import pytest

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.generation.jobs.units import Job, Unit, plan_units, unfinished


def planned(units: int) -> list[Unit]:
    wanted = fake_unit_runner.settings(units)
    return plan_units(wanted, wanted.store_path(Path("data")), fake_unit_runner.FakeUnitRunner().describe(wanted))


def test_units_fill_the_store():
    units = planned(5)
    assert [unit.index for unit in units] == list(range(5))
    assert sum(unit.rows for unit in units) == (5 * 4 - 1) * 20
    assert [shard for unit in units for shard in unit.shards] == list(range(5))
    assert all(unit.simulated == 4 for unit in units) and units[-1].episodes == 3
    assert [unit.first_row for unit in units] == [0, 80, 160, 240, 320]


def test_units_travel_as_json():
    for unit in planned(3):
        assert Unit.from_document(json.loads(json.dumps(unit.document()))) == unit


def test_unfinished():
    assert [unit.index for unit in unfinished(planned(5), {1, 4})] == [1, 4]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_jobs_share_out_all_units(count):
    units = planned(5)
    shares = [Job(index, count).select(units, before=3) for index in range(count)]
    assert sorted(unit.index for share in shares for unit in share) == list(range(5))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("index", "count"), [(-1, 2), (2, 2), (0, 0)])
def test_wrong_jobs(index, count):
    with pytest.raises(InvalidSettingError, match="must be"):
        Job(index, count)
