"""What happens to files without anybody's will: every file of a store, damaged in every way, the seals as they were."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from stores import Change, Template, given
from trials import Arguments, Hostile


def accidents(template: Template, verify: str = "sha256") -> Iterator[Hostile]:
    """Every file of a store × everything that can happen to it; the kinds are "<what> of <array or document>".

    Args:
        template: The store.
        verify: As of `load_dataset`.
    """
    names = [*template.names, "manifest.json"]
    for name in names:
        for what, changes in _damages(template, name, names).items():
            make = given(template, lambda changes=changes: changes, sealed=False)

            def arguments(box: Path, make: Callable[[Path], Path] = make) -> Arguments:
                return {"path": str(make(box / "in")), "verify": verify}

            yield Hostile(f"{what} of {name}", "load", arguments, template.digests, stays=True)


def _damages(template: Template, name: str, names: list[str]) -> dict[str, dict[str, Change]]:
    good = template.read(name)
    found: dict[str, dict[str, Change]] = {
        "deletion": {name: None},
        "emptying": {name: b""},
        "a cut by a byte": {name: good[:-1]},
        "a cut by half": {name: good[: len(good) // 2]},
        "a byte more": {name: good + b"\0"},
        "zeros": {name: bytes(len(good))},
        "a FIFO": {name: os.mkfifo},
        "a folder": {name: os.mkdir},
    }
    for place, at in {"first": 0, "middle": len(good) // 2, "last": len(good) - 1}.items():
        changed = bytearray(good)
        changed[at] ^= 0x10
        found[f"a flip of the {place} byte"] = {name: bytes(changed)}
    if (other := _likely(template, name, names)) is not None:
        found["an exchange"] = {name: template.read(other), other: good}
        found["a duplicate"] = {name: template.read(other)}
    # What changes nothing is no damage.
    return {what: made for what, made in found.items() if any(template.read(one) != new for one, new in made.items())}


def _likely(template: Template, name: str, names: list[str]) -> str | None:
    """The file that this one would be mistaken for: of its size if there is one, and of its array if there is one."""
    good, array = template.read(name), name.partition("/c")[0]

    def likeness(other: str) -> tuple[bool, bool, bool]:
        contents = template.read(other)
        return contents != good, len(contents) == len(good), other.partition("/c")[0] == array

    other = max((one for one in names if one != name), key=likeness)
    return other if likeness(other)[0] else None
