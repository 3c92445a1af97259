"""Seeds of the corpus: small good inputs of every target. `python tests/fuzz/seeds.py` writes them."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import tempfile
from pathlib import Path

import google_crc32c
import numpy as np
from numcodecs.blosc import Blosc

from dynamic_sparsity.loaders import open_dataset
from dynamic_sparsity.loaders.hub.publication import Publication, PublishedFile, PublishedStore
from dynamic_sparsity.policies.files import encode_policy
from dynamic_sparsity.policies.network import ExpertPolicy
from dynamic_sparsity.testing import stores as synthetic

CORPUS = Path(__file__).parent / "corpus"
SIZES = {"episodes": 2, "episode_length": 4, "hinges": 1, "actions": 1, "chunk_rows": 8, "shard_rows": 8}


def shard(kind: int, number: int, values: np.ndarray, chunks: int, *, packed: bool) -> bytes:
    """As `fuzz.shard` takes it: which layout, which shard, the file."""
    body, entries = b"", []
    for chunk in np.split(values, chunks):
        blosc = Blosc("zstd", 5, Blosc.BITSHUFFLE, typesize=values.dtype.itemsize)
        part = blosc.encode(np.ascontiguousarray(chunk)) if packed else chunk.tobytes()
        entries.append([len(body), len(part) + 4])
        body += part + google_crc32c.value(part).to_bytes(4, "little")
    entries += [[2**64 - 1] * 2] * (2 - chunks)
    tail = np.asarray(entries, "<u8").tobytes()
    return bytes([kind, number]) + body + tail + google_crc32c.value(tail).to_bytes(4, "little")


def digests(count: int) -> str:
    return base64.b64encode(bytes(32 * count)).decode()


def published() -> PublishedStore:
    index = PublishedFile("index/Pendulums/noise.tar.xz", "0" * 64, 300)
    view = PublishedFile("parquet/Pendulums/noise/train-00000-of-00001.parquet", "1" * 64, 900)
    return PublishedStore(
        task="Pendulums",
        policy="noise",
        dynamics="converged",
        path="Pendulums/noise.zarr",
        rows=8,
        bytes=1000,
        manifest_sha256="2" * 64,
        index=index,
        splits={"train": 8, "validation": 0, "test": 0},
        parquet={"train": (view,)},
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = synthetic.make_store(Path(folder) / "Pendulums/noise.zarr", **SIZES)
        random = np.random.default_rng(0)
        pieces = {
            "flags/c/0": {"rows": 8, "offsets": [0, 30, 60], "sha256": digests(3)},
            "state/c/0/0": {"rows": 4, "offsets": [0, 48, 100, 148, 200], "sha256": digests(5)},
        }
        seeds: dict[str, bytes] = {
            "shard/mask": shard(0, 0, random.integers(0, 2, (16, 4, 4), np.uint8), 2, packed=True),
            "shard/zeros": shard(0, 2, np.zeros((8, 4, 4), np.uint8), 1, packed=True),
            "shard/flags": shard(1, 0, random.integers(0, 9, 16).astype("<u2"), 2, packed=True),
            "shard/force": shard(2, 1, random.normal(size=(16, 2)).astype("<f4"), 2, packed=True),
            "shard/state": shard(3, 0, random.normal(size=(16, 3)).astype("<f4"), 2, packed=False),
            "pieces/two": json.dumps({"files": pieces}).encode(),
            "publication/one": Publication("1.0.0", (published(),)).encode(),
        }
        for name in ("zarr.json", "manifest.json", "shards/00000.json", "state/zarr.json"):
            document = json.loads((store / name).read_bytes())
            document.pop("consolidated_metadata", None)
            if "files" in document:
                document["files"] = dict(list(document["files"].items())[:3])
            seeds[f"document/{name.replace('/', '_')}"] = json.dumps(document, separators=(",", ":")).encode()
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name in ("document/zarr.json", "document/state_zarr.json"):
                entry = tarfile.TarInfo(name.partition("/")[2])
                entry.size = len(seeds[name])
                archive.addfile(entry, io.BytesIO(seeds[name]))
        seeds["index/two"] = stream.getvalue()[:5120]
        open_dataset(store, columns=["state", "flags"]).to_hdf5(Path(folder) / "rows.h5")
        seeds["hdf5/two"] = (Path(folder) / "rows.h5").read_bytes()
    layers = ((np.ones((2, 2), "f4"), np.ones(2, "f4")),)
    seeds["policy/small"] = encode_policy(ExpertPolicy("A", "swish", np.zeros(2, "f4"), np.ones(2, "f4"), layers, ""))
    arrays = io.BytesIO()
    np.savez(arrays, a=np.zeros(3, "f4"), b=np.ones((2, 2), "i8"))
    seeds["npz/two"] = arrays.getvalue()
    array = io.BytesIO()
    np.save(array, np.ones((2, 2), "i8"))
    seeds["npz/array"] = array.getvalue()
    for name, contents in seeds.items():
        path = CORPUS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)


if __name__ == "__main__":
    main()
