"""Names, documents and archives from outside: what is accepted, and that all else is one of our errors."""

from __future__ import annotations

import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dynamic_sparsity.errors import CorruptPolicyError, CorruptStoreError
from dynamic_sparsity.untrusted.archives import read_npz, read_tar_xz
from dynamic_sparsity.untrusted.documents import NESTING_MAX, parse_json, read_json
from dynamic_sparsity.untrusted.files import read_regular
from dynamic_sparsity.untrusted.names import check_name, check_relative_path, inside
from dynamic_sparsity.untrusted.values import COUNT_MAX, check_count, check_list, check_object, check_sha256

BAD_NAMES = [
    "",
    ".",
    "..",
    ".bashrc",
    "a.",
    "a/b",
    "a\\b",
    "a b",
    "a\n",
    "a\0",
    "ä",
    "v٣",
    "-a",
    "con",
    "NUL.txt",
    "x" * 129,
]
BAD_PATHS = ["/a", "a/", "a//b", "a/../b", "../a", "a/./b", "~/a", "C:/a", "a/b\n", "a/con/b", "a/.b", "a/" * 300 + "a"]


@pytest.mark.parametrize("name", [*BAD_NAMES, None, 3, True, ["a"], {}])
def test_what_is_no_name(name: object) -> None:
    with pytest.raises(CorruptStoreError, match="a name has"):
        check_name(name, "the task")


@pytest.mark.parametrize("path", [*BAD_PATHS, *(name for name in BAD_NAMES if name != "a/b"), None, 3])
def test_what_is_no_relative_path(path: object) -> None:
    with pytest.raises(CorruptPolicyError, match="a path inside a folder has"):
        check_relative_path(path, "a file", CorruptPolicyError)


@pytest.mark.parametrize(
    "path", ["zarr.json", "J_s/c/0/0/0", "shards/00000.json", "CheetahRun/expert-stock.zarr", "_a"]
)
def test_paths_of_stores(path: str) -> None:
    assert check_relative_path(path, "a file") == path


def test_writes_stay_inside(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "real").mkdir(parents=True)
    outside.mkdir()
    (root / "link").symlink_to(outside)
    assert inside(root, "real/file") == root / "real/file"
    assert inside(root, "new/file") == root / "new/file"
    with pytest.raises(CorruptStoreError, match="through a link"):
        inside(root, "link/file", CorruptStoreError)
    with pytest.raises(CorruptStoreError, match="a path inside a folder"):
        inside(root, "../outside/file", CorruptStoreError)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CorruptStoreError, match="a FIFO"):
        read_regular(tmp_path / "fifo", 10)
    with pytest.raises(CorruptStoreError, match="a folder"):
        read_regular(tmp_path, 10)
    with pytest.raises(CorruptStoreError, match="can't be opened"):
        read_regular(tmp_path / "absent", 10)
    with pytest.raises(CorruptStoreError, match="a device"):
        read_regular(Path("/dev/zero"), 10)
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(CorruptStoreError, match="has 5 bytes"):
        read_regular(tmp_path / "file", 4)


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "levels deep|not JSON"),
        (nested(NESTING_MAX + 1), "levels deep"),
        (nested(100_000), "levels deep"),
        (b"[]", "expected an object"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"", "not JSON"),
        (b'{"a": 1', "not JSON"),
    ],
)
def test_what_is_no_document(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "document.json").write_bytes(text)
    with pytest.raises(CorruptStoreError, match=message):
        read_json(tmp_path / "document.json")


def test_documents() -> None:
    assert parse_json('{"a": [1, {"b": null}]}', "here") == {"a": [1, {"b": None}]}
    parse_json(nested(NESTING_MAX), "here")


