"""Compiled programs on disk: one that is damaged is removed, said, and made anew."""

from __future__ import annotations

import subprocess
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from dynamic_sparsity import compilation_cache
from dynamic_sparsity.errors import DynamicSparsityWarning
from dynamic_sparsity.generation import jax_runtime
from dynamic_sparsity.learners.networks.jax_setup import require_jax

VALUE = zlib.compress(b"a program" * 100)


def test_entries_have_a_digest() -> None:
    written = compilation_cache.sealed(VALUE)
    assert compilation_cache.unsealed(written) == VALUE
    assert zlib.decompress(written) == zlib.decompress(VALUE), "programs without this package read them as well"
    for place in range(0, len(written) - 40, 7):
        flipped = bytearray(written)
        flipped[place] ^= 4
        assert compilation_cache.unsealed(bytes(flipped)) is None, place
    assert all(compilation_cache.unsealed(written[:length]) is None for length in range(0, len(VALUE), 5))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty cache, in which every program is kept."""
    jax_runtime.configure()
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: jax.config.values[name] for name in names}
    for name, value in zip(names, (str(tmp_path / "cache"), 0.0), strict=True):
        jax.config.update(name, value)
    jax_cache.reset_cache()
    yield tmp_path / "cache"
    for name, value in before.items():
        jax.config.update(name, value)
    jax_cache.reset_cache()


def computed() -> float:
    """A number from a program that is compiled for each call, or read."""
    return float(jax_runtime.jit(lambda x: jnp.tanh(x) @ jnp.cos(x))(jnp.arange(7.0)))


def program(folder: Path) -> Path:
    """The entry of that program; the other one tries a compiler option."""
    return max(folder.glob("jit__lambda*-cache"), key=lambda file: file.stat().st_size)


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "another"])
def test_a_damaged_entry_is_replaced(damage: str, folder: Path) -> None:
    expected = computed()
    entry = program(folder)
    whole = entry.read_bytes()
    flipped = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
    entry.write_bytes({"cut": whole[:300], "empty": b"", "flipped": flipped, "another": b"what" * 99}[damage])
    with pytest.warns(DynamicSparsityWarning, match=f"{entry.name} is a damaged entry .* was removed"):
        assert computed() == expected
    assert compilation_cache.unsealed(entry.read_bytes()) is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert computed() == expected


def test_entries_of_other_programs_are_read(folder: Path) -> None:
    expected = computed()
    entry = program(folder)
    plain = compilation_cache.unsealed(entry.read_bytes())
    assert plain is not None
    entry.write_bytes(plain)
    assert computed() == expected
    assert entry.read_bytes() == plain


def test_a_damaged_entry_that_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(DynamicSparsityWarning, match=r"can't be removed \(Permission denied\): delete it"):
        compilation_cache.remove(tmp_path / "x-cache")


def test_learners_and_simulators_share_one_cache(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(compilation_cache.CACHE_VARIABLE, str(tmp_path / "moved"))
    for set_up in (require_jax, jax_runtime.configure):
        jax.config.update("jax_compilation_cache_dir", None)
        set_up()
        assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "moved")


@pytest.mark.slow
def test_another_jax_keeps_its_own_cache() -> None:
    """Where JAX is built otherwise inside, programs are kept as it keeps them."""
    script = (
        "import jax._src.compilation_cache as c; del c.get_file_cache\n"
        "from dynamic_sparsity import compilation_cache; compilation_cache.install()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
