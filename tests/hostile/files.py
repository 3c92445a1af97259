"""Hostile single files: HDF5, policies, results, leaderboards, trained networks."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from json_mutations import PATHS, TEXTS, mutated
from trials import Arguments, Hostile


def flipped(random: Random, contents: bytes) -> tuple[str, bytes]:
    """Bytes with bits flipped, cut off, emptied, exchanged or lengthened."""
    kind = random.choice(("flip", "flip", "flip", "flips", "cut", "zeros", "longer", "exchange"))
    changed = bytearray(contents)
    at = random.randrange(len(changed))
    if kind == "flip":
        changed[at] ^= 1 << random.randrange(8)
    elif kind == "flips":
        for _ in range(8):
            changed[random.randrange(len(changed))] = random.choice((0, 1, 127, 128, 255))
    elif kind == "cut":
        changed = changed[:at]
    elif kind == "zeros":
        changed[at : at + 64] = bytes(len(changed[at : at + 64]))
    elif kind == "longer":
        changed += bytes(random.choice((1, 4096)))
    else:
        other = random.randrange(len(changed))
        changed[at : at + 16], changed[other : other + 16] = changed[other : other + 16], changed[at : at + 16]
    return kind, bytes(changed)


def one_file(
    kind: str, reader: str, name: str, contents: bytes, expect: Mapping[str, str] | None, **beside: bytes
) -> Hostile:
    """A file in the folder `in`, with others beside it by suffix."""

    def make(box: Path) -> Arguments:
        path = box / "in" / name
        path.write_bytes(contents)
        for suffix, more in beside.items():
            path.with_suffix(f".{suffix}").write_bytes(more)
        return {"path": str(path)}

    return Hostile(kind, reader, make, expect)


def hdf5_mutations(path: Path, expect: Mapping[str, str], seed: int, count: int) -> Iterator[Hostile]:
    """HDF5 files with damaged bytes, and with another structure under good ones."""
    random, contents = Random(seed), path.read_bytes()
    header = min(len(contents), 16_384)
    for _ in range(count):
        if random.random() < 0.4:
            kind, head = flipped(random, contents[:header])
            changed = head + contents[header:]
        else:
            kind, changed = flipped(random, contents)
        # Bits of HDF5 that nothing reads may change without harm.
        yield one_file(f"HDF5: {kind}", "hdf5", "rows.h5", changed, expect)


def hdf5_structures(path: Path, expect: Mapping[str, str]) -> Iterator[Hostile]:
    """HDF5 files that link elsewhere, or whose parts have other types, shapes or sizes; always the same."""
    import h5py

    def secret(file: Any) -> str:
        return str(Path(file.filename).parents[2] / "outside/folder/secret.bin")

    def replaced(name: str, **options: Any) -> Callable[[Any], None]:
        def change(file: Any) -> None:
            del file[name]
            file.create_dataset(name, **options)

        return change

    def external(file: Any) -> None:
        shape, dtype = file["state"].shape, file["state"].dtype
        del file["state"]
        size = int(np.prod(shape)) * dtype.itemsize
        file.create_dataset("state", shape, dtype, external=[(secret(file), 0, size)])

    def linked(link: Callable[[Any], Any]) -> Callable[[Any], None]:
        def change(file: Any) -> None:
            made = link(file)
            del file["state"]
            file["state"] = made

        return change

    def virtual(file: Any) -> None:
        shape, dtype = file["state"].shape, file["state"].dtype
        layout = h5py.VirtualLayout(shape, dtype)
        layout[:] = h5py.VirtualSource(secret(file), "x", shape, dtype)
        del file["state"]
        file.create_virtual_dataset("state", layout)

    def attribute(name: str, value: Any) -> Callable[[Any], None]:
        def change(file: Any) -> None:
            file.attrs[name] = value

        return change

    def metadata(**values: Any) -> Callable[[Any], None]:
        def change(file: Any) -> None:
            file.attrs["metadata"] = json.dumps(json.loads(file.attrs["metadata"]) | values)

        return change

    with h5py.File(path, "r") as file:
        rows, names, attributes = len(file["row"]), list(file), list(file.attrs)
    changes: list[tuple[str, Callable[[Any], None]]] = [
        ("external storage", external),
        ("an external link", linked(lambda file: h5py.ExternalLink(secret(file), "/"))),
        ("a soft link", linked(lambda file: h5py.SoftLink("/next_state"))),
        ("a soft link to itself", linked(lambda file: h5py.SoftLink("/state"))),
        ("a virtual dataset", virtual),
    ]
    for name in names:
        changes += [
            (f"no {name}", lambda file, name=name: file.__delitem__(name)),
            (f"{name} as strings", replaced(name, data=np.full(rows, "x", object), dtype=h5py.string_dtype())),
            (f"{name} as a scalar", replaced(name, data=1.0)),
            (f"{name} without rows", replaced(name, shape=(10**9,), dtype="f4", chunks=(1024,))),
            (f"{name} with more rows", replaced(name, shape=(rows + 1, 4), dtype="f4")),
            (f"{name} of another dtype", replaced(name, data=np.zeros(rows, "c16"))),
            (f"{name} of big-endian", replaced(name, data=np.zeros((rows, 4), ">f4"))),
            (f"{name} as a group", lambda file, name=name: (file.__delitem__(name), file.create_group(name))),
            (f"{name} of wide rows", replaced(name, shape=(rows, 2**28), dtype="f4", chunks=(1, 2**20))),
            (f"{name} of references", replaced(name, shape=(rows,), dtype=h5py.ref_dtype)),
            (f"{name} of variable length", replaced(name, shape=(rows,), dtype=h5py.vlen_dtype(np.float32))),
        ]
    for name in attributes:
        changes.append((f"no attribute {name}", lambda file, name=name: file.attrs.__delitem__(name)))
        for value in (1, -1, "x", "[" * 50_000, np.zeros(0), np.float64("nan"), h5py.Empty("f4"), np.zeros((2, 2))):
            changes.append((f"attribute {name}", attribute(name, value)))
    for rows_now in (10**9, 0, -1, 1.5, "12", None):
        changes.append(("metadata's rows", metadata(rows=rows_now, episodes=rows_now)))
    for text in (*PATHS, *TEXTS):
        changes += [("metadata's task", metadata(task=text)), ("columns", attribute("columns", json.dumps([text])))]
    for kind, change in changes:
        yield Hostile(f"HDF5: {kind}", "hdf5", _changed_hdf5(path, change), expect)


def _changed_hdf5(path: Path, change: Callable[[Any], None]) -> Callable[[Path], Arguments]:
    def make(box: Path) -> Arguments:
        import h5py

        target = box / "in/rows.h5"
        shutil.copyfile(path, target)
        # Some parts can't be changed so: then the file is as it was, and its rows are right.
        with h5py.File(target, "r+") as file, suppress(KeyError, TypeError, OSError, ValueError):
            change(file)
        return {"path": str(target)}

    return make


def policy_mutations(path: Path, expect: Mapping[str, str], seed: int, count: int) -> Iterator[Hostile]:
    """Policies with another header, other arrays or damaged bytes; half of them beside their record."""
    random, contents = Random(seed), path.read_bytes()
    size = int.from_bytes(contents[:8], "little")
    header, data = json.loads(contents[8 : 8 + size]), contents[8 + size :]
    written = path.with_suffix(".json").read_bytes()
    for _ in range(count):
        draw = random.random()
        if draw < 0.5:
            kind, text = mutated(random, header)
            length = random.choice((len(text), len(text), len(text), len(text) + 1, 2**63, 2**40, 0))
            changed = length.to_bytes(8, "little") + text + data
            kind = f"header: {kind}"
        elif draw < 0.7:
            kind, changed = flipped(random, contents)
        else:
            kind, record = mutated(random, json.loads(written))
            # Nothing of the record but its digest bears on the policy.
            only = {name: value for name, value in expect.items() if name.startswith("rows.")}
            yield one_file(f"policy's record: {kind}", "policy", path.name, contents, only, json=record)
            continue
        if random.random() < 0.5:
            yield one_file(f"policy: {kind}", "policy", path.name, changed, expect, json=written)
        else:
            yield one_file(f"policy alone: {kind}", "policy", path.name, changed, None)


def result_mutations(document: Mapping[str, Any], table: bytes, seed: int, count: int) -> Iterator[Hostile]:
    """Folders of results and leaderboards for `leaderboard`."""
    random = Random(seed)
    for _ in range(count):
        if random.random() < 0.75:
            kind, contents = mutated(random, dict(document))
            name = "results/one.json"
        else:
            kind, contents = flipped(random, table)
            name = "board.csv"
            if random.random() < 0.6:
                kind, cells = "a cell", table.decode().splitlines()
                row = cells[1].split(",")
                row[random.randrange(len(row))] = random.choice((*PATHS, *TEXTS, "nan", "1e999", "-1", "9" * 5000))
                contents = "\n".join([cells[0], ",".join(row), ""]).encode("utf-8", "surrogatepass")

        def make(box: Path, contents: bytes = contents, name: str = name) -> Arguments:
            path = box / "in" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(contents)
            source = path if name.endswith(".csv") else path.parent
            page, csv = box / "out/board.md", box / "out/board.csv"
            return {"words": ["leaderboard", str(source), "--out", str(page), "--csv", str(csv)]}

        yield Hostile(f"result: {kind}" if name.endswith("json") else f"leaderboard: {kind}", "command", make, {})


def npz_mutations(path: Path, words: Callable[[Path, Path], list[str]], seed: int, count: int) -> Iterator[Hostile]:
    """Saved networks for `evaluate`.

    Args:
        path: A good one.
        words: The command, from the model and the folder for output.
        seed: Of the draws.
        count: How many.
    """
    random, contents = Random(seed), path.read_bytes()
    with np.load(path) as arrays:
        good = {name: arrays[name] for name in arrays}
    about = json.loads(good["about"].tobytes())
    for _ in range(count):
        draw = random.random()
        if draw < 0.45:
            kind, text = mutated(random, about)
            changed = saved(good | {"about": np.frombuffer(text, np.uint8)})
        elif draw < 0.75:
            kind, changed = _other_arrays(random, good)
        else:
            kind, changed = flipped(random, contents)

        def make(box: Path, changed: bytes = changed) -> Arguments:
            model = box / "in/model.npz"
            model.write_bytes(changed)
            return {"words": words(model, box / "out")}

        yield Hostile(f"model: {kind}", "command", make, {})


def _other_arrays(random: Random, good: Mapping[str, Any]) -> tuple[str, bytes]:
    arrays, name = dict(good), random.choice(list(good))
    kind = random.choice(("missing", "dtype", "shape", "object", "nan", "name", "large", "member twice", "npy header"))
    value = arrays[name]
    if kind == "missing":
        del arrays[name]
    elif kind == "dtype":
        arrays[name] = value.astype(random.choice(("i4", "f8", "c8", "U5", ">f4", "?")))
    elif kind == "shape":
        arrays[name] = random.choice((value.reshape(-1), value[None], value[..., :0], np.float32(1)))
    elif kind == "object":
        arrays[name] = np.array([print, {}], object)
    elif kind == "nan":
        arrays[name] = np.full(value.shape, np.nan, np.float32)
    elif kind == "name":
        arrays[random.choice(PATHS[:8]) or "x"] = arrays.pop(name)
    elif kind == "large":
        arrays[name] = np.zeros(2**26, np.float32)
    contents = saved(arrays)
    if kind == "member twice":
        stream = io.BytesIO(contents)
        with zipfile.ZipFile(stream, "a") as archive:
            archive.writestr(f"{name}_.npy", b"x")
        contents = stream.getvalue()
    elif kind == "npy header":
        nested = b"(" * 500 + b")" * 500
        shape = random.choice((b"(3000000000,)", b"(-1,)", nested, b"(9" * 50 + b")", b"__import__('os')"))
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + b", }"
        header += b" " * (-(len(header) + 11) % 64) + b"\n"
        array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64)
        stream = io.BytesIO(saved({key: one for key, one in arrays.items() if key != name}))
        with zipfile.ZipFile(stream, "a") as archive:
            archive.writestr(f"{name}.npy", array)
        contents = stream.getvalue()
    return kind, contents


def saved(arrays: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()
