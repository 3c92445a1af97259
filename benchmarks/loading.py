"""How fast stores load, against another revision of the code.

    python benchmarks/loading.py REVISION [--rounds N] [--json PATH]

REVISION is checked out into a temporary folder and makes the stores, which both sides then read. Processes of the two
take turns; each reports processor time, the lower quintile of its calls. What is compared is the ratio of the medians
over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from provenance import made_with

ROOT = Path(__file__).resolve().parent.parent
MAKE = """
import sys
from pathlib import Path
try:
    from dynamic_sparsity.testing import make_store
except ImportError:  # an older revision
    sys.path.insert(0, "tests")
    from synthetic import make_store
root = Path(sys.argv[1])
sizes = {"episodes": 300, "episode_length": 50, "hinges": 9, "actions": 6, "chunk_rows": 64, "shard_rows": 3200}
make_store(root / "Pendulums/noise.zarr", **sizes)
sizes = {"episodes": 400, "episode_length": 10, "hinges": 1, "limits": 1, "pairs": 1, "chunk_rows": 1, "shard_rows": 10}
make_store(root / "Pendulums/many.zarr", policy="many", **sizes)
"""
MEASURE = """
import json, sys, time
import numpy as np
from dynamic_sparsity import load_dataset
from dynamic_sparsity.loaders import open_store
root = sys.argv[1]
def quintile(call, count):
    call()
    seconds = []
    for _ in range(count):
        began = time.process_time()
        call()
        seconds.append(time.process_time() - began)
    return float(np.percentile(seconds, 20))
dataset = load_dataset("Pendulums", root=root, policy="noise")
dataset[:]
rows = np.random.default_rng(0).integers(0, len(dataset), 256)
some = {"root": root, "columns": ["state", "J_s"], "verify": "size"}
print(json.dumps({
    "open": quintile(lambda: open_store(f"{root}/Pendulums/noise.zarr"), 40),
    "open, many shards": quintile(lambda: open_store(f"{root}/Pendulums/many.zarr"), 15),
    "first row": quintile(lambda: load_dataset("Pendulums", **some)[0], 40),
    "first row of all arrays": quintile(lambda: load_dataset("Pendulums", root=root)[0], 15),
    "256 random rows": quintile(lambda: dataset[rows], 300),
}))
"""


def run(checkout: Path, program: str, stores: Path) -> str:
    """What a program prints that imports the package from a checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, str(stores)]
    return subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Compare, print a table, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="commit, tag or branch to compare with")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before, stores = Path(folder) / "before", Path(folder) / "data"
        subprocess.run(
            ["git", "worktree", "add", "-q", "--detach", str(before), options.revision], cwd=ROOT, check=True
        )
        try:
            run(before, MAKE, stores)
            found: dict[str, list[dict[str, float]]] = {"before": [], "now": []}
            for _ in range(options.rounds):
                for side, checkout in (("before", before), ("now", ROOT)):
                    found[side].append(json.loads(run(checkout, MEASURE, stores)))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(before)], cwd=ROOT, check=True)
    records: list[dict[str, Any]] = []
    for name in found["now"][0]:
        old, new = (statistics.median(one[name] for one in found[side]) for side in ("before", "now"))
        records.append({"what": name, "before_ms": old * 1e3, "now_ms": new * 1e3, "speed": old / new})
        print(f"{name:25} {old * 1e3:8.2f} ms → {new * 1e3:8.2f} ms: {old / new:.2f} × as fast")
    if options.json:
        document = {"revision": options.revision, "rounds": options.rounds, "records": records, **made_with()}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
