"""Accidental damage: no file of a store can be damaged in any way without an error, or the right rows."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator

import pytest
from accidents import accidents
from stores import Template
from trials import Campaign

SAMPLE, PART = 37, 4
"""Of so many damages one is tried in the fast tests, and in the slow ones without `--exhaustive`; what happens to a
file is one of 13 things, so that each of them is tried on many files."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template.make(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    with Campaign(tmp_path_factory.mktemp("accidents")) as campaign:
        yield campaign


@pytest.mark.slow
def test_some_damages_of_every_kind(template: Template, campaign: Campaign) -> None:
    record = campaign.run(itertools.islice(accidents(template), 0, None, SAMPLE))
    assert not record.findings, record.summary()
    assert record.inputs >= 30


@pytest.fixture(scope="module")
def part(exhaustive: bool) -> int:
    return 1 if exhaustive or os.environ.get("HOSTILE_ALL") == "1" else PART


@pytest.mark.slow
def test_no_damage_is_silent(template: Template, campaign: Campaign, part: int) -> None:
    record = campaign.run(itertools.islice(accidents(template), 0, None, part))
    record.keep()
    assert not record.findings, record.summary()
    assert min(record.inputs, record.outcomes["refused"]) >= 1500 // part
    print(record.summary())


@pytest.mark.slow
def test_what_is_silent_if_only_sizes_are_checked(template: Template, campaign: Campaign, part: int) -> None:
    """Changed bytes of uncompressed arrays, files of one size in each other's place: docs/security.md lists them."""
    record = campaign.run(itertools.islice(accidents(template, "size"), 0, None, part))
    silent = Counter((one.kind.partition(" of ")[0], one.kind.rpartition(" of ")[2]) for one in record.findings)
    assert {one.what for one in record.findings} <= {"wrong data"}, record.summary()
    for what, name in silent:
        array = name.partition("/")[0]
        codecs = template.documents[f"{array}/zarr.json"]["codecs"][0]["configuration"]["codecs"]
        packed = any(codec["name"] == "blosc" for codec in codecs)
        swapped = what in ("an exchange", "a duplicate")
        assert swapped or (what in ("a flip", "zeros") and not packed), (what, name)
    print(record.summary())
    assert silent