def tar_xz(*entries: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                member = tarfile.TarInfo(entry[0])
                member.size = len(entry[1])
                archive.addfile(member, io.BytesIO(entry[1]))
    return stream.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def read(contents: bytes) -> dict[str, bytes]:
    return read_tar_xz(contents, "index", lambda name, size: name != "unwanted")


def test_an_archive() -> None:
    assert read(tar_xz(("a", b"1"), ("b/c", b"23"))) == {"a": b"1", "b/c": b"23"}


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (tar_xz(("../a", b"1")), "a path inside"),
        (tar_xz(("/a", b"1")), "a path inside"),
        (tar_xz(("a", b"1"), ("a", b"2")), "twice"),
        (tar_xz(("unwanted", b"1")), "does not belong"),
        (tar_xz(special("a", tarfile.SYMTYPE, "/etc/passwd")), "no regular file"),
        (tar_xz(special("a", tarfile.LNKTYPE, "b")), "no regular file"),
        (tar_xz(special("a", tarfile.DIRTYPE)), "no regular file"),
        (tar_xz(special("a", tarfile.FIFOTYPE)), "no regular file"),
        (lzma.compress(b"\0" * (17 * 2**20)), "decompresses to more"),
        (tar_xz(("a", b"1" * 9000))[:-20], "cut off|can't be read"),
        (tar_xz(("a", b"1")) + b"more", "behind its end"),
        (b"", "cut off|can't be read"),
        (b"no archive at all", "can't be read"),
    ],
)
def test_what_is_no_archive(contents: bytes, message: str) -> None:
    with pytest.raises(CorruptStoreError, match=message):
        read(contents)


def test_arrays(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(True), "f": np.asfortranarray(np.ones((2, 3), "i4"))}
    np.savez(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, values in arrays.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


def npy(shape: tuple[int, ...], descr: str, body: bytes) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + body


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.npy": npy((10**10,), "<f8", b"")}, "is not what its"),
        ({"a.npy": npy((1,), "|O", b"12345678")}, "expected numbers"),
        ({"a.npy": npy((1,), "<U1", b"1234")}, "expected numbers"),
        ({"a.npy": npy((-1,), "<f8", b"")}, "expected numbers"),
        ({"../a.npy": npy((1,), "<f8", b"12345678")}, "a name has"),
        ({"a.npy": b"\0" * (20 * 2**20)}, "declares"),
        ({"a.npy": b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 5000}, "can't be read"),
        (
            {"a.npy": b"\x93NUMPY\x01\x00\x76\x00{'des2), }" + b" " * 108 + b"\n"},
            "can't be read",
        ),  # tokenize.TokenError
        ({"a.npy": b""}, "can't be read"),
    ],
)
def test_what_is_no_npz(members: dict[str, bytes], message: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, contents in members.items():
            archive.writestr(name, contents)
    with pytest.raises(CorruptStoreError, match=message):
        read_npz(tmp_path / "a.npz")


def test_a_damaged_npz_is_one_of_our_errors(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.arange(100.0))
    contents = (tmp_path / "a.npz").read_bytes()
    for place in range(0, len(contents), 7):
        (tmp_path / "b.npz").write_bytes(contents[:place] + bytes([contents[place] ^ 0x55]) + contents[place + 1 :])
        try:
            found = read_npz(tmp_path / "b.npz")
        except CorruptStoreError:
            continue
        np.testing.assert_array_equal(found.get("a", np.arange(100.0)), np.arange(100.0))


def test_objects_lists_counts_and_digests() -> None:
    assert check_object({"a": 1, "b": 2}, ("a", "b"), "here") == {"a": 1, "b": 2}
    assert check_list([1], "here") == [1]
    assert check_count(COUNT_MAX, "here") == COUNT_MAX
    assert check_sha256("0" * 64, "here") == "0" * 64
    for value in ({"a": 1}, {"a": 1, "b": 2, "c": 3}, [], None, "ab"):
        with pytest.raises(CorruptStoreError, match=r"^here"):
            check_object(value, ("a", "b"), "here")
    for value in ((), {}, None, "ab"):
        with pytest.raises(CorruptStoreError, match=r"^here is .*list"):
            check_list(value, "here")
    for value in (-1, COUNT_MAX + 1, 10**5000, 1.0, True, None, "1", float("nan")):
        with pytest.raises(CorruptPolicyError, match=r"^here is .*whole number"):
            check_count(value, "here", error=CorruptPolicyError)
    for value in ("0" * 63, "0" * 64 + "\n", "A" * 64, "٠" * 64, None, 0):
        with pytest.raises(CorruptStoreError, match=r"^here is .*digest"):
            check_sha256(value, "here")


@pytest.mark.parametrize("text", [b'{"a": [' + b"{}," * 100 + b"0]}", b"[" * 200, '{"a": [' + "1," * 100 + "0]}"])
def test_documents_of_many_values(text: bytes | str) -> None:
    with pytest.raises(CorruptStoreError, match="more than the 50 values"):
        parse_json(text, "here", values_max=50)
