"""Versions of the data: semantic, apart from the code's, each with a tag and an entry in the data's own changelog."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from dynamic_sparsity.errors import InvalidSettingError
from dynamic_sparsity.loaders.hub.publication import Publication, PublishedStore

_NUMBER: Final = "(0|[1-9][0-9]{0,8})"
TAG_PATTERN: Final = re.compile(rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}")
CHANGELOG_FILE: Final = "CHANGELOG.md"
HEADING: Final = """# Changes of the data

Versions are of the data, not of the code: the first number changes when data change that were published, the second
when some are added, the third when only what describes them changes. A version is a tag of this repository and never
changes.
"""


def parse_tag(tag: str) -> tuple[int, int, int]:
    """Return a tag as three numbers.

    Args:
        tag: "v1.0.0", or without the "v".

    Raises:
        InvalidSettingError: It is no semantic version.
    """
    found = TAG_PATTERN.fullmatch(tag)
    if found is None:
        shown = ascii(tag[:40])
        raise InvalidSettingError(f"tag is {shown}; a data version has three numbers of digits 0 to 9, as in 'v1.0.0'")
    major, minor, patch = (int(number) for number in found.groups())
    return major, minor, patch


def spell(version: tuple[int, int, int]) -> str:
    """Return three numbers as a version, without the "v" of its tag.

    Args:
        version: Major, minor, patch.
    """
    return ".".join(map(str, version))


def changes(before: Publication | None, stores: Sequence[PublishedStore]) -> tuple[list[str], list[str], list[str]]:
    """Return which stores were added, changed and removed since a publication, as names.

    Args:
        before: What was published; None for nothing.
        stores: What is to be published.
    """

    def name(store: PublishedStore) -> str:
        return f"{store.task}/{store.policy}{'' if store.dynamics == 'converged' else f' ({store.dynamics})'}"

    old = {name(store): store.manifest_sha256 for store in (before.stores if before else ())}
    new = {name(store): store.manifest_sha256 for store in stores}
    added = [store for store in new if store not in old]
    changed = [store for store in new if store in old and new[store] != old[store]]
    return added, changed, [store for store in old if store not in new]


def check_version(tag: str, tags: Sequence[str], before: Publication | None, stores: Sequence[PublishedStore]) -> None:
    """Refuse a version that is not above all others, or too small a step for what has changed.

    Args:
        tag: The version to be published; no tag has it yet.
        tags: Tags of the repository.
        before: What was published last; None for nothing.
        stores: What is to be published.

    Raises:
        InvalidSettingError: The version does not fit.
    """
    version = parse_tag(tag)
    released = [parse_tag(other) for other in tags if TAG_PATTERN.fullmatch(other)]
    latest = max(released, default=None)
    if latest is None:
        return
    added, changed, removed = changes(before, stores)
    major, minor, patch = latest
    least = (major + 1, 0, 0) if changed or removed else (major, minor + 1, 0) if added else (major, minor, patch + 1)
    if version < least:
        why = "data changed or went" if changed or removed else "data were added" if added else "no data changed"
        raise InvalidSettingError(
            f"tag is {tag!r}, but the last version is {spell(latest)} and {why} since: the next is at least "
            f"v{spell(least)}"
        )


def changelog(previous: str | None, tag: str, before: Publication | None, stores: Sequence[PublishedStore]) -> str:
    """Return the data's changelog with an entry for a version; one that has it already is returned as it is.

    Args:
        previous: The changelog of the repository; None for none.
        tag: The version.
        before: What was published last; None for nothing.
        stores: What is to be published.
    """
    title = f"## v{spell(parse_tag(tag))}"
    body = previous.removeprefix(HEADING).strip() if previous else ""
    if title in body.splitlines():
        return previous or ""
    names = ("Added", "Changed", "Removed")
    lines = [
        f"- {kind}: {', '.join(found)}." for kind, found in zip(names, changes(before, stores), strict=True) if found
    ]
    return (
        "\n\n".join(
            part for part in (HEADING.strip(), title, "\n".join(lines or ["- Description only."]), body) if part
        )
        + "\n"
    )
