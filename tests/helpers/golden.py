"""The golden stores: made once, kept as they are, so that writer and reader can't change together unseen."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import platform
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynamic_sparsity.generation.settings import Settings

FOLDER = Path(__file__).parents[1] / "data" / "golden"
REPO = "org/golden"

SETTINGS = {
    # Two shards, the last one not full.
    "CartpoleBalance-noise": Settings("CartpoleBalance", episodes=80, episode_length=16, batch=64),
    "PointMass-noise-stock": Settings("PointMass", episodes=12, episode_length=8, dynamics="stock"),
    # Quaternions.
    "FishSwim-noise": Settings("FishSwim", episodes=10, episode_length=5),
    # Contacts and joint limits.
    "CheetahRun-expert": Settings("CheetahRun", episodes=10, episode_length=12, policy="expert"),
}
PUBLISHED = "CartpoleBalance-noise"
"""The store that is kept in its published form and as HDF5 as well."""


def instruction_set() -> str:
    """What XLA compiles for; the last bits of a result depend on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    flags = next((line.split(":")[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    chosen = sorted(flag for flag in flags if flag.startswith(("avx", "fma", "amx", "sve", "asimd")))
    return " ".join([platform.machine(), *chosen])


def digests(batch: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """SHA-256 of every column's dtype, shape and bytes in C order, little endian."""
    found = {}
    for name, values in batch.items():
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        head = f"{little.dtype.str} {list(little.shape)}\n".encode()
        found[name] = hashlib.sha256(head + little.tobytes()).hexdigest()
    return found


def file_digests(store: Path) -> dict[str, str]:
    """SHA-256 of the files of a store that hold numbers; the others name versions and the source's commit."""
    files = json.loads((store / "manifest.json").read_bytes())["files"]
    return {name: entry["sha256"] for name, entry in files.items() if Path(name).suffix != ".json"}


def pack(archive: Path, folder: Path, files: list[Path]) -> None:
    """Write files below a folder into an archive whose bytes depend on nothing but theirs."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for file in sorted(files):
            member = tarfile.TarInfo(file.relative_to(folder).as_posix())
            member.size = file.stat().st_size
            with file.open("rb") as source:
                tar.addfile(member, source)
    archive.write_bytes(lzma.compress(content.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def unpack(archive: Path, folder: Path) -> Path:
    """Write the files of an archive of `pack` below a folder."""
    with tarfile.open(archive, "r:xz") as tar:
        for member in tar:
            source = tar.extractfile(member)
            assert source is not None
            target = folder / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read())
    return folder
