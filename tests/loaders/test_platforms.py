"""Systems that are not POSIX, simulated: what only POSIX has is taken away from a process that reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dynamic_sparsity.errors import UnsupportedPlatformError
from dynamic_sparsity.generation import machine
from dynamic_sparsity.testing import HubServer, make_store

REPO, TASK = "org/name", "Pendulums"

WITHOUT_POSIX = """
import errno, os, shutil, signal, sys, types

BLOCKED = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline"}
CALLS = (
    "chown fchmod fchown fork forkpty getegid geteuid getgid getuid kill killpg mkfifo pread pwrite "
    "sched_getaffinity setsid sysconf O_NOFOLLOW O_NONBLOCK O_NOCTTY O_DIRECTORY"
)

class Block:
    def find_spec(self, name, path=None, target=None):
        if name in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def refuse(*arguments, **options):
    raise OSError(errno.EPERM, "not permitted")

opened = os.open

def open_file(path, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return opened(path, *arguments, **options)

# Other packages know these systems; what they import on this one is theirs.
import datasets, h5py, huggingface_hub, pandas, pyarrow, typer, zarr

for name, module in list(sys.modules.items()):
    if name.partition(".")[0] == "filelock" and hasattr(module, "os"):
        module.os = types.SimpleNamespace(**vars(os))
for name in BLOCKED:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Block())
shutil._use_fd_functions = False
for name in CALLS.split():
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGALRM", "SIGHUP", "SIGUSR1"):
    delattr(signal, name)
os.symlink = os.link = refuse
os.open = open_file
"""

READ = """
from pathlib import Path
import numpy as np
from dynamic_sparsity import JacobianDataset, cli, load_dataset
from dynamic_sparsity.learners import evaluate

root, out, repository, task = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
local = load_dataset(task, root=root, split="test")
expected = local[:]
remote = load_dataset(task, repo_id=repository, split="test")
for name, values in remote[:].items():
    np.testing.assert_array_equal(values, expected[name], err_msg=name)
stream = load_dataset(task, repo_id=repository, split="test", streaming=True)
assert sum(len(batch["state"]) for batch in stream.batches(64, seed=0)) == len(local)
local.to_hdf5(out / "rows.h5")
np.testing.assert_array_equal(JacobianDataset.from_hdf5(out / "rows.h5")[:]["J_s"], expected["J_s"])
assert len(local.to_hf(out / "rows.arrow")) == len(local.to_pandas()) == len(local)
assert evaluate(lambda state, action: state, local)
store = str(root / task / "noise.zarr")
for words in (["list", "--root", str(root)], ["info", store], ["verify", store],
              ["download", task, "--repo", repository], ["download", task, "--repo", repository, "--force"]):
    code = cli.main(words)
    assert code == 0, (words, code)
assert not BLOCKED & sys.modules.keys(), BLOCKED & sys.modules.keys()
print("all read")
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_store(root / TASK / "noise.zarr", episodes=10)
    return root


@pytest.mark.slow
def test_reading_needs_nothing_that_only_posix_has(published: HubServer, root: Path, tmp_path: Path) -> None:
    environment = os.environ | published.environment(tmp_path / "home") | {"HF_HUB_DISABLE_SYMLINKS_WARNING": "1"}
    words = [sys.executable, "-c", WITHOUT_POSIX + READ, str(root), str(tmp_path), REPO, TASK]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and "all read" in done.stdout, done.stderr + done.stdout


def test_generating_says_at_once_that_it_needs_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    machine.check_platform()
    # `os.name` itself also decides what `pathlib` does, in the whole process.
    monkeypatch.setattr(machine, "PLATFORM", "nt")
    with pytest.raises(UnsupportedPlatformError, match=r"POSIX.*Windows Subsystem for Linux.*Loading"):
        machine.check_platform()
