"""Compiled programs kept on disk, so that a damaged one is noticed, removed and compiled anew.

JAX writes an entry in place, without a checksum: one that was cut short (a full disk, a kill) is complained of and
skipped for ever after, one with a flipped bit may even be run. Entries written here appear whole, with a digest at
their end; decompressors stop before it, so that other programs read them as well.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from functools import cache
from pathlib import Path
from typing import Any, Final

from dynamic_sparsity.errors import DynamicSparsityWarning
from dynamic_sparsity.storage.atomic import publish

_MARK: Final = b"sha256:"
_END_BYTES: Final = len(_MARK) + hashlib.sha256().digest_size
_ENTRY_SUFFIX: Final = "-cache"


CACHE_VARIABLE = "DYNAMIC_SPARSITY_CACHE"
"""Environment variable that moves the compilation cache; JAX's own JAX_COMPILATION_CACHE_DIR wins over it."""


def cache_directory() -> Path:
    """Return where compiled programs are kept: $DYNAMIC_SPARSITY_CACHE, else below $XDG_CACHE_HOME or ~/.cache."""
    if CACHE_VARIABLE in os.environ:
        return Path(os.environ[CACHE_VARIABLE])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dynamic-sparsity" / "xla"


def keep_compiled_programs() -> None:
    """Keep compiled programs on disk, in the folder that the user has set up in JAX, or in `cache_directory`."""
    import jax

    config: Any = jax.config
    install()
    if config.jax_compilation_cache_dir is None:
        config.update("jax_compilation_cache_dir", str(cache_directory()))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def sealed(value: bytes) -> bytes:
    """Return what is written for an entry.

    Args:
        value: The entry, compressed.
    """
    return value + _MARK + hashlib.sha256(value).digest()


def unsealed(written: bytes) -> bytes | None:
    """Return an entry as JAX made it; None if it is not what was written.

    Args:
        written: The file's bytes; those that JAX itself wrote have no digest.
    """
    value, end = written[:-_END_BYTES], written[-_END_BYTES:]
    if end.startswith(_MARK):
        return value if hashlib.sha256(value).digest() == end[len(_MARK) :] else None
    from jax._src import compilation_cache

    try:
        compilation_cache.decompress_executable(written)
    except Exception:
        # Each of the compressors that JAX may use has its own error.
        return None
    return written


@cache
def install() -> None:
    """Have JAX keep its entries this way; where another version of JAX is built otherwise, it keeps its own."""
    import jax

    try:
        from jax._src import compilation_cache, lru_cache
        from jax.experimental.compilation_cache.compilation_cache import reset_cache

        base: Any = lru_cache.LRUCache
        original = compilation_cache.get_file_cache
    except (ImportError, AttributeError):
        return

    lock = threading.Lock()

    class CheckedCache(base):  # type: ignore[misc]
        """JAX's cache in a folder, with digests."""

        def get(self, key: str) -> bytes | None:
            written: bytes | None = super().get(key)
            value = None if written is None else unsealed(written)
            if written is not None and value is None:
                remove(Path(os.fspath(self.path)) / f"{key}{_ENTRY_SUFFIX}")
            return value

        def put(self, key: str, value: bytes) -> None:
            folder = Path(os.fspath(self.path))
            if self.eviction_enabled or not folder.is_dir():
                # JAX holds a lock while it writes; or the folder is in an object store.
                super().put(key, sealed(value))
                return
            file = folder / f"{key}{_ENTRY_SUFFIX}"
            with lock:
                if not file.exists():
                    publish(file, [sealed(value)])

    def get_file_cache(path: str) -> Any:
        found: Any = original(path)
        # None, or what checks contents by compiling everything again: as the user wishes.
        if found is None or type(found[0]) is not base:
            return found
        size = jax.config.jax_compilation_cache_max_size  # type: ignore[attr-defined]
        return CheckedCache(path, max_size=size), found[1]

    compilation_cache.get_file_cache = get_file_cache
    # One that was opened before is opened again.
    reset_cache()


def remove(file: Path) -> None:
    """Remove a damaged entry, and say so.

    Args:
        file: The entry.
    """
    try:
        file.unlink(missing_ok=True)
        what = "was removed"
    except OSError as error:
        what = f"can't be removed ({error.strerror}): delete it, or set DYNAMIC_SPARSITY_CACHE to another folder"
    message = f"{file} is a damaged entry of the compilation cache; it {what}. Its program is compiled anew."
    warnings.warn(message, DynamicSparsityWarning, stacklevel=2)
