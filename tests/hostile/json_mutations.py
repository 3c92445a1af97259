"""Hostile JSON: one document, changed in its types, bounds, nesting and names, or in the bytes that spell it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

Document = dict[str, Any]
Place = tuple[Any, Any]
"""A container and a key or index of it."""

PATHS = (
    "../../../outside/planted",
    "a/../../../../outside/planted",
    "/tmp/planted",
    "..",
    ".",
    "",
    "c:\\planted",
    "//host/share",
    "~/planted",
    ".bashrc",
    "con",
    "x/" * 3000,
    "x" * 5000,
    "a\0b",
    "a\nb",
    "a b",
    "file:///etc/passwd",
    "-rf",
)
TEXTS = (
    "<!--<script>",
    "</script><script>alert(1)</script>",
    "/*{script}*/",
    "x[/b]y",
    "[bold]x",
    "\x1b[2J\x1b]0;x\x07",
    "\u202egnp.exe",
    "\ud800",
    "v\u0663",
    "{0.__class__}",
    "%s%n",
    "=cmd|' /C calc'!A0",
    "`id`",
    "| a | b |\n|---|",
    "NaN",
    "é" * 200,
    "😀",
)
NUMBERS = (0, -1, 1, 2, 255, 256, 2**31, 2**32, 2**53 + 1, 2**63, 2**64 - 1, 10**30, 10**400, -(2**63))
FLOATS = (0.0, -0.0, 0.5, 1.0, 1000.0, 1e300, -1e-300, 5e-324, 1e400)
NO_OBJECTS = (b"[]", b"null", b"1", b'"x"', b"", b" ", bytes(64))
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"a": {}}, [None] * 3, "1", "true", [1, 2], {"0": 1})


def mutated(random: Random, document: Document) -> tuple[str, bytes]:
    """What was done, and the bytes of the changed document."""
    kind = random.choice(tuple(SPELLINGS) if random.random() < 0.12 else tuple(CHANGES))
    if kind in SPELLINGS:
        return kind, SPELLINGS[kind](random, encoded(document))
    changed = copy.deepcopy(document)
    places = list(_places(changed))
    if not places:
        return "empty", b"{}"
    # Documents have long lists; their fields shall come as often.
    fields = [place for place in places if isinstance(place[0], dict)]
    container, key = random.choice(fields if fields and random.random() < 0.8 else places)
    field = key if isinstance(key, str) and len(key) < 30 and key.isidentifier() else type(key).__name__
    CHANGES[kind](random, container, key)
    return f"{kind} of {field}", encoded(changed)


def encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=True).encode()


def _places(node: Any) -> list[Place]:
    found: list[Place] = []
    pending = [node]
    while pending:
        container = pending.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                pending.append(container[key])
    return found


def _type(random: Random, container: Any, key: Any) -> None:
    container[key] = random.choice((*OTHERS, *NUMBERS, *FLOATS))


def _bound(random: Random, container: Any, key: Any) -> None:
    value = container[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        container[key] = random.choice(NUMBERS)
        return
    nudged = (
        value + 1,
        value - 1,
        -value,
        value * 2,
        value * 2**36,
        value // 2,
        value % 10**9 + 0.5,
        str(value),
        [value],
    )
    container[key] = random.choice((*nudged, *NUMBERS))


def _name(random: Random, container: Any, key: Any) -> None:
    container[key] = random.choice((*PATHS, *TEXTS))


def _key(random: Random, container: Any, key: Any) -> None:
    if isinstance(container, dict):
        container[random.choice((*PATHS, *TEXTS, str(key).upper(), f"{key} ", "__class__"))] = container.pop(key)
    else:
        container.insert(key, copy.deepcopy(container[key]))


def _missing(random: Random, container: Any, key: Any) -> None:
    del container[key]


def _more(random: Random, container: Any, key: Any) -> None:
    value = container[key]
    if isinstance(value, list):
        value.extend(copy.deepcopy(value) * random.choice((1, 1000)) or [None] * 1000)
    elif isinstance(value, dict):
        value.update({f"{random.choice(PATHS[:5])}{i}": copy.deepcopy(value) for i in range(random.choice((1, 50)))})
    else:
        container[key] = [value] * random.choice((2, 100_000))


def _swapped(random: Random, container: Any, key: Any) -> None:
    keys = list(container) if isinstance(container, dict) else range(len(container))
    other = random.choice(list(keys))
    container[key], container[other] = container[other], container[key]


def _nested(random: Random, container: Any, key: Any) -> None:
    value = container[key]
    for _ in range(random.choice((1, 20, 60, 400))):
        value = {"a": value} if random.random() < 0.5 else [value]
    container[key] = value


CHANGES: dict[str, Callable[[Random, Any, Any], None]] = {
    "another type": _type,
    "another number": _bound,
    "a hostile text": _name,
    "a hostile key": _key,
    "absence": _missing,
    "repetition": _more,
    "an exchange": _swapped,
    "nesting": _nested,
}


def _with(text: bytes, value: bytes) -> bytes:
    return text.rstrip()[:-1] + b',"x":' + value + b"}"


def _deep(random: Random, text: bytes) -> bytes:
    depth = random.choice((5_000, 200_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    inner = opening * depth + b"1" + closing * depth
    return inner if random.random() < 0.3 else _with(text, inner)


def _cut(random: Random, text: bytes) -> bytes:
    return text[: random.randrange(len(text))]


def _flipped(random: Random, text: bytes) -> bytes:
    changed = bytearray(text)
    for _ in range(random.choice((1, 1, 5))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _doubled(random: Random, text: bytes) -> bytes:
    key = random.choice(tuple(json.loads(text)) or ("a",))
    value = random.choice((b"null", b"{}", b"-1", b'"x"', b"1e999"))
    return text.rstrip()[:-1] + b"," + json.dumps(key).encode() + b":" + value + b"}"


SPELLINGS: dict[str, Callable[[Random, bytes], bytes]] = {
    "depth": _deep,
    "a cut": _cut,
    "flipped bits": _flipped,
    "a key twice": _doubled,
    "a constant": lambda random, text: text.replace(b":1", b":NaN", 1) if b":1" in text else b'{"a": Infinity}',
    "another encoding": lambda random, text: text.decode().encode(random.choice(("utf-16", "utf-32", "utf-8-sig"))),
    "no object": lambda random, text: random.choice((*NO_OBJECTS, b"[" + text + b"]")),
    "a long number": lambda random, text: _with(text, b"9" * random.choice((5_000, 3_000_000))),
    "something behind": lambda random, text: text + random.choice((b"}", b"\0", text, b"garbage")),
    "no UTF-8": lambda random, text: text.rstrip()[:-1] + b',"\xff\xfe":"\xc3\x28"}',
}
