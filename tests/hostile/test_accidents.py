"""Accidental damage: no file of a store can be damaged in any way without an error, or the right rows."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest
from accidents import accidents
from stores import Template
from trials import Campaign

SAMPLE = 37
"""Of every so many damages one is tried in the fast tests."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template.make(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    with Campaign(tmp_path_factory.mktemp("accidents")) as campaign:
        yield campaign


def test_some_damages_of_every_kind(template: Template, campaign: Campaign) -> None:
    record = campaign.run(itertools.islice(accidents(template), 0, None, SAMPLE))
    assert not record.findings, record.summary()
    assert record.inputs >= 30


@pytest.mark.slow
def test_no_damage_is_silent(template: Template, campaign: Campaign) -> None:
    record = campaign.run(accidents(template))
    record.keep()
    assert not record.findings, record.summary()
    assert record.inputs >= 1500 and record.outcomes["refused"] >= 1500
    print(record.summary())


@pytest.mark.slow
def test_what_is_silent_if_only_sizes_are_checked(template: Template, campaign: Campaign) -> None:
    """Changed bytes of uncompressed arrays, files of one size in each other's place: docs/security.md lists them."""
    record = campaign.run(accidents(template, "size"))
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
